"""Threads for one kind of blocking work, shared fairly between callers.

Each kind of work has its own pool, so that slow tools never delay a guardrail. Within a pool each caller has a queue,
and the queues take turns: a caller with too much work delays only itself. A thread can't be stopped from outside, so
long work is split into slices, which are submitted separately.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

from contract.errors import TooManyRequests

if TYPE_CHECKING:
    from contract.exchange import Exchange

T = TypeVar("T")


class WorkPool:
    """Runs functions in threads. Belongs to one event loop; the threads start with the first work."""

    def __init__(self, name: str, threads: int = 1, most_waiting: int = 1000) -> None:
        """`most_waiting` is how many pieces of work one caller may have in its queue."""
        self._name = name
        self._executor = ThreadPoolExecutor(threads, name)
        self._threads = threads
        # With several threads no caller gets the last one: work that can't be interrupted would block all others.
        self._most_running = max(1, threads - 1)
        self._most_waiting = most_waiting
        self._running: dict[str, int] = {}
        self._queues: OrderedDict[str, deque[tuple[asyncio.Future[Any], Callable[[], Any]]]] = OrderedDict()

    async def run(self, caller: str, work: Callable[..., T], *arguments: Any) -> T:
        """Runs `work(*arguments)` in the caller's turn; returns its result. Raises its errors, and `TooManyRequests`.

        Cancelling removes queued work; work that has begun runs to its end.
        """
        queue = self._queues.get(caller)
        if queue is not None and len(queue) >= self._most_waiting:
            raise TooManyRequests(f"Too much of your work is queued already ({self._name})", retry_after_s=1.0)
        done: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._queues.setdefault(caller, deque()).append((done, lambda: work(*arguments)))
        self._fill()
        return await done

    def _fill(self) -> None:
        """Starts queued work, one piece per caller in turn."""
        for caller in list(self._queues):
            if sum(self._running.values()) >= self._threads:
                return
            if self._running.get(caller, 0) >= self._most_running:
                continue
            queue = self._queues[caller]
            while queue and queue[0][0].done():
                queue.popleft()
            if queue:
                self._start(caller, *queue.popleft())
                self._queues.move_to_end(caller)
            if not queue:
                del self._queues[caller]

    def _start(self, caller: str, done: asyncio.Future[Any], work: Callable[[], Any]) -> None:
        self._running[caller] = self._running.get(caller, 0) + 1
        running = asyncio.get_running_loop().run_in_executor(self._executor, work)

        def ended(running: asyncio.Future[Any]) -> None:
            left = self._running.pop(caller) - 1
            if left:
                self._running[caller] = left
            error = None if running.cancelled() else running.exception()
            if not done.done():
                if running.cancelled():
                    done.cancel()
                elif error is not None:
                    done.set_exception(error)
                else:
                    done.set_result(running.result())
            self._fill()

        running.add_done_callback(ended)

    def close(self) -> None:
        """Stops the threads; running work ends normally, queued work is cancelled."""
        for queue in self._queues.values():
            for done, _ in queue:
                done.cancel()
        self._queues.clear()
        self._executor.shutdown(wait=False, cancel_futures=True)


def caller_of(exchange: Exchange) -> str:
    """The queue for a request's work: that of its app, or of its user if the app names one."""
    caller = exchange.caller
    return f"{caller.app}/{exchange.user}" if caller is not None else ""
