"""Counters in Redis, shared by all replicas: the rules of `counters` in Lua, one round trip to admit a request.

A restarted Redis may have lost its data, or may have old data. Each run of Redis has an *epoch*, created by the first
gateway that connects; scripts refuse the epoch of another run. A gateway that learns of a new epoch registers its
reservations. Budgets are available again when all gateways had time to do so, and when the spending of requests that
ended before the epoch is loaded from the ledger. Requests that end later are settled with the new run.

If a call gets no response, it is unknown whether Redis ran it. So a possible reservation is returned as soon as Redis
is reachable again, and a request that settles twice counts once.
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
# The pause after a failure of Redis.
PAUSE_S = 0.5
BEAT_S = 0.5
# How long budgets wait after a new epoch, so that every replica can register its reservations.
GRACE_S = 1.5
MOST_PENDING = 100_000
MOST_KNOWN = 20_000
MOST_RECENT = 200
# The hash tag keeps all keys of a script on one cluster node. A version with another format of values must change this
# name, and load spending from the ledger: a value of another format would make its script, and so all requests, fail.
PREFIX = "gatehouse:{quota}:"
EPOCH = f"{PREFIX}epoch"
REPLICAS = f"{PREFIX}replicas"
RECENT = f"{PREFIX}recent"

Seeds: TypeAlias = Callable[[float], Awaitable[list[OpeningBalance]]]


class _PendingSettlement(NamedTuple):
    """Settlements of a request that could not be sent; `ended` is in seconds since 1970."""

    request: str
    ended: float
    settlements: list[Settlement]


class RedisCounters:
    """One gateway's access to the shared counters. `replicas` is how many gateways share them, as last known."""

    def __init__(self, redis: Redis, seeds: Seeds | None = None) -> None:
        """`seeds` returns the opening balances from the ledger, for requests that ended before a time."""
        self._redis = redis
        self._scripts = ScriptConnection(redis, DEADLINE_S, PAUSE_S, self._forget)
        self.seeds = seeds
        self.replicas = 1
        self._name = secrets.token_hex(8)
        # The epoch of the current run, and of the run that has this gateway's reservations.
        self._epoch = ""
        self._run = ""
        self._began = 0.0
        self._ready = False
        self._held: dict[str, dict[str, Charge]] = {}
        # Spending of budgets, as last known: used without a ledger. `_taken` includes reservations.
        self._known: dict[str, tuple[int, int, int]] = {}
        self._taken: dict[str, int] = {}
        self._asked: set[str] = set()
        self._pending: list[_PendingSettlement] = []
        self._beating: asyncio.Task[None] | None = None
        self._readying: asyncio.Task[None] | None = None
        self._meeting = asyncio.Lock()

    def start(self) -> None:
        """Starts the heartbeat. Needs a running event loop."""
        if self._beating is None:
            self._beating = asyncio.get_running_loop().create_task(self._heartbeat())

    async def close(self) -> None:
        """Stops the heartbeat, and sends pending settlements."""
        for task in (self._beating, self._readying):
            if task is not None:
                task.cancel()
        self._beating = None
        with contextlib.suppress(Unreachable, TimeoutError):
            async with asyncio.timeout(1.0):
                await self._send_pending()
        await self._redis.aclose()

    @property
    def reachable(self) -> bool:
        """Whether the last call to Redis succeeded."""
        return not self._scripts.paused and bool(self._epoch)

    def status(self) -> str:
        """The status as one line for people."""
        if not self.reachable:
            return "Redis is unreachable"
        return "ready" if self._ready else "budgets are unavailable: spending of earlier Redis runs is loading"

    @property
    def condition(self) -> CountersCondition:
        """See `Counters.condition`."""
        problem = "" if self.reachable and self._ready else self.status()
        return CountersCondition(problem, only_money=self.reachable)

    @property
    def counts(self) -> bool:
        """Whether spending from before this run of Redis is loaded."""
        return self._ready

    def _forget(self) -> None:
        # The next call checks first which run of Redis answers.
        self._epoch = ""

    async def reserve(self, request: str, charges: Sequence[Charge]) -> tuple[bool, list[LimitStatus]]:
        """See `Counters.reserve`."""
        keys = [EPOCH]
        numbers: list[Any] = ["", request, LEASE_US, ROLLING_PARTS]
        for each in charges:
            keys += [PREFIX + each.key, f"{PREFIX}{each.key}:r"]
            numbers += [each.kind, each.limit, each.window_us, each.amount, int(each.hard), each.ends_us]
        try:
            answer = await self._ask(RESERVE, keys, numbers, money=any(each.kind == SPEND for each in charges))
        except NotSent:
            raise
        except (Unreachable, asyncio.CancelledError):
            if request not in self._held:
                self._undo(request, charges)
            raise
        statuses = [
            LimitStatus(*(int(part) for part in answer[place : place + 3])) for place in range(1, len(answer), 3)
        ]
        for each, status in zip(charges, statuses, strict=True):
            if each.kind == SPEND:
                _remember(self._taken, each.key, each.limit - status.left)
                self._asked.add(each.key)
        if answer[0] == 1:
            self._hold(request, charges, statuses)
        return answer[0] == 1, statuses

    def _hold(self, request: str, charges: Sequence[Charge], statuses: Sequence[LimitStatus]) -> None:
        """Remembers reservations, to register them with a new run of Redis."""
        for each, status in zip(charges, statuses, strict=True):
            if each.kind == SPEND or (each.kind != RATE and not status.wait_us):
                held = self._held.setdefault(request, {})
                before = held.get(each.key)
                held[each.key] = each if before is None else _with_amount(before, before.amount + each.amount)

    def _undo(self, request: str, charges: Sequence[Charge]) -> None:
        """Returns reservations of a call without a response, which Redis may have made."""
        nothing = [Settlement(_with_amount(each, 0), 0) for each in charges if each.kind != RATE]
        if nothing:
            self.note(request, nothing)

    async def settle(self, request: str, settlements: Sequence[Settlement]) -> list[BudgetChange]:
        """See `Counters.settle`. Settlements that can't be sent now are sent when Redis is reachable again."""
        ended = time.time()
        try:
            spent = await self._settle(request, settlements)
        except (Unreachable, asyncio.CancelledError):
            self._add_pending(_PendingSettlement(request, ended, list(settlements)))
            raise
        self._held.pop(request, None)
        return spent

    def note(self, request: str, settlements: Sequence[Settlement]) -> None:
        """See `Counters.note`."""
        for each in settlements:
            if each.charge.kind == SPEND:
                _remember(self._taken, each.charge.key, self.taken(each.charge.key) + each.actual)
        self._add_pending(_PendingSettlement(request, time.time(), list(settlements)))

    def taken(self, key: str) -> int:
        """See `Counters.taken`."""
        return self._taken.get(key, 0)

    def _add_pending(self, settlement: _PendingSettlement) -> None:
        if len(self._pending) < MOST_PENDING:
            self._pending.append(settlement)

    async def _settle(self, request: str, settlements: Sequence[Settlement]) -> list[BudgetChange]:
        keys = [EPOCH]
        numbers: list[Any] = ["", request]
        for each in settlements:
            charge = each.charge
            keys += [PREFIX + charge.key, f"{PREFIX}{charge.key}:r"]
            numbers += [charge.kind, charge.limit, charge.window_us, charge.amount, each.actual, charge.ends_us]
        answer = await self._ask(SETTLE, keys, numbers)
        moneys = [each.charge for each in settlements if each.charge.kind == SPEND]
        results = [tuple(int(part) for part in answer[place : place + 3]) for place in range(1, len(answer), 3)]
        spent = []
        for money, (before, after, reserved) in zip(moneys, results, strict=True):
            spent.append(BudgetChange(money.key, before, after))
            _remember(self._known, money.key, (after, money.window_us, money.ends_us))
            _remember(self._taken, money.key, after + reserved)
        return spent

    async def _ask(self, script: str, keys: list[str], numbers: list[Any], *, money: bool = False) -> list[Any]:
        """Runs a script. `numbers[0]` is set to the epoch. With `money`, waits until past spending is known."""
        for _ in range(2):
            epoch = self._epoch or await self._join_epoch()
            if money and not self._ready:
                await self._wait_for_seeds()
            numbers[0] = epoch
            answer = await self._scripts.run(script, keys, numbers)
            if answer[0] >= 0:
                return answer
            if self._epoch == epoch:
                self._epoch = ""
        raise NotSent("Redis has just restarted")

    async def _join_epoch(self) -> str:
        """Reads the epoch, or creates one for a new run, and registers reservations. Raises `Unreachable`."""
        async with self._meeting:
            if self._epoch:
                return self._epoch
            epoch = await self._scripts.ask(self._read_epoch)
            if epoch != self._run:
                self._ready = False
                self._began = float(epoch.rsplit(":", 1)[1])
                await self._register(epoch)
                self._run = epoch
            self._epoch = epoch
            return epoch

    async def _read_epoch(self) -> str:
        run = (await self._redis.info("server"))["run_id"]
        epoch = cast("bytes | None", await self._redis.get(EPOCH))
        if epoch is None or not epoch.startswith(run.encode()):
            made = f"{run}:{time.time():.6f}"
            epoch = await cast("Awaitable[bytes]", self._redis.eval(NEW_EPOCH, 1, EPOCH, epoch or b"", made))
        return epoch.decode()

    async def _register(self, epoch: str) -> None:
        """Registers reservations in flight, and of requests that ended too late for the ledger's balances."""
        over = {each.request for each in self._pending if self._is_in_ledger(each)}
        calls = []
        for request, held in self._held.items():
            if request in over:
                continue
            keys = [EPOCH]
            numbers: list[Any] = [epoch, request, LEASE_US]
            for each in held.values():
                keys += [PREFIX + each.key, f"{PREFIX}{each.key}:r"]
                numbers += [each.kind, each.amount, each.window_us, each.ends_us]
            calls.append(self._scripts.run(REGISTER, keys, numbers))
        for answer in await _all(calls):
            if answer[0] < 0:
                raise NotSent("Redis has just restarted")

    def _is_in_ledger(self, settlement: _PendingSettlement) -> bool:
        # The ledger's times are milliseconds. When in doubt, spending counts twice rather than not at all.
        return self.seeds is not None and settlement.ended + 0.002 < self._began

    async def _wait_for_seeds(self) -> None:
        """Waits for the opening balances, `DEADLINE_S` at most. Raises `NotSent`."""
        if self._readying is None or self._readying.done():
            self._readying = asyncio.get_running_loop().create_task(self._load_balances())
        await asyncio.wait((self._readying,), timeout=DEADLINE_S)
        if not self._ready:
            raise NotSent("past spending is not known yet")

    async def _load_balances(self) -> None:
        """Loads the opening balances, once the other gateways had time to register their reservations."""
        if time.time() < self._began + GRACE_S:
            return
        run = self._run
        try:
            if self.seeds is not None:
                balances = await self.seeds(self._began)
            else:
                balances = [OpeningBalance(key, *known) for key, known in self._known.items()]
            if await self._seed(run, balances, 0) and run == self._run:
                self._ready = True
        except Unreachable:
            return
        except Exception as error:
            structlog.get_logger().error("budgets unavailable: the ledger can't be read", problem=type(error).__name__)

    async def seed(self, seeds: Sequence[OpeningBalance], before: int) -> bool:
        """Adds opening balances (spending `before` a time) of budgets first used after it.

        Returns False if the caller must retry. Raises `Unreachable`.
        """
        return self._ready and await self._seed(self._run, seeds, before)

    async def _seed(self, run: str, seeds: Sequence[OpeningBalance], before: int) -> bool:
        calls = [
            self._scripts.run(SEED, [EPOCH, PREFIX + s.key], [run, s.amount, s.window_us, s.ends_us, before])
            for s in seeds
        ]
        return all(answer[0] >= 0 for answer in await _all(calls))

    async def _heartbeat(self) -> None:
        while True:
            if not self._scripts.paused:
                with contextlib.suppress(Unreachable):
                    await self._scripts.ask(self._send_heartbeat)
                    if not self._epoch:
                        await self._join_epoch()
                    await self._send_pending()
                    if not self._ready:
                        await self._wait_for_seeds()
                    else:
                        await self._scripts.ask(self._refresh_taken)
            await asyncio.sleep(BEAT_S)

    async def _send_heartbeat(self) -> None:
        now = time.time()
        async with self._redis.pipeline(transaction=False) as pipeline:
            pipeline.zadd(REPLICAS, {self._name: now})
            pipeline.zremrangebyscore(REPLICAS, "-inf", now - 100 * BEAT_S)
            pipeline.zcount(REPLICAS, now - 10 * BEAT_S, "+inf")
            count = max(1, int((await pipeline.execute())[2]))
        # Not all gateways have registered with a new run yet.
        self.replicas = count if now > self._began + GRACE_S else max(count, self.replicas)

    async def _refresh_taken(self) -> None:
        """Reads what recently used budgets have spent and reserved, in case Redis becomes unreachable."""
        now = time.time()
        asked, self._asked = self._asked, set()
        async with self._redis.pipeline(transaction=False) as pipeline:
            if asked:
                pipeline.zadd(RECENT, dict.fromkeys(asked, now))
                pipeline.zremrangebyrank(RECENT, 0, -MOST_RECENT - 1)
            pipeline.zrange(RECENT, 0, -1)
            keys = [key.decode() for key in (await pipeline.execute())[-1]]
            for key in keys:
                pipeline.hgetall(PREFIX + key)
            for key, fields in zip(keys, await pipeline.execute(), strict=True):
                taken = sum(int(value) for name, value in fields.items() if name[:1] in (b"p", b"r"))
                _remember(self._taken, key, taken)

    async def _send_pending(self) -> None:
        """Sends settlements from an outage. A run that began later has them from the ledger."""
        while self._pending:
            batch, self._pending = self._pending[:100], self._pending[100:]
            sent = [each for each in batch if not self._is_in_ledger(each)]
            answers = await asyncio.gather(
                *[self._settle(each.request, each.settlements) for each in sent], return_exceptions=True
            )
            failed = [each for each, answer in zip(sent, answers, strict=True) if isinstance(answer, BaseException)]
            for each in batch:
                if each not in failed:
                    self._held.pop(each.request, None)
            if failed:
                self._pending = failed + self._pending
                raise Unreachable("Redis is unreachable")


async def _all(calls: Sequence[Awaitable[list[Any]]]) -> list[list[Any]]:
    """The results of all calls. Raises the first error, after all calls have ended."""
    answers = await asyncio.gather(*calls, return_exceptions=True)
    for answer in answers:
        if isinstance(answer, BaseException):
            raise answer
    return cast("list[list[Any]]", answers)


def _remember(known: dict[str, Any], key: str, value: Any) -> None:
    """Stores a value; beyond `MOST_KNOWN` deletes the one that was updated the longest ago."""
    known.pop(key, None)
    known[key] = value
    if len(known) > MOST_KNOWN:
        del known[next(iter(known))]


def _with_amount(charge: Charge, amount: int) -> Charge:
    return msgspec.structs.replace(charge, amount=amount)
