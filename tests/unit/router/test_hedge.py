"""Two attempts at once: who wins, what happens to the other, and leaving at any moment."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from contract.errors import ConnectFailed, IncompleteReply, RequestRefused, ServerFault
from contract.unsettled import Unsettled
from router.policy import RetryPolicy
from tests.unit.router.scripted import EMBEDDING, Outcome, Stage, breaks, fails, play, says

ONCE = RetryPolicy(attempts=1)

RACES: list[tuple[str, dict[str, list[Outcome]], str, list[str]]] = [
    ("fast enough", {"a": [says("a", after_s=1)], "b": []}, "a", ["a first ok"]),
    ("the second wins", {"a": [says("a", after_s=9)], "b": [says("b")]}, "b", ["a first cancelled", "b hedge ok"]),
    (
        "the first wins",
        {"a": [says("a", after_s=3)], "b": [says("b", after_s=9)]},
        "a",
        ["a first ok", "b hedge cancelled"],
    ),
    (
        "the second fails",
        {"a": [says("a", after_s=9)], "b": [fails(ServerFault("x"))]},
        "a",
        ["a first ok", "b hedge server_error"],
    ),
    (
        "the first fails later",
        {"a": [fails(ConnectFailed("x"), after_s=3)], "b": [says("b", after_s=5)]},
        "b",
        ["a first connect", "b hedge ok"],
    ),
    (
        "the first fails early",
        {"a": [fails(ConnectFailed("x"))], "b": [says("b", after_s=1)]},
        "b",
        ["a first connect", "b fallback ok"],
    ),
    (
        "a slow fallback",
        {"a": [fails(ConnectFailed("x"))], "b": [says("b", after_s=9)], "c": [says("c")]},
        "c",
        ["a first connect", "b fallback cancelled", "c hedge ok"],
    ),
    (
        "nothing to hedge with",
        {"a": [fails(ConnectFailed("x"))], "b": [says("b", after_s=9)]},
        "b",
        ["a first connect", "b fallback ok"],
    ),
    (
        "both fail",
        {"a": [fails(ConnectFailed("x"), after_s=3)], "b": [fails(ServerFault("x"))]},
        "<AllTargetsFailed>",
        ["a first connect", "b hedge server_error"],
    ),
    (
        "a bad request stops both",
        {"a": [fails(ServerFault("x"), after_s=4)], "b": [fails(RequestRefused("x"))], "c": []},
        "<AllTargetsFailed>",
        ["a first server_error", "b hedge bad_request"],
    ),
]


@pytest.mark.parametrize(("name", "scripts", "result", "attempts"), RACES, ids=[row[0] for row in RACES])
def test_races(name: str, scripts: dict[str, list[Outcome]], result: str, attempts: list[str]) -> None:
    async def scene() -> Stage:
        stage = Stage(scripts)
        assert await stage.ask(stage.policy(hedge_after_s=2, retry=ONCE)) == result
        return stage

    stage = play(scene())
    assert stage.told() == attempts
    stage.assert_clean()
    assert stage.most_running <= 2
    assert sum(attempt.chosen for attempt in stage.exchange.attempts) == (not result.startswith("<"))


def test_a_dead_heat_closes_the_second_answer() -> None:
    async def scene() -> None:
        stage = Stage({"a": [says("a", after_s=4)], "b": [says("b", after_s=2)]})
        assert await stage.ask(stage.policy(hedge_after_s=2)) in {"a", "b"}
        assert sorted(attempt.error for attempt in stage.exchange.attempts) == ["", "cancelled"]
        stage.assert_clean()

    play(scene())


def test_a_hedge_that_was_beaten_shows_in_the_latency() -> None:
    async def scene() -> None:
        stage = Stage({"a": [says("a", after_s=9)], "b": [says("b", after_s=1)]})
        await stage.ask(stage.policy(hedge_after_s=2))
        latency = {snapshot.target: snapshot.latency_s for snapshot in stage.book.snapshot()}
        assert latency["a/m"] == pytest.approx(3)
        assert latency["b/m"] == pytest.approx(1)

    play(scene())


def test_a_mistake_in_one_lane_ends_both() -> None:
    async def scene() -> None:
        stage = Stage({"a": [says("a", after_s=9)], "b": [fails(KeyError("x"))]})
        with pytest.raises(KeyError):
            await stage.ask(stage.policy(hedge_after_s=2))
        stage.assert_clean()

    play(scene())


async def _answer(stage: Stage, policy: dict[str, Any]) -> None:
    await stage.ask(stage.policy(**policy))


async def _vectors(stage: Stage, policy: dict[str, Any]) -> None:
    await stage.dispatcher.embed(EMBEDDING, stage.policy(**policy), stage.exchange, Unsettled())


def _scripts() -> list[tuple[str, Callable[[Stage, dict[str, Any]], Any], dict[str, list[Outcome]], dict[str, Any]]]:
    down = ConnectFailed("x")
    return [
        ("straight", _answer, {"a": [says("one", "two", after_s=1)]}, {}),
        ("retry", _answer, {"a": [fails(down), breaks(IncompleteReply("x")), says("a")], "b": []}, {}),
        ("cut", _answer, {"a": [breaks(IncompleteReply("x"), "hal")]}, {}),
        ("hedge", _answer, {"a": [says("a", after_s=3)], "b": [says("b", after_s=9)]}, {"hedge_after_s": 2}),
        ("second", _answer, {"a": [says("a", after_s=9)], "b": [says("b", after_s=3)]}, {"hedge_after_s": 2}),
        ("heat", _answer, {"a": [says("a", after_s=4)], "b": [says("b", after_s=2)]}, {"hedge_after_s": 2}),
        ("embed", _vectors, {"a": [fails(down, after_s=3)], "b": [Outcome(open_s=2)]}, {"hedge_after_s": 2}),
    ]


@pytest.mark.parametrize("case", range(len(_scripts())), ids=[row[0] for row in _scripts()])
@pytest.mark.parametrize("cancels", [1, 2])
def test_leaving_at_any_moment_leaves_nothing_behind(case: int, cancels: int) -> None:
    """Cancels after every number of turns of the loop until the request ends by itself; then a second time at once."""

    async def leave_after(turns: int) -> bool:
        _, ask, scripts, policy = _scripts()[case]
        stage = Stage(scripts)
        task = asyncio.ensure_future(ask(stage, policy))
        for _ in range(turns):
            await asyncio.sleep(0 if turns % 2 else 0.1)
        finished: bool = task.done()
        for _ in range(cancels):
            task.cancel()
            await asyncio.sleep(0)
        ended = await asyncio.gather(task, return_exceptions=True)
        assert finished or isinstance(ended[0], asyncio.CancelledError), ended
        for _ in range(10):
            await asyncio.sleep(0)
        stage.assert_clean()
        return finished

    turns = 0
    endings = [False, False]
    while not all(endings):
        endings[turns % 2] = endings[turns % 2] or play(leave_after(turns))
        turns += 1
        if turns > 300:
            break
    assert endings[0]
    assert turns > 4


def test_a_cancelled_probe_frees_its_place() -> None:
    async def scene() -> None:
        stage = Stage({"a": [says("a", after_s=5)]})
        health = stage.book.target("a/m")
        policy = stage.policy()
        health.open(stage.clock(), policy.breaker)
        await asyncio.sleep(16)
        task = asyncio.ensure_future(stage.ask(policy))
        await asyncio.sleep(1)
        assert health.probe is not None
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert health.probe is None
        assert health.state(stage.clock()) == "half_open"
        assert await stage.ask(policy) == "ok"
        assert health.state(stage.clock()) == "closed"

    play(scene())
