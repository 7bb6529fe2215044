"""The interface of cache tiers, which store responses."""

from __future__ import annotations

from typing import Protocol

import msgspec


class CacheAddress(msgspec.Struct, frozen=True):
    """The address of a stored response: its owner, the requested model, and its key.

    `owner` is the app, or empty for a shared response.
    """

    owner: str
    model: str
    key: bytes


class Purge(msgspec.Struct, frozen=True):
    """Which entries to remove: those of `owner`, if given only of `model`, and only those stored before `before`."""

    owner: str
    model: str = ""
    before: float | None = None
    key: bytes = b""


class Tier(Protocol):
    """One store. Values are the result of `cache.entry.Entry.pack`."""

    name: str

    async def get(self, place: CacheAddress) -> bytes | None:
        """The stored value, or None. May raise errors of the store."""
        ...

    async def put(self, place: CacheAddress, value: bytes, ttl_s: float) -> None:
        """Stores the value for `ttl_s` seconds."""
        ...

    async def purge(self, what: Purge) -> int:
        """Removes entries; returns their number."""
        ...

    async def close(self) -> None:
        """Closes the store."""
        ...
