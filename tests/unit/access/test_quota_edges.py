"""Ways past a budget, and numbers that no provider or caller should give: what has once been wrong stays right."""

from __future__ import annotations

import asyncio
import json
from decimal import Decimal

import pytest

from access.ledger.entry import entry_of
from access.ledger.prices import Prices, PriceVendor, Rates
from access.limits.counters import LEASE_US, MemoryCounters
from access.limits.estimate import size_of
from access.limits.quota import Quota
from contract.attempt import Attempt
from contract.caller import Caller
from contract.deltas import Delta, Usage
from contract.dialect import WireOptions
from contract.errors import BudgetSpent, NotAllowed, OwnLimitReached, TooManyRequests
from contract.exchange import Exchange
from contract.messages import (
    Audio,
    ChatRequest,
    Document,
    Message,
    Opaque,
    Part,
    ReasoningOptions,
    Refusal,
    ResponseFormat,
    Text,
)
from contract.rules import NANO, LimitRule, ScopedRule
from contract.unsettled import Transcript, Unsettled
from gateway.dialects.anthropic import AnthropicMessages
from gateway.dialects.openai_chat import OpenAIChat
from router.dispatch import note_usage

FAR_US = 10**16
# A token of an answer costs a tenth of a cent, one of a prompt a thousandth of that.
PRICES = Prices({"p/m": [(None, Rates(Decimal(1), Decimal(1000), searches=Decimal(10)))]}, {})


def asking(*parts: Part, **more: object) -> ChatRequest:
    given = {"max_tokens": 10, **more}
    messages = (Message("user", parts or (Text("How many pages?"),)),)
    return ChatRequest(dialect="openai", model="m", messages=messages, **given)  # type: ignore[arg-type]


def budget(dollars: float, **more: object) -> LimitRule:
    return LimitRule("spend", int(dollars * NANO), "a budget", calendar="month", **more)  # type: ignore[arg-type]


def calling(*rules: LimitRule, user: str = "", users: tuple[LimitRule, ...] = ()) -> Exchange:
    exchange = Exchange("test")
    exchange.caller = Caller("a", rules=tuple(ScopedRule("app", "a", each) for each in rules), user_rules=users)
    exchange.model, exchange.user = "m", user
    return exchange


def attempt_of(exchange: Exchange, dialect: str = "openai") -> Attempt:
    attempt = Attempt("p/m", "p", "m", dialect, number=len(exchange.attempts) + 1)
    exchange.attempts.append(attempt)
    return attempt


def reserved(counters: MemoryCounters) -> int:
    return sum(counters.taken(key) for key in list(counters._state))


# --- what is reserved ----------------------------------------------------------------------------------------------


def test_a_budget_in_the_shadow_takes_no_bound_from_one_that_holds() -> None:
    async def run() -> None:
        counters = MemoryCounters()
        exchange = calling(budget(100, answer=2000), budget(100, soft=True, shadow=True, number=1))
        ticket = await Quota(counters, PRICES).admit(exchange, asking(max_tokens=None), ["p/m"])
        assert ticket is not None
        assert ticket.bounded(asking(max_tokens=None)).max_tokens == 2000
        assert reserved(counters) >= 2 * 2 * NANO

    asyncio.run(run())


@pytest.mark.parametrize("asked", [-1, 0, -(10**9)])
def test_less_than_one_token_is_no_bound(asked: int) -> None:
    async def run() -> None:
        counters = MemoryCounters()
        limit = LimitRule("output_tokens", 100_000, "tokens", 3600)
        exchange = calling(budget(100, answer=2000), limit)
        ticket = await Quota(counters, PRICES).admit(exchange, asking(max_tokens=asked), ["p/m"])
        assert ticket is not None
        assert ticket.bounded(asking(max_tokens=asked)).max_tokens == 2000
        assert counters.taken(next(key for key in counters._state if key.startswith("spend"))) >= 2 * NANO
        assert exchange.allowances["tokens"].left < 100_000

    asyncio.run(run())


def test_thoughts_that_anthropic_wants_beside_the_answer_are_reserved() -> None:
    request = asking(reasoning=ReasoningOptions(effort="high"), max_tokens=10)
    wire = AnthropicMessages().write_request(request, WireOptions("m", stream=False))
    assert b'"max_tokens":16394' in wire.body

    async def run() -> None:
        exchange = calling(budget(10))
        ticket = await Quota(MemoryCounters(), PRICES).admit(exchange, request, ["p/m"])
        assert ticket is not None
        await ticket.cover(attempt_of(exchange, "openai"), request)
        with pytest.raises(BudgetSpent):
            await ticket.cover(attempt_of(exchange, "anthropic"), request)

    asyncio.run(run())


