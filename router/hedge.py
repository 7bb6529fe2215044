"""The hedge: a second lane when the first is slow; the first to commit wins and the other is let go."""

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
    """The first lane's answer, or that of a second one which starts `after_s` later if there is none by then.

    A lane that fails leaves the other running. Nothing is left running or open on any way out.
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
        await _let_go(lanes, timer, discard)
        raise
    run.won = winner is not None
    try:
        await _let_go([lane for lane in lanes if lane is not winner], timer, discard)
    except BaseException:
        if winner is not None:
            await _let_go([winner], timer, discard)
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


async def _let_go(
    lanes: list[LaneTask[R]], timer: asyncio.Future[None], discard: Callable[[R], Awaitable[None]]
) -> None:
    """Cancels what runs and waits until it has cleaned up; gives back what was won beside the winner."""
    tasks: list[asyncio.Future[Any]] = [*lanes, timer]
    running = [task for task in tasks if not task.done()]
    for task in running:
        task.cancel()
    try:
        if running:
            await asyncio.wait(running)
    finally:
        won = [lane.result() for lane in lanes if lane.done() and not lane.cancelled() and lane.exception() is None]
        # Each in a task of its own, so that a second cancellation of ours can't keep one from being closed.
        closing = [asyncio.ensure_future(discard(answer[1])) for answer in won if answer is not None]
        if closing:
            await asyncio.wait(closing)
