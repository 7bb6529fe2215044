"""A circuit breaker: what opens it, how it is probed, and the latency of its target.

    closed ── enough failures ──▶ open ── pause over ──▶ half-open
       ▲                            ▲                     │     │
       │                            └── the probe fails: the pause doubles, up to `cooldown`
       └──────────────── a probe succeeds ────────────────┘

The first pause is one second. Even after a long outage a recovered target is used again within `cooldown`.
"""

from __future__ import annotations

import math
from collections import deque
from typing import Literal, TypeAlias

from router.policy import BreakerPolicy

BreakerState: TypeAlias = Literal["closed", "open", "half_open"]

FIRST_PAUSE_S = 1.0
# A probe that hangs this long no longer blocks the next probe: the target may have recovered since.
PROBE_S = 10.0
LATENCY_DECAY_S = 30.0
LEAST_LATENCY_S = 0.001
MOST_LATENCY_S = 60.0


class CallCount:
    """The number of answered calls in a sliding window, estimated from two buckets of the window's length."""

    __slots__ = ("_before", "_ends", "_now")

    def __init__(self) -> None:
        self._before = 0
        self._now = 0
        self._ends = 0.0

    def add(self, now: float, window_s: float) -> None:
        """Counts one call."""
        if now >= self._ends:
            # A bucket begins where the previous one ended, so that the weight of the previous bucket is correct.
            follows = now < self._ends + window_s
            self._before = self._now if follows else 0
            self._now = 0
            self._ends = (self._ends if follows else now) + window_s
        self._now += 1

    def within(self, now: float, window_s: float) -> float:
        """The count: the current bucket, and the part of the previous one that the window still covers."""
        left_s = self._ends - now
        if left_s < 0:
            return self._now * max(0.0, 1.0 + left_s / window_s)
        return self._now + self._before * left_s / window_s


class Breaker:
    """Failures, pauses and latency of one target, or of one app with one target. Only permits change it."""

    __slots__ = (
        "answered", "broken", "epoch", "failures", "latency_at", "latency_s", "probe", "probe_ends", "streak",
        "times_opened", "until",
    )  # fmt: skip

    def __init__(self) -> None:
        self.latency_s = 0.0
        self.latency_at = 0.0
        # `until` 0: no pause. `broken` distinguishes an outage, which a probe ends, from a provider's retry-after,
        # which ends on its own.
        self.until = 0.0
        self.broken = False
        self.probe: object | None = None
        self.probe_ends = 0.0
        self.epoch = 0
        self.streak = 0
        self.times_opened = 0
        self.failures: deque[float] = deque()
        self.answered = CallCount()

    def state(self, now: float) -> BreakerState:
        """The breaker's state at `now`."""
        if now < self.until:
            return "open"
        return "half_open" if self.broken else "closed"

    def admits(self, now: float) -> bool:
        """Whether a call may be made: the breaker is closed, or half-open without a running probe."""
        return now >= self.until and not (self.broken and self.probe is not None and now < self.probe_ends)

    def enter_probe(self, call: object, now: float) -> None:
        """Makes `call` the probe, if one is due."""
        if self.broken and self.admits(now):
            self.probe = call
            self.probe_ends = now + PROBE_S

    def decayed_latency(self, now: float) -> float:
        """The latency in seconds. It decays without calls, so that a target that was slow is tried again."""
        return self.latency_s * math.exp((self.latency_at - now) / LATENCY_DECAY_S)

    def observe(self, latency_s: float, now: float) -> None:
        """Adds one latency to the average. Its weight grows with the time since the last one, so bursts count less."""
        sample = min(latency_s, MOST_LATENCY_S)
        if self.latency_s:
            old = math.exp((self.latency_at - now) / LATENCY_DECAY_S)
            sample = self.latency_s * old + sample * (1.0 - old)
        self.latency_s = max(sample, LEAST_LATENCY_S)
        self.latency_at = now

    def recent(self, now: float, window_s: float) -> int:
        """The number of failures in the window."""
        failures = self.failures
        while failures and failures[0] <= now - window_s:
            failures.popleft()
        return len(failures)

    def count_failure(self, now: float, policy: BreakerPolicy) -> None:
        """Counts one failure; opens a closed breaker if the window has enough failures, also by share of calls."""
        self.failures.append(now)
        if not self.broken and self.is_outage(self.recent(now, policy.window_s), now, policy):
            self.open(now, policy)

    def is_outage(self, failures: int, now: float, policy: BreakerPolicy) -> bool:
        """Whether the failures are enough, and a large enough share of the calls."""
        if failures < policy.failures:
            return False
        return failures >= policy.share * (failures + self.answered.within(now, policy.window_s))

    def open(self, now: float, policy: BreakerPolicy) -> None:
        """Opens the breaker; the pause doubles each time in a row. Never shortens a running pause."""
        self.streak += 1
        self.times_opened += 1
        self.until = max(self.until, now + min(FIRST_PAUSE_S * 2.0 ** min(self.streak - 1, 32), policy.cooldown_s))
        self.broken = True
        self.epoch += 1
        self.probe = None

    def close(self) -> None:
        """Closes the breaker and resets its failures."""
        self.until = 0.0
        self.broken = False
        self.epoch += 1
        self.probe = None
        self.failures.clear()