@pytest.mark.parametrize(
    ("request_", "least"),
    [
        (asking(Audio("A" * 320_000, "mp3")), 5_000),
        (asking(Opaque("gemini", {"inlineData": {"mimeType": "video/mp4", "data": "A" * 300_000}})), 50_000),
        (asking(Opaque("gemini", {"fileData": {"mimeType": "video/mp4", "fileUri": "gs://a"}})), 100_000),
        (asking(Document(url="https://example.com/a.pdf")), 100_000),
        (asking(Document(data="A" * 160_000, media_type="application/pdf")), 60_000),
        (asking(Refusal("No way. " * 10_000)), 20_000),
        (asking(Text(" " * 70_000 + "不" * 100_000)), 100_000),
        (asking(Text("\n \t" * 10_000)), 10_000),
        (asking(Text("𒀀" * 1_000)), 2_500),
        (asking(response_format=ResponseFormat("json_schema", {"description": "words " * 10_000})), 10_000),
        (asking(extra={"functions": [{"description": "words " * 10_000}]}), 10_000),
        (asking(extra={"cachedContent": "cachedContents/1"}), 100_000),
        (asking(tools=(Opaque("anthropic", {"type": "web_search_20250305", "name": "web_search"}),)), 10_000),
    ],
)
def test_what_the_estimate_does_not_see_is_reserved(request_: ChatRequest, least: int) -> None:
    assert size_of(request_).prompt_bound >= least


def test_usual_prompts_reserve_about_twice_their_estimate() -> None:
    size = size_of(asking(Text("How long is the warranty on a drum unit, and who do I call? " * 40)))
    assert size.prompt_bound <= 2.1 * size.prompt + 100


def test_searches_of_the_provider_are_reserved() -> None:
    tool = Opaque("anthropic", {"type": "web_search_20250305", "name": "web_search", "max_uses": 30})
    quota = Quota(MemoryCounters(), PRICES)
    plain = quota.cost_bound(size_of(asking()), 0, ["p/m"], refuse=True)
    assert quota.cost_bound(size_of(asking(tools=(tool,))), 0, ["p/m"], refuse=True) >= plain + NANO * 30 // 100


def test_answers_of_which_only_the_best_is_given_are_reserved() -> None:
    assert size_of(asking(extra={"best_of": 5})).answers == 50


def test_an_attempt_that_broke_off_keeps_what_it_may_have_cost() -> None:
    async def run() -> None:
        exchange = calling(budget(0.015))
        ticket = await Quota(MemoryCounters(), PRICES).admit(exchange, asking(), ["p/m"])
        assert ticket is not None
        first = attempt_of(exchange)
        await ticket.cover(first, asking())
        # It has said something, and no usage: that is counted at the end.
        first.uncounted, first.ended, first.error = True, 1.0, "interrupted"
        with pytest.raises(BudgetSpent):
            await ticket.cover(attempt_of(exchange), asking())

    asyncio.run(run())


def test_a_price_that_nobody_knows_is_refused_too_where_a_budget_leads_to_another_model() -> None:
    async def run() -> None:
        exchange = calling(budget(1, soft=True, downgrade="cheap", refuse_unpriced=True))
        with pytest.raises(NotAllowed):
            await Quota(MemoryCounters(), PRICES).admit(exchange, asking(), ["p/nobody-knows"])

    asyncio.run(run())


# --- what providers and callers may say ----------------------------------------------------------------------------

ABSURD = [
    Usage(input=-50, output=-70),
    Usage(input=10, output=5, cache_read=5_000),
    Usage(input=10, output=5, reasoning=500),
    Usage(input=10**18, output=10**18),
    Usage(input=10, output=10, audio_input=50, cache_read=10),
    Usage(input=10, output=10, audio_output=50, image_output=50, searches=-4),
    Usage(input=10, output=10, cache_write=10, cache_write_1h=10**15, searches=10**15),
]


@pytest.mark.parametrize("usage", ABSURD)
@pytest.mark.parametrize("target", ["p/m", "openai/gpt-4o-audio-preview", "gemini/gemini-2.5-pro"])
def test_no_usage_makes_a_budget_larger_or_breaks_its_settlement(usage: Usage, target: str) -> None:
    vendors = {
        "openai": PriceVendor(url="https://api.openai.com/v1"),
        "gemini": PriceVendor(url="https://generativelanguage.googleapis.com"),
    }
    prices = Prices({"p/m": [(None, Rates(Decimal(1), Decimal(1000), Decimal("0.1")))]}, vendors)

    async def run() -> None:
        counters = MemoryCounters()
        exchange = calling(budget(1000), LimitRule("tokens", 10, "tokens", 86_400))
        ticket = await Quota(counters, prices).admit(exchange, asking(), [target])
        assert ticket is not None
        attempt = attempt_of(exchange)
        attempt.target = target
        note_usage(Transcript(attempt), [Delta(usage=usage)])
        attempt.ended = 1.0
        prices.settle(exchange, Unsettled())
        await ticket.settle(exchange)
        assert exchange.cost is None if exchange.unpriced else (exchange.cost or 0) >= 0
        spent = next(counters.taken(key) for key in counters._state if key.startswith("spend"))
        assert 0 <= spent <= 100_000 * NANO
        assert all(each < 2**62 for each in counters._state.values() if isinstance(each, int))
        assert (entry_of(exchange).cost or 0) >= 0

    asyncio.run(run())


