"""Exports traces in a separate thread.

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

# How long the thread may take to return after its delivery was stopped.
LET_GO_S = 0.5


class Exporter:
    """Queues and exports spans. `put` never waits. `dropped` counts spans that were not queued or not delivered."""

    def __init__(self, transport: Transport, batching: Batching, limits: Limits) -> None:
        """Takes ownership of the transport. Create it in the process that uses it: threads and gRPC's
        channels do not outlive a fork.
        """
        self._transport = transport
        self._batching = batching
        self._limits = limits
        self._queue: deque[Any] = deque()
        self._sending = 0
        # Guards everything that both threads write; notified when there is work for the exporter's thread.
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
            # Only this thread adds spans, so the free space can only grow meanwhile.
            with self._changed:
                self.dropped += len(trace)
            return
        for span in trace:
            limit(span, self._limits)
        encoded = [self._transport.encode(span) for span in trace]
        with self._changed:
            waited = len(self._queue)
            self._queue += encoded
            # The first span starts the wait for a batch, and a full batch ends it.
            if not waited or waited < batching.spans <= len(self._queue):
                self._changed.notify()

    def close(self, deadline_s: float) -> None:
        """Sends the queued spans for at most about `deadline_s`; drops the rest."""
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
            structlog.get_logger().warning("traces dropped at shutdown", spans=lost, endpoint=self._transport.shown)

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
        """Waits for the next batch: until it is full or its first span has waited long enough; empty at the end."""
        batching = self._batching
        with self._changed:
            self._changed.wait_for(lambda: self._queue or self._ending)
            self._changed.wait_for(lambda: len(self._queue) >= batching.spans or self._ending, batching.delay_s)
            batch = list(itertools.islice(self._queue, batching.spans))
            # Before they leave the queue, because `put` adds both without the lock.
            self._sending = len(batch)
            for _ in batch:
                self._queue.popleft()
            return batch

    def _send(self, batch: Sequence[Any]) -> str:
        try:
            return self._transport.send(batch)
        except Exception as error:
            # The library may raise anything: the thread continues with the next batch.
            return type(error).__name__
