"""How each target has been doing: one record a target, for the breaker, the calls in flight and the latency.

    closed ── `failures` in `window_s` that are
       ▲      `share` of its calls ──▶ open ── cooldown over ──▶ half-open
       │                                ▲                         │     │
       │                                └── the probe fails: twice the cooldown, up to 5 min
       └───────────────── a probe answers ──────────────────────────────┘

A call takes a `Permit` and reports through it. A report counts only if the breaker has not changed since the
permit was taken, so that calls from before an outage neither close nor open what came after it. Times are
seconds of one monotonic clock. Nothing here awaits, so each change is atomic on the event loop.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Collection
from typing import Literal, TypeAlias

import msgspec

from gateway.contract.errors import ErrorKind, UpstreamError
from router.policy import BreakerPolicy

BreakerState: TypeAlias = Literal["closed", "open", "half_open"]

COUNTED: frozenset[ErrorKind] = frozenset(
    {"connect", "timeout", "server_error", "overloaded", "cut", "malformed", "empty", "auth"}
)
MAX_COOLDOWN_S = 300.0
LATENCY_DECAY_S = 30.0
LEAST_LATENCY_S = 0.001
FAILURE_PENALTY_S = 1.0
MOST_LATENCY_S = 60.0


class TargetSnapshot(msgspec.Struct, frozen=True):
    """What `/health` and the metrics show of a target. `open_for_s` is what is left of the cooldown."""

    target: str
    state: BreakerState
    in_flight: int
    latency_s: float
    open_for_s: float
    recent_failures: int
    times_opened: int


class CallCount:
    """Calls that were answered within a sliding window, to within what one bucket of its length can tell."""

    __slots__ = ("_before", "_ends", "_now")

    def __init__(self) -> None:
        self._before = 0
        self._now = 0
        self._ends = 0.0

    def add(self, now: float, window_s: float) -> None:
        """One more."""
        if now >= self._ends:
            self._before = self._now if now < self._ends + window_s else 0
            self._now = 0
            self._ends = now + window_s
        self._now += 1

    def within(self, now: float, window_s: float) -> float:
        """How many there were: this bucket's, and of the one before it the part that the window still covers."""
        left_s = self._ends - now
        if left_s < 0:
            return self._now * max(0.0, 1.0 + left_s / window_s)
        return self._now + self._before * left_s / window_s


class TargetHealth:
    """The record of one target. Only permits write to it."""

    __slots__ = (
        "answered", "broken", "epoch", "failures", "in_flight", "key", "latency_at", "latency_s", "probe", "streak",
        "times_opened", "until",
    )  # fmt: skip

    def __init__(self, key: str) -> None:
        self.key = key
        self.in_flight = 0
        self.latency_s = 0.0
        self.latency_at = 0.0
        # `until` 0: nothing holds the target back. `broken` tells an outage, which ends by a probe, from a
        # provider's retry-after, which ends by itself.
        self.until = 0.0
        self.broken = False
        self.probe: Permit | None = None
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
        """Whether a call may be made: closed, or half-open with nobody probing."""
        return now >= self.until and not (self.broken and self.probe is not None)

    def enter(self, now: float, policy: BreakerPolicy, *, last_resort: bool = False) -> Permit | None:
        """A permit for one call under `policy`, or None when the breaker doesn't admit it.

        A last resort is always let in.

        The permit must be ended: `finish`, `fail`, `lose` or `release`.
        """
        if not last_resort and not self.admits(now):
            return None
        permit = Permit(self, now, policy, last_resort)
        self.in_flight += 1
        if self.broken and now >= self.until and self.probe is None:
            self.probe = permit
        return permit

    def score(self, now: float) -> float:
        """Seconds to expect: the latency times the calls in flight.

        It fades while a target is not called, so that a slow past does not keep it from being tried again.
        """
        faded = self.latency_s * math.exp((self.latency_at - now) / LATENCY_DECAY_S)
        return max(faded, LEAST_LATENCY_S) * (self.in_flight + 1)

    def observe(self, latency_s: float, now: float) -> None:
        """Folds one latency in. The weight follows the time since the last one, so bursts don't drown the rest."""
        sample = min(latency_s, MOST_LATENCY_S)
        if self.latency_s:
            old = math.exp((self.latency_at - now) / LATENCY_DECAY_S)
            sample = self.latency_s * old + sample * (1.0 - old)
        self.latency_s = max(sample, LEAST_LATENCY_S)
        self.latency_at = now

    def count_failure(self, now: float, policy: BreakerPolicy) -> None:
        """One more failure of a closed breaker; opens it when the window holds enough of them, among all its calls."""
        failures = self.failures
        while failures and failures[0] <= now - policy.window_s:
            failures.popleft()
        failures.append(now)
        count = len(failures)
        if count >= policy.failures and count >= policy.share * (count + self.answered.within(now, policy.window_s)):
            self.open(now, policy)

    def open(self, now: float, policy: BreakerPolicy) -> None:
        """Opens, for twice as long each time in a row. Never shortens a cooldown that runs already."""
        self.streak += 1
        self.times_opened += 1
        cooldown_s = min(policy.cooldown_s * 2.0 ** min(self.streak - 1, 32), MAX_COOLDOWN_S)
        self.until = max(self.until, now + cooldown_s)
        self.broken = True
        self._turn()

    def close(self) -> None:
        """Back to normal."""
        self.until = 0.0
        self.broken = False
        self._turn()

    def hold_back(self, until: float) -> None:
        """A provider's own retry-after: no calls before `until`; extends a shorter cooldown, never shortens one."""
        self.until = max(self.until, until)

    def _turn(self) -> None:
        self.epoch += 1
        self.probe = None
        self.failures.clear()


