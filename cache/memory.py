"""The tier kind `memory`: answers in this process, with a size limit."""

from __future__ import annotations

import time
from typing import Annotated, ClassVar, Literal

from pydantic import BeforeValidator, Field

from cache.entry import made_of
from cache.eviction import Kind, eviction
from config.caches import TierConfig, TierParts
from config.findings import wrong
from config.units import Size
from contract.tiers import CacheAddress, Purge

# The memory per entry in addition to its bytes: address, eviction order, dict slots.
OVERHEAD = 400


# Policies of earlier versions: `s3-fifo` has a higher hit rate on every trace that was measured.
_REMOVED = ("lfu", "fifo")


def _check_removed(value: object) -> object:
    if value in _REMOVED:
        raise wrong("the order {value} was removed", "write s3-fifo, which keeps more, or leave evict out")
    return value


class MemoryTierConfig(TierConfig):
    """Answers in this process."""

    is_remote: ClassVar[bool] = False

    kind: Literal["memory"] = Field(description="In this process.")
    size: Size = Field(default=64_000_000, description="The maximum size; beyond it answers are evicted.")
    evict: Annotated[Kind, BeforeValidator(_check_removed)] = Field(
        default="s3-fifo", description="What to evict first: answers that were used once, or least recently used ones."
    )

    def open(self, cache: str, parts: TierParts) -> MemoryTier:
        """See `TierConfig.open`."""
        return MemoryTier(self.size, self.evict)


class MemoryTier:
    """Implements `contract.tiers.Tier`, on the event loop's thread."""

    name = "memory"

    def __init__(self, max_bytes: int, evict: Kind = "s3-fifo") -> None:
        self._max_bytes = max_bytes
        self._order = eviction(evict)
        self._entries: dict[bytes, tuple[bytes, float, CacheAddress]] = {}
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def size(self) -> int:
        """The bytes in use."""
        return self._bytes

    async def get(self, place: CacheAddress) -> bytes | None:
        """See `Tier.get`."""
        entry = self._entries.get(place.key)
        if entry is None:
            return None
        value, until, _ = entry
        if time.monotonic() >= until:
            self._remove(place.key)
            return None
        self._order.used(place.key)
        return value

    async def put(self, place: CacheAddress, value: bytes, ttl_s: float) -> None:
        """See `Tier.put`. An answer that is larger than the tier is not stored."""
        size = len(value) + OVERHEAD
        if place.key in self._entries:
            self._remove(place.key)
        if size > self._max_bytes:
            return
        while self._bytes + size > self._max_bytes:
            self._forget(self._order.victim())
        self._entries[place.key] = (value, time.monotonic() + ttl_s, place)
        self._order.added(place.key, size)
        self._bytes += size

    def _remove(self, key: bytes) -> None:
        self._order.removed(key)
        self._forget(key)

    def _forget(self, key: bytes) -> None:
        value, _, _ = self._entries.pop(key)
        self._bytes -= len(value) + OVERHEAD

    async def purge(self, what: Purge) -> int:
        """See `Tier.purge`."""
        removed = [
            key
            for key, (value, _, place) in self._entries.items()
            if place.owner == what.owner
            and (not what.model or place.model == what.model)
            and (what.before is None or made_of(value) < what.before)
            and (not what.key or key == what.key)
        ]
        for key in removed:
            self._remove(key)
        return len(removed)

    async def close(self) -> None:
        """See `Tier.close`."""
        self._entries.clear()
