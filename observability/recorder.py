"""Processes finished request records in batches, off the hot path: traces, metrics and log lines."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import time
from collections import deque
from typing import TYPE_CHECKING, BinaryIO, Literal

import msgspec
import structlog

from observability.exporter import Exporter
from observability.metrics import Metrics
from observability.summary import summary
from observability.trace import spans
from observability.tracing import ALL_TRACES, Sampling, TracingConfig, read_tracing
from observability.transports import ExtraAbsent, open_transport

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from contract.access_state import AccessState
    from contract.exchange import Exchange
    from contract.passages import ContextQuality
    from observability.metrics import TargetState

MAX_WAITING = 50_000
DRAIN_EVERY_S = 0.1
SLICE_S = 0.002
FLUSH_S = 3.0


class RecorderConfig(msgspec.Struct, frozen=True, kw_only=True):
    """`tracing`: which requests are traced and where traces go; `log`: the format of the log lines."""

    tracing: TracingConfig = TracingConfig()
    log: Literal["json", "text", "off"] = "json"


def sample(exchange: Exchange, sampling: Sampling) -> None:
    """Sets the exchange's sampled flag, which goes upstream. On every request's path."""
    if sampling.parent_decides and exchange.parent_span_id:
        return
    if sampling.below < ALL_TRACES and int(exchange.trace_id[16:], 16) >= sampling.below:
        exchange.trace_flags &= ~1
    else:
        exchange.trace_flags |= 1


class Recorder:
    """`began` and `finish` take a microsecond; the rest runs a tenth of a second later."""

    def __init__(
        self,
        config: RecorderConfig,
        health: Callable[[], Iterable[TargetState]],
        *,
        quality: Mapping[str, ContextQuality] | None = None,
        accounts: Callable[[], AccessState | None] = lambda: None,
        environ: Mapping[str, str] = os.environ,
        output: BinaryIO | None = None,
    ) -> None:
        """`quality` (by pipeline) and `accounts` are for the metrics; `output` (default: stderr) gets the log lines."""
        self._config = config
        self._output = output
        self._environ = environ
        self._exporter: Exporter | None = None
        self._sampling = Sampling()
        self._waiting: deque[Exchange] = deque()
        self._lost = 0
        self._in_flight: dict[str, int] = {}
        version = config.tracing.service_version
        self._metrics = Metrics(version, health, self._in_flight, self._dropped, quality, accounts)
        self._listeners: list[Callable[[Exchange], None]] = []
        self._draining: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Starts; call it on the event loop of the serving process. Raises `ValueError` if traces can't be sent."""
        self._exporter = self._open_exporter()
        self._draining = asyncio.get_running_loop().create_task(self._drain_for_ever())

    def _open_exporter(self) -> Exporter | None:
        tracing = read_tracing(self._config.tracing, self._environ)
        self._sampling = tracing.sampling
        log = structlog.get_logger()
        for warning in tracing.warnings:
            log.warning("an environment variable is invalid", problem=warning)
        if tracing.collector is None and not tracing.console:
            return None
        try:
            transport = open_transport(tracing)
        except ExtraAbsent as error:
            if self._config.tracing.otlp:
                raise
            # The variables are often set for all programs of a machine.
            log.warning("tracing is off although the environment enables it", problem=str(error))
            return None
        return Exporter(transport, tracing.batching, tracing.limits)

    def listen(self, listener: Callable[[Exchange], None]) -> None:
        """Registers `listener`, which is called with each finished request record, on the event loop."""
        self._listeners.append(listener)

    def began(self, exchange: Exchange) -> None:
        """Records the start of a request; decides whether it is traced, so that the decision goes upstream."""
        self._in_flight[exchange.surface] = self._in_flight.get(exchange.surface, 0) + 1
        sample(exchange, self._sampling)

    def finish(self, exchange: Exchange) -> None:
        """Records the end of a request. Never waits."""
        self._in_flight[exchange.surface] -= 1
        if len(self._waiting) >= MAX_WAITING:
            self._lost += 1
            return
        self._waiting.append(exchange)

    def render(self, accept: str) -> tuple[bytes, str]:
        """Returns the current metrics: body and content type."""
        self._drain(float("inf"))
        return self._metrics.render(accept)

    async def close(self) -> None:
        """Processes the pending requests, and flushes the traces for at most a few seconds."""
        if self._draining is not None:
            self._draining.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._draining
        self._drain(float("inf"))
        if self._exporter is not None:
            await asyncio.to_thread(self._exporter.close, FLUSH_S)

    def _dropped(self) -> int:
        return self._lost + (self._exporter.dropped if self._exporter is not None else 0)

    async def _drain_for_ever(self) -> None:
        while True:
            await asyncio.sleep(DRAIN_EVERY_S)
            while self._waiting:
                self._drain(time.perf_counter() + SLICE_S)
                # Requests have priority: process a slice at a time.
                await asyncio.sleep(0)

    def _drain(self, until: float) -> None:
        lines: list[bytes] = []
        while self._waiting:
            exchange = self._waiting.popleft()
            self._metrics.observe(exchange)
            if self._exporter is not None and exchange.trace_flags & 1:
                self._exporter.put(spans(exchange))
            if self._config.log != "off":
                lines.append(self._line(exchange))
            for listener in self._listeners:
                listener(exchange)
            if time.perf_counter() >= until:
                break
        if lines:
            self._write(b"".join(lines))

    def _line(self, exchange: Exchange) -> bytes:
        line = summary(exchange)
        if self._config.log == "json":
            return msgspec.json.encode(line) + b"\n"
        attempts = " ".join(f"{each['target']}:{each['result']}" for each in line["attempts"])
        text = (
            f"{line['time']} {line['status']} {line['outcome']} {line['surface']} app={line['app']} "
            f"model={line['model']} {line['duration_ms']}ms {attempts} {line['request_id']}\n"
        )
        return text.encode()

    def _write(self, data: bytes) -> None:
        # A log reader that has exited must not stop the gateway.
        with contextlib.suppress(OSError, ValueError):
            output = self._output or sys.stderr.buffer
            output.write(data)
            output.flush()
