"""Concurrency limits for one kind of slow work, shared fairly between callers: threads, and turns of async calls.

Each kind of work has its own limit, so that slow tools never delay a guardrail. Within a kind each caller has a queue,
and the queues take turns: a caller with too much work delays only itself. A thread can't be stopped from outside, so
long work is split into slices, which are submitted separately.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from contract.errors import TooManyRequests

if TYPE_CHECKING:
    from contract.exchange import Exchange

T = TypeVar("T")


class Turns:
    """Limits the pieces of work that run at the same time. Belongs to one event loop."""

    def __init__(self, name: str, most: int = 1, most_waiting: int = 1000) -> None:
        """`most_waiting` is how many pieces of work one caller may have in its queue."""
        self._name = name
        self._most = most
        # With several turns no caller gets the last one: work that can't be interrupted would block all others.
        self._most_of_one = max(1, most - 1)
        self._most_waiting = most_waiting
        self._running: dict[str, int] = {}
        self._queues: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()
        self._all_done: asyncio.Future[None] | None = None

    async def take(self, caller: str) -> None:
        """Waits for the caller's turn; `leave` ends it. Raises `TooManyRequests`.

        Cancelling gives up the place in the queue.
        """
        queue = self._queues.setdefault(caller, deque())
        if len(queue) >= self._most_waiting:
            raise TooManyRequests(f"Too many of your tasks are queued ({self._name})", retry_after_s=1.0)
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        queue.append(turn)
        self._fill()
        try:
            await turn
        except BaseException:
            if turn.done() and not turn.cancelled():
                # The turn was granted while the caller was cancelled.
                self.leave(caller)
            raise

    def leave(self, caller: str) -> None:
        """Ends a turn: its work is done."""
        left = self._running.pop(caller) - 1
        if left:
            self._running[caller] = left
        self._fill()
        if not self._running and self._all_done is not None and not self._all_done.done():
            self._all_done.set_result(None)

    async def finished(self, within_s: float) -> None:
        """Waits until no work runs, at most `within_s` seconds."""
        if self._running:
            self._all_done = asyncio.get_running_loop().create_future()
            await asyncio.wait({self._all_done}, timeout=within_s)

    @contextlib.asynccontextmanager
    async def turn(self, caller: str) -> AsyncIterator[None]:
        """A turn for a block. Raises `TooManyRequests`."""
        await self.take(caller)
        try:
            yield
        finally:
            self.leave(caller)

    def _fill(self) -> None:
        """Grants the free turns, one per caller in rotation."""
        for caller in list(self._queues):
            if sum(self._running.values()) >= self._most:
                return
            if self._running.get(caller, 0) >= self._most_of_one:
                continue
            queue = self._queues[caller]
            while queue and queue[0].done():
                queue.popleft()
            if queue:
                self._running[caller] = self._running.get(caller, 0) + 1
                queue.popleft().set_result(None)
                self._queues.move_to_end(caller)
            if not queue:
                del self._queues[caller]

    def close(self) -> None:
        """Cancels queued work."""
        for queue in self._queues.values():
            for turn in queue:
                turn.cancel()
        self._queues.clear()


class WorkPool:
    """Runs functions in threads. Belongs to one event loop; the threads start with the first work."""

    def __init__(self, name: str, threads: int = 1, most_waiting: int = 1000) -> None:
        """`most_waiting` is how many pieces of work one caller may have in its queue."""
        self._executor = ThreadPoolExecutor(threads, name)
        self._turns = Turns(name, threads, most_waiting)

    async def run(self, caller: str, work: Callable[..., T], *arguments: Any) -> T:
        """Runs `work(*arguments)` in the caller's turn; returns its result. Raises its errors, and `TooManyRequests`.

        Cancelling removes queued work; work that has begun runs to its end.
        """
        await self._turns.take(caller)
        try:
            running = asyncio.get_running_loop().run_in_executor(self._executor, partial(work, *arguments))
        except BaseException:
            self._turns.leave(caller)
            raise
        # The turn belongs to the thread: it ends with the work, not when the caller stops waiting.
        running.add_done_callback(lambda _: self._turns.leave(caller))
        return await asyncio.shield(running)

    def close(self) -> None:
        """Stops the threads; running work ends normally, queued work is cancelled."""
        self._turns.close()
        self._executor.shutdown(wait=False, cancel_futures=True)


def caller_of(exchange: Exchange) -> str:
    """The queue for a request's work: that of its app, or of its user if the app names one."""
    caller = exchange.caller
    return f"{caller.app}/{exchange.user}" if caller is not None else ""
