"""Limits and budgets over all three kinds of counters: the same rules, exact, whatever happens to Redis."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from redis.asyncio import Redis

from access.ledger.prices import Prices, Rates
from access.limits import redis_counters
from access.limits.counters import (
    LEASE_US,
    RATE,
    SLOTS,
    SPEND,
    Charge,
    Counters,
    MemoryCounters,
    OpeningBalance,
    Settlement,
    Unreachable,
)
from access.limits.quota import Quota
from access.limits.redis_counters import RedisCounters
from access.limits.sqlite_counters import SqliteCounters
from access.limits.ticket import QuotaTicket
from contract.attempt import Attempt
from contract.caller import Caller
from contract.deltas import Usage
from contract.errors import BudgetSpent, GatehouseError, NotAllowed, TooManyRequests, Unavailable
from contract.exchange import Exchange
from contract.messages import ChatRequest, Message, Text
from contract.rules import NANO, LimitRule, ScopedRule
from contract.unsettled import Unsettled
from tests.services import RedisServer

FAR_US = 10**18


class Clock:
    """Microseconds that pass when told to."""

    def __init__(self) -> None:
        self.now = 1_800_000_000_000_000

    def __call__(self) -> int:
        return self.now


@given(
    st.integers(1, 20),
    st.integers(1, 10),
    st.lists(st.tuples(st.integers(0, 3_000_000), st.integers(1, 4)), max_size=80),
)
def test_a_window_never_holds_more_than_twice_its_count(
    count: int, window_s: int, asked: list[tuple[int, int]]
) -> None:
    clock = Clock()
    counters = MemoryCounters(clock)
    admitted: list[tuple[int, int]] = []

    async def run() -> None:
        for pause, amount in asked:
            clock.now += pause
            taken = min(amount, count)
            charge = Charge("r", RATE, count, taken, window_s * 1_000_000)
            ok, (status,) = await counters.reserve("x", [charge])
            assert ok == (status.wait_us == 0)
            if ok:
                admitted.append((clock.now, taken))
            else:
                # Whoever waits as long as told is admitted.
                clock.now += status.wait_us
                assert (await counters.reserve("x", [charge]))[0]
                admitted.append((clock.now, taken))

    asyncio.run(run())
    for at, _ in admitted:
        inside = sum(amount for each, amount in admitted if at <= each < at + window_s * 1_000_000)
        assert inside <= 2 * count


ACTIONS = st.lists(st.tuples(st.sampled_from(["ask", "settle", "die", "wait"]), st.integers(0, 400)), max_size=60)


@example(1, [("ask", 1), ("wait", 90), ("ask", 0), ("wait", 372), ("settle", 0)], True)
@given(st.integers(1, 1000), ACTIONS, st.booleans())
def test_spent_and_reserved_never_exceed_a_budget(limit: int, actions: list[tuple[str, int]], rolling: bool) -> None:
    """Whatever is asked, settled and lost. What is settled is never more than what was reserved."""
    clock = Clock()
    counters = MemoryCounters(clock)
    window_us = 3_600_000_000 // 32 if rolling else 0
    live: list[tuple[str, Charge]] = []
    truth: list[tuple[int, int]] = []

    async def run() -> None:
        for number, (action, amount) in enumerate(actions):
            if action == "ask":
                charge = Charge("b", SPEND, limit, amount, window_us, FAR_US)
                if (await counters.reserve(str(number), [charge]))[0]:
                    live.append((str(number), charge))
            elif action == "settle" and live:
                request, charge = live.pop(amount % len(live))
                actual = amount % (charge.amount + 1)
                await counters.settle(request, [Settlement(charge, actual)])
                truth.append((clock.now, actual))
            elif action == "die" and live:
                live.pop(amount % len(live))
            elif action == "wait":
                clock.now += amount * 10_000_000
            assert counters.taken("b") <= limit
            least = sum(actual for at, actual in truth if not rolling or at > clock.now - 3_500_000_000)
            assert counters.taken("b") >= least

    asyncio.run(run())


def test_what_a_dead_holder_had_reserved_counts_as_spent_and_its_slot_is_free() -> None:
    clock = Clock()
    counters = MemoryCounters(clock)
    money, slot = Charge("b", SPEND, 100, 60, 0, FAR_US), Charge("s", SLOTS, 1, 1)

    async def run() -> None:
        assert (await counters.reserve("dead", [money, slot]))[0]
        assert not (await counters.reserve("next", [slot]))[0]
        clock.now += LEASE_US + 1
        assert not (await counters.reserve("next", [money]))[0]
        assert (await counters.reserve("next", [slot]))[0]
        # It was alive after all: what it had too much comes back.
        (spent,) = await counters.settle("dead", [Settlement(money, 10)])
        assert spent.after == 10
        assert (await counters.reserve("next", [money]))[0]

    asyncio.run(run())


@pytest.fixture
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis_counters, "GRACE_S", 0.2)
    monkeypatch.setattr(redis_counters, "BEAT_S", 0.05)
    monkeypatch.setattr(redis_counters, "PAUSE_S", 0.1)
    # Redis and the test share two cores with all others.
    monkeypatch.setattr(redis_counters, "DEADLINE_S", 0.5)


@pytest.mark.usefixtures("quickly")
def test_memory_sqlite_and_redis_say_the_same(redis: RedisServer, tmp_path: Path) -> None:
    rates = [("r1", RATE, 5, 60_000_000), ("r2", RATE, 100, 3_600_000_000)]
    keys = [*rates, ("s", SLOTS, 3, 0), ("b", SPEND, 1000, 0), ("b2", SPEND, 500, 3_600_000_000)]
    chance = random.Random(5)

    def charge(key: str, kind: int, limit: int, window: int) -> Charge:
        amount = 1 if kind == SLOTS else chance.randint(1, 3) if kind == RATE else chance.randint(1, 20)
        return Charge(key, kind, limit, amount, window, FAR_US // 1000, chance.random() < 0.9)

    async def run() -> None:
        client = Redis.from_url(redis.url)
        await client.flushall()
        shared = RedisCounters(client)
        all_of_them: list[Counters] = [MemoryCounters(), SqliteCounters(tmp_path / "c.sqlite"), shared]
        with pytest.raises(Unreachable):
            await shared.reserve("early", [Charge("b", SPEND, 10, 1)])
        await asyncio.sleep(0.3)
        live: dict[str, list[Charge]] = {}
        for number in range(1500):
            if live and chance.random() < 0.45:
                request = chance.choice(list(live))
                done = [Settlement(each, chance.randint(0, each.amount)) for each in live.pop(request)]
                told = [await each.settle(request, done) for each in all_of_them]
                assert told[0] == told[1] == told[2]
                continue
            request = f"q{number}"
            asked = [charge(*each) for each in chance.sample(keys, chance.randint(1, 4))]
            answers = [await each.reserve(request, asked) for each in all_of_them]
            plain = [(ok, [(each.left, each.wait_us > 0) for each in statuses]) for ok, statuses in answers]
            assert plain[0] == plain[1] == plain[2], asked
            if answers[0][0]:
                # What was over a soft rate or had no slot was not counted.
                live[request] = [
                    each for each, status in zip(asked, answers[0][1], strict=True)
                    if not status.wait_us or each.kind == SPEND
                ]  # fmt: skip
        await shared.close()

    asyncio.run(run())


async def take(counters: Sequence[Counters], count: int, charge: Callable[[], Charge], held: list[str]) -> int:
    """How many of `count` requests at once are admitted, over all of `counters`."""

    async def one(number: int) -> bool:
        name = f"{len(held)}-{number}-{random.random()}"
        try:
            ok, _ = await counters[number % len(counters)].reserve(name, [charge()])
        except Unreachable:
            return False
        if ok:
            held.append(name)
        return ok

    return sum(await asyncio.gather(*[one(number) for number in range(count)]))


@pytest.mark.usefixtures("quickly")
@pytest.mark.parametrize("kind", [SPEND, SLOTS])
def test_replicas_admit_exactly_what_there_is_room_for_also_after_redis_has_lost_everything(
    redis: RedisServer, kind: int
) -> None:
    def charge() -> Charge:
        return Charge("x", kind, 137 * 7 if kind == SPEND else 137, 7 if kind == SPEND else 1, 0, FAR_US // 1000)

    async def run() -> None:
        replicas = [RedisCounters(Redis.from_url(redis.url, retry=None)) for _ in range(4)]
        await Redis.from_url(redis.url).flushall()
        for each in replicas:
            each.start()
        await asyncio.sleep(0.6)
        held: list[str] = []
        assert await take(replicas, 100, charge, held) == 100
        redis.stop()
        assert await take(replicas, 20, charge, held) == 0
        redis.start()
        deadline = time.monotonic() + 5
        admitted = 0
        while admitted < 37 and time.monotonic() < deadline:
            admitted += await take(replicas, 40, charge, held)
            await asyncio.sleep(0.05)
        admitted += await take(replicas, 200, charge, held)
        assert (admitted, len(held)) == (37, 137)
        for each in replicas:
            await each.close()

    asyncio.run(run())


@pytest.mark.usefixtures("quickly")
def test_after_a_loss_the_ledger_says_what_was_spent(redis: RedisServer) -> None:
    asked: list[float] = []

    async def seeds(before: float) -> list[OpeningBalance]:
        asked.append(before)
        return [OpeningBalance("x", 900), OpeningBalance("y", 400, 3_600_000_000)]

    async def run() -> None:
        client = Redis.from_url(redis.url)
        await client.flushall()
        counters = RedisCounters(client, seeds)
        counters.start()
        await asyncio.sleep(0.6)
        assert not (await counters.reserve("a", [Charge("x", SPEND, 1000, 101, 0, FAR_US // 1000)]))[0]
        assert (await counters.reserve("a", [Charge("x", SPEND, 1000, 100, 0, FAR_US // 1000)]))[0]
        assert not (await counters.reserve("a", [Charge("y", SPEND, 1000, 601, 3_600_000_000)]))[0]
        assert len(asked) == 1
        await counters.close()

    asyncio.run(run())


# --- a request's whole way -----------------------------------------------------------------------------------------

PRICES = Prices(
    {f"p/{name}": [(None, Rates(Decimal(0), Decimal(price)))] for name, price in (("m", 1000), ("dear", 5000))}, {}
)
ASKED = ChatRequest(dialect="openai", model="m", messages=(Message("user", (Text("How many pages?"),)),), max_tokens=10)


def rule(what: str, limit: int, **more: object) -> LimitRule:
    return LimitRule(what, limit, f"{limit} {what}", **({"calendar": "month"} if what == "spend" else {}), **more)  # type: ignore[arg-type]


def calling(*rules: LimitRule, users: tuple[LimitRule, ...] = (), user: str = "") -> Exchange:
    exchange = Exchange("test")
    exchange.caller = Caller("a", rules=tuple(ScopedRule("app", "a", each) for each in rules), user_rules=users)
    exchange.user, exchange.model = user, "m"
    return exchange


async def outcome(quota: Quota, exchange: Exchange, targets: Sequence[str] = ("p/m",)) -> GatehouseError | None:
    try:
        await quota.admit(exchange, ASKED, targets)
    except GatehouseError as error:
        return error
    return None


def finish(exchange: Exchange, output: int, target: str = "p/m") -> None:
    attempt = Attempt(target, "p", "m", number=len(exchange.attempts) + 1, usage=Usage(input=20, output=output))
    attempt.ended = 1.0
    exchange.attempts.append(attempt)
    PRICES.settle(exchange, Unsettled())


def test_a_budget_admits_exactly_what_it_can_pay_and_gives_back_what_was_not_used() -> None:
    quota = Quota(MemoryCounters(), PRICES)
    budget = rule("spend", NANO // 10)  # ten answers of ten tokens at a thousand dollars a million

    async def run() -> None:
        exchanges = [calling(budget) for _ in range(40)]
        admitted = await asyncio.gather(
            *[quota.admit(each, ASKED, ("p/m",)) for each in exchanges], return_exceptions=True
        )
        assert all(isinstance(each, QuotaTicket) for each in admitted[:10])
        assert all(isinstance(each, BudgetSpent) and each.should_retry is False for each in admitted[10:])
        for exchange, ticket in zip(exchanges[:10], admitted, strict=False):
            finish(exchange, 5)
            assert isinstance(ticket, QuotaTicket)
            await ticket.settle(exchange)
            await ticket.settle(exchange)
        assert sum([await outcome(quota, calling(budget)) is None for _ in range(20)]) == 5

    asyncio.run(run())


def test_further_attempts_are_covered_or_not_made() -> None:
    quota = Quota(MemoryCounters(), PRICES)

    async def run() -> None:
        exchange = calling(rule("spend", 3 * NANO // 100))
        ticket = await quota.admit(exchange, ASKED, ("p/m",))
        assert ticket is not None
        for number in (1, 2, 3):
            attempt = Attempt("p/m", "p", "m", number=number)
            exchange.attempts.append(attempt)
            await ticket.cover(attempt, ASKED)
        fourth = Attempt("p/m", "p", "m", number=4)
        exchange.attempts.append(fourth)
        with pytest.raises(BudgetSpent):
            await ticket.cover(fourth, ASKED)
        # What the first three did not need covers it.
        for each in exchange.attempts[:3]:
            each.ended, each.usage = 1.0, Usage(output=1)
        await ticket.cover(fourth, ASKED)

    asyncio.run(run())


def test_an_unknown_price_is_refused_or_marked_as_the_budget_says() -> None:
    quota = Quota(MemoryCounters(), PRICES)

    async def run() -> None:
        refused = await outcome(quota, calling(rule("spend", NANO, refuse_unpriced=True)), ("p/nobody-knows",))
        assert isinstance(refused, NotAllowed)
        assert "p/nobody-knows" in refused.message
        assert await outcome(quota, calling(rule("spend", NANO)), ("p/nobody-knows",)) is None

    asyncio.run(run())


def test_soft_rules_only_say_so() -> None:
    quota = Quota(MemoryCounters(), PRICES)

    async def run() -> None:
        spent = rule("spend", 1, soft=True, downgrade="cheap")
        shadow = rule("requests", 1, window_s=3600, soft=True, shadow=True)
        first, second = calling(shadow), calling(spent, shadow)
        assert await outcome(quota, first) is None
        ticket = await quota.admit(second, ASKED, ("p/m",))
        assert first.findings == []
        assert [(each.rule, each.action, each.shadow) for each in second.findings] == [
            ("app:spend", "downgrade", False), ("app:requests", "exceeded", True),
        ]  # fmt: skip
        assert ticket is not None
        assert ticket.model == "cheap"
        assert second.allowances == {}

    asyncio.run(run())


def test_users_have_counters_of_their_own_and_who_names_none_is_one() -> None:
    quota = Quota(MemoryCounters(), PRICES)
    each = (rule("requests", 2, window_s=3600),)

    async def run() -> None:
        for user in ("ann", "ben", ""):
            errors = [await outcome(quota, calling(users=each, user=user)) for _ in range(3)]
            assert [type(error) for error in errors] == [type(None), type(None), TooManyRequests], user

    asyncio.run(run())


def test_tokens_are_reserved_by_estimate_and_settled_by_usage() -> None:
    quota = Quota(MemoryCounters(), PRICES)
    limit = rule("output_tokens", 100, window_s=3600)

    async def run() -> None:
        exchange = calling(limit)
        ticket = await quota.admit(exchange, ASKED, ("p/m",))
        assert ticket is not None
        assert exchange.allowances["tokens"].left == 90
        finish(exchange, 60)
        await ticket.settle(exchange)
        after = calling(limit)
        assert await outcome(quota, after) is None
        assert after.allowances["tokens"].left == 30

    asyncio.run(run())


@pytest.mark.usefixtures("quickly")
def test_without_redis_strict_rules_refuse_and_others_have_their_share(redis: RedisServer) -> None:
    async def run() -> None:
        client = Redis.from_url(redis.url)
        await client.flushall()
        replicas = [RedisCounters(Redis.from_url(redis.url)) for _ in range(2)]
        for each in replicas:
            each.start()
        await asyncio.sleep(0.5)
        quota = Quota(replicas[0], PRICES)
        limit = rule("requests", 10, window_s=3600)
        assert await outcome(quota, calling(limit)) is None
        redis.stall()
        assert isinstance(await outcome(quota, calling(rule("requests", 10, window_s=3600, strict=True))), Unavailable)
        errors = [await outcome(quota, calling(limit)) for _ in range(10)]
        # Half of ten: there are two of them.
        assert sum(error is None for error in errors) == 5
        redis.resume()
        await asyncio.sleep(0.5)
        assert await outcome(quota, calling(limit)) is None
        for each in replicas:
            await each.close()

    asyncio.run(run())


@pytest.mark.parametrize(("limit", "workers"), [(1, 4), (17, 3)])
def test_processes_of_one_machine_share_a_file(tmp_path: Path, limit: int, workers: int) -> None:
    path = tmp_path / "counters.sqlite"

    async def run() -> None:
        counters = [SqliteCounters(path) for _ in range(workers)]
        held: list[str] = []
        assert await take(counters, limit + 20, lambda: Charge("s", SLOTS, limit, 1), held) == limit
        for each in counters:
            await each.close()

    asyncio.run(run())
