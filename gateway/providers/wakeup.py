"""Waiting for the network without a round of the event loop in between."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from contextvars import Context


class Wakeup:
    """What a task awaits; `wake` runs the task on at once, where a future would have the loop run it next time round.

    A round of the loop asks the kernel for news once more, which is a tenth of what a paced event costs. To a task this
    is a future (`asyncio.Task` asks for no more than is here), awaited once and by one task. `wake` is to be called
    from a callback of the loop, never from a task.
    """

    __slots__ = ("_asyncio_future_blocking", "_callback", "_cancelled", "_context", "_loop")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._asyncio_future_blocking = False
        self._loop = loop
        self._callback: Callable[[Wakeup], object] | None = None
        self._context: Context | None = None
        self._cancelled = False

    def __await__(self) -> Generator[Wakeup, None, None]:
        self._asyncio_future_blocking = True
        yield self

    def wake(self) -> None:
        """Runs the waiting task until it waits again. Nothing happens if it was cancelled."""
        callback, self._callback = self._callback, None
        if callback is not None and self._context is not None:
            self._context.run(callback, self)

    # What a task asks of a future

    def get_loop(self) -> asyncio.AbstractEventLoop:
        """The loop that the task must run in."""
        return self._loop

    def add_done_callback(self, callback: Callable[[Wakeup], object], *, context: Context) -> None:
        """The task's own way on."""
        self._callback = callback
        self._context = context

    def cancel(self, msg: object = None) -> bool:
        """The task is cancelled; it hears of it in the loop's next round, as from any future."""
        callback, self._callback = self._callback, None
        if callback is None:
            return False
        self._cancelled = True
        self._loop.call_soon(callback, self, context=self._context)
        return True

    def result(self) -> None:
        """Raises `CancelledError` if the task was cancelled."""
        if self._cancelled:
            raise asyncio.CancelledError
