"""Whose failures hold a target back for whom, and how it is tried again."""

from __future__ import annotations

import asyncio
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contract.attempt import Attempt
from contract.caller import Caller
from contract.errors import (
    ConnectFailed,
    CredentialRefused,
    EmptyAnswer,
    IncompleteReply,
    MalformedReply,
    Overloaded,
    OwnLimitReached,
    RateLimited,
    ServerFault,
    TimedOut,
    UpstreamError,
)
from contract.exchange import Exchange
from contract.messages import ChatRequest, ResponseFormat
from contract.patience import Timeouts
from contract.unsettled import Transcript
from router.blame import blame, longest
from router.breaker import PROBE_S
from router.health import MOST_RECORDS, HealthBook, HealthScope, Permit, TargetHealth
from router.policy import BreakerPolicy, RetryPolicy, TargetPolicy
from router.strategy import order_targets
from tests.unit.router.scripted import REQUEST, Stage, ends, fails, play, says

POLICY = BreakerPolicy(failures=4, window_s=30, cooldown_s=5)
ONE, OTHER, THIRD = HealthScope("one", "quick"), HealthScope("other", "quick"), HealthScope("third", "quick")

alone = pytest.mark.guarantee(
    "breakers",
    "Failures that one app's requests cause hold a target back for that app only, until a second app sees them",
)
returns = pytest.mark.guarantee(
    "breakers", "A breaker lets traffic back to a target within seconds of its recovery, however long it was down"
)
bounded = pytest.mark.guarantee(
    "breakers", "A breaker probes a target that is down at growing intervals, one request at a time"
)


def entered(health: TargetHealth, now: float, scope: HealthScope, last_resort: bool = False) -> Permit:
    permit = health.enter(now, POLICY, scope, last_resort=last_resort)
    assert permit is not None
    return permit


def fail(
    health: TargetHealth, now: float, scope: HealthScope, times: int = 1, error: UpstreamError | None = None
) -> None:
    for _ in range(times):
        entered(health, now, scope, last_resort=True).fail(error or ServerFault("x"), now)


def admits(health: TargetHealth, now: float, scope: HealthScope) -> bool:
    permit = health.enter(now, POLICY, scope)
    if permit is not None:
        permit.release()
    return permit is not None


@alone
@given(st.lists(st.sampled_from([ServerFault, IncompleteReply, MalformedReply, EmptyAnswer, Overloaded, RateLimited])))
def test_one_app_alone_never_holds_a_target_back_for_others(kinds: list[type[UpstreamError]]) -> None:
    health = TargetHealth("a/m")
    for number, kind in enumerate(kinds):
        entered(health, number, ONE, last_resort=True).fail(kind("x", retry_after_s=60), number)
        assert health.state(number) == "closed"
        assert admits(health, number, OTHER)


@alone
def test_an_app_finds_its_own_breaker_as_if_it_were_the_only_one() -> None:
    health = TargetHealth("a/m")
    fail(health, 0, ONE, 3)
    assert admits(health, 0, ONE)
    fail(health, 0, ONE)
    assert not admits(health, 0.9, ONE)
    assert admits(health, 0.9, OTHER)
    probe = entered(health, 1, ONE)
    assert not admits(health, 1, ONE)
    probe.commit(1.1)
    probe.finish()
    assert admits(health, 1.2, ONE)


@alone
@pytest.mark.parametrize(("one", "other", "opens"), [(2, 2, True), (99, 1, False), (1, 2, False), (99, 2, True)])
def test_failures_of_two_apps_open_it_for_all(one: int, other: int, opens: bool) -> None:
    health = TargetHealth("a/m")
    fail(health, 0, ONE, one)
    fail(health, 0, OTHER, other)
    assert admits(health, 0, THIRD) != opens


@alone
def test_even_a_breaker_of_one_failure_takes_two_apps() -> None:
    health, policy = TargetHealth("a/m"), BreakerPolicy(failures=1)
    for scope, state in ((ONE, "closed"), (OTHER, "open")):
        permit = health.enter(0, policy, scope)
        assert permit is not None
        permit.fail(ServerFault("x"), 0)
        assert health.state(0) == state


@alone
def test_one_app_cannot_keep_a_target_from_the_others_by_failing_its_probes() -> None:
    health = TargetHealth("a/m")
    fail(health, 0, ONE, 2)
    fail(health, 0, OTHER, 2)
    entered(health, 1, ONE).fail(ServerFault("x"), 1)
    # The next probe is another's, though the same app asks first.
    assert not admits(health, 3, ONE)
    entered(health, 3, THIRD).commit(3)
    assert admits(health, 3, OTHER)


