"""Invoices by hand: what answers of each shape cost, to the last digit; a price that is not known is never nothing."""

from __future__ import annotations

import datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from access.ledger.prices import Prices, PriceVendor, Rates
from contract.attempt import Attempt
from contract.deltas import Usage
from contract.exchange import CacheNote, Exchange
from contract.unsettled import Unsettled

OWN = Rates(Decimal("2.50"), Decimal("10"), Decimal("0.25"), Decimal("3.125"))
# A price for each kind, and others for prompts beyond 200,000 tokens.
FULL = Rates(
    Decimal(2), Decimal(10), Decimal("0.5"), Decimal("2.5"), Decimal(4), Decimal(40), Decimal(80), Decimal(3),
    Decimal(30), Decimal(12), Decimal(10),
    above=((200_000, Rates(Decimal(4), Decimal(20))), (500_000, Rates(Decimal(8), Decimal(40)))),
)  # fmt: skip
EVERYTHING = Usage(
    1000, 500, cache_read=100, cache_write=200, reasoning=50, audio_input=300, audio_output=100, image_input=50,
    image_output=20, cache_write_1h=80, searches=3,
)  # fmt: skip
VENDORS = {
    "own": PriceVendor(),
    "openai": PriceVendor(url="https://api.openai.com/v1"),
    "anthropic": PriceVendor(url="https://api.anthropic.com"),
    "gemini": PriceVendor(url="https://generativelanguage.googleapis.com"),
    "inhouse": PriceVendor(url="http://vllm.internal:8000/v1"),
    "builtin": PriceVendor(free=True),
}


def settled(*answers: tuple[str, Usage | None], cache: CacheNote | None = None) -> Exchange:
    exchange = Exchange("test")
    exchange.cache = cache
    for target, usage in answers:
        provider, _, model = target.partition("/")
        exchange.attempts.append(Attempt(target, provider, model, usage=usage))
    Prices({"own/m": [(None, OWN)], "full/m": [(None, FULL)]}, VENDORS).settle(exchange, Unsettled())
    return exchange


@pytest.mark.parametrize(
    ("target", "usage", "dollars"),
    [
        ("own/m", Usage(1000, 100), "0.0035"),
        # Of 1,000 prompt tokens 600 were kept and 100 are kept from now on.
        ("own/m", Usage(1000, 100, cache_read=600, cache_write=100), "0.0022125"),
        # Reasoning is among the output.
        ("own/m", Usage(1000, 100, reasoning=90), "0.0035"),
        ("own/m", Usage(0, 0), "0"),
        ("builtin/extractive", Usage(5000, 500), "0"),
        ("openai/gpt-4o", Usage(1000, 100), "0.0035"),
        ("anthropic/claude-sonnet-4-5", Usage(1000, 100, cache_read=500, cache_write=200), "0.00330"),
        # Beyond 200,000 tokens another tier holds for the whole prompt.
        ("gemini/gemini-2.5-pro", Usage(100_000, 1000), "0.135"),
        ("gemini/gemini-2.5-pro", Usage(300_000, 1000), "0.765"),
        # What Anthropic keeps for an hour costs more; its searches of the web cost beside the tokens.
        (
            "anthropic/claude-sonnet-4-5",
            Usage(1000, 100, cache_read=500, cache_write=200, cache_write_1h=100),
            "0.003525",
        ),
        ("anthropic/claude-sonnet-4-5", Usage(1000, 100, searches=2), "0.0245"),
        ("gemini/gemini-2.5-flash-image", Usage(1000, 1300, image_output=1290), "0.039025"),
        ("gemini/gemini-2.5-flash", Usage(1000, 100, audio_input=900), "0.00118"),
        ("full/m", EVERYTHING, "0.05602"),
        ("full/m", Usage(1000, 100, reasoning=100), "0.0032"),
        ("full/m", Usage(200_000, 10), "0.4001"),
        ("full/m", Usage(200_001, 10), "0.800204"),
        ("full/m", Usage(500_001, 10), "4.000408"),
        # A recording that was kept is counted as both: each token once.
        ("full/m", Usage(100, 0, cache_read=80, audio_input=80), "0.00084"),
    ],
)
def test_invoices(target: str, usage: Usage, dollars: str) -> None:
    exchange = settled((target, usage))
    assert exchange.cost == Decimal(dollars)
    assert not exchange.unpriced


@pytest.mark.parametrize("target", ["inhouse/qwen3-8b", "openai/no-such-model-at-all", "unknown/m", "own/other"])
def test_a_price_that_is_not_known_is_said(target: str) -> None:
    exchange = settled((target, Usage(1000, 100)))
    assert exchange.cost is None
    assert exchange.unpriced
    # One that is known beside it makes the sum no better known.
    assert settled(("own/m", Usage(10, 10)), (target, Usage(1, 1))).cost is None


def test_searches_without_a_price_are_not_free() -> None:
    exchange = settled(("own/m", Usage(1000, 100, searches=1)))
    assert exchange.cost is None
    assert exchange.unpriced


def test_a_price_holds_from_its_day_on() -> None:
    today = datetime.datetime.now(tz=datetime.UTC).date()
    day = datetime.timedelta(days=1)
    cheap, dear = Rates(Decimal(1), Decimal(1)), Rates(Decimal(2), Decimal(2))
    for dated, holds in (
        ([(None, cheap), (today, dear)], dear),
        ([(None, cheap), (today + day, dear)], cheap),
        ([(today - day, cheap), (today, dear)], dear),
        ([(today + day, cheap)], None),
    ):
        assert Prices({"own/m": dated}, {}).rates("own/m") is holds


@given(
    st.sampled_from([OWN, FULL]),
    st.tuples(st.integers(0, 600_000), *[st.integers(0, 1000)] * 3),
    st.tuples(st.integers(0, 5000), *[st.integers(0, 1000)] * 3),
    st.floats(0, 1),
)
def test_no_answer_costs_more_than_the_most(
    rates: Rates, prompt: tuple[int, ...], answer: tuple[int, ...], share: float
) -> None:
    usage = Usage(
        sum(prompt), sum(answer), cache_read=prompt[1], cache_write=prompt[2], cache_write_1h=int(prompt[2] * share),
        audio_input=prompt[3], reasoning=answer[1], audio_output=answer[2], image_output=answer[3],
    )  # fmt: skip
    assert rates.cost(usage) <= rates.most(Usage(usage.input, usage.output))


def test_every_attempt_that_generated_costs_and_what_was_kept_does_not() -> None:
    twice = settled(("own/m", Usage(1000, 100)), ("own/m", None), ("own/m", Usage(1000, 100)))
    assert twice.cost == Decimal("0.007")
    for kind in ("exact", "semantic", "shared"):
        assert settled(cache=CacheNote(kind)).cost == 0
        # What found it (a rewritten question) has cost all the same.
        assert settled(("own/m", Usage(1000, 100)), cache=CacheNote(kind)).cost == Decimal("0.0035")
    assert settled(("own/m", Usage(1000, 100)), cache=CacheNote("miss")).cost == Decimal("0.0035")


@given(st.integers(0, 10**7), st.integers(0, 10**6), st.integers(0, 10**7), st.integers(0, 10**7))
def test_sums_are_exact(fresh: int, output: int, read: int, write: int) -> None:
    usage = Usage(fresh + read + write, output, cache_read=read, cache_write=write)
    millionths = fresh * 2_500_000 + read * 250_000 + write * 3_125_000 + output * 10_000_000
    assert OWN.cost(usage) * 10**12 == millionths
