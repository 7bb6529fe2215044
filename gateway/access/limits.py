"""How many requests an app may make: windows in this process, or in Redis, where one step decides for all replicas.

Each window is a bucket that leaks evenly (GCRA): after `count` requests at once the next is admitted when one
`count`-th of the window has passed. A request that one window refuses counts in none.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, cast

import structlog

from gateway.contract.errors import TooManyRequests, Unavailable
from gateway.contract.exchange import Allowance, RequestLimit

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from redis.asyncio import Redis

    from gateway.contract.exchange import Caller, Exchange

DEADLINE_S = 0.05
# How long Redis is left alone after it has failed.
PAUSE_S = 1.0
# Apps that have not called for their longest window are forgotten now and then.
_SWEEP_EVERY = 10_000
_PREFIX = "gatehouse:limit:"
# KEYS: a window's each; ARGV: interval and window of each, in microseconds. Gives what is left of the tightest window:
# its number, how much, until it is whole, and how long to wait (0: admitted).
_ADMIT = """
local t = redis.call('TIME')
local now = t[1] * 1000000 + t[2]
local new, tightest, least, whole, wait = {}, 0, nil, 0, 0
for i, key in ipairs(KEYS) do
  local interval, window = tonumber(ARGV[2 * i - 1]), tonumber(ARGV[2 * i])
  local before = tonumber(redis.call('GET', key) or '0')
  if before < now then before = now end
  new[i] = before + interval
  local over = new[i] - window - now
  if over > wait then wait = over end
  local left = math.floor((window - (new[i] - now)) / interval)
  if least == nil or left < least then tightest, least, whole = i, left, new[i] - now end
end
if wait > 0 then return {tightest, 0, whole, wait} end
for i, key in ipairs(KEYS) do
  redis.call('SET', key, string.format('%.0f', new[i]), 'PX', math.ceil((new[i] - now) / 1000) + 1)
end
return {tightest, least, whole, 0}
"""


class MemoryLimits:
    """In this process, for one thread."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._until: dict[tuple[str, RequestLimit], float] = {}
        self._asked = 0

    def admit(self, app: str, limits: Sequence[RequestLimit]) -> Allowance:
        """Whether this request may be made, which counts then."""
        now = self._clock()
        self._sweep(now)
        new = [max(now, self._until.get((app, limit), now)) + limit.window_s / limit.count for limit in limits]
        wait = max(until - limit.window_s - now for until, limit in zip(new, limits, strict=True))
        # Less than a microsecond is what adding up floats leaves.
        if wait > 1e-6:
            return _allowance(limits, new, now, wait)
        for until, limit in zip(new, limits, strict=True):
            self._until[app, limit] = until
        return _allowance(limits, new, now, 0.0)

    def _sweep(self, now: float) -> None:
        self._asked += 1
        if self._asked % _SWEEP_EVERY == 0:
            self._until = {key: until for key, until in self._until.items() if until > now}


def _allowance(limits: Sequence[RequestLimit], until: Sequence[float], now: float, wait: float) -> Allowance:
    left = [
        max(0, math.floor((limit.window_s - (each - now)) / (limit.window_s / limit.count) + 1e-6))
        for each, limit in zip(until, limits, strict=True)
    ]
    place = min(range(len(limits)), key=left.__getitem__)
    return Allowance(limits[place].count, 0 if wait else left[place], until[place] - now, wait)


class RequestLimits:
    """Admits requests of apps that have limits."""

    def __init__(self, redis: Redis | None = None) -> None:
        """Without `redis` each process counts for itself; so it does while Redis is gone, but for strict callers."""
        self._redis = redis
        self._memory = MemoryLimits()
        self._paused_until = 0.0

    async def admit(self, exchange: Exchange) -> None:
        """Raises `TooManyRequests`, or `Unavailable` where that can't be decided and is not to be guessed."""
        caller = exchange.caller
        if caller is None or not caller.limits:
            return
        allowance = await self._asked(caller)
        exchange.allowance = allowance
        if allowance.wait_s:
            raise TooManyRequests(
                f"The app {caller.app} may make {allowance.limit} requests in this time; try again in "
                f"{math.ceil(allowance.wait_s)} s",
                retry_after_s=allowance.wait_s,
            )

    async def _asked(self, caller: Caller) -> Allowance:
        if self._redis is None:
            return self._memory.admit(caller.app, caller.limits)
        if time.monotonic() >= self._paused_until:
            try:
                async with asyncio.timeout(DEADLINE_S):
                    return await _asked_of_redis(self._redis, caller.app, caller.limits)
            except Exception as error:
                self._paused_until = time.monotonic() + PAUSE_S
                structlog.get_logger().warning("limits can't be shared for now", problem=type(error).__name__)
        if caller.strict:
            raise Unavailable("Limits can't be checked for now", retry_after_s=PAUSE_S)
        return self._memory.admit(caller.app, caller.limits)


async def _asked_of_redis(redis: Redis, app: str, limits: Sequence[RequestLimit]) -> Allowance:
    keys = [f"{_PREFIX}{app}:{limit.count}/{limit.window_s:g}" for limit in limits]
    numbers: list[Any] = []
    for limit in limits:
        numbers += [f"{1e6 * limit.window_s / limit.count:.6f}", f"{1e6 * limit.window_s:.0f}"]
    running = cast("Awaitable[list[int]]", redis.eval(_ADMIT, len(keys), *keys, *numbers))
    place, left, whole, wait = await running
    return Allowance(limits[int(place) - 1].count, int(left), int(whole) / 1e6, int(wait) / 1e6)