@alone
def test_a_limit_that_one_app_hears_of_holds_it_back_and_one_that_two_hear_of_all() -> None:
    health = TargetHealth("a/m")
    fail(health, 0, ONE, error=RateLimited("x", retry_after_s=60))
    assert (admits(health, 1, ONE), admits(health, 1, OTHER)) == (False, True)
    fail(health, 1, OTHER, error=RateLimited("x", retry_after_s=20))
    assert (admits(health, 2, THIRD), admits(health, 21.5, THIRD), admits(health, 21.5, ONE)) == (False, True, False)


@alone
def test_what_no_caller_can_bring_about_counts_for_all() -> None:
    health = TargetHealth("a/m")
    for _ in range(4):
        entered(health, 0, ONE).fail(ConnectFailed("x"), 0, "target")
    assert not admits(health, 0, OTHER)


@alone
def test_a_short_time_limit_counts_for_its_own_model_only() -> None:
    health = TargetHealth("a/m")
    for _ in range(4):
        entered(health, 0, ONE).fail(TimedOut("x", phase="total"), 0, "model")
    assert not admits(health, 0, ONE)
    assert admits(health, 0, HealthScope("one", "patient"))
    assert admits(health, 0, OTHER)


@alone
def test_one_app_s_failures_and_lost_hedges_make_a_target_slow_for_that_app_alone() -> None:
    book = HealthBook(lambda: 0.0)
    health = book.target("a/m")
    entered(health, 0, OTHER).commit(0.1)
    before = health.score(0.1, "other")
    fail(health, 0.1, ONE, 3)
    entered(health, 0.1, ONE, last_resort=True).lose(40)
    assert health.score(0.1, "other") == before
    assert health.score(40, "one") > 10

    targets = (TargetPolicy("a", "m"), TargetPolicy("b", "m"))
    assert order_targets(targets, "fastest", book, 40, Random(1), "one")[0].key == "b/m"


@alone
def test_apps_are_remembered_up_to_a_bound() -> None:
    health = TargetHealth("a/m")
    for number in range(3 * MOST_RECORDS):
        # Far apart, so that no outage is seen in them.
        fail(health, number * 60.0, HealthScope(f"app-{number}", "quick"))
    assert len(health.records) == MOST_RECORDS


def asked(**fields: object) -> Transcript:
    transcript = Transcript(Attempt("a/m", "a", "m", sent=True))
    request = ChatRequest(dialect="openai", model="quick", messages=REQUEST.messages, **fields)  # type: ignore[arg-type]
    transcript.request = request
    return transcript


@alone
@pytest.mark.parametrize(
    ("fields", "whose"),
    [
        ({}, "app"),
        ({"max_tokens": 1000}, "app"),
        ({"stop": ("\n",)}, "none"),
        ({"max_tokens": 1}, "none"),
        ({"extra": {"logit_bias": {"1": 100}}}, "none"),
        ({"response_format": ResponseFormat("json")}, "none"),
    ],
)
def test_whom_an_empty_answer_counts_against(fields: dict[str, object], whose: str) -> None:
    assert blame(EmptyAnswer("x"), asked(**fields), None, stream=True) == whose


@alone
@pytest.mark.parametrize(
    ("error", "sent", "whose"),
    [
        (ConnectFailed("refused"), False, "target"),
        (ConnectFailed("closed before an answer"), True, "app"),
        (CredentialRefused("x", upstream_status=401), True, "target"),
        (CredentialRefused("a firewall's", upstream_status=403), True, "app"),
        (ServerFault("x", upstream_status=500), True, "app"),
        (Overloaded("x", upstream_status=503), True, "app"),
        (Overloaded("our own bound of connections"), False, "none"),
        (OwnLimitReached("x"), False, "none"),
        (TimedOut("x", phase="connect"), False, "target"),
        (TimedOut("x", phase="first_token"), True, "app"),
    ],
)
def test_whom_a_failure_counts_against(error: UpstreamError, sent: bool, whose: str) -> None:
    transcript = Transcript(Attempt("a/m", "a", "m", sent=sent))
    assert blame(error, transcript, (Timeouts(), Timeouts()), stream=True) == whose