def test_what_cannot_be_settled_otherwise_counts_as_it_was_reserved() -> None:
    async def run() -> None:
        counters = MemoryCounters()
        exchange = calling(budget(100))
        ticket = await Quota(counters, PRICES).admit(exchange, asking(), ["p/m"])
        assert ticket is not None
        attempt = attempt_of(exchange)
        await ticket.cover(attempt, asking())
        attempt.uncounted = True
        await ticket.settle(exchange)
        assert reserved(counters) >= NANO // 100

    asyncio.run(run())


def test_thoughts_that_are_counted_beside_the_answer_are_part_of_it() -> None:
    for said in (101, 421):
        usage = {"prompt_tokens": 37, "completion_tokens": said, "total_tokens": 458}
        usage["completion_tokens_details"] = {"reasoning_tokens": 320}  # type: ignore[assignment]
        body = {"choices": [{"message": {"content": "Hi"}, "finish_reason": "stop"}], "usage": usage}
        reader = OpenAIChat().reply_reader(stream=False)
        deltas = [*reader.feed(json.dumps(body).encode()), *reader.finish()]
        told = next(each.usage for each in deltas if each.usage is not None)
        assert (told.output, told.reasoning) == (421, 320)


def test_a_user_is_counted_by_the_name_that_the_ledger_knows() -> None:
    async def run() -> None:
        counters = MemoryCounters()
        quota = Quota(counters, PRICES)
        for user in ("u" * 128, "u" * 128 + "more", "u\0" * 64 + "u" * 64):
            await quota.admit(calling(users=(budget(100),), user=user), asking(), ["p/m"])
        assert len(counters._state) == 1

    asyncio.run(run())


# --- places with a provider ----------------------------------------------------------------------------------------


def test_a_step_does_not_wait_for_the_place_of_the_one_before() -> None:
    async def run() -> None:
        one = {"p": (ScopedRule("provider", "p", LimitRule("parallel", 1, "1 at a time")),)}
        exchange = calling()
        ticket = await Quota(MemoryCounters(), PRICES, providers=one).admit(exchange, asking(), ["p/m"])
        assert ticket is not None
        for _ in range(3):
            attempt = attempt_of(exchange)
            await ticket.cover(attempt, asking())
            with pytest.raises(OwnLimitReached):
                await ticket.cover(attempt_of(exchange), asking())
            attempt.ended = 1.0
        await ticket.settle(exchange)

    asyncio.run(run())


def test_an_answer_that_takes_longer_than_a_lease_keeps_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("access.limits.quota.RENEW_S", 0.01)

    async def run() -> None:
        now = [1_790_000_000 * 10**6]
        counters = MemoryCounters(lambda: now[0])
        quota = Quota(counters, Prices({}, {}))
        bound = ScopedRule("app", "bot", LimitRule("parallel", 1, "1 at a time", strict=True))

        def exchange() -> Exchange:
            made = Exchange("test")
            made.caller, made.model = Caller("bot", rules=(bound,)), "m"
            return made

        first = exchange()
        ticket = await quota.admit(first, asking(), ["p/m"])
        for _ in range(5):
            now[0] += LEASE_US // 2
            await asyncio.sleep(0.1)
        with pytest.raises(TooManyRequests):
            await quota.admit(exchange(), asking(), ["p/m"])
        assert ticket is not None
        await ticket.settle(first)
        assert await quota.admit(exchange(), asking(), ["p/m"]) is not None
        await quota.close()

    asyncio.run(run())


def test_a_refusal_takes_nothing_of_what_the_headers_say_is_left() -> None:
    async def run() -> None:
        quota = Quota(MemoryCounters(), Prices({"p/m": [(None, Rates(Decimal(1), Decimal(1)))]}, {}))
        rate = ScopedRule("app", "bot", LimitRule("requests", 10, "10 per minute", 60))
        poor = ScopedRule("app", "bot", LimitRule("spend", 1, "hardly any", calendar="day", strict=True))
        for _ in range(2):
            exchange = Exchange("test")
            exchange.caller, exchange.model = Caller("bot", rules=(rate, poor)), "m"
            with pytest.raises(BudgetSpent):
                await quota.admit(exchange, asking(), ["p/m"])
            assert (exchange.allowances["requests"].left, exchange.allowances["requests"].reset_s) == (10, 0)
        exchange.caller = Caller("bot", rules=(rate,))
        await quota.admit(exchange, asking(), ["p/m"])

    asyncio.run(run())
