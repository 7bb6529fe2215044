"""The health of each target: one record per target, with its breaker, calls in flight and latency.

A failure that an app's requests may have caused counts only for that app: the app has its own breaker at the target,
created at its first failure. The breaker for all apps opens when several apps fail.

A call takes a `Permit` and reports through it. A report counts only if the breaker has not changed since the permit was
taken, so calls from before an outage do not affect the breaker after it. Times are seconds of one monotonic clock.
Nothing here awaits, so each change is atomic on the event loop.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import NamedTuple, TypeAlias

import msgspec

from contract.errors import ErrorKind, UpstreamError
from contract.patience import Timeouts
from router.blame import Blame
from router.breaker import LEAST_LATENCY_S, Breaker, BreakerState
from router.policy import BreakerPolicy

COUNTED: frozenset[ErrorKind] = frozenset(
    {"connect", "timeout", "server_error", "overloaded", "interrupted", "malformed", "empty", "auth"}
)
MAX_HOLD_S = 300.0
FAILURE_PENALTY_S = 1.0
MOST_RECORDS = 256


class HealthScope(NamedTuple):
    """The scope of a call: the app, and the model that it requested. Without an app, all calls count together."""

    app: str = ""
    model: str = ""


# An app, or an app with one of its models (else "").
Whose: TypeAlias = tuple[str, str]
ALL = HealthScope()


class TargetSnapshot(msgspec.Struct, frozen=True):
    """The state of a target in `/health` and the metrics. `open_for_s` is the rest of the pause.

    `apps_held_back` is the number of apps whose own breaker is open, whatever the state for other apps.
    """

    target: str
    state: BreakerState
    in_flight: int
    latency_s: float
    open_for_s: float
    recent_failures: int
    times_opened: int
    apps_held_back: int = 0


class TargetHealth(Breaker):
    """The record of one target: the breaker for all apps, and those of single apps."""

    __slots__ = ("in_flight", "key", "longest", "records")

    def __init__(self, key: str) -> None:
        super().__init__()
        self.key = key
        self.in_flight = 0
        # The longest timeouts that any model of the config sets for it; None if unknown.
        self.longest: Timeouts | None = None
        self.records: dict[Whose, Breaker] = {}

    def enter(
        self, now: float, policy: BreakerPolicy, scope: HealthScope = ALL, *, last_resort: bool = False
    ) -> Permit | None:
        """Returns a permit for one call under `policy`, or None if a breaker does not admit it.

        A last resort is always admitted.

        The permit must be ended by `finish`, `fail`, `lose` or `release`.
        """
        own = self.own(scope) if self.records else ()
        if not last_resort and not (self.admits(now) and all(record.admits(now) for record in own)):
            return None
        permit = Permit(self, now, policy, scope, own, last_resort)
        self.in_flight += 1
        self.enter_probe(permit, now)
        for record in own:
            record.enter_probe(permit, now)
        return permit

    def own(self, scope: HealthScope) -> tuple[Breaker, ...]:
        """The app's own breakers, if any."""
        found = (self.records.get((scope.app, "")), self.records.get((scope.app, scope.model)))
        return tuple(record for record in dict.fromkeys(found) if record is not None)

    def record(self, whose: Whose) -> Breaker:
        """The breaker of `whose`, created on first use. Beyond `MOST_RECORDS` removes the least recently used one."""
        found = self.records.pop(whose, None) or Breaker()
        self.records[whose] = found
        if len(self.records) > MOST_RECORDS:
            del self.records[next(iter(self.records))]
        return found

    def held_until(self, scope: HealthScope) -> float:
        """When `scope` may call again."""
        return max([self.until, *(record.until for record in self.own(scope))])

    def score(self, now: float, app: str = "") -> float:
        """The expected wait of `app` in seconds: the latency times the calls in flight."""
        own = self.records.get((app, "")) if app else None
        latency_s = max(
            self.decayed_latency(now), own.decayed_latency(now) if own is not None else 0.0, LEAST_LATENCY_S
        )
        return latency_s * (self.in_flight + 1)

    def count_failure(self, now: float, policy: BreakerPolicy) -> None:
        """Counts one failure that no caller can have caused."""
        self.failures.append(now)
        self.open_if_outage(now, policy)

    def open_if_outage(self, now: float, policy: BreakerPolicy) -> None:
        """Opens the breaker for all apps if there are enough failures; a single app counts for at most half of them."""
        if self.broken:
            return
        counts = [record.recent(now, policy.window_s) for (_, model), record in self.records.items() if not model]
        most = max(counts, default=0)
        rest = sum(counts) - most + self.recent(now, policy.window_s)
        if rest and self.is_outage(rest + min(most, max(rest, (policy.failures + 1) // 2)), now, policy):
            self.open(now, policy)

    def close(self) -> None:
        """Closes the breaker for all apps; an app's own breaker stays as it is."""
        super().close()
        for record in self.records.values():
            record.failures.clear()

    def hold_back(self, until: float, whose: Whose | None = None) -> None:
        """Applies a provider's retry-after: no calls before `until`. It extends a pause, and never shortens one.

        It holds back one app, and all apps once two have received one: the limit may depend on the request's size.
        """
        if whose is not None:
            record = self.record(whose)
            record.until = max(record.until, until)
            until = min(
                until, max((each.until for other, each in self.records.items() if other[0] != whose[0]), default=0.0)
            )
        self.until = max(self.until, until)

    def apps_held_back(self, now: float) -> int:
        """The number of apps whose own breaker is not closed."""
        return len({app for (app, _), record in self.records.items() if record.state(now) != "closed"})

    def failure_count(self) -> int:
        """The number of stored failures of all apps."""
        return len(self.failures) + sum(len(record.failures) for record in self.records.values())


class Permit:
    """The permit of one call, from before the call to the end of the reply. Ends once."""

    __slots__ = (
        "_bounds",
        "_closed",
        "_ended",
        "_epochs",
        "_health",
        "_policy",
        "_scope",
        "_started",
        "last_resort",
    )  # fmt: skip

    def __init__(
        self,
        health: TargetHealth,
        now: float,
        policy: BreakerPolicy,
        scope: HealthScope,
        own: tuple[Breaker, ...],
        last_resort: bool,
    ) -> None:
        self._health = health
        self._policy = policy
        self._scope = scope
        self._started = now
        self._epochs: dict[Breaker, int] = {health: health.epoch}
        for record in own:
            self._epochs[record] = record.epoch
        self._closed: list[Breaker] = []
        self._ended = False
        self.last_resort = last_resort
        self._bounds: tuple[Timeouts, Timeouts, bool, bool] | None = None

    def bound(self, timeouts: Timeouts, full: Timeouts, *, stream: bool = True, thinks: bool = False) -> None:
        """Sets the timeouts of the call; `full` are those before the deadline shortened them."""
        self._bounds = timeouts, full, stream, thinks

    @property
    def timeouts(self) -> tuple[Timeouts, Timeouts] | None:
        """The call's timeouts, and the longest that any model sets for such a call to the target; None if not set."""
        if self._bounds is None:
            return None
        timeouts, full, stream, thinks = self._bounds
        longest = self._health.longest
        return timeouts, full if longest is None else longest.of(stream=stream, thinks=thinks)

    def commit(self, now: float) -> None:
        """Reports that the response began. A successful probe closes the breaker, and so does a last resort."""
        self._health.observe(now - self._started, now)
        self._health.answered.add(now, self._policy.window_s)
        if self._health.records:
            for record in self._health.own(self._scope):
                record.observe(now - self._started, now)
                record.answered.add(now, self._policy.window_s)
        self._close(self._probed())

    def finish(self) -> None:
        """Reports that the response ended cleanly: the next outage starts with the shortest pause again."""
        if self._leave():
            for breaker, epoch in self._epochs.items():
                if breaker.epoch == epoch:
                    breaker.streak = 0

    def fail(self, error: UpstreamError, now: float, blame: Blame = "app") -> None:
        """Reports that the call failed, before or after its commit.

        Only errors of the target's health count, against the scope of `blame`. An error that another key may solve does
        not count, and a rejected request shows that the target works.
        """
        probed = [breaker for breaker in self._epochs if breaker.probe is self]
        closes = self._probed()
        if not self._leave() or error.another_key or blame == "none":
            return
        whose = self._whose(blame)
        if error.kind == "rate_limited":
            if error.retry_after_s:
                self._health.hold_back(now + min(error.retry_after_s, MAX_HOLD_S), whose)
        elif error.kind not in COUNTED:
            self._close(closes)
            return
        else:
            self._count(probed, whose, now)
        self._slow(max(now - self._started, 2.0 * self._latency_s(whose), FAILURE_PENALTY_S), whose, now)

    def lose(self, now: float) -> None:
        """Reports that another attempt answered first: not a failure, but the time so far is a minimum latency."""
        whose = self._whose("app")
        if self._leave() and now - self._started > self._latency_s(whose):
            self._slow(now - self._started, whose, now)

    def release(self) -> None:
        """Reports that the call was cancelled for a reason unrelated to the target. Idempotent."""
        self._leave()

    def _whose(self, blame: Blame) -> Whose | None:
        if blame == "target" or (blame == "app" and not self._scope.app):
            return None
        return self._scope.app, self._scope.model if blame == "model" else ""

    def _count(self, probed: list[Breaker], whose: Whose | None, now: float) -> None:
        health, policy = self._health, self._policy
        probes = [breaker for breaker in dict.fromkeys(self._closed + probed) if breaker.epoch == self._epochs[breaker]]
        current = health.epoch == self._epochs[health]
        for breaker in probes:
            breaker.open(now, policy)
        if health in probes:
            if whose is not None:
                # Another app makes the next probe, if there is one: a single app can't block the target for all.
                record = self._health.record(whose)
                if record not in probes:
                    record.open(now, policy)
                record.until = max(record.until, 2.0 * health.until - now)
        elif current and not health.broken:
            if whose is None:
                health.count_failure(now, policy)
            else:
                self._count_own(whose, probes, now)

    def _count_own(self, whose: Whose, probes: list[Breaker], now: float) -> None:
        record = self._health.record(whose)
        if record not in probes and (record.broken or record.epoch != self._epochs.get(record, 0)):
            return
        record.count_failure(now, self._policy)
        self._health.open_if_outage(now, self._policy)

    def _latency_s(self, whose: Whose | None) -> float:
        if whose is None:
            return self._health.latency_s
        record = self._health.records.get(whose)
        return record.latency_s if record is not None else 0.0

    def _slow(self, latency_s: float, whose: Whose | None, now: float) -> None:
        (self._health if whose is None else self._health.record(whose)).observe(latency_s, now)

    def _probed(self) -> list[Breaker]:
        """The breakers that success of this call closes."""
        if not self._ended and (self.last_resort or self._health.broken or len(self._epochs) > 1):
            return [
                breaker
                for breaker, epoch in self._epochs.items()
                if breaker.epoch == epoch and (self.last_resort or breaker.broken)
            ]
        return []

    def _close(self, breakers: list[Breaker]) -> None:
        for breaker in breakers:
            breaker.close()
            self._epochs[breaker] = breaker.epoch
            self._closed.append(breaker)

    def _leave(self) -> bool:
        if self._ended:
            return False
        self._ended = True
        self._health.in_flight -= 1
        for breaker in self._epochs:
            if breaker.probe is self:
                breaker.probe = None
        return True


class HealthBook:
    """The records of all targets. One book serves every dispatcher of the process, across config reloads."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        """`clock` must be the clock of the dispatchers."""
        self._clock = clock
        self._targets: dict[str, TargetHealth] = {}
        self._alone = False
        self._longest: Mapping[str, Timeouts] = {}

    def target(self, key: str) -> TargetHealth:
        """The record of the target `provider/model`, created on first use."""
        health = self._targets.get(key)
        if health is None:
            health = self._targets[key] = TargetHealth(key)
            health.longest = self._longest.get(key)
        return health

    def retain(self, longest: Mapping[str, Timeouts], *, alone: bool = False) -> None:
        """Removes targets that a new config no longer has, except those with calls in flight.

        `longest` has the longest timeouts that any model sets for each target. `alone` means there is one caller.
        """
        self._targets = {key: health for key, health in self._targets.items() if key in longest or health.in_flight}
        for key, health in self._targets.items():
            health.longest = longest.get(key)
        self._longest = longest
        self._alone = alone

    def scope(self, app: str, model: str) -> HealthScope:
        """The scope of a call; with a single caller only the breakers for all apps are used."""
        return ALL if self._alone else HealthScope(app, model)

    def snapshot(self) -> tuple[TargetSnapshot, ...]:
        """The current state of all targets."""
        now = self._clock()
        return tuple(
            TargetSnapshot(
                target=health.key,
                state=health.state(now),
                in_flight=health.in_flight,
                latency_s=health.latency_s,
                open_for_s=max(0.0, health.until - now),
                recent_failures=health.failure_count(),
                times_opened=health.times_opened,
                apps_held_back=health.apps_held_back(now),
            )
            for health in self._targets.values()
        )
