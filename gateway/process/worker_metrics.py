"""Any worker's /metrics returns the metrics of all: each serves its own on a Unix socket, and one merges them."""

from __future__ import annotations

import asyncio
import math
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

RESPONSE_TIMEOUT_S = 1.0
EOF = b"# EOF"
# Marks a complete response, so that a worker that dies while it responds is not merged partially.
END = b"# END\n"

SUMMED_KINDS = frozenset({b"counter", b"histogram", b"summary"})
# Amounts: the total is the sum over all workers.
SUMMED_GAUGES = frozenset(
    {
        b"gatehouse_in_flight",
        b"gatehouse_target_in_flight",
        b"gatehouse_ledger_waiting_bytes",
        # Memory pages that workers share are counted once per worker.
        b"process_resident_memory_bytes",
        b"process_virtual_memory_bytes",
        # The limit applies per process; the sum matches the sum of open files.
        b"process_max_fds",
        b"process_open_fds",
    }
)
# States: a sum would be meaningless.
HIGHEST_GAUGES = frozenset(
    {
        b"gatehouse_build_info",
        # 1 for each state of any worker's breaker, so two states of a target can be 1.
        b"gatehouse_breaker_state",
        b"gatehouse_key_cache_age_seconds",
        # A value of a folder that workers share.
        b"gatehouse_ledger_undecodable_lines",
        # The value of the worker that started last.
        b"process_start_time_seconds",
        b"python_info",
    }
)

_SAMPLE = re.compile(rb'([a-zA-Z_:][a-zA-Z0-9_:]*)(\{[^"}]*(?:"(?:[^"\\]|\\.)*"[^"}]*)*\})? +(\S+)')
_HEADERS = (b"HELP", b"TYPE", b"UNIT")


class WorkerMetrics:
    """One worker's side: serves its metrics to other workers, and requests theirs."""

    def __init__(self, folder: Path, number: int, own: Callable[[], bytes]) -> None:
        """`folder` is shared by the workers, `number` is this worker's, `own` renders its exposition."""
        self._folder = folder
        self._number = number
        self._own = own
        self._path = folder / f"{number}.sock"
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Starts to serve this worker's metrics."""
        # A killed worker leaves its socket file, which would block its successor.
        self._remove_socket()
        self._server = await asyncio.start_unix_server(self._respond, self._path)

    async def gather(self) -> bytes:
        """The merged expositions of all workers; a worker that does not respond in time is omitted."""
        others = [number for number in self._numbers() if number != self._number]
        answers = await asyncio.gather(*(self._request(number) for number in others))
        texts = dict(zip(others, answers, strict=True))
        texts[self._number] = self._own()
        # In a thread, because each worker has thousands of lines.
        return await asyncio.to_thread(merge, [text for _, text in sorted(texts.items()) if text])

    async def close(self) -> None:
        """Stops serving."""
        if self._server is not None:
            self._server.close()
            self._server = None
            self._remove_socket()

    def _remove_socket(self) -> None:
        self._path.unlink(missing_ok=True)

    def _numbers(self) -> list[int]:
        return [int(path.stem) for path in self._folder.glob("*.sock") if path.stem.isdecimal()]

    async def _respond(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(RESPONSE_TIMEOUT_S):
                writer.write(self._own() + END)
                await writer.drain()
        except (OSError, TimeoutError):
            # The requesting worker disconnected.
            writer.transport.abort()
        finally:
            writer.close()

    async def _request(self, number: int) -> bytes:
        """The exposition of another worker; empty if it does not respond."""
        try:
            async with asyncio.timeout(RESPONSE_TIMEOUT_S):
                reader, writer = await asyncio.open_unix_connection(self._folder / f"{number}.sock")
                try:
                    text = await reader.read()
                finally:
                    writer.close()
        except (OSError, TimeoutError):
            return b""
        return text.removesuffix(END) if text.endswith(END) else b""


class _Family:
    """One metric: its header lines, its type, and the values of each sample in order of first occurrence."""

    __slots__ = ("head", "kind", "samples")

    def __init__(self) -> None:
        self.head: dict[bytes, bytes] = {}
        self.kind = b""
        self.samples: dict[tuple[bytes, bytes], list[float]] = {}


def merge(expositions: Sequence[bytes]) -> bytes:
    """Merges expositions, all in text format 0.0.4 or all in OpenMetrics.

    Counters, histograms, summaries and gauges of amounts are summed. For other gauges the highest value is used, for
    `_created` the earliest. A gauge that is not in the tables above counts as a state: its value is that of at least
    one worker. Timestamps and exemplars are dropped; the gateway exports none.

    A restarted worker starts at 0, and a worker that did not respond is missing, so a counter can decrease.
    Prometheus treats this as a counter reset, which `rate` and `increase` handle.
    """
    families: dict[bytes, _Family] = {}
    ended = False
    for exposition in expositions:
        ended = _read(exposition, families) or ended
    lines: list[bytes] = []
    for family in families.values():
        lines += family.head.values()
        for (name, labels), values in family.samples.items():
            lines.append(b"%s%s %s" % (name, labels, _text(_aggregation(name, family.kind)(values))))
    if ended:
        lines.append(EOF)
    return b"".join(line + b"\n" for line in lines)


def _read(exposition: bytes, families: dict[bytes, _Family]) -> bool:
    """Adds the samples to `families`. Returns whether OpenMetrics' last line is present."""
    ended = False
    family = None
    # Not `splitlines`: a label may contain a carriage return.
    for line in exposition.split(b"\n"):
        if line.startswith(b"#"):
            ended = ended or line == EOF
            fields = line.split(b" ", 3)
            if len(fields) >= 3 and fields[1] in _HEADERS:
                family = families.setdefault(fields[2], _Family())
                family.head.setdefault(fields[1], line)
                if fields[1] == b"TYPE":
                    family.kind = fields[-1]
            continue
        match = _SAMPLE.match(line)
        if match is None:
            continue
        name, labels, value = match.groups(default=b"")
        if family is None:
            family = families.setdefault(name, _Family())
        family.samples.setdefault((name, labels), []).append(float(value))
    return ended


def _aggregation(name: bytes, kind: bytes) -> Callable[[Sequence[float]], float]:
    # Checked before the type: they are gauges in format 0.0.4, and part of a counter in OpenMetrics.
    if name.endswith(b"_created"):
        return min
    return _total if kind in SUMMED_KINDS or name in SUMMED_GAUGES else _highest


def _total(values: Sequence[float]) -> float:
    try:
        # Exact, so that all workers return the same result.
        return math.fsum(values)
    except (OverflowError, ValueError):
        return sum(values)


def _highest(values: Sequence[float]) -> float:
    return max((value for value in values if not math.isnan(value)), default=math.nan)


def _text(value: float) -> bytes:
    if math.isinf(value):
        return b"+Inf" if value > 0 else b"-Inf"
    return b"NaN" if math.isnan(value) else repr(value).encode()
