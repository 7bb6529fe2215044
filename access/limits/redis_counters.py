"""Counters of all replicas, in Redis: the rules of `counters` in Lua, one round trip for a request's admission.

A Redis that comes back may have lost what it held, or hold what was true some time ago. Each of its runs has an
*epoch*, made by the first gateway that meets it; scripts refuse another run's. Whoever learns of a new epoch registers
what it has reserved, and money is admitted again when all have had the time to do so and what was spent has been
read from the ledger: of requests that ended before the epoch began. Those that end later are told to the new run.

Whether a call that got no answer has arrived nobody knows. So what may have been reserved is given back as soon as
Redis can be asked again, and a request that settles twice counts once.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, cast

import msgspec
import structlog

from access.limits.counters import (
    LEASE_US,
    RATE,
    ROLLING_PARTS,
    SPEND,
    BudgetChange,
    Charge,
    CountersCondition,
    LimitStatus,
    OpeningBalance,
    Settlement,
    Unreachable,
)
from access.limits.script_connection import NotSent, ScriptConnection
from access.limits.scripts import NEW_EPOCH, REGISTER, RESERVE, SEED, SETTLE

if TYPE_CHECKING:
    from redis.asyncio import Redis

DEADLINE_S = 0.25
# How long Redis is left alone after it has failed.
PAUSE_S = 0.5
BEAT_S = 0.5
# How long money waits after a new epoch, so that every replica has told what it has reserved.
GRACE_S = 1.5
MOST_LATE = 100_000
MOST_KNOWN = 20_000
MOST_HEARD = 200
# All keys of one script must lie on one node of a cluster. A version that keeps them in another form takes another name
# here, and reads what was spent from the ledger: a value of another form would fail its script, and so all requests.
PREFIX = "gatehouse:{quota}:"
EPOCH = f"{PREFIX}epoch"
REPLICAS = f"{PREFIX}replicas"
RECENT = f"{PREFIX}recent"

Seeds: TypeAlias = Callable[[float], Awaitable[list[OpeningBalance]]]


class _Late(NamedTuple):
    """What could not be told: a request's end, at a time in seconds since 1970."""

    request: str
    ended: float
    settlements: list[Settlement]