@alone
@pytest.mark.parametrize(
    ("given", "phase", "stream", "whose"),
    [
        (Timeouts(total_s=60), "total", False, "model"),
        (Timeouts(total_s=60), "first_token", True, "app"),
        (Timeouts(total_s=20), "first_token", True, "model"),
        (Timeouts(total_s=60), "first_token", False, "model"),
        (Timeouts(first_token_s=1), "first_token", True, "model"),
        (Timeouts(first_token_s=1), "total", True, "app"),
        (Timeouts(idle_s=1), "idle", True, "model"),
        (Timeouts(connect_s=0.01), "connect", True, "model"),
        (Timeouts(total_s=0.01), "connect", True, "model"),
    ],
)
def test_a_time_limit_shorter_than_another_s(given: Timeouts, phase: str, stream: bool, whose: str) -> None:
    error = TimedOut("x", phase=phase)  # type: ignore[arg-type]
    assert blame(error, asked(), (given, longest(given, Timeouts())), stream=stream) == whose


@alone
def test_a_deadline_of_its_own_counts_for_its_model_only() -> None:
    async def scene() -> None:
        stage = Stage({"a": [fails(TimedOut("x", phase="first_token"), after_s=2)] * 4})
        policy = stage.policy(breaker=POLICY, deadline_s=2, retry=RetryPolicy(attempts=1))
        for _ in range(4):
            stage.exchange = Exchange("openai")
            stage.exchange.caller = Caller("one")
            assert await stage.ask(policy) == "<TimedOut>"
        health = stage.book.target("a/m")
        assert not admits(health, stage.clock(), ONE)
        assert admits(health, stage.clock(), HealthScope("one", "patient"))

    play(scene())


@alone
def test_an_end_for_an_unknown_reason_without_a_word_is_an_empty_answer() -> None:
    async def scene() -> None:
        stage = Stage({"a": [ends("other")], "b": [says("hi")]})
        assert await stage.ask(stage.policy(retry=RetryPolicy(attempts=1))) == "hi"
        assert stage.told() == ["a first empty", "b fallback ok"]
        stage.assert_clean()

    play(scene())


@bounded
@settings(max_examples=30, deadline=None)
@given(st.integers(1, 20), st.sampled_from([ServerFault("x"), ConnectFailed("x")]))
@pytest.mark.slow
def test_a_target_that_is_down_is_not_hammered(apps: int, error: UpstreamError) -> None:
    async def scene() -> None:
        stage = Stage({"a": [fails(error)] * 5000, "b": []})
        policy = stage.policy(breaker=POLICY, retry=RetryPolicy(attempts=1))
        for number in range(2400):
            stage.exchange = Exchange("openai")
            stage.exchange.caller = Caller(f"app-{number % apps}")
            assert await stage.ask(policy) == "ok"
            await asyncio.sleep(0.05)
        tried = sum(call.attempt.target == "a/m" for call in stage.calls)
        # Two minutes: what opens it, the first pauses, then one in five seconds.
        assert 15 <= tried <= 4 + 3 + 24 + apps
        assert stage.book.target("a/m").in_flight == 0

    play(scene())


@returns
@pytest.mark.parametrize("down_s", [5, 60, 3600])
@pytest.mark.parametrize("apps", [1, 2, 5])
@pytest.mark.slow
def test_a_target_is_back_soon_however_long_it_was_away(down_s: int, apps: int) -> None:
    async def scene() -> None:
        stage = Stage({"a": [fails(ServerFault("x"))] * 4000, "b": []})
        policy = stage.policy(breaker=POLICY, retry=RetryPolicy(attempts=1))
        back_at = stage.clock() + down_s
        while True:
            if stage.clock() >= back_at:
                stage.scripts["a/m"].clear()
            for number in range(apps):
                stage.exchange = Exchange("openai")
                stage.exchange.caller = Caller(f"app-{number}")
                await stage.ask(policy)
                if number == 0 and stage.exchange.target == "a/m":
                    assert back_at <= stage.clock() <= back_at + 12
                    return
            await asyncio.sleep(0.5)

    play(scene())


@returns
def test_a_probe_that_hangs_keeps_others_from_trying_for_a_while_only() -> None:
    health = TargetHealth("a/m")
    fail(health, 0, ONE, 2)
    fail(health, 0, OTHER, 2)
    hanging = entered(health, 1, ONE)
    assert not admits(health, PROBE_S, OTHER)
    entered(health, 1 + PROBE_S, OTHER).commit(12)
    assert health.state(12) == "closed"
    hanging.fail(TimedOut("x", phase="first_token"), 31)
    assert health.state(31) == "closed"
