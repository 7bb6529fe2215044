"""Sends traces away from a thread of its own.

A collector that is slow, wrong or gone costs bounded memory and no time of a request: spans wait in a bounded queue,
and what does not fit is dropped and counted.
"""

from __future__ import annotations

import itertools
import threading
from collections import deque
from typing import TYPE_CHECKING, Any

import structlog

from observability.trace import limit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from observability.trace import SpanRecord
    from observability.tracing import Batching, Limits
    from observability.transports import Transport

# How long a thread whose delivery was ended from outside may take to come back.
LET_GO_S = 0.5


class Exporter:
    """`put` never waits. `dropped` counts spans that could not be kept or delivered."""

    def __init__(self, transport: Transport, batching: Batching, limits: Limits) -> None:
        """The transport is the exporter's from then on. Make it in the process that uses it: threads and gRPC's
        channels do not outlive a fork.
        """
        self._transport = transport
        self._batching = batching
        self._limits = limits
        self._queue: deque[Any] = deque()
        self._sending = 0
        # Guards everything that both threads write; notified when there is something for the exporter's thread to do.
        self._changed = threading.Condition()
        self._ending = False
        self._failing = False
        self.dropped = 0
        self._thread = threading.Thread(target=self._run, name="otlp", daemon=True)
        self._thread.start()

    def put(self, trace: Sequence[SpanRecord]) -> None:
        """Queues a trace: all of its spans, or none."""
        batching = self._batching
        if len(self._queue) + self._sending + len(trace) > batching.waiting:
            # Only this thread adds, so that there can be more room by now and never less.
            with self._changed:
                self.dropped += len(trace)
            return
        for span in trace:
            limit(span, self._limits)
        encoded = [self._transport.encode(span) for span in trace]
        with self._changed:
            waited = len(self._queue)
            self._queue += encoded
            # The first begins the wait for others, and a full batch ends it.
            if not waited or waited < batching.spans <= len(self._queue):
                self._changed.notify()

    def close(self, deadline_s: float) -> None:
        """Sends what waits, for at most `deadline_s` and a moment; the rest is dropped."""
        with self._changed:
            self._ending = True
            before = self.dropped
            self._changed.notify()
        self._thread.join(deadline_s)
        self._transport.close()
        self._thread.join(LET_GO_S)
        with self._changed:
            self.dropped += len(self._queue) + self._sending
            self._queue.clear()
            self._sending = 0
            lost = self.dropped - before
        if lost:
            structlog.get_logger().warning("traces lost at the end", spans=lost, endpoint=self._transport.shown)

    def _run(self) -> None:
        while batch := self._next():
            problem = self._send(batch)
            with self._changed:
                self.dropped += self._sending if problem else 0
                self._sending = 0
            if problem and not self._failing:
                log = structlog.get_logger()
                log.warning("traces can't be delivered", endpoint=self._transport.shown, problem=problem)
            self._failing = bool(problem)

    def _next(self) -> list[Any]:
        """The next batch, when it is full or its first span has waited long enough; empty at the end."""
        batching = self._batching
        with self._changed:
            self._changed.wait_for(lambda: self._queue or self._ending)
            self._changed.wait_for(lambda: len(self._queue) >= batching.spans or self._ending, batching.delay_s)
            batch = list(itertools.islice(self._queue, batching.spans))
            # Before they leave the queue: `put` adds up both without the lock.
            self._sending = len(batch)
            for _ in batch:
                self._queue.popleft()
            return batch

    def _send(self, batch: Sequence[Any]) -> str:
        try:
            return self._transport.send(batch)
        except Exception as error:
            # Whatever a library makes of a collector: the thread goes on, and the next batch is tried.
            return type(error).__name__
