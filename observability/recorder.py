"""Takes finished ledgers off the path and makes of them, in batches, what leaves the process."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import time
from collections import deque
from typing import TYPE_CHECKING, BinaryIO, Literal

import msgspec

from contract.egress import DIRECT, Egress
from observability.exporter import Exporter, ExportTarget
from observability.metrics import Metrics
from observability.summary import summary
from observability.trace import spans

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
    """`otlp` is the collector's base URL (empty: OpenTelemetry's variables decide); `sample` is from 0 to 1."""

    otlp: str = ""
    headers: dict[str, str] = {}
    sample: float = 1.0
    log: Literal["json", "text", "off"] = "json"
    service_name: str = "gatehouse"
    service_version: str = "0"
    egress: Egress = DIRECT


class Recorder:
    """`began` and `finish` cost a microsecond; the rest happens a tenth of a second later."""

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
        """`quality` by pipeline and `accounts` are for the metrics; `output` takes the log lines, stderr by default."""
        self._config = config
        self._output = output
        self._target = ExportTarget(
            config.otlp, config.headers, (config.service_name, config.service_version), environ, config.egress
        )
        self._exporter: Exporter | None = None
        self._sample_below = int(config.sample * 2**64)
        self._waiting: deque[Exchange] = deque()
        self._lost = 0
        self._in_flight: dict[str, int] = {}
        self._metrics = Metrics(config.service_version, health, self._in_flight, self._dropped, quality, accounts)
        self._listeners: list[Callable[[Exchange], None]] = []
        self._draining: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Needs a running event loop."""
        if self._target.endpoint:
            self._exporter = Exporter(self._target)
        self._draining = asyncio.get_running_loop().create_task(self._drain_for_ever())

    def listen(self, listener: Callable[[Exchange], None]) -> None:
        """Calls `listener` with each finished ledger, on the event loop, when its turn comes."""
        self._listeners.append(listener)

    def began(self, exchange: Exchange) -> None:
        """A request has begun: decides whether it is traced, so that the decision goes upstream."""
        self._in_flight[exchange.surface] = self._in_flight.get(exchange.surface, 0) + 1
        if not exchange.parent_span_id and int(exchange.trace_id[16:], 16) >= self._sample_below:
            exchange.trace_flags = 0

    def finish(self, exchange: Exchange) -> None:
        """A request has ended. Never waits."""
        self._in_flight[exchange.surface] -= 1
        if len(self._waiting) >= MAX_WAITING:
            self._lost += 1
            return
        self._waiting.append(exchange)

    def render(self, accept: str) -> tuple[bytes, str]:
        """The metrics up to this moment: body and content type."""
        self._drain(float("inf"))
        return self._metrics.render(accept)

    async def close(self) -> None:
        """Records what waits, and flushes the traces for at most a few seconds."""
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
                # Requests come first: a slice at a time.
                await asyncio.sleep(0)

    def _drain(self, until: float) -> None:
        traces: list[bytes] = []
        lines: list[bytes] = []
        while self._waiting:
            exchange = self._waiting.popleft()
            self._metrics.observe(exchange)
            if self._exporter is not None and exchange.trace_flags & 1:
                traces += spans(exchange)
            if self._config.log != "off":
                lines.append(self._line(exchange))
            for listener in self._listeners:
                listener(exchange)
            if time.perf_counter() >= until:
                break
        if traces and self._exporter is not None:
            self._exporter.put(traces)
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
        # A reader of our log that has gone must not end the gateway.
        with contextlib.suppress(OSError, ValueError):
            output = self._output or sys.stderr.buffer
            output.write(data)
            output.flush()
