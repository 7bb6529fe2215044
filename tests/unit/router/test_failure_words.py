"""What is said of failed attempts: which limit acted, and what helps."""

from __future__ import annotations

from typing import Any

import pytest

from contract.attempt import Attempt
from contract.errors import (
    AllTargetsFailed,
    CredentialRefused,
    ErrorKind,
    OwnLimitReached,
    RequestRefused,
    TimedOut,
    UpstreamError,
)
from contract.patience import Timeouts
from contract.provider import UpstreamCall
from contract.unsettled import Transcript
from router.failure import _CURES, combine, explain_timeout
from router.policy import RoutePolicy
from router.run import cut_to_deadline

ATTEMPT = Attempt("p/m", "p", "m")


def call(timeouts: Timeouts, *, stream: bool = True, thinks: bool = False) -> UpstreamCall:
    return UpstreamCall(
        "m", stream, timeouts.of(stream=stream, thinks=thinks), ATTEMPT, Transcript(ATTEMPT), thinks=thinks
    )


@pytest.mark.parametrize(
    ("phase", "how", "limit_s", "alive", "words"),
    [
        ("first_token", {}, 60, False, "sent no first token within 1m (models.quick.first_token "),
        ("first_token", {"thinks": True}, 600, False, "sent no first token within 10m (models.quick.thinking "),
        ("first_token", {}, 600, True, "sent no first token within 10m (models.quick.thinking "),
        ("idle", {}, 120, False, "sent nothing more within 2m (models.quick.idle "),
        ("idle", {"thinks": True}, 600, False, "sent nothing more within 10m (models.quick.thinking "),
        ("idle", {}, 600, True, "sent nothing more within 10m (models.quick.thinking "),
        ("total", {"stream": False}, 600, False, "did not finish its response within 10m (models.quick.timeout "),
        ("connect", {}, 5, False, "accepted no connection within 5s (providers.p.connect "),
        ("first_token", {}, 0.25, False, "within 250ms"),
    ],
)
def test_which_limit_acted(phase: Any, how: dict[str, bool], limit_s: float, alive: bool, words: str) -> None:
    error = TimedOut("x", phase=phase)
    error.limit_s, error.alive = limit_s, alive
    explain_timeout(RoutePolicy("quick", ()), call(Timeouts(), **how), error)
    assert words in error.message


def test_a_limit_that_the_deadline_has_cut_is_the_deadline() -> None:
    policy = RoutePolicy("quick", (), timeouts=Timeouts())
    cut = UpstreamCall("m", True, cut_to_deadline(Timeouts(), 3, stream=True), ATTEMPT, Transcript(ATTEMPT))
    error = TimedOut("x", phase="first_token")
    explain_timeout(policy, cut, error)
    assert "within 3s (models.quick.deadline " in error.message


def test_the_provider_s_own_timeout_names_no_limit_of_ours() -> None:
    error = TimedOut("The provider timed out", phase="total")
    error.upstream_status = 504
    explain_timeout(RoutePolicy("quick", ()), call(Timeouts()), error)
    assert error.message == "The provider timed out"
    assert "a proxy in front of it, timed out" in combine([(ATTEMPT, error)], (), None, "quick").message


def test_each_kind_has_something_that_helps() -> None:
    kinds: set[ErrorKind] = {each.kind for each in _all(UpstreamError)}
    assert set(_CURES) == kinds


def _all(one: type[UpstreamError]) -> set[type[UpstreamError]]:
    return {one}.union(*(_all(each) for each in one.__subclasses__()))


def test_a_single_error_says_where_and_what_helps_unless_it_is_the_caller_s() -> None:
    ours = CredentialRefused("The provider refused our key", upstream_status=401)
    assert combine([(ATTEMPT, ours)], (), None, "quick") is ours
    assert ours.message == (
        "p/m: The provider refused our key; check the keys, the account and the region of providers.p"
    )
    theirs = RequestRefused("temperature: too high")
    assert combine([(ATTEMPT, theirs)], (), None, "quick").message == "temperature: too high"


def test_each_thing_that_helps_is_said_once() -> None:
    late = TimedOut("x", phase="first_token")
    late.limit_s = 5
    limits = Timeouts(first_token_s=5)
    explain_timeout(RoutePolicy("quick", (), timeouts=limits), call(limits), late)
    full = combine([(ATTEMPT, late), (ATTEMPT, late), (ATTEMPT, OwnLimitReached("x"))], [("b/m", "off")], None, "quick")
    assert isinstance(full, AllTargetsFailed)
    assert full.message == (
        "no target answered: p/m: timeout (first_token, 5s) (attempt 1); p/m: timeout (first_token, 5s) (attempt 1); "
        "p/m: rate_limited (attempt 1); b/m: skipped, off. What helps: timeout: retry, or raise "
        "models.quick.first_token, now 5s; rate_limited: retry later, or raise limits of providers.p"
    )