class Permit:
    """One call's place in its target's record, from before the call to the reply's end. Ends once."""

    __slots__ = ("_closer", "_ended", "_epoch", "_health", "_policy", "_started", "last_resort")

    def __init__(self, health: TargetHealth, now: float, policy: BreakerPolicy, last_resort: bool) -> None:
        self._health = health
        self._policy = policy
        self._started = now
        self._epoch = health.epoch
        self.last_resort = last_resort
        self._closer = False
        self._ended = False

    def commit(self, now: float) -> None:
        """The answer has begun. A probe that gets so far closes the breaker, and so does a last resort."""
        health = self._health
        health.observe(now - self._started, now)
        health.answered.add(now, self._policy.window_s)
        if self._epoch == health.epoch and (health.probe is self or self.last_resort):
            self._close()

    def finish(self) -> None:
        """The answer has ended cleanly: earlier openings are forgotten."""
        if self._leave() and self._epoch == self._health.epoch:
            self._health.streak = 0

    def fail(self, error: UpstreamError, now: float) -> None:
        """The call failed, before or after its commit.

        Only kinds that speak of the target's health count. Another key of the provider says nothing about the
        target, and a request that it declines shows that it lives.
        """
        health, kind = self._health, error.kind
        current, probing = self._epoch == health.epoch, health.probe is self
        if not self._leave() or error.another_key:
            return
        if kind == "rate_limited":
            if error.retry_after_s:
                health.hold_back(now + min(error.retry_after_s, MAX_COOLDOWN_S))
        elif kind not in COUNTED:
            if current and (probing or self.last_resort):
                self._close()
            return
        elif current and (probing or self._closer):
            health.open(now, self._policy)
        elif current and not health.broken:
            health.count_failure(now, self._policy)
        self._penalise(now)

    def lose(self, now: float) -> None:
        """Another attempt answered first: no failure, but it would have taken at least so long."""
        if self._leave() and now - self._started > self._health.latency_s:
            self._health.observe(now - self._started, now)

    def release(self) -> None:
        """The call was given up for reasons of the caller's. Says nothing about the target. Idempotent."""
        self._leave()

    def _penalise(self, now: float) -> None:
        health = self._health
        health.observe(max(now - self._started, 2.0 * health.latency_s, FAILURE_PENALTY_S), now)

    def _close(self) -> None:
        self._health.close()
        self._epoch = self._health.epoch
        self._closer = True

    def _leave(self) -> bool:
        if self._ended:
            return False
        self._ended = True
        health = self._health
        health.in_flight -= 1
        if health.probe is self:
            health.probe = None
        return True


class HealthBook:
    """The records of all targets. One book serves every dispatcher of the process, across config reloads."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        """`clock` must be the dispatchers' own."""
        self._clock = clock
        self._targets: dict[str, TargetHealth] = {}

    def target(self, key: str) -> TargetHealth:
        """The record of the target `provider/model`, made when it is first asked for."""
        health = self._targets.get(key)
        if health is None:
            health = self._targets[key] = TargetHealth(key)
        return health

    def retain(self, keys: Collection[str]) -> None:
        """Forgets the targets that a new config no longer names, but for those with calls in flight."""
        kept = set(keys)
        self._targets = {key: health for key, health in self._targets.items() if key in kept or health.in_flight}

    def snapshot(self) -> tuple[TargetSnapshot, ...]:
        """All targets as they are now."""
        now = self._clock()
        return tuple(
            TargetSnapshot(
                target=health.key,
                state=health.state(now),
                in_flight=health.in_flight,
                latency_s=health.latency_s,
                open_for_s=max(0.0, health.until - now),
                recent_failures=len(health.failures),
                times_opened=health.times_opened,
            )
            for health in self._targets.values()
        )
