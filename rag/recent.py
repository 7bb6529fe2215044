"""What was found a while ago: so many entries, each for so long, the longest unused going first."""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from typing import Generic, TypeVar

Key = TypeVar("Key")
Value = TypeVar("Value")


class Recent(Generic[Key, Value]):
    """For one thread, as the event loop is."""

    def __init__(self, most: int, keep_s: float = math.inf) -> None:
        """`keep_s` 0 keeps nothing."""
        self._most = most
        self._keep_s = keep_s
        self._entries: OrderedDict[Key, tuple[float, Value]] = OrderedDict()

    def get(self, key: Key) -> Value | None:
        """What was put there, if that is not too long ago."""
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
        """Keeps it from now on."""
        if self._keep_s <= 0:
            return
        self._entries[key] = (time.monotonic() + self._keep_s, value)
        self._entries.move_to_end(key)
        if len(self._entries) > self._most:
            self._entries.popitem(last=False)

    def forget(self, key: Key) -> None:
        """Keeps it no longer."""
        self._entries.pop(key, None)

    def clear(self) -> None:
        """Keeps nothing of what there is."""
        self._entries.clear()

    def __len__(self) -> int:
        return len(self._entries)
