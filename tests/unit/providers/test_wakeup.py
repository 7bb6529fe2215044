"""A wakeup is a future to a task, but runs it on at once."""

from __future__ import annotations

import asyncio
import asyncio.tasks
import contextvars
import sys

import pytest

from gateway.providers.response import Wakeup

PLACE: contextvars.ContextVar[str] = contextvars.ContextVar("PLACE", default="loop")


VERSION = "Python " + ".".join(map(str, sys.version_info[:2]))


def test_asyncio_still_knows_a_future_by_its_private_attribute() -> None:
    said = (
        f"{VERSION} tells futures by something else than `_asyncio_future_blocking`: "
        "`Wakeup` in gateway/providers/response.py must follow, or a plain future must take its place"
    )

    async def made() -> tuple[bool, bool]:
        loop = asyncio.get_running_loop()
        return hasattr(loop.create_future(), "_asyncio_future_blocking"), asyncio.isfuture(Wakeup(loop))

    assert asyncio.run(made()) == (True, True), said


@pytest.mark.parametrize("kind", [asyncio.Task, asyncio.tasks._PyTask])  # type: ignore[attr-defined]
def test_tasks_in_c_and_in_python_await_it(kind: type[asyncio.Task[None]]) -> None:
    async def run() -> bool:
        loop = asyncio.get_running_loop()
        wakeup = Wakeup(loop)
        task = kind(_awaited(wakeup), loop=loop)
        await asyncio.sleep(0)
        loop.call_soon(wakeup.wake)
        await asyncio.wait({task}, timeout=5)
        return task.done() and task.exception() is None

    assert asyncio.run(run()), f"a task of {VERSION} ({kind.__name__}) does not go on after `Wakeup.wake`"


async def _awaited(wakeup: Wakeup) -> None:
    await wakeup


def test_the_task_goes_on_within_the_call_and_in_its_own_context() -> None:
    log: list[str] = []

    async def wait(wakeup: Wakeup) -> None:
        PLACE.set("task")
        await wakeup
        log.append(PLACE.get())

    def callback(wakeup: Wakeup) -> None:
        log.append("before")
        wakeup.wake()
        log.append("after")

    async def run() -> None:
        loop = asyncio.get_running_loop()
        wakeup = Wakeup(loop)
        task = loop.create_task(wait(wakeup))
        await asyncio.sleep(0)
        loop.call_soon(callback, wakeup)
        await task

    asyncio.run(run())
    assert log == ["before", "task", "after"]


def test_a_cancelled_task_hears_of_it_and_a_late_wake_is_nothing() -> None:
    async def run() -> None:
        loop = asyncio.get_running_loop()
        wakeup = Wakeup(loop)
        task = loop.create_task(_awaited(wakeup))
        await asyncio.sleep(0)
        task.cancel()
        loop.call_soon(wakeup.wake)
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(run())


def test_a_timeout_ends_the_wait_and_a_wake_before_it_is_nothing() -> None:
    async def run() -> None:
        loop = asyncio.get_running_loop()
        wakeup = Wakeup(loop)
        loop.call_soon(wakeup.wake)
        await asyncio.sleep(0)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(_awaited(wakeup), 0.01)

    asyncio.run(run())
