"""Combines cache tiers, and guards remote tiers that may be unavailable."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from cache.entry import made_of
from contract.tiers import CacheAddress, Purge, Tier

# The timeout of a remote tier, and the pause after a failure, in seconds.
DEADLINE_S = 0.05
PAUSE_S = 1.0


class GuardedTier:
    """A remote tier with a timeout; while it fails, every look-up is a miss."""

    def __init__(self, tier: Tier) -> None:
        self.name = tier.name
        self._tier = tier
        self._paused_until = 0.0

    async def get(self, place: CacheAddress) -> bytes | None:
        """See `Tier.get`. Never raises."""
        if time.monotonic() < self._paused_until:
            return None
        try:
            async with asyncio.timeout(DEADLINE_S):
                return await self._tier.get(place)
        except Exception as error:
            self._pause(error)
            return None

    async def put(self, place: CacheAddress, value: bytes, ttl_s: float) -> None:
        """See `Tier.put`. Never raises."""
        if time.monotonic() < self._paused_until:
            return
        try:
            async with asyncio.timeout(20 * DEADLINE_S):
                await self._tier.put(place, value, ttl_s)
        except Exception as error:
            self._pause(error)

    def _pause(self, error: Exception) -> None:
        self._paused_until = time.monotonic() + PAUSE_S
        # Imported lazily: the import is too slow for `gatehouse check`, which imports all kinds in a config.
        import structlog

        problem = str(error) or type(error).__name__
        structlog.get_logger().warning("cache tier failed, pausing it", tier=self.name, problem=problem)

    async def purge(self, what: Purge) -> int:
        """See `Tier.purge`. Raises errors, because the caller must know that a purge failed."""
        return await self._tier.purge(what)

    async def close(self) -> None:
        """See `Tier.close`."""
        await self._tier.close()


class Tiers:
    """Several tiers, the nearest first; a hit in a far tier is copied to the nearer ones."""

    def __init__(self, tiers: Sequence[Tier], ttl_s: float) -> None:
        self._tiers = tuple(tiers)
        self.ttl_s = ttl_s

    async def get(self, place: CacheAddress) -> tuple[bytes, str] | None:
        """Returns the bytes and the name of the tier that held them; None for a miss."""
        for number, tier in enumerate(self._tiers):
            value = await tier.get(place)
            if value is not None:
                remaining = made_of(value) + self.ttl_s - time.time()
                if remaining <= 0:
                    return None
                for nearer in self._tiers[:number]:
                    await nearer.put(place, value, remaining)
                return value, tier.name
        return None

    async def put(self, place: CacheAddress, value: bytes) -> None:
        """Stores the bytes in all tiers."""
        for tier in self._tiers:
            await tier.put(place, value, self.ttl_s)

    async def purge(self, what: Purge) -> int:
        """Purges all tiers; returns the highest count of a tier. Raises a tier's error after trying all tiers."""
        removed, failed = 0, None
        for tier in self._tiers:
            try:
                removed = max(removed, await tier.purge(what))
            except Exception as error:
                failed = error
        if failed is not None:
            raise failed
        return removed

    def status(self) -> str:
        """A status line."""
        return "answers in " + " and ".join(tier.name for tier in self._tiers)

    async def close(self) -> None:
        """Closes all tiers."""
        for tier in self._tiers:
            await tier.close()
