"""One call for equal requests on several machines: the holder of a Redis lease calls, the others wait for its entry.

A lease lasts a few seconds and is renewed while the call is in flight, so that a crashed holder does not block others.
If Redis is unavailable, every machine calls: duplicate calls are better than none.
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

LEASE_S = 3.0
MAX_WAIT_S = 60.0
_RENEW_S = 1.0
_POLL_S = 0.03
_PREFIX = "gatehouse:lease:"
# Only the holder may renew or release a lease: another machine may hold it by now.
_RENEW = "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('pexpire', KEYS[1], ARGV[2]) end return 0"
_RELEASE = "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) end return 0"

Entry = TypeVar("Entry")


class Lease:
    """Creates holds on the leases of one cache."""

    def __init__(self, redis: Redis, name: str) -> None:
        """`name` is the name of the cache."""
        self._redis = redis
        self._name = name

    def hold(self, key: bytes) -> Hold:
        """A hold on `key`, not acquired yet."""
        return Hold(self._redis, f"{_PREFIX}{self._name}:{key.hex()}")


class Hold:
    """One machine's lease for one shared call."""

    def __init__(self, redis: Redis, name: str) -> None:
        self._redis = redis
        self._name = name
        self._token = secrets.token_hex(8)
        self._renewing: asyncio.Task[None] | None = None

    async def acquire_or(self, look: Callable[[], Awaitable[Entry | None]]) -> Entry | None:
        """Waits for the lease or for a result of `look`; returns None if the lease is acquired or Redis fails."""
        until = time.monotonic() + MAX_WAIT_S
        while time.monotonic() < until:
            try:
                async with asyncio.timeout(DEADLINE_S):
                    acquired = await self._redis.set(self._name, self._token, nx=True, px=int(LEASE_S * 1000))
            except Exception:
                return None
            if acquired:
                self._renewing = asyncio.create_task(self._renew(), name="renew-lease")
                # The entry may have been stored since the first look-up.
                return await look()
            entry = await look()
            if entry is not None:
                return entry
            await asyncio.sleep(_POLL_S)
        return None

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(_RENEW_S)
            with contextlib.suppress(Exception):
                async with asyncio.timeout(_RENEW_S):
                    await self._run(_RENEW, str(int(LEASE_S * 1000)))

    async def release(self) -> None:
        """Releases the lease, if it is held. Never raises."""
        if self._renewing is None:
            return
        self._renewing.cancel()
        self._renewing = None
        with contextlib.suppress(Exception):
            async with asyncio.timeout(DEADLINE_S):
                await self._run(_RELEASE)

    async def _run(self, script: str, *arguments: str) -> None:
        await cast("Awaitable[object]", self._redis.eval(script, 1, self._name, self._token, *arguments))
