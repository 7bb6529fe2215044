"""Sequences of outcomes against the attempts and the result they must give."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import pytest

from contract.errors import (
    AllTargetsFailed,
    ConnectFailed,
    ContentRefused,
    ContextWindowExceeded,
    CredentialRefused,
    GatehouseError,
    IncompleteReply,
    Overloaded,
    RateLimited,
    RequestRefused,
    RequestTooLarge,
    ServerFault,
    TimedOut,
    UnsupportedFeature,
    UpstreamError,
)
from contract.exchange import Exchange
from contract.patience import Timeouts
from contract.reply import Reply
from contract.unsettled import Unsettled
from router.policy import BreakerPolicy, RetryPolicy, RoutePolicy, TargetPolicy
from tests.unit.router.scripted import EMBEDDING, REQUEST, Outcome, Stage, breaks, ends, fails, play, says


def fault() -> UpstreamError:
    return ServerFault("secret text of the upstream", upstream_status=500)


def key_of(error: UpstreamError) -> UpstreamError:
    error.another_key = True
    return error


def limited(after_s: float | None) -> UpstreamError:
    return RateLimited("slow down", retry_after_s=after_s, upstream_status=429)


def beyond() -> UpstreamError:
    error = limited(None)
    error.may_be_repeated = False
    return error


TABLE: list[tuple[str, dict[str, list[Outcome]], str, list[str]]] = [
    ("the straight way", {"a": [says("hi")], "b": []}, "hi", ["a first ok"]),
    ("a retry", {"a": [fails(fault()), says("hi")], "b": []}, "hi", ["a first server_error", "a retry ok"]),
    (
        "a fallback",
        {"a": [fails(fault()), fails(ConnectFailed("x"))], "b": [says("hi")]},
        "hi",
        ["a first server_error", "a retry connect", "b fallback ok"],
    ),
    (
        "all down",
        {"a": [fails(fault())] * 2, "b": [fails(fault())] * 2},
        "<AllTargetsFailed>",
        ["a first server_error", "a retry server_error", "b fallback server_error", "b retry server_error"],
    ),
    ("a bad request", {"a": [fails(RequestRefused("no"))], "b": []}, "<RequestRefused>", ["a first bad_request"]),
    ("a refusal", {"a": [fails(ContentRefused("no"))], "b": []}, "<ContentRefused>", ["a first refusal"]),
    ("credentials", {"a": [fails(CredentialRefused("x"))], "b": []}, "ok", ["a first auth", "b fallback ok"]),
    (
        "the window",
        {"a": [fails(ContextWindowExceeded("x"))], "b": []},
        "ok",
        ["a first context_window", "b fallback ok"],
    ),
    (
        "a cut before the commit",
        {"a": [breaks(IncompleteReply("x"))], "b": []},
        "ok",
        ["a first interrupted", "a retry ok"],
    ),
    (
        "a cut after it",
        {"a": [breaks(IncompleteReply("x"), "hal")], "b": []},
        "hal<IncompleteReply>",
        ["a first interrupted"],
    ),
    (
        "an empty answer",
        {"a": [ends("stop"), ends("")], "b": []},
        "ok",
        ["a first empty", "a retry empty", "b fallback ok"],
    ),
    ("no event at all", {"a": [Outcome()], "b": []}, "ok", ["a first empty", "a retry ok"]),
    ("length with nothing", {"a": [ends("length")], "b": []}, "", ["a first ok"]),
    ("filtered with nothing", {"a": [ends("content_filter")], "b": []}, "", ["a first ok"]),
    (
        "keys in turn",
        {"a": [fails(key_of(limited(60))), fails(key_of(CredentialRefused("x"))), fails(fault()), says("hi")], "b": []},
        "hi",
        ["a first rate_limited", "a retry auth", "a retry server_error", "a retry ok"],
    ),
    (
        "a feature that one target lacks",
        {"a": [fails(UnsupportedFeature("no tools"))], "b": [says("hi")]},
        "hi",
        ["a first unsupported", "b fallback ok"],
    ),
    (
        "a feature that no target has",
        {"a": [fails(UnsupportedFeature("no tools"))], "b": [fails(UnsupportedFeature("no tools"))]},
        "<UnsupportedFeature>",
        ["a first unsupported", "b fallback unsupported"],
    ),
    ("a request beyond a limit", {"a": [fails(beyond())], "b": []}, "ok", ["a first rate_limited", "b fallback ok"]),
    (
        "too many bytes",
        {"a": [fails(RequestTooLarge("x"))], "b": [says("hi")]},
        "hi",
        ["a first context_window", "b fallback ok"],
    ),
    (
        "a retry-after beyond the longest wait",
        {"a": [fails(limited(9))], "b": [says("hi")]},
        "hi",
        ["a first rate_limited", "b fallback ok"],
    ),
]


@pytest.mark.parametrize(("name", "scripts", "result", "attempts"), TABLE, ids=[row[0] for row in TABLE])
def test_outcomes(name: str, scripts: dict[str, list[Outcome]], result: str, attempts: list[str]) -> None:
    async def scene() -> Stage:
        stage = Stage(scripts)
        assert await stage.ask(stage.policy()) == result
        return stage

    stage = play(scene())
    assert stage.told() == attempts
    stage.assert_clean()
    chosen = [attempt for attempt in stage.exchange.attempts if attempt.chosen]
    assert len(chosen) == (not result.startswith("<"))
    assert [attempt.number for attempt in stage.exchange.attempts] == list(range(1, len(attempts) + 1))


@pytest.mark.parametrize("finish", ["content_filter", "refusal"])
def test_a_declined_answer_falls_back_only_when_asked(finish: str) -> None:
    async def scene() -> None:
        stage = Stage({"a": [ends(finish)], "b": [says("hi")]})  # type: ignore[arg-type]
        assert await stage.ask(stage.policy(fallback_on_refusal=True)) == "hi"
        assert stage.told() == ["a first refusal", "b fallback ok"]
        stage = Stage({"a": [fails(ContentRefused("no"))], "b": [says("hi")]})
        assert await stage.ask(stage.policy(fallback_on_refusal=True)) == "hi"
        assert stage.told() == ["a first refusal", "b fallback ok"]

    play(scene())


def test_the_error_lists_every_attempt_and_no_text_of_the_upstream() -> None:
    async def scene() -> None:
        stage = Stage({"a": [fails(limited(20))], "b": [fails(ConnectFailed("host 10.0.0.1"))] * 2})
        assert await stage.ask(stage.policy()) == "<AllTargetsFailed>"
        assert stage.error.message == (
            "no target answered: a/m: 429 rate_limited (attempt 1); b/m: connect (attempt 2); b/m: connect (attempt 3)"
            ". What helps: rate_limited: retry later, or give models.quick more targets, or providers.a more keys; "
            "connect: check base_url of providers.b, and that the gateway can reach it"
        )
        assert stage.error.http_status == 502
        assert stage.error.retry_after_s == 20

    play(scene())


@pytest.mark.parametrize(
    ("first", "second", "status", "after_s"),
    [
        (limited(200), limited(130), 429, 120),
        (limited(30), fault(), 502, 30),
        (fault(), limited(30), 502, 30),
        (TimedOut("x", phase="first_token"), limited(None), 504, None),
        (Overloaded("x"), ContextWindowExceeded("x"), 503, None),
        (ContextWindowExceeded("x"), ContextWindowExceeded("x"), 400, None),
        (ContextWindowExceeded("x"), RequestRefused("x"), 400, None),
        (UnsupportedFeature("x"), fault(), 502, None),
    ],
)
def test_status_when_all_failed(
    first: GatehouseError, second: GatehouseError, status: int, after_s: float | None
) -> None:
    async def scene() -> None:
        stage = Stage({"a": [fails(first)], "b": [fails(second)]})
        assert await stage.ask(stage.policy(retry=RetryPolicy(attempts=1))) == "<AllTargetsFailed>"
        assert isinstance(stage.error, AllTargetsFailed)
        assert (stage.error.http_status, stage.error.retry_after_s) == (status, after_s)

    play(scene())


def test_the_only_attempt_raises_its_own_error() -> None:
    async def scene() -> None:
        error = fault()
        stage = Stage({"a": [fails(error)]})
        await stage.ask(stage.policy(retry=RetryPolicy(attempts=1)))
        assert stage.error is error

    play(scene())


def test_no_provider_is_a_mistake_of_ours() -> None:
    async def scene() -> None:
        stage = Stage({})
        assert await stage.ask(RoutePolicy("quick", (TargetPolicy("gone", "m"),))) == "<InternalFault>"
        assert stage.steps() == [("dispatch.skip", "unknown provider")]

    play(scene())


def test_waits_respect_retry_after_and_backoff() -> None:
    async def scene() -> None:
        stage = Stage({"a": [fails(limited(3)), fails(fault()), fails(fault()), says("hi")]})
        assert await stage.ask(stage.policy(retry=RetryPolicy(attempts=4, backoff_s=0.5, max_backoff_s=4))) == "hi"
        waits = [attempt.waited_s for attempt in stage.exchange.attempts]
        assert waits[0] == 0
        assert 3 <= waits[1] < 3.5
        assert waits[2] < 1.0
        assert waits[3] < 2.0
        starts = [attempt.started for attempt in stage.exchange.attempts]
        assert [b - a for a, b in pairwise(starts)] == pytest.approx(waits[1:])

    play(scene())


def test_the_deadline_bounds_attempts_and_waits() -> None:
    async def scene() -> None:
        stage = Stage({"a": [fails(fault(), after_s=4), fails(fault(), after_s=4)], "b": [fails(fault(), after_s=4)]})
        timeouts = Timeouts(total_s=10)
        policy = stage.policy(timeouts=timeouts, deadline_s=10, retry=RetryPolicy(backoff_s=0))
        assert await stage.ask(policy) == "<AllTargetsFailed>"
        assert [call.timeouts.first_token_s for call in stage.calls] == pytest.approx([10, 6, 2])
        # A stream that has begun is no longer bound by it.
        assert [call.timeouts.total_s for call in stage.calls] == [10, 10, 10]
        stage = Stage({"a": [fails(limited(5), after_s=6)], "b": [says("hi")]})
        assert await stage.ask(stage.policy(timeouts=timeouts, deadline_s=10)) == "hi"
        assert stage.steps() == [("dispatch.no_retry", "the wait would be too long")]

    play(scene())


def test_key_changes_are_bounded() -> None:
    async def scene() -> None:
        stage = Stage({"a": [fails(key_of(CredentialRefused("x"))) for _ in range(50)]})
        await stage.ask(stage.policy())
        assert len(stage.calls) == 9
        assert stage.book.target("a/m").state(stage.clock()) == "closed"

    play(scene())


def test_windows() -> None:
    async def scene() -> None:
        targets = tuple(
            TargetPolicy(name, "m", context_window=size) for name, size in zip("abc", (8, 8, 32), strict=True)
        )
        stage = Stage({"a": [fails(ContextWindowExceeded("x"))], "b": [], "c": []})
        assert await stage.ask(stage.policy(targets=targets)) == "ok"
        assert stage.told() == ["a first context_window", "c fallback ok"]
        assert stage.steps() == [("dispatch.skip", "context window not larger than one that was too small")]
        # A smaller window may take more bytes.
        stage = Stage({"a": [fails(RequestTooLarge("x"))], "b": [], "c": []})
        assert await stage.ask(stage.policy(targets=targets)) == "ok"
        assert stage.told() == ["a first context_window", "b fallback ok"]
        stage = Stage({"a": [], "b": [], "c": []})
        assert await stage.ask(stage.policy(targets=targets), prompt_tokens=20) == "ok"
        assert stage.told() == ["c first ok"]
        stage = Stage({"a": [], "b": [], "c": []})
        assert await stage.ask(stage.policy(targets=targets), prompt_tokens=100) == "ok"
        assert stage.told() == ["c first ok"]
        assert stage.steps()[-1] == ("dispatch.last_resort", "context window smaller than the prompt")

    play(scene())


def test_open_breakers_are_passed_over_unless_all_are() -> None:
    async def scene() -> None:
        stage = Stage({"a": [fails(fault())] * 3, "b": [says("hi"), fails(fault()), fails(fault()), says("back")]})
        policy = stage.policy(breaker=BreakerPolicy(failures=2), retry=RetryPolicy(attempts=2, backoff_s=0))
        assert await stage.ask(policy) == "hi"
        assert await stage.ask(policy) == "<AllTargetsFailed>"
        assert "a/m: skipped, breaker open" in stage.error.message
        assert stage.error.retry_after_s == pytest.approx(1)
        assert [snapshot.state for snapshot in stage.book.snapshot()] == ["open", "open"]
        stage.exchange = Exchange("openai")
        assert await stage.ask(policy) == "<ServerFault>"
        assert stage.told() == ["a first server_error"]
        assert stage.steps()[-1] == ("dispatch.last_resort", "breaker open")
        await asyncio.sleep(16)
        stage.scripts["a/m"] = [fails(fault())]
        assert await stage.ask(policy) == "back"
        states = {snapshot.target: snapshot for snapshot in stage.book.snapshot()}
        assert states["a/m"].state == "open"
        assert states["a/m"].open_for_s == pytest.approx(2)
        assert states["b/m"].state == "closed"

    play(scene())


def test_what_goes_upstream_and_what_is_recorded() -> None:
    async def scene() -> None:
        stage = Stage({"a": [says("hi", after_s=2)]})
        reply = await stage.dispatcher.dispatch(
            REQUEST, stage.policy(unsupported="refuse"), stage.exchange, Unsettled()
        )
        typed: Reply = reply
        assert (typed.dialect, reply.target, reply.provider, reply.trusted) == ("openai", "a/m", "a", False)
        call, attempt = stage.calls[0], stage.exchange.attempts[0]
        assert call.traceparent == stage.exchange.traceparent(attempt.span_id)
        assert (call.model, call.stream, call.unsupported, call.timeouts) == ("m", True, "refuse", Timeouts())
        assert attempt.first_token - attempt.started == pytest.approx(2)
        assert stage.exchange.target == "a/m"
        head = await reply.next()
        assert head is not None
        assert [delta.id for delta in head] == ["r1", ""]
        assert (await reply.next() or [])[0].choices[0].finish == "stop"
        assert await reply.next() is None
        await reply.close()
        await reply.close()
        assert attempt.usage is not None
        assert attempt.usage.output == 1
        assert attempt.error == ""
        stage.assert_clean()

    play(scene())


def test_closed_before_its_end_is_cancelled() -> None:
    async def scene() -> None:
        stage = Stage({"a": [says("hi")]})
        reply = await stage.dispatcher.dispatch(REQUEST, stage.policy(), stage.exchange, Unsettled())
        await reply.close()
        assert stage.told() == ["a first cancelled"]
        stage.assert_clean()

    play(scene())


def test_a_mistake_in_a_provider_leaves_nothing_open() -> None:
    async def scene() -> None:
        stage = Stage({"a": [breaks(KeyError("x"))], "b": []})
        with pytest.raises(KeyError):
            await stage.ask(stage.policy())
        assert stage.told() == ["a first internal_error"]
        stage.assert_clean()
        stage = Stage({"a": [breaks(KeyError("x"), "hi")]})
        with pytest.raises(KeyError):
            await stage.ask(stage.policy())
        assert stage.told() == ["a first internal_error"]
        stage.assert_clean()

    play(scene())


def test_a_target_is_not_blamed_for_time_that_others_used_up() -> None:
    async def scene() -> None:
        late = TimedOut("x", phase="total")
        stage = Stage({"a": [fails(TimedOut("x", phase="first_token"), after_s=30)], "b": [fails(late, after_s=2)]})
        await stage.ask(stage.policy(deadline_s=32, retry=RetryPolicy(attempts=1)))
        assert stage.told() == ["a first timeout", "b fallback timeout"]
        assert [snapshot.recent_failures for snapshot in stage.book.snapshot()] == [1, 0]

    play(scene())


def test_embeddings_fall_back_too() -> None:
    async def scene() -> None:
        stage = Stage({"a": [fails(UnsupportedFeature("no embeddings"))], "b": [fails(fault())]})
        embeddings = await stage.dispatcher.embed(EMBEDDING, stage.policy(hedge_after_s=5), stage.exchange, Unsettled())
        assert embeddings.vectors == [[1.0], [1.0]]
        assert stage.told() == ["a first unsupported", "b fallback server_error", "b retry ok"]
        assert stage.exchange.attempts[-1].chosen
        stage.assert_clean()

    play(scene())
