"""The hedge: a second lane when the first is slow. The first to commit wins, and the other is cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, TypeAlias, TypeVar

from contract.attempt import Attempt
from router.run import Run

R = TypeVar("R")
LaneTask: TypeAlias = asyncio.Task[tuple[Attempt, R] | None]


async def race(
    run: Run[R],
    after_s: float,
    sleep: Callable[[float], Awaitable[None]],
    discard: Callable[[R], Awaitable[None]],
) -> tuple[Attempt, R] | None:
    """Returns the result of the first lane, or of a second one that starts if there is none after `after_s` seconds.

    A lane that fails does not stop the other. On every exit, all tasks are done and all replies are closed.
    """
    first: LaneTask[R] = asyncio.create_task(run.lane())
    timer = asyncio.ensure_future(sleep(after_s))
    lanes = [first]
    try:
        await asyncio.wait((first, timer), return_when=asyncio.FIRST_COMPLETED)
        if not first.done():
            lanes.append(asyncio.create_task(run.lane("hedge")))
        winner = await _first_to_win(lanes)
    except BaseException:
        await _cancel_lanes(lanes, timer, discard)
        raise
    run.won = winner is not None
    try:
        await _cancel_lanes([lane for lane in lanes if lane is not winner], timer, discard)
    except BaseException:
        if winner is not None:
            await _cancel_lanes([winner], timer, discard)
        raise
    return winner.result() if winner is not None else None


async def _first_to_win(lanes: Iterable[LaneTask[R]]) -> LaneTask[R] | None:
    pending = set(lanes)
    while pending:
        done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
        for lane in lanes:
            if lane in done and lane.result() is not None:
                return lane
    return None


async def _cancel_lanes(
    lanes: list[LaneTask[R]], timer: asyncio.Future[None], discard: Callable[[R], Awaitable[None]]
) -> None:
    """Cancels running lanes and waits for their cleanup; discards the results of finished ones."""
    tasks: list[asyncio.Future[Any]] = [*lanes, timer]
    running = [task for task in tasks if not task.done()]
    for task in running:
        task.cancel()
    try:
        if running:
            await asyncio.wait(running)
    finally:
        won = [lane.result() for lane in lanes if lane.done() and not lane.cancelled() and lane.exception() is None]
        # Each in its own task, so that a second cancellation of this task can't prevent a close.
        closing = [asyncio.ensure_future(discard(answer[1])) for answer in won if answer is not None]
        if closing:
            await asyncio.wait(closing)
