"""What an answer costs in the service tier that it was served in, and what a budget reserves for one that is asked."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from access.ledger.prices import Prices, PriceVendor, Rates
from access.limits.counters import MemoryCounters
from access.limits.estimate import size_of
from access.limits.quota import Quota
from config import ConfigError
from contract.attempt import Attempt
from contract.deltas import Usage
from contract.exchange import Exchange
from contract.messages import ChatRequest, Message, Text
from contract.rules import NANO
from contract.service_tier import asked_tier, tier_name
from contract.unsettled import Unsettled
from gateway.assembly.configuration import load

ONE_TIER = pytest.mark.guarantee(
    "money", "An answer costs the price of its service tier, and is unpriced if that tier has no price"
)
OWN = Rates(Decimal(10), Decimal(20), service_tiers={"flex": Rates(Decimal(5), Decimal(10))})
USAGE = Usage(input=1_000_000, output=100_000)


def cost(tier: str, prices: Prices, target: str = "o/m") -> tuple[Decimal | None, bool]:
    exchange = Exchange("POST /v1/chat/completions")
    exchange.attempts.append(Attempt(target, target.partition("/")[0], "m", usage=USAGE, tier=tier))
    prices.settle(exchange, Unsettled())
    return exchange.cost, exchange.unpriced


@ONE_TIER
@pytest.mark.parametrize(
    ("tier", "expected"),
    [
        ("", (12, False)),
        ("standard", (12, False)),
        ("flex", (6, False)),
        ("priority", (None, True)),
        ("new", (None, True)),
    ],
)
def test_own_prices_by_tier(tier: str, expected: tuple[int | None, bool]) -> None:
    assert cost(tier, Prices({"o/m": [(None, OWN)]}, {})) == expected


@ONE_TIER
def test_listed_prices_by_tier() -> None:
    prices = Prices({}, {"openai": PriceVendor("openai")})
    model = "openai/gpt-5.4"
    usual, flex, priority = (prices.rates(model, tier) for tier in ("", "flex", "priority"))
    assert usual is not None
    assert flex is not None
    assert priority is not None
    assert flex.cost(USAGE) < usual.cost(USAGE) < priority.cost(USAGE)
    assert prices.rates(model, "a_tier_of_next_year") is None
    assert prices.rates(model, "standard") == usual


@ONE_TIER
def test_free_targets_are_free_in_any_tier() -> None:
    assert cost("priority", Prices({}, {"s": PriceVendor(free=True)}), "s/m") == (Decimal(0), False)


@pytest.mark.parametrize(
    ("said", "name"),
    [
        ("flex", "flex"),
        ("FLEX", "flex"),
        ("SERVICE_TIER_PRIORITY", "priority"),
        ("ON_DEMAND", "standard"),
        ("ON_DEMAND_FLEX", "flex"),
        ("default", "standard"),
        ("auto", "standard"),
        (None, ""),
        ("", ""),
        (7, ""),
        ({"a": 1}, ""),
    ],
)
def test_names_of_vendors_become_ours(said: object, name: str) -> None:
    assert tier_name(said) == name


def test_what_a_request_asks_for_is_part_of_its_size() -> None:
    request = ChatRequest(
        dialect="openai",
        model="m",
        messages=(Message("user", (Text("hi"),)),),
        extra={"service_tier": "priority"},
    )
    assert size_of(request).tier == "priority"
    assert asked_tier({"speed": "fast"}) == "fast"
    assert asked_tier(None) == ""


@ONE_TIER
def test_a_tier_that_nobody_asked_for_counts_in_budgets_at_the_usual_price() -> None:
    quota = Quota(MemoryCounters(), Prices({"o/m": [(None, OWN)]}, {}), {}, {})
    assert quota.cost_of(Attempt("o/m", "o", "m", ended=1.0, usage=USAGE, tier="priority")) == 12 * NANO
    assert quota.cost_of(Attempt("o/m", "o", "m", ended=1.0, usage=USAGE, tier="flex")) == 6 * NANO


@pytest.mark.parametrize(
    "name", ["standard", "default", "auto", "standard_only", "on_demand", "on_demand_flex", "Flex"]
)
def test_names_that_no_answer_has_are_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / "gatehouse.yaml"
    path.write_text(
        f"version: 1\nprices: {{o/m: {{input: 1, output: 2, service_tiers: {{{name}: {{input: 1, output: 2}}}}}}}}\n"
    )
    with pytest.raises(ConfigError):
        load(path, environ={})
