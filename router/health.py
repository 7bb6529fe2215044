"""How each target has been doing: one record a target, for the breaker, the calls in flight and the latency.

What one app's requests can bring about is held against the target for that app alone: it has a small breaker of its
own there, made at its first failure. The breaker of all opens when several apps fail.

A call takes a `Permit` and reports through it. A report counts only if the breaker has not changed since the
permit was taken, so that calls from before an outage neither close nor open what came after it. Times are
seconds of one monotonic clock. Nothing here awaits, so each change is atomic on the event loop.
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
    """Who calls: the app, for the model that it asked for. No app: the calls of all count alike."""

    app: str = ""
    model: str = ""


# An app, or an app with one of its models (else "").
Whose: TypeAlias = tuple[str, str]
ALL = HealthScope()


class TargetSnapshot(msgspec.Struct, frozen=True):
    """What `/health` and the metrics show of a target. `open_for_s` is what is left of the pause.

    `apps_held_back` is how many apps' own breakers are open, whatever the state for the others.
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
    """The record of one target: the breaker of all, and those of single apps."""

    __slots__ = ("in_flight", "key", "longest", "records")

    def __init__(self, key: str) -> None:
        super().__init__()
        self.key = key
        self.in_flight = 0
        # The longest that any model of the config gives it; None where that is not known.
        self.longest: Timeouts | None = None
        self.records: dict[Whose, Breaker] = {}

    def enter(
        self, now: float, policy: BreakerPolicy, scope: HealthScope = ALL, *, last_resort: bool = False
    ) -> Permit | None:
        """A permit for one call under `policy`, or None when a breaker doesn't admit it.

        A last resort is always let in.

        The permit must be ended: `finish`, `fail`, `lose` or `release`.
        """
        own = self.own(scope) if self.records else ()
        if not last_resort and not (self.admits(now) and all(record.admits(now) for record in own)):
            return None
        permit = Permit(self, now, policy, scope, own, last_resort)
        self.in_flight += 1
        self.let_in(permit, now)
        for record in own:
            record.let_in(permit, now)
        return permit

    def own(self, scope: HealthScope) -> tuple[Breaker, ...]:
        """The app's own breakers, as far as there are any."""
        found = (self.records.get((scope.app, "")), self.records.get((scope.app, scope.model)))
        return tuple(record for record in dict.fromkeys(found) if record is not None)

    def record(self, whose: Whose) -> Breaker:
        """The breaker of `whose`, made when it is first asked for. The one that was not asked for the longest goes."""
        found = self.records.pop(whose, None) or Breaker()
        self.records[whose] = found
        if len(self.records) > MOST_RECORDS:
            del self.records[next(iter(self.records))]
        return found

    def held_until(self, scope: HealthScope) -> float:
        """When `scope` may call again."""
        return max([self.until, *(record.until for record in self.own(scope))])

    def score(self, now: float, app: str = "") -> float:
        """Seconds for `app` to expect: the latency times the calls in flight."""
        own = self.records.get((app, "")) if app else None
        latency_s = max(self.faded(now), own.faded(now) if own is not None else 0.0, LEAST_LATENCY_S)
        return latency_s * (self.in_flight + 1)

    def count_failure(self, now: float, policy: BreakerPolicy) -> None:
        """One more failure that no caller can have brought about."""
        self.failures.append(now)
        self.weigh(now, policy)

    def weigh(self, now: float, policy: BreakerPolicy) -> None:
        """Opens a closed breaker for all when enough failures are not one app's: none counts for more than half."""
        if self.broken:
            return
        counts = [record.recent(now, policy.window_s) for (_, model), record in self.records.items() if not model]
        most = max(counts, default=0)
        rest = sum(counts) - most + self.recent(now, policy.window_s)
        if rest and self.is_outage(rest + min(most, max(rest, (policy.failures + 1) // 2)), now, policy):
            self.open(now, policy)

    def close(self) -> None:
        """Back to normal for all; an app's own breaker stays as it is."""
        super().close()
        for record in self.records.values():
            record.failures.clear()

    def hold_back(self, until: float, whose: Whose | None = None) -> None:
        """A provider's own retry-after: no calls before `until`; extends a shorter pause, never shortens one.

        It holds one app back, and all of them once it was said to two: a limit may be of a request's own size.
        """
        if whose is not None:
            record = self.record(whose)
            record.until = max(record.until, until)
            until = min(
                until, max((each.until for other, each in self.records.items() if other[0] != whose[0]), default=0.0)
            )
        self.until = max(self.until, until)

    def apps_held_back(self, now: float) -> int:
        """How many apps' own breakers are not closed."""
        return len({app for (app, _), record in self.records.items() if record.state(now) != "closed"})

    def remembered(self) -> int:
        """How many failures are remembered, of all apps."""
        return len(self.failures) + sum(len(record.failures) for record in self.records.values())


class Permit:
    """One call's place in its target's record, from before the call to the reply's end. Ends once."""

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
        """How long the call may take, of `full` where the deadline has cut it."""
        self._bounds = timeouts, full, stream, thinks

    @property
    def timeouts(self) -> tuple[Timeouts, Timeouts] | None:
        """The call's, and the longest that such a call to the target is given; for one that has failed."""
        if self._bounds is None:
            return None
        timeouts, full, stream, thinks = self._bounds
        longest = self._health.longest
        return timeouts, full if longest is None else longest.of(stream=stream, thinks=thinks)

    def commit(self, now: float) -> None:
        """The answer has begun. A probe that gets so far closes the breaker, and so does a last resort."""
        self._health.observe(now - self._started, now)
        self._health.answered.add(now, self._policy.window_s)
        if self._health.records:
            for record in self._health.own(self._scope):
                record.observe(now - self._started, now)
                record.answered.add(now, self._policy.window_s)
        self._close(self._probed())

    def finish(self) -> None:
        """The answer has ended cleanly: earlier openings are forgotten."""
        if self._leave():
            for breaker, epoch in self._epochs.items():
                if breaker.epoch == epoch:
                    breaker.streak = 0

    def fail(self, error: UpstreamError, now: float, blame: Blame = "app") -> None:
        """The call failed, before or after its commit.

        Only kinds that speak of the target's health count, and for whom `blame` says. Another key of the provider
        says nothing about the target, and a request that it declines shows that it lives.
        """
        probed = [breaker for breaker in self._epochs if breaker.probe is self]
        closes = self._probed()
        if not self._leave() or error.another_key or blame == "nobody":
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
        """Another attempt answered first: no failure, but it would have taken at least so long."""
        whose = self._whose("app")
        if self._leave() and now - self._started > self._latency_s(whose):
            self._slow(now - self._started, whose, now)

    def release(self) -> None:
        """The call was given up for reasons of the caller's. Says nothing about the target. Idempotent."""
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
                # The next probe is another app's, if there is one: a single app can't keep the target from all.
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
        self._health.weigh(now, self._policy)

    def _latency_s(self, whose: Whose | None) -> float:
        if whose is None:
            return self._health.latency_s
        record = self._health.records.get(whose)
        return record.latency_s if record is not None else 0.0

    def _slow(self, latency_s: float, whose: Whose | None, now: float) -> None:
        (self._health if whose is None else self._health.record(whose)).observe(latency_s, now)

    def _probed(self) -> list[Breaker]:
        """The breakers that this call may close."""
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
        """`clock` must be the dispatchers' own."""
        self._clock = clock
        self._targets: dict[str, TargetHealth] = {}
        self._alone = False
        self._longest: Mapping[str, Timeouts] = {}

    def target(self, key: str) -> TargetHealth:
        """The record of the target `provider/model`, made when it is first asked for."""
        health = self._targets.get(key)
        if health is None:
            health = self._targets[key] = TargetHealth(key)
            health.longest = self._longest.get(key)
        return health

    def retain(self, longest: Mapping[str, Timeouts], *, alone: bool = False) -> None:
        """Forgets the targets that a new config no longer names, but for those with calls in flight.

        `longest` is the longest that any model gives each target. `alone` says that there is but one caller.
        """
        self._targets = {key: health for key, health in self._targets.items() if key in longest or health.in_flight}
        for key, health in self._targets.items():
            health.longest = longest.get(key)
        self._longest = longest
        self._alone = alone

    def scope(self, app: str, model: str) -> HealthScope:
        """Whose breakers a call is under: only those of all, where there is but one caller."""
        return ALL if self._alone else HealthScope(app, model)

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
                recent_failures=health.remembered(),
                times_opened=health.times_opened,
                apps_held_back=health.apps_held_back(now),
            )
            for health in self._targets.values()
        )
