"""Time and chance, given from outside so that tests have their own."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from random import Random

import msgspec


class ClockAndRandom(msgspec.Struct, frozen=True):
    """`clock` gives monotonic seconds, the ledger's own (`time.perf_counter`); `sleep` takes seconds."""

    clock: Callable[[], float]
    sleep: Callable[[float], Awaitable[None]]
    random: Random
