"""Budgets and slots under any order of events, over memory, SQLite and Redis: exact, whoever dies or is not heard.

What counts of a budget is what has settled and all that was reserved and has not: whether its holder lives or not, for
nobody knows what its provider has billed. So a reservation is admitted if and only if it fits beside that.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis

from access.limits import redis_counters
from access.limits.counters import (
    LEASE_US,
    ROLLING_PARTS,
    SLOTS,
    SPEND,
    Charge,
    Counters,
    MemoryCounters,
    OpeningBalance,
    Settlement,
)
from access.limits.redis_counters import RedisCounters
from access.limits.sqlite_counters import SqliteCounters
from tests.services import RedisServer

Result = TypeVar("Result")
FAR_US = 2**52
FIXTURES = [HealthCheck.function_scoped_fixture]
# What goes wrong in time does not always go wrong again: there is little to explain.
PHASES = [Phase.explicit, Phase.reuse, Phase.generate]
STEPS = st.tuples(
    st.sampled_from(["ask", "ask", "ask", "more", "settle", "settle", "again", "crash", "wait"]),
    st.integers(0, 60),
    st.integers(0, 1000),
)
SCHEDULES = st.lists(STEPS, min_size=15, max_size=60)
UNHEARD = st.lists(
    st.tuples(
        st.sampled_from(["ask", "ask", "ask", "more", "settle", "settle", "again", "crash", "wait", "lose",
                         "ask unheard", "settle unheard"]),
        st.integers(0, 60), st.integers(0, 1000),
    ),
    min_size=10, max_size=40,
)  # fmt: skip
_numbers = itertools.count()


class Clock:
    """Microseconds that pass when told to."""

    def __init__(self) -> None:
        self.now = 1_800_000_000_000_000

    def __call__(self) -> int:
        return self.now


class Budget:
    """A budget with several gateways, and what is true of it."""

    def __init__(self, counters: Sequence[Counters], limit: int, clock: Clock | None) -> None:
        self.counters = counters
        self.limit = limit
        self.clock = clock
        self.key = f"b{next(_numbers)}"
        self.live: dict[str, int] = {}
        self.dead = 0
        self.settled = 0
        self.heard = True
        self.last: tuple[Counters, str, Settlement] | None = None

    @property
    def total(self) -> int:
        return self.settled + sum(self.live.values()) + self.dead

    def charge(self, amount: int) -> Charge:
        return Charge(self.key, SPEND, self.limit, amount, 0, FAR_US)

    def of(self, request: str) -> Counters:
        """A request stays with its gateway."""
        return self.counters[int(request[1:]) % len(self.counters)]

    async def ask(self, request: str, amount: int) -> None:
        admitted, (status,) = await self.of(request).reserve(request, [self.charge(amount)])
        fits = self.total + amount <= self.limit
        assert fits or not admitted
        if self.heard:
            assert admitted == fits
        if admitted:
            self.live[request] = self.live.get(request, 0) + amount
        if self.heard:
            assert status.left == self.limit - self.total

    async def settle(self, request: str, actual: int) -> None:
        amount = self.live.pop(request)
        self.settled += min(actual, amount)
        settlement = Settlement(self.charge(amount), min(actual, amount))
        self.last = (self.of(request), request, settlement)
        await self.of(request).settle(request, [settlement])

    async def step(self, action: str, amount: int, place: int) -> None:
        some = list(self.live)[place % len(self.live)] if self.live else ""
        if action == "ask":
            await self.ask(f"q{next(_numbers)}", amount)
        elif action == "more" and some:
            await self.ask(some, amount)
        elif action == "settle" and some:
            await self.settle(some, amount)
        elif action == "again" and self.last is not None:
            # Told twice, since nobody heard the first answer.
            counters, request, settlement = self.last
            (spent,) = await counters.settle(request, [settlement])
            assert spent.before == spent.after
        elif action == "crash" and some:
            self.dead += self.live.pop(some)
        elif action == "wait" and self.clock is not None:
            # Long enough for leases to end: of those that live, too.
            self.clock.now += place * LEASE_US // 500


@settings(deadline=None)
@given(st.integers(1, 150), SCHEDULES)
def test_memory_is_exact(limit: int, schedule: list[tuple[str, int, int]]) -> None:
    clock = Clock()

    async def run() -> None:
        counters = MemoryCounters(clock)
        budget = Budget([counters], limit, clock)
        for step in schedule:
            await budget.step(*step)
            assert counters.taken(budget.key) == budget.total <= limit

    asyncio.run(run())


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("schedules") / "counters.sqlite"


@settings(deadline=None, suppress_health_check=FIXTURES)
@given(st.integers(1, 150), SCHEDULES)
def test_processes_with_a_file_are_exact(file: Path, limit: int, schedule: list[tuple[str, int, int]]) -> None:
    clock = Clock()

    async def run() -> None:
        workers = [SqliteCounters(file, clock) for _ in range(3)]
        budget = Budget(workers, limit, clock)
        for step in schedule:
            await budget.step(*step)
            assert {each.taken(budget.key) for each in workers} == {budget.total}
            assert budget.total <= limit
        for each in workers:
            await each.close()

    asyncio.run(run())


@pytest.fixture
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis_counters, "GRACE_S", 0.0)
    monkeypatch.setattr(redis_counters, "DEADLINE_S", 1.0)
    # Time can't be told to pass there: some leases end while the schedule runs.
    monkeypatch.setattr(redis_counters, "LEASE_US", 5_000)


class Unheard(Budget):
    """Of gateways whose Redis is not always heard, and may lose all that it has. A ledger has what has ended."""

    def __init__(self, url: str, limit: int) -> None:
        super().__init__([], limit, None)
        self.url = url
        self.ledger: list[tuple[float, int]] = []

    async def settle(self, request: str, actual: int) -> None:
        self.ledger.append((time.time(), min(actual, self.live[request])))
        await super().settle(request, actual)

    async def step(self, action: str, amount: int, place: int) -> None:
        some = list(self.live)[place % len(self.live)] if self.live else ""
        if action == "lose":
            # The ledger knows the millisecond in which something ended.
            await asyncio.sleep(0.005)
            client = Redis.from_url(self.url)
            await client.flushall()
            await client.aclose()
            await self.beat()
        elif action == "ask unheard":
            request = f"q{next(_numbers)}"
            heard = await _unheard(self.of(request).reserve(request, [self.charge(amount)]), place)
            if heard is not None and heard[0]:
                assert self.total + amount <= self.limit
                self.live[request] = amount
            self.heard = False
        elif action == "settle unheard" and some:
            kept = self.live.pop(some)
            self.settled += min(amount, kept)
            self.ledger.append((time.time(), min(amount, kept)))
            settlement = Settlement(self.charge(kept), min(amount, kept))
            await _unheard(self.of(some).settle(some, [settlement]), place)
            self.heard = False
        elif action == "wait":
            await asyncio.sleep(place % 8 / 1000)
        else:
            await super().step(action, amount, place)

    async def beat(self) -> None:
        """Every gateway notices a new run within half a second; money waits longer than that."""
        for each in self.counters:
            await each.settle("nobody", [])


async def _unheard(call: Coroutine[Any, Any, Result], place: int) -> Result | None:
    """Its caller leaves before it has an answer, at any moment on the way; or hears it after all."""
    task = asyncio.ensure_future(call)
    for _ in range(1 + place % 12):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait((task,))
    return None if task.cancelled() else task.result()


@pytest.mark.usefixtures("quickly")
@settings(deadline=None, suppress_health_check=FIXTURES, max_examples=60, phases=PHASES)
@given(st.integers(1, 150), UNHEARD)
def test_replicas_with_redis_never_exceed_and_are_exact_in_the_end(
    redis: RedisServer, limit: int, schedule: list[tuple[str, int, int]]
) -> None:
    async def run() -> None:
        budget = Unheard(redis.url, limit)

        async def seeds(before: float) -> list[OpeningBalance]:
            return [OpeningBalance(budget.key, sum(amount for ended, amount in budget.ledger if ended < before))]

        replicas = [RedisCounters(Redis.from_url(redis.url), seeds) for _ in range(3)]
        budget.counters = replicas
        await budget.beat()
        for each in replicas:
            await each.reserve("nobody", [Charge("none", SPEND, 1, 0, 0, FAR_US)])
        for step in schedule:
            await budget.step(*step)
            assert budget.total <= limit
        for each in replicas:
            await each.close()
        budget.counters, budget.heard = [RedisCounters(Redis.from_url(redis.url), seeds)], True
        await budget.ask("q0", limit - budget.total + 1)
        await budget.ask("q0", limit - budget.total)
        await budget.counters[0].close()  # type: ignore[attr-defined]

    asyncio.run(run())


@settings(deadline=None)
@given(st.integers(1, 5), SCHEDULES)
def test_slots_are_those_of_the_living(limit: int, schedule: list[tuple[str, int, int]]) -> None:
    clock = Clock()
    counters = MemoryCounters(clock)
    held: dict[str, int] = {}

    async def run() -> None:
        for number, (action, _, place) in enumerate(schedule):
            alive = [name for name, until in held.items() if until > clock.now]
            if action == "ask":
                admitted, _standings = await counters.reserve(f"q{number}", [Charge("s", SLOTS, limit, 1)])
                assert admitted == (len(alive) < limit)
                if admitted:
                    held[f"q{number}"] = clock.now + LEASE_US
            elif action == "settle" and held:
                name = list(held)[place % len(held)]
                await counters.settle(name, [Settlement(Charge("s", SLOTS, limit, 1), 1)])
                del held[name]
            elif action == "wait":
                clock.now += place * LEASE_US // 500

    asyncio.run(run())


@pytest.mark.parametrize("shared", [False, True])
def test_what_the_dead_had_reserved_leaves_a_rolling_budget_with_its_part(tmp_path: Path, shared: bool) -> None:
    """And the sum that thresholds are measured by is that of the present window."""
    clock = Clock()
    part = 3_600_000_000
    money = Charge("b", SPEND, 100, 60, part)

    async def run() -> None:
        counters: Counters = SqliteCounters(tmp_path / "c.sqlite", clock) if shared else MemoryCounters(clock)
        assert (await counters.reserve("dead", [money]))[0]
        for number in range(3):
            clock.now += LEASE_US + 1
            assert not (await counters.reserve(f"q{number}", [money]))[0]
        # Others ask all the time: what is counted late is not counted anew each time.
        for number in range(ROLLING_PARTS + 1):
            clock.now += part
            other = Charge("b", SPEND, 100, 1, part)
            assert (await counters.reserve(f"o{number}", [other]))[0]
            (spent,) = await counters.settle(f"o{number}", [Settlement(other, 1)])
        assert spent.after <= ROLLING_PARTS + 1
        assert (await counters.reserve("next", [money]))[0]

    asyncio.run(run())
