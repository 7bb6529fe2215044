"""A store of answers that may be away, and several stores as one."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from cache.entry import made_of
from contract.tiers import CacheAddress, Purge, Tier

# How long a store that others share may take, and how long one that failed is left alone.
DEADLINE_S = 0.05
PAUSE_S = 1.0


class GuardedTier:
    """A tier behind a network: it has a deadline, and while it is broken it is a miss and nothing more."""

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
        # Here, for its import takes longer than all of `gatehouse check` may, which imports the kinds of a file.
        import structlog

        problem = str(error) or type(error).__name__
        structlog.get_logger().warning("a cache is left alone for a moment", tier=self.name, problem=problem)

    async def purge(self, what: Purge) -> int:
        """See `Tier.purge`. Raises: whoever purges must know when it was not done."""
        return await self._tier.purge(what)

    async def close(self) -> None:
        """See `Tier.close`."""
        await self._tier.close()


class Tiers:
    """Several tiers, the nearest first: what is found in a far one is kept in the nearer ones too."""

    def __init__(self, tiers: Sequence[Tier], ttl_s: float) -> None:
        self._tiers = tuple(tiers)
        self.ttl_s = ttl_s

    async def get(self, place: CacheAddress) -> tuple[bytes, str] | None:
        """The bytes, and the name of the tier that had them."""
        for number, tier in enumerate(self._tiers):
            value = await tier.get(place)
            if value is not None:
                left = made_of(value) + self.ttl_s - time.time()
                if left <= 0:
                    return None
                for nearer in self._tiers[:number]:
                    await nearer.put(place, value, left)
                return value, tier.name
        return None

    async def put(self, place: CacheAddress, value: bytes) -> None:
        """Keeps it in all."""
        for tier in self._tiers:
            await tier.put(place, value, self.ttl_s)

    async def purge(self, what: Purge) -> int:
        """Removes from all; the most that one of them had. Raises what a tier raises, after the others were asked."""
        most, failed = 0, None
        for tier in self._tiers:
            try:
                most = max(most, await tier.purge(what))
            except Exception as error:
                failed = error
        if failed is not None:
            raise failed
        return most

    def status(self) -> str:
        """One line for people."""
        return "answers in " + " and ".join(tier.name for tier in self._tiers)

    async def close(self) -> None:
        """Lets go of all."""
        for tier in self._tiers:
            await tier.close()
