"""The seam of stores of answers."""

from __future__ import annotations

from typing import Protocol

import msgspec


class CacheAddress(msgspec.Struct, frozen=True):
    """Where an answer is kept: whose it is, the model's name that was asked for, and its key.

    `owner` is the app, or empty for an answer that is shared.
    """

    owner: str
    model: str
    key: bytes


class Purge(msgspec.Struct, frozen=True):
    """What is to go: of this owner, and of this model and made before that moment where they are given."""

    owner: str
    model: str = ""
    before: float | None = None
    key: bytes = b""


class Tier(Protocol):
    """One store. What goes in is what `cache.entry.Entry.pack` gives."""

    name: str

    async def get(self, place: CacheAddress) -> bytes | None:
        """What is kept there. May raise whatever the store raises."""
        ...

    async def put(self, place: CacheAddress, value: bytes, ttl_s: float) -> None:
        """Keeps it for so long."""
        ...

    async def purge(self, what: Purge) -> int:
        """Removes; how many there were."""
        ...

    async def close(self) -> None:
        """Lets go of the store."""
        ...