class RedisCounters:
    """One gateway's view of the shared counters. `replicas` is how many gateways shared them when last heard."""

    def __init__(self, redis: Redis, seeds: Seeds | None = None) -> None:
        """`seeds` gives from the ledger what budgets had spent on requests that ended before a time."""
        self._redis = redis
        self._line = ScriptConnection(redis, DEADLINE_S, PAUSE_S, self._forget)
        self.seeds = seeds
        self.replicas = 1
        self._name = secrets.token_hex(8)
        # The run that can be asked now, and the one that knows what we have reserved.
        self._epoch = ""
        self._run = ""
        self._began = 0.0
        self._ready = False
        self._held: dict[str, dict[str, Charge]] = {}
        # What budgets had spent when last heard: the best that is known without a ledger. And with what is reserved.
        self._known: dict[str, tuple[int, int, int]] = {}
        self._taken: dict[str, int] = {}
        self._asked: set[str] = set()
        self._late: list[_Late] = []
        self._beating: asyncio.Task[None] | None = None
        self._readying: asyncio.Task[None] | None = None
        self._meeting = asyncio.Lock()

    def start(self) -> None:
        """Begins to show signs of life. Needs a running loop."""
        if self._beating is None:
            self._beating = asyncio.get_running_loop().create_task(self._beat())

    async def close(self) -> None:
        """Ends them, and tells what is left to tell."""
        for task in (self._beating, self._readying):
            if task is not None:
                task.cancel()
        self._beating = None
        with contextlib.suppress(Unreachable, TimeoutError):
            async with asyncio.timeout(1.0):
                await self._tell_late()
        await self._redis.aclose()

    @property
    def reachable(self) -> bool:
        """Whether the last word from Redis was a good one."""
        return not self._line.paused and bool(self._epoch)

    def status(self) -> str:
        """In a line for people."""
        if not self.reachable:
            return "Redis can't be asked"
        return "ready" if self._ready else "budgets wait for what was spent before this run of Redis"

    @property
    def condition(self) -> CountersCondition:
        """See `Counters.condition`."""
        problem = "" if self.reachable and self._ready else self.status()
        return CountersCondition(problem, only_money=self.reachable)

    @property
    def counts(self) -> bool:
        """Whether it is known what was spent before this run of Redis."""
        return self._ready

    def _forget(self) -> None:
        # Whatever comes back is asked first which run it is.
        self._epoch = ""

    async def reserve(self, request: str, demands: Sequence[Charge]) -> tuple[bool, list[LimitStatus]]:
        """See `Counters.reserve`."""
        keys = [EPOCH]
        numbers: list[Any] = ["", request, LEASE_US, ROLLING_PARTS]
        for each in demands:
            keys += [PREFIX + each.key, f"{PREFIX}{each.key}:r"]
            numbers += [each.kind, each.limit, each.window_us, each.amount, int(each.hard), each.ends_us]
        try:
            answer = await self._ask(RESERVE, keys, numbers, money=any(each.kind == SPEND for each in demands))
        except NotSent:
            raise
        except (Unreachable, asyncio.CancelledError):
            if request not in self._held:
                self._undo(request, demands)
            raise
        standings = [
            LimitStatus(*(int(part) for part in answer[place : place + 3])) for place in range(1, len(answer), 3)
        ]
        for each, standing in zip(demands, standings, strict=True):
            if each.kind == SPEND:
                _remember(self._taken, each.key, each.limit - standing.left)
                self._asked.add(each.key)
        if answer[0] == 1:
            self._hold(request, demands, standings)
        return answer[0] == 1, standings

    def _hold(self, request: str, demands: Sequence[Charge], standings: Sequence[LimitStatus]) -> None:
        """Keeps what another run of Redis would have to know."""
        for each, standing in zip(demands, standings, strict=True):
            if each.kind == SPEND or (each.kind != RATE and not standing.wait_us):
                held = self._held.setdefault(request, {})
                before = held.get(each.key)
                held[each.key] = each if before is None else _with_amount(before, before.amount + each.amount)

    def _undo(self, request: str, demands: Sequence[Charge]) -> None:
        """It may have been reserved, or not: nobody has heard."""
        nothing = [Settlement(_with_amount(each, 0), 0) for each in demands if each.kind != RATE]
        if nothing:
            self.note(request, nothing)

    async def settle(self, request: str, settlements: Sequence[Settlement]) -> list[BudgetChange]:
        """See `Counters.settle`. What can't be told now is told when Redis is back."""
        ended = time.time()
        try:
            spent = await self._settle(request, settlements)
        except (Unreachable, asyncio.CancelledError):
            self._add_late(_Late(request, ended, list(settlements)))
            raise
        self._held.pop(request, None)
        return spent

    def note(self, request: str, settlements: Sequence[Settlement]) -> None:
        """See `Counters.note`."""
        for each in settlements:
            if each.demand.kind == SPEND:
                _remember(self._taken, each.demand.key, self.taken(each.demand.key) + each.actual)
        self._add_late(_Late(request, time.time(), list(settlements)))

    def taken(self, key: str) -> int:
        """See `Counters.taken`."""
        return self._taken.get(key, 0)

    def _add_late(self, late: _Late) -> None:
        if len(self._late) < MOST_LATE:
            self._late.append(late)

    async def _settle(self, request: str, settlements: Sequence[Settlement]) -> list[BudgetChange]:
        keys = [EPOCH]
        numbers: list[Any] = ["", request]
        for each in settlements:
            demand = each.demand
            keys += [PREFIX + demand.key, f"{PREFIX}{demand.key}:r"]
            numbers += [demand.kind, demand.limit, demand.window_us, demand.amount, each.actual, demand.ends_us]
        answer = await self._ask(SETTLE, keys, numbers)
        moneys = [each.demand for each in settlements if each.demand.kind == SPEND]
        told = [tuple(int(part) for part in answer[place : place + 3]) for place in range(1, len(answer), 3)]
        spent = []
        for money, (before, after, reserved) in zip(moneys, told, strict=True):
            spent.append(BudgetChange(money.key, before, after))
            _remember(self._known, money.key, (after, money.window_us, money.ends_us))
            _remember(self._taken, money.key, after + reserved)
        return spent

    async def _ask(self, script: str, keys: list[str], numbers: list[Any], *, money: bool = False) -> list[Any]:
        """`numbers` begin with a place for the epoch. `money` waits until it is known what was spent."""
        for _ in range(2):
            epoch = self._epoch or await self._meet()
            if money and not self._ready:
                await self._wait_for_seeds()
            numbers[0] = epoch
            answer = await self._line.run(script, keys, numbers)
            if answer[0] >= 0:
                return answer
            if self._epoch == epoch:
                self._epoch = ""
        raise NotSent("Redis has just begun anew")

    async def _meet(self) -> str:
        """Learns the epoch, makes one for a new run, and registers there what is reserved. Raises `Unreachable`."""
        async with self._meeting:
            if self._epoch:
                return self._epoch
            epoch = await self._line.ask(self._learn)
            if epoch != self._run:
                self._ready = False
                self._began = float(epoch.rsplit(":", 1)[1])
                await self._register(epoch)
                self._run = epoch
            self._epoch = epoch
            return epoch

    async def _learn(self) -> str:
        run = (await self._redis.info("server"))["run_id"]
        epoch = cast("bytes | None", await self._redis.get(EPOCH))
        if epoch is None or not epoch.startswith(run.encode()):
            made = f"{run}:{time.time():.6f}"
            epoch = await cast("Awaitable[bytes]", self._redis.eval(NEW_EPOCH, 1, EPOCH, epoch or b"", made))
        return epoch.decode()

    async def _register(self, epoch: str) -> None:
        """What is under way, and what ended so late that the ledger's word on this run does not hold it."""
        over = {each.request for each in self._late if self._is_in_ledger(each)}
        calls = []
        for request, held in self._held.items():
            if request in over:
                continue
            keys = [EPOCH]
            numbers: list[Any] = [epoch, request, LEASE_US]
            for each in held.values():
                keys += [PREFIX + each.key, f"{PREFIX}{each.key}:r"]
                numbers += [each.kind, each.amount, each.window_us, each.ends_us]
            calls.append(self._line.run(REGISTER, keys, numbers))
        for answer in await _all(calls):
            if answer[0] < 0:
                raise NotSent("Redis has just begun anew")

    def _is_in_ledger(self, late: _Late) -> bool:
        # The ledger's times are milliseconds: better twice than never.
        return self.seeds is not None and late.ended + 0.002 < self._began

    async def _wait_for_seeds(self) -> None:
        """As long as a request may wait."""
        if self._readying is None or self._readying.done():
            self._readying = asyncio.get_running_loop().create_task(self._get_ready())
        await asyncio.wait((self._readying,), timeout=DEADLINE_S)
        if not self._ready:
            raise NotSent("what was spent is not known yet")

    async def _get_ready(self) -> None:
        """Money waits for the others' word, and for what the ledger says."""
        if time.time() < self._began + GRACE_S:
            return
        run = self._run
        try:
            if self.seeds is not None:
                told = await self.seeds(self._began)
            else:
                told = [OpeningBalance(key, *known) for key, known in self._known.items()]
            if await self._seed(run, told, 0) and run == self._run:
                self._ready = True
        except Unreachable:
            return
        except Exception as error:
            structlog.get_logger().error("budgets wait for the ledger", problem=type(error).__name__)

    async def seed(self, seeds: Sequence[OpeningBalance], before: int) -> bool:
        """Sets what budgets had spent before a time that were first asked for after it; False to be asked again.

        Raises `Unreachable`.
        """
        return self._ready and await self._seed(self._run, seeds, before)

    async def _seed(self, run: str, seeds: Sequence[OpeningBalance], before: int) -> bool:
        calls = [
            self._line.run(SEED, [EPOCH, PREFIX + s.key], [run, s.amount, s.window_us, s.ends_us, before])
            for s in seeds
        ]
        return all(answer[0] >= 0 for answer in await _all(calls))

    async def _beat(self) -> None:
        while True:
            if not self._line.paused:
                with contextlib.suppress(Unreachable):
                    await self._line.ask(self._show_life)
                    if not self._epoch:
                        await self._meet()
                    await self._tell_late()
                    if not self._ready:
                        await self._wait_for_seeds()
                    else:
                        await self._line.ask(self._hear)
            await asyncio.sleep(BEAT_S)

    async def _show_life(self) -> None:
        now = time.time()
        async with self._redis.pipeline(transaction=False) as pipeline:
            pipeline.zadd(REPLICAS, {self._name: now})
            pipeline.zremrangebyscore(REPLICAS, "-inf", now - 100 * BEAT_S)
            pipeline.zcount(REPLICAS, now - 10 * BEAT_S, "+inf")
            count = max(1, int((await pipeline.execute())[2]))
        # To a new run not all have spoken yet.
        self.replicas = count if now > self._began + GRACE_S else max(count, self.replicas)

    async def _hear(self) -> None:
        """What all have taken of the budgets that anybody asked for last, in case that Redis goes."""
        now = time.time()
        asked, self._asked = self._asked, set()
        async with self._redis.pipeline(transaction=False) as pipeline:
            if asked:
                pipeline.zadd(RECENT, dict.fromkeys(asked, now))
                pipeline.zremrangebyrank(RECENT, 0, -MOST_HEARD - 1)
            pipeline.zrange(RECENT, 0, -1)
            keys = [key.decode() for key in (await pipeline.execute())[-1]]
            for key in keys:
                pipeline.hgetall(PREFIX + key)
            for key, fields in zip(keys, await pipeline.execute(), strict=True):
                taken = sum(int(value) for name, value in fields.items() if name[:1] in (b"p", b"r"))
                _remember(self._taken, key, taken)

    async def _tell_late(self) -> None:
        """What settled while Redis was gone. A run that began later has it from the ledger."""
        while self._late:
            batch, self._late = self._late[:100], self._late[100:]
            told = [each for each in batch if not self._is_in_ledger(each)]
            answers = await asyncio.gather(
                *[self._settle(each.request, each.settlements) for each in told], return_exceptions=True
            )
            untold = [each for each, answer in zip(told, answers, strict=True) if isinstance(answer, BaseException)]
            for each in batch:
                if each not in untold:
                    self._held.pop(each.request, None)
            if untold:
                self._late = untold + self._late
                raise Unreachable("Redis does not count for now")


async def _all(calls: Sequence[Awaitable[list[Any]]]) -> list[list[Any]]:
    """All answers. Raises what the first failed with, when all have ended."""
    answers = await asyncio.gather(*calls, return_exceptions=True)
    for answer in answers:
        if isinstance(answer, BaseException):
            raise answer
    return cast("list[list[Any]]", answers)


def _remember(known: dict[str, Any], key: str, value: Any) -> None:
    """Users' budgets of days gone by are forgotten, the oldest word first."""
    known.pop(key, None)
    known[key] = value
    if len(known) > MOST_KNOWN:
        del known[next(iter(known))]


def _with_amount(demand: Charge, amount: int) -> Charge:
    return msgspec.structs.replace(demand, amount=amount)
