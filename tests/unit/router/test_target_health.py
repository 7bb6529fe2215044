"""The breaker's rule, the slots and the latency."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from contract.errors import IncompleteReply, RateLimited, RequestRefused, ServerFault, TimedOut, UpstreamError
from contract.patience import Timeouts
from router.breaker import PROBE_S, CallCount
from router.health import COUNTED, MAX_HOLD_S, HealthBook, Permit, TargetHealth
from router.policy import BreakerPolicy

POLICY = BreakerPolicy(failures=3, window_s=30, cooldown_s=5)


def test_a_few_failures_among_many_answers_are_no_outage() -> None:
    health = TargetHealth("a/m")

    def call(now: float, *, fails: bool) -> None:
        permit = health.enter(now, POLICY)
        assert permit is not None
        if fails:
            permit.fail(ServerFault("down"), now)
        else:
            permit.commit(now)
            permit.finish()

    for number in range(1000):
        call(number * 0.01, fails=number % 100 == 0)
    assert health.state(10.0) == "closed"
    # A minute later the answers no longer count, though no call has been made in between.
    for number in range(3):
        call(80.0 + number, fails=True)
    assert health.state(82.0) == "open"


@example([0.0, 0.0, 0.0, 0.0, 2.0, 20.0, 20.0, 19.0])
@given(st.lists(st.floats(0, 20), max_size=60))
def test_calls_are_counted_to_within_a_bucket(gaps: list[float]) -> None:
    count = CallCount()
    now = 100.0
    times: list[float] = []
    for gap in gaps:
        now += gap
        count.add(now, 30.0)
        times.append(now)
    newest = sum(1 for time in times if time > now - 30.0)
    oldest = sum(1 for time in times if time >= now - 60.0)
    assert (min(newest, 1) if times else 0) <= count.within(now, 30.0) <= oldest
    assert count.within(now + 60.0, 30.0) < 1e-9


ERRORS: list[type[UpstreamError]] = [kind for kind in UpstreamError.__subclasses__() if kind is not TimedOut]


def entered(health: TargetHealth, now: float, last_resort: bool = False) -> Permit:
    permit = health.enter(now, POLICY, last_resort=last_resort)
    assert permit is not None
    return permit


def broken(now: float = 0.0) -> TargetHealth:
    health = TargetHealth("a/m")
    for _ in range(3):
        entered(health, now).fail(ServerFault("x"), now)
    assert health.state(now) == "open"
    return health


@given(st.lists(st.tuples(st.floats(0, 20), st.sampled_from(ERRORS)), max_size=30))
def test_opens_exactly_when_the_window_holds_enough_counted_failures(
    calls: list[tuple[float, type[UpstreamError]]],
) -> None:
    health = TargetHealth("a/m")
    now, counted = 1.0, list[float]()
    for pause_s, kind in calls:
        now += pause_s
        entered(health, now).fail(kind("x"), now)
        if kind.kind in COUNTED:
            counted.append(now)
        due = sum(1 for time in counted if time > now - POLICY.window_s) >= POLICY.failures
        assert (health.state(now) == "open") == due
        if due:
            return


class Breaker(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.health = TargetHealth("a/m")
        self.now = 1.0
        self.live: list[Permit] = []
        self.probes: list[Permit] = []
        self.probed = 0.0

    @rule(seconds=st.sampled_from([0.1, 0.9, 1.0, 4.0, PROBE_S, 31.0, 400.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def enter(self) -> None:
        state, admitted = self.health.state(self.now), self.health.admits(self.now)
        permit = self.health.enter(self.now, POLICY)
        assert (permit is not None) == admitted
        assert not (state == "open" and permit is not None)
        if permit is not None:
            self.live.append(permit)
            if state == "half_open":
                assert not [probe for probe in self.probes if probe in self.live and self.now < self.probed + PROBE_S]
                self.probes, self.probed = [permit], self.now

    @rule()
    def enter_as_last_resort(self) -> None:
        half_open = self.health.state(self.now) == "half_open" and self.health.admits(self.now)
        self.live.append(entered(self.health, self.now, last_resort=True))
        if half_open:
            self.probes, self.probed = [self.live[-1]], self.now

    @precondition(lambda self: self.live)
    @rule(data=st.data())
    def commit(self, data: st.DataObject) -> None:
        permit = data.draw(st.sampled_from(self.live))
        probing = self.health.probe is permit
        permit.commit(self.now)
        if probing:
            assert self.health.state(self.now) == "closed"
            self.probes = []

    @precondition(lambda self: self.live)
    @rule(data=st.data(), kind=st.sampled_from(ERRORS), after_s=st.sampled_from([None, 1.0, 60.0, 9999.0]))
    def fail(self, data: st.DataObject, kind: type[UpstreamError], after_s: float | None) -> None:
        permit = self._take(data)
        probing, until = self.health.probe is permit, self.health.until
        permit.fail(kind("x", retry_after_s=after_s), self.now)
        if probing and kind.kind in COUNTED:
            assert self.health.state(self.now) == "open"
        if kind.kind == "rate_limited" and after_s:
            assert not self.health.admits(self.now)
        if kind.kind in COUNTED:
            assert self.health.until >= until
        assert self.health.until <= self.now + MAX_HOLD_S

    @precondition(lambda self: self.live)
    @rule(data=st.data(), how=st.sampled_from(["finish", "lose", "release"]))
    def end(self, data: st.DataObject, how: str) -> None:
        permit = self._take(data)
        until = self.health.until
        if how == "lose":
            permit.lose(self.now)
        else:
            permit.finish() if how == "finish" else permit.release()
        permit.release()
        assert self.health.until == until

    def _take(self, data: st.DataObject) -> Permit:
        permit = data.draw(st.sampled_from(self.live))
        self.live.remove(permit)
        return permit

    @invariant()
    def every_call_in_flight_is_counted_once(self) -> None:
        assert self.health.in_flight == len(self.live)
        assert self.health.probe is None or self.health.probe in self.live

    @invariant()
    def latency_is_sane(self) -> None:
        assert 0 <= self.health.latency_s <= 60 * (1 + 1e-9)
        assert self.health.score(self.now) > 0


Breaker.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestBreaker = Breaker.TestCase


def test_the_pauses_grow_up_to_the_cooldown_and_are_forgotten_after_a_clean_end() -> None:
    health, now, pauses = broken(), 0.0, []
    for _ in range(5):
        pauses.append(health.until - now)
        now = health.until
        entered(health, now).fail(ServerFault("x"), now)
    assert pauses == [1, 2, 4, 5, 5]
    now = health.until
    probe = entered(health, now)
    assert health.enter(now, POLICY) is None
    probe.commit(now)
    probe.finish()
    for _ in range(3):
        entered(health, now).fail(ServerFault("x"), now)
    assert health.until == now + 1


def test_a_probe_that_breaks_off_after_its_commit_opens_again_for_longer() -> None:
    health = broken()
    probe = entered(health, 15)
    probe.commit(16)
    assert health.state(16) == "closed"
    probe.fail(IncompleteReply("x"), 20)
    assert health.until == 20 + 2


def test_calls_from_before_the_outage_change_nothing() -> None:
    health = TargetHealth("a/m")
    early = [entered(health, 0) for _ in range(9)]
    for permit in early[:3]:
        permit.fail(ServerFault("x"), 1)
    assert health.until == 2
    early[3].commit(1.5)
    assert health.state(1.5) == "open"
    entered(health, 16).commit(16)
    for permit in early[3:]:
        permit.fail(ServerFault("x"), 17)
    assert health.state(17) == "closed"


def test_retry_after_holds_back_without_counting_and_ends_by_itself() -> None:
    health = TargetHealth("a/m")
    entered(health, 0).fail(RateLimited("x", retry_after_s=20), 0)
    assert health.state(19) == "open"
    assert health.state(20) == "closed"
    assert not health.failures
    longer = broken()
    entered(longer, 1, last_resort=True).fail(RateLimited("x", retry_after_s=60), 1)
    assert longer.until == 61
    assert longer.state(61) == "half_open"


def test_another_key_says_nothing_about_the_target() -> None:
    health = TargetHealth("a/m")
    error = RateLimited("x", retry_after_s=20)
    error.another_key = True
    entered(health, 0).fail(error, 0)
    assert health.admits(0)


def test_a_declined_probe_shows_that_the_target_lives() -> None:
    health = broken()
    entered(health, 15).fail(RequestRefused("x"), 15)
    assert health.state(15) == "closed"


def test_last_resort_closes_by_answering_and_extends_nothing_by_failing() -> None:
    health = broken()
    entered(health, 0.2, last_resort=True).fail(ServerFault("x"), 0.2)
    assert health.until == 1
    entered(health, 0.5, last_resort=True).commit(0.5)
    assert health.state(0.5) == "closed"


def test_latency_fades_follows_and_is_penalised() -> None:
    health = TargetHealth("a/m")
    entered(health, 0).commit(2)
    assert health.latency_s == 2
    slow_then, slow_later = health.score(2), health.score(200)
    assert slow_later < 0.01 < slow_then
    for time in range(3, 120):
        entered(health, time).commit(time + 0.2)
    assert health.latency_s == pytest.approx(0.2, abs=0.05)
    entered(health, 130).fail(ServerFault("x"), 130)
    assert health.latency_s > 0.3


def test_the_book_is_kept_across_reloads() -> None:
    book = HealthBook(lambda: 5.0)
    kept, busy = book.target("a/m"), book.target("b/m")
    book.target("c/m")
    entered(busy, 5)
    book.retain({"a/m": Timeouts()})
    assert book.target("a/m") is kept
    assert book.target("b/m") is busy
    assert [(snapshot.target, snapshot.in_flight) for snapshot in book.snapshot()] == [("a/m", 0), ("b/m", 1)]
