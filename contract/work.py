"""Bounds for one kind of slow work, shared fairly between callers: threads, and turns of calls that only wait.

Each kind of work has bounds of its own, so that slow tools never keep a guardrail waiting. Within a kind each caller
has a queue, and the queues take turns: what one caller asks too much of delays that caller. A thread can't be
stopped from outside, so long work is cut into slices, each asked for by itself.
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
    """Lets so many pieces of work run at the same time. Belongs to one event loop."""

    def __init__(self, name: str, most: int = 1, most_waiting: int = 1000) -> None:
        """`most_waiting` is how many pieces of work one caller may have in its queue."""
        self._name = name
        self._most = most
        # Of several no caller gets the last one: what can't be interrupted would keep everybody else out.
        self._most_of_one = max(1, most - 1)
        self._most_waiting = most_waiting
        self._running: dict[str, int] = {}
        self._queues: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()
        self._all_done: asyncio.Future[None] | None = None

    async def take(self, caller: str) -> None:
        """Waits for the caller's turn; `leave` ends it. Raises `TooManyRequests`.

        Who stops waiting gives up its place in the queue.
        """
        queue = self._queues.setdefault(caller, deque())
        if len(queue) >= self._most_waiting:
            raise TooManyRequests(f"Too much of your work waits already ({self._name})", retry_after_s=1.0)
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        queue.append(turn)
        self._fill()
        try:
            await turn
        except BaseException:
            if turn.done() and not turn.cancelled():
                # The turn came as the caller left.
                self.leave(caller)
            raise

    def leave(self, caller: str) -> None:
        """The work of a turn is done."""
        left = self._running.pop(caller) - 1
        if left:
            self._running[caller] = left
        self._fill()
        if not self._running and self._all_done is not None and not self._all_done.done():
            self._all_done.set_result(None)

    async def finished(self, within_s: float) -> None:
        """Waits until no work runs, at most so long."""
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
        """Starts what may start now: one piece of work of each caller in turn."""
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
        """What waits is cancelled."""
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
        """What `work(*arguments)` gives, run in the caller's turn. Raises what it raises, and `TooManyRequests`.

        Who stops waiting gives up its place in the queue; work that has begun runs to its end.
        """
        await self._turns.take(caller)
        try:
            running = asyncio.get_running_loop().run_in_executor(self._executor, partial(work, *arguments))
        except BaseException:
            self._turns.leave(caller)
            raise
        # The turn is the thread's: it ends with the work, not with who waits for it.
        running.add_done_callback(lambda _: self._turns.leave(caller))
        return await asyncio.shield(running)

    def close(self) -> None:
        """Lets go of the threads; what has begun runs to its end, what waits is cancelled."""
        self._turns.close()
        self._executor.shutdown(wait=False, cancel_futures=True)


def caller_of(exchange: Exchange) -> str:
    """Whose turn a request's work takes: its app's, and within it its user's where the app names one."""
    caller = exchange.caller
    return f"{caller.app}/{exchange.user}" if caller is not None else ""
