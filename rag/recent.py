"""A small LRU cache with a maximum size and a lifetime per entry."""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from typing import Generic, TypeVar

Key = TypeVar("Key")
Value = TypeVar("Value")


class Recent(Generic[Key, Value]):
    """An LRU cache for one thread, such as the event loop."""

    def __init__(self, max_entries: int, keep_s: float = math.inf) -> None:
        """With `keep_s` 0 nothing is stored."""
        self._max_entries = max_entries
        self._keep_s = keep_s
        self._entries: OrderedDict[Key, tuple[float, Value]] = OrderedDict()

    def get(self, key: Key) -> Value | None:
        """The value of a key; None if it is missing or expired."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        until, value = entry
        if time.monotonic() >= until:
            del self._entries[key]
            return None
        self._entries.move_to_end(key)
        return value

    def put(self, key: Key, value: Value) -> None:
        """Stores a value and restarts its lifetime."""
        if self._keep_s <= 0:
            return
        self._entries[key] = (time.monotonic() + self._keep_s, value)
        self._entries.move_to_end(key)
        if len(self._entries) > self._max_entries:
            self._entries.popitem(last=False)

    def forget(self, key: Key) -> None:
        """Removes a key, if it is stored."""
        self._entries.pop(key, None)

    def clear(self) -> None:
        """Removes all entries."""
        self._entries.clear()

    def __len__(self) -> int:
        return len(self._entries)
