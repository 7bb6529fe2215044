"""Counters of all replicas, in Redis: the rules of `counters` in Lua, one round trip for a request's admission.

A Redis that comes back may have lost what it held, or hold what was true some time ago. Each of its runs has an
*epoch*, made by the first gateway that meets it; scripts refuse another run's. Whoever learns of a new epoch registers
what it has reserved, and money is admitted again when all have had the time to do so and what was spent has been
read from the ledger.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import structlog

from gateway.access.counters import (
    LEASE_US,
    ROLLING_PARTS,
    SPEND,
    Demand,
    Seed,
    Settlement,
    Spent,
    Standing,
    Unreachable,
)
from gateway.access.scripts import REGISTER, RESERVE, SEED, SETTLE

if TYPE_CHECKING:
    from redis.asyncio import Redis
    from redis.commands.core import AsyncScript

DEADLINE_S = 0.05
# How long Redis is left alone after it has failed.
PAUSE_S = 0.5
BEAT_S = 0.5
# How long money waits after a new epoch, so that every replica has told what it has reserved.
GRACE_S = 1.5
# All keys of one script must lie on one node of a cluster.
PREFIX = "gatehouse:{quota}:"
EPOCH = f"{PREFIX}epoch"
REPLICAS = f"{PREFIX}replicas"

Seeds: TypeAlias = Callable[[float], Awaitable[list[Seed] | None]]


async def _no_seeds(_: float) -> list[Seed] | None:
    return None


class RedisCounters:
    """One gateway's view of the shared counters. `replicas` is how many gateways shared them when last heard."""

    def __init__(self, redis: Redis, seeds: Seeds = _no_seeds) -> None:
        """`seeds` gives what budgets had spent before a time, from the ledger; None where there is none."""
        self._redis = redis
        self.seeds = seeds
        self.replicas = 1
        self._name = secrets.token_hex(8)
        self._epoch = ""
        self._run = ""
        self._began = 0.0
        self._ready = False
        self._paused_until = 0.0
        self._held: dict[str, dict[str, Demand]] = {}
        # What budgets had spent when last heard: the best that is known without a ledger.
        self._known: dict[str, tuple[int, int]] = {}
        self._late: list[tuple[str, float, list[Settlement]]] = []
        self._beating: asyncio.Task[None] | None = None
        self._meeting = asyncio.Lock()
        self._scripts: dict[str, AsyncScript] = {}

    def start(self) -> None:
        """Begins to show signs of life. Needs a running loop."""
        if self._beating is None:
            self._beating = asyncio.get_running_loop().create_task(self._beat())

    async def close(self) -> None:
        """Ends them."""
        if self._beating is not None:
            self._beating.cancel()
            self._beating = None
        await self._redis.aclose()

    @property
    def reachable(self) -> bool:
        """Whether the last word from Redis was a good one."""
        return time.monotonic() >= self._paused_until and bool(self._epoch)

    async def reserve(self, request: str, demands: Sequence[Demand]) -> tuple[bool, list[Standing]]:
        """See `Counters.reserve`."""
        if not self._epoch:
            await self._within(self._meet)
        if not self._ready and any(each.kind == SPEND for each in demands):
            await self._get_ready()
        keys = [EPOCH]
        numbers: list[Any] = [self._epoch, request, LEASE_US, ROLLING_PARTS]
        for each in demands:
            keys += [PREFIX + each.key, f"{PREFIX}{each.key}:r"]
            numbers += [each.kind, each.limit, each.window_us, each.amount, int(each.hard), each.ends_us]
        answer = await self._ask(RESERVE, keys, numbers)
        standings = [Standing(*(int(part) for part in answer[place : place + 3])) for place in range(1, len(answer), 3)]
        if answer[0] == 1:
            held = self._held.setdefault(request, {})
            for each in demands:
                before = held.get(each.key)
                held[each.key] = each if before is None else _joined(before, each)
        return answer[0] == 1, standings

    async def settle(self, request: str, settlements: Sequence[Settlement]) -> list[Spent]:
        """See `Counters.settle`. What can't be told now is told when Redis is back."""
        self._held.pop(request, None)
        ended = time.time()
        try:
            return await self._settle(request, settlements)
        except Unreachable:
            if len(self._late) < 100_000:
                self._late.append((request, ended, list(settlements)))
            raise

    def note(self, request: str, settlements: Sequence[Settlement]) -> None:
        """Takes note of what was admitted without Redis, to tell when it is back."""
        if len(self._late) < 100_000:
            self._late.append((request, time.time(), list(settlements)))

    def known(self, key: str) -> int:
        """What a budget had spent when last heard."""
        return self._known.get(key, (0, 0))[0]

    async def _settle(self, request: str, settlements: Sequence[Settlement]) -> list[Spent]:
        keys = [EPOCH]
        numbers: list[Any] = [self._epoch, request]
        for each in settlements:
            demand = each.demand
            keys += [PREFIX + demand.key, f"{PREFIX}{demand.key}:r"]
            numbers += [demand.kind, demand.limit, demand.window_us, demand.amount, each.actual, demand.ends_us]
        answer = await self._ask(SETTLE, keys, numbers)
        moneys = [each.demand for each in settlements if each.demand.kind == SPEND]
        spent = [Spent(each.key, int(answer[1 + 2 * n]), int(answer[2 + 2 * n])) for n, each in enumerate(moneys)]
        for told, money in zip(spent, moneys, strict=True):
            self._known[told.key] = (told.after, money.window_us)
        return spent

    async def _ask(self, script: str, keys: list[str], numbers: list[Any]) -> list[Any]:
        for last in (False, True):
            answer: list[Any] = await self._within(partial(self._run_script, script, keys, numbers))
            if answer[0] >= 0:
                return answer
            if last:
                break
            await self._within(self._meet)
            numbers[0] = self._epoch
            if not self._ready and script == RESERVE and SPEND in numbers[4::6]:
                await self._get_ready()
        raise Unreachable("Redis has just begun anew")

    async def _run_script(self, script: str, keys: list[str], numbers: list[Any]) -> list[Any]:
        made = self._scripts.get(script)
        if made is None:
            made = self._scripts[script] = self._redis.register_script(script)
        running = cast("Awaitable[list[Any]]", made(keys, numbers))
        return await running

    async def _within(self, act: Callable[[], Awaitable[Any]]) -> Any:
        if time.monotonic() < self._paused_until:
            raise Unreachable("Redis failed a moment ago")
        try:
            async with asyncio.timeout(DEADLINE_S):
                return await act()
        except Unreachable:
            raise
        except Exception as error:
            self._fail(error)
            raise Unreachable(type(error).__name__) from None

    def _fail(self, error: BaseException) -> None:
        self._paused_until = time.monotonic() + PAUSE_S
        # Whatever comes back is asked first which run it is.
        self._epoch = ""
        structlog.get_logger().warning("Redis does not count for now", problem=type(error).__name__)

    async def _meet(self) -> None:
        """Learns the epoch, makes one for a new run, and registers there what is reserved."""
        run = (await self._redis.info("server"))["run_id"]
        epoch = cast("bytes | None", await self._redis.get(EPOCH))
        if epoch is None or not epoch.startswith(run.encode()):
            before = epoch or b""
            made = f"{run}:{time.time():.6f}"
            epoch = await cast("Awaitable[bytes]", self._redis.eval(_NEW_EPOCH, 1, EPOCH, before, made))
        known = epoch.decode()
        if known != self._epoch:
            if known != self._run:
                self._run, self._ready = known, False
            self._began = float(known.rsplit(":", 1)[1])
            self._epoch = known
            await self._register()

    async def _register(self) -> None:
        for request, held in list(self._held.items()):
            keys = [EPOCH]
            numbers: list[Any] = [self._epoch, request, LEASE_US]
            for each in held.values():
                keys += [PREFIX + each.key, f"{PREFIX}{each.key}:r"]
                numbers += [each.kind, each.amount, each.window_us, each.ends_us]
            await self._run_script(REGISTER, keys, numbers)

    async def _get_ready(self) -> None:
        """Money waits for the others' word, and for what the ledger says. Raises `Unreachable` until then."""
        left = self._began + GRACE_S - time.time()
        if left > 0:
            raise Unreachable("Redis has just begun anew")
        async with self._meeting:
            if self._ready:
                return
            epoch = self._epoch
            seeds = await self.seeds(self._began)
            told = seeds if seeds is not None else [Seed(key, *known) for key, known in self._known.items()]
            for each in told:
                await self._within(partial(self._seed, each))
            if epoch == self._epoch:
                self._ready = True

    async def _seed(self, seed: Seed) -> None:
        await self._run_script(SEED, [EPOCH, PREFIX + seed.key], [self._epoch, seed.amount, seed.window_us])

    async def _beat(self) -> None:
        while True:
            try:
                if time.monotonic() >= self._paused_until:
                    async with asyncio.timeout(1.0):
                        await self._meet()
                        now = time.time()
                        await self._redis.zadd(REPLICAS, {self._name: now})
                        self.replicas = max(1, int(await self._redis.zcount(REPLICAS, now - 3 * BEAT_S, "+inf")))
                    await self._tell_late()
                    if not self._ready:
                        await self._get_ready()
            except Unreachable:
                pass
            except Exception as error:
                self._fail(error)
            await asyncio.sleep(BEAT_S)

    async def _tell_late(self) -> None:
        """What settled while Redis was gone. A run that began later has it from the ledger."""
        late, self._late = self._late, []
        while late:
            request, ended, settlements = late[-1]
            if ended >= self._began or self.seeds is _no_seeds:
                try:
                    await self._settle(request, settlements)
                except Unreachable:
                    self._late += late
                    raise
            late.pop()


def _joined(before: Demand, more: Demand) -> Demand:
    return Demand(
        before.key,
        before.kind,
        before.limit,
        before.amount + more.amount,
        before.window_us,
        before.ends_us,
        before.hard,
    )


# KEYS: the epoch's; ARGV: what it was, and a new one. Gives the one that holds: of two gateways the first wins.
_NEW_EPOCH = """
local now = redis.call('GET', KEYS[1]) or ''
if now == ARGV[1] then redis.call('SET', KEYS[1], ARGV[2]) now = ARGV[2] end
return now
"""
