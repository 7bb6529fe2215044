"""Random scripts against a plain model of the rules."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from contract.errors import (
    ConnectFailed,
    ContentRefused,
    CredentialRefused,
    IncompleteReply,
    RateLimited,
    RequestRefused,
    ServerFault,
    UnsupportedFeature,
)
from router.policy import BreakerPolicy, RetryPolicy, RoutePolicy
from tests.unit.router.scripted import Outcome, Stage, breaks, ends, fails, play, says

# word -> what the provider does; the word is the attempt's error, so that scripts read as their own expectation.
MAKERS = {
    "ok": lambda: says("hi", after_s=0.3),
    "server_error": lambda: fails(ServerFault("x"), after_s=0.2),
    "connect": lambda: fails(ConnectFailed("x")),
    "rate_limited": lambda: fails(RateLimited("x", retry_after_s=0.5)),
    "empty": lambda: ends("stop"),
    "auth": lambda: fails(CredentialRefused("x")),
    "interrupted": lambda: breaks(IncompleteReply("x")),
    "late interrupted": lambda: breaks(IncompleteReply("x"), "hi"),
    "refusal": lambda: fails(ContentRefused("x")),
    "bad_request": lambda: fails(RequestRefused("x")),
    "unsupported": lambda: fails(UnsupportedFeature("x")),
}
PLAYS = st.lists(st.lists(st.sampled_from(list(MAKERS)), min_size=4, max_size=4), min_size=1, max_size=3)
PATIENT = BreakerPolicy(failures=1000)


def staged(scripts: list[list[str]], seed: int = 1) -> Stage:
    outcomes: dict[str, list[Outcome]] = {}
    for name, words in zip("abc", scripts, strict=False):
        outcomes[name] = [MAKERS[word]() for word in words]
    return Stage(outcomes, seed)


def expected(scripts: list[list[str]], policy: RoutePolicy) -> tuple[list[str], bool]:
    """(the words of the attempts made, whether one of them answered)."""
    made: list[str] = []
    for words in scripts:
        for word in words[: policy.retry.attempts]:
            made.append(word)
            if word in {"ok", "late interrupted"}:
                return made, True
            if word == "unsupported" or not policy.retries(word):  # type: ignore[arg-type]
                break
        if made[-1] != "unsupported" and not policy.falls_back(made[-1]):  # type: ignore[arg-type]
            return made, False
    return made, False


@settings(deadline=None, max_examples=150)
@given(PLAYS, st.integers(1, 4), st.booleans(), st.integers())
def test_attempts_and_result_follow_the_rules(
    scripts: list[list[str]], attempts: int, refusal: bool, seed: int
) -> None:
    async def scene() -> None:
        stage = staged(scripts, seed)
        policy = stage.policy(breaker=PATIENT, retry=RetryPolicy(attempts), fallback_on_refusal=refusal)
        result = await stage.ask(policy)
        made, answered = expected(scripts, policy)
        told = [attempt.error or "ok" for attempt in stage.exchange.attempts]
        assert told == [word.removeprefix("late ") for word in made]
        assert result.startswith("hi") == answered
        assert sum(attempt.chosen for attempt in stage.exchange.attempts) == answered
        if not answered and len(made) > 1 and set(made) != {"unsupported"}:
            assert result == "<AllTargetsFailed>"
            assert all(f"(attempt {number})" in stage.error.message for number in range(1, len(made) + 1))
        stage.assert_clean()

    play(scene())


@settings(deadline=None, max_examples=150)
@given(PLAYS, st.sampled_from([0.0, 0.1, 0.3, 1.0]), st.sampled_from(["priority", "weighted", "least_busy", "fastest"]))
def test_hedged_requests_end_clean_and_bounded(scripts: list[list[str]], after_s: float, strategy: str) -> None:
    async def scene() -> None:
        stage = staged(scripts)
        policy = stage.policy(breaker=BreakerPolicy(failures=2), hedge_after_s=after_s, strategy=strategy)
        result = await stage.ask(policy)
        attempts = stage.exchange.attempts
        assert 1 <= len(attempts) <= 2 * len(scripts)
        assert stage.most_running <= 2
        assert sum(attempt.reason == "hedge" for attempt in attempts) <= 1
        chosen = [attempt for attempt in attempts if attempt.chosen]
        assert len(chosen) == result.startswith("hi")
        assert len({attempt.span_id for attempt in attempts}) == len(attempts)
        stage.assert_clean()

    play(scene())
