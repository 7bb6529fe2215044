"""One call for many equal requests on many machines: who holds the lease in Redis calls, the others wait for the entry.

A lease lasts a few seconds and is renewed while its call is under way, so that a holder that dies holds nobody up.
Where Redis can't be asked, everybody calls: too many calls are better than none.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar, cast

from cache.tier import DEADLINE_S

if TYPE_CHECKING:
    from redis.asyncio import Redis

LASTS_S = 3.0
LONGEST_WAIT_S = 60.0
_RENEW_S = 1.0
_LOOK_EVERY_S = 0.03
_PREFIX = "gatehouse:lease:"
# Only its holder may renew or end a lease: another may hold it by now.
_RENEW = "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('pexpire', KEYS[1], ARGV[2]) end return 0"
_RELEASE = "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) end return 0"

Found = TypeVar("Found")


class Lease:
    """Makes holds."""

    def __init__(self, redis: Redis, name: str) -> None:
        """`name` is the cache's."""
        self._redis = redis
        self._name = name

    def hold(self, key: bytes) -> Hold:
        """A hold on `key`, not yet taken."""
        return Hold(self._redis, f"{_PREFIX}{self._name}:{key.hex()}")


class Hold:
    """One lease of one flight."""

    def __init__(self, redis: Redis, name: str) -> None:
        self._redis = redis
        self._name = name
        self._token = secrets.token_hex(8)
        self._renewing: asyncio.Task[None] | None = None

    async def take_or(self, look: Callable[[], Awaitable[Found | None]]) -> Found | None:
        """None once the lease is held or can't be asked for; else what `look` finds that another has made."""
        until = time.monotonic() + LONGEST_WAIT_S
        while time.monotonic() < until:
            try:
                async with asyncio.timeout(DEADLINE_S):
                    taken = await self._redis.set(self._name, self._token, nx=True, px=int(LASTS_S * 1000))
            except Exception:
                return None
            if taken:
                self._renewing = asyncio.create_task(self._renew(), name="renew-lease")
                # It may have been made between the first look and now.
                return await look()
            found = await look()
            if found is not None:
                return found
            await asyncio.sleep(_LOOK_EVERY_S)
        return None

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(_RENEW_S)
            with contextlib.suppress(Exception):
                async with asyncio.timeout(_RENEW_S):
                    await self._run(_RENEW, str(int(LASTS_S * 1000)))

    async def release(self) -> None:
        """Lets go of it, if it is held. Never raises."""
        if self._renewing is None:
            return
        self._renewing.cancel()
        self._renewing = None
        with contextlib.suppress(Exception):
            async with asyncio.timeout(DEADLINE_S):
                await self._run(_RELEASE)

    async def _run(self, script: str, *arguments: str) -> None:
        await cast("Awaitable[object]", self._redis.eval(script, 1, self._name, self._token, *arguments))
