"""Eviction policies: which entry to remove when the cache is full. All operations take constant time."""

from __future__ import annotations

from collections import OrderedDict
from typing import Literal, Protocol, TypeAlias

Kind: TypeAlias = Literal["s3-fifo", "lru"]
# S3-FIFO: the share of bytes for entries used only once, and the maximum of the use counter.
_SMALL_SHARE = 0.1
_MOST_USES = 3


class Eviction(Protocol):
    """Orders keys for eviction. Sizes are in bytes."""

    def added(self, key: bytes, size: int) -> None:
        """Adds a new key."""
        ...

    def used(self, key: bytes) -> None:
        """Records a use of a key."""
        ...

    def removed(self, key: bytes) -> None:
        """Removes a key."""
        ...

    def victim(self) -> bytes:
        """Removes and returns the key to evict. There must be one."""
        ...


class Lru:
    """Evicts the least recently used key first."""

    def __init__(self) -> None:
        self._keys: OrderedDict[bytes, None] = OrderedDict()

    def added(self, key: bytes, size: int) -> None:
        """See `Eviction.added`."""
        self._keys[key] = None

    def used(self, key: bytes) -> None:
        """See `Eviction.used`."""
        self._keys.move_to_end(key)

    def removed(self, key: bytes) -> None:
        """See `Eviction.removed`."""
        self._keys.pop(key, None)

    def victim(self) -> bytes:
        """See `Eviction.victim`."""
        return self._keys.popitem(last=False)[0]


class S3Fifo:
    """Evicts keys used only once early; keeps keys used again.

    Yang et al., "FIFO queues are all you need for cache eviction" (2023).
    """

    def __init__(self) -> None:
        self._small: OrderedDict[bytes, int] = OrderedDict()
        self._main: OrderedDict[bytes, int] = OrderedDict()
        # Recently evicted keys: if added again, they go to the main queue.
        self._ghosts: OrderedDict[bytes, None] = OrderedDict()
        self._uses: dict[bytes, int] = {}
        self._small_bytes = 0
        self._main_bytes = 0

    def added(self, key: bytes, size: int) -> None:
        """See `Eviction.added`."""
        self._uses[key] = 0
        if key in self._ghosts:
            del self._ghosts[key]
            self._main[key] = size
            self._main_bytes += size
        else:
            self._small[key] = size
            self._small_bytes += size

    def used(self, key: bytes) -> None:
        """See `Eviction.used`."""
        uses = self._uses[key]
        if uses < _MOST_USES:
            self._uses[key] = uses + 1

    def removed(self, key: bytes) -> None:
        """See `Eviction.removed`."""
        self._uses.pop(key, None)
        self._small_bytes -= self._small.pop(key, 0)
        self._main_bytes -= self._main.pop(key, 0)

    def victim(self) -> bytes:
        """See `Eviction.victim`."""
        while True:
            whole = self._small_bytes + self._main_bytes
            if self._small and (self._small_bytes > _SMALL_SHARE * whole or not self._main):
                key, size = self._small.popitem(last=False)
                self._small_bytes -= size
                if self._uses[key] > 1 or (self._uses[key] and not self._main and self._small):
                    self._uses[key] = 0
                    self._main[key] = size
                    self._main_bytes += size
                    continue
                self._remember(key)
            else:
                key, size = self._main.popitem(last=False)
                if self._uses[key]:
                    self._uses[key] -= 1
                    self._main[key] = size
                    continue
                self._main_bytes -= size
            del self._uses[key]
            return key

    def _remember(self, key: bytes) -> None:
        self._ghosts[key] = None
        if len(self._ghosts) > max(16, len(self._main) + len(self._small)):
            self._ghosts.popitem(last=False)


def eviction(kind: Kind) -> Eviction:
    """Returns a new policy of the kind."""
    return S3Fifo() if kind == "s3-fifo" else Lru()
