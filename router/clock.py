"""The clock and random source of the router, injected so that tests can control them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from random import Random

import msgspec


class ClockAndRandom(msgspec.Struct, frozen=True):
    """`clock` returns monotonic seconds, as the request record has (`time.perf_counter`); `sleep` takes seconds."""

    clock: Callable[[], float]
    sleep: Callable[[float], Awaitable[None]]
    random: Random
