"""One worker's /metrics speaks for all: each gives its text on a Unix socket, and whoever is asked merges them."""

from __future__ import annotations

import asyncio
import math
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

ANSWER_S = 1.0
EOF = b"# EOF"
# A worker that dies while it answers must not be taken for one that had no more to say.
END = b"# END\n"

SUMMED_KINDS = frozenset({b"counter", b"histogram", b"summary"})
# Amounts: all workers' together are the amount of the whole.
SUMMED_GAUGES = frozenset(
    {
        b"gatehouse_in_flight",
        b"gatehouse_target_in_flight",
        b"gatehouse_ledger_waiting_bytes",
        # Pages that workers share are counted once for each.
        b"process_resident_memory_bytes",
        b"process_virtual_memory_bytes",
        # The limit is each process's own; only summed does it fit beside the sum of what is open.
        b"process_max_fds",
        b"process_open_fds",
    }
)
# States and facts: a sum would be nonsense.
HIGHEST_GAUGES = frozenset(
    {
        b"gatehouse_build_info",
        # 1 for each state that any worker's breaker is in, so two states of a target can be 1.
        b"gatehouse_breaker_state",
        b"gatehouse_key_cache_age_seconds",
        # Of a folder that workers share.
        b"gatehouse_ledger_undecodable_lines",
        # That of the worker that was started last.
        b"process_start_time_seconds",
        b"python_info",
    }
)

_SAMPLE = re.compile(rb'([a-zA-Z_:][a-zA-Z0-9_:]*)(\{[^"}]*(?:"(?:[^"\\]|\\.)*"[^"}]*)*\})? +(\S+)')
_HEADERS = (b"HELP", b"TYPE", b"UNIT")


class WorkerMetrics:
    """One worker's part in it: it answers the others, and asks them."""

    def __init__(self, folder: Path, number: int, own: Callable[[], bytes]) -> None:
        """`folder` is the workers' own; `number` is this one's; `own` renders its exposition."""
        self._folder = folder
        self._number = number
        self._own = own
        self._path = folder / f"{number}.sock"
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Answers the others from now on."""
        # What a worker left that was killed is in the way of the one in its place.
        self._forget()
        self._server = await asyncio.start_unix_server(self._answer, self._path)

    async def gather(self) -> bytes:
        """All workers' expositions merged; a worker that does not answer in time is left out."""
        others = [number for number in self._numbers() if number != self._number]
        answers = await asyncio.gather(*(self._ask(number) for number in others))
        texts = dict(zip(others, answers, strict=True))
        texts[self._number] = self._own()
        # Thousands of lines from each worker: requests go on meanwhile.
        return await asyncio.to_thread(merge, [text for _, text in sorted(texts.items()) if text])

    async def close(self) -> None:
        """Answers no more."""
        if self._server is not None:
            self._server.close()
            self._server = None
            self._forget()

    def _forget(self) -> None:
        self._path.unlink(missing_ok=True)

    def _numbers(self) -> list[int]:
        return [int(path.stem) for path in self._folder.glob("*.sock") if path.stem.isdecimal()]

    async def _answer(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(ANSWER_S):
                writer.write(self._own() + END)
                await writer.drain()
        except (OSError, TimeoutError):
            # It asked and went.
            writer.transport.abort()
        finally:
            writer.close()

    async def _ask(self, number: int) -> bytes:
        """Empty when it does not answer."""
        try:
            async with asyncio.timeout(ANSWER_S):
                reader, writer = await asyncio.open_unix_connection(self._folder / f"{number}.sock")
                try:
                    text = await reader.read()
                finally:
                    writer.close()
        except (OSError, TimeoutError):
            return b""
        return text.removesuffix(END) if text.endswith(END) else b""


class _Family:
    """One metric: its header lines, its kind, and each sample's values in the order of their first coming."""

    __slots__ = ("head", "kind", "samples")

    def __init__(self) -> None:
        self.head: dict[bytes, bytes] = {}
        self.kind = b""
        self.samples: dict[tuple[bytes, bytes], list[float]] = {}


def merge(expositions: Sequence[bytes]) -> bytes:
    """One exposition of many, in text format 0.0.4 or OpenMetrics, all in the same.

    Counters, histograms, summaries and gauges of amounts are summed; of other gauges the highest stands, and the
    earliest of `_created`. A gauge that the tables above do not name counts as a state: what is shown then is at least
    what some worker says. Timestamps and exemplars, of which we export none, are dropped.

    A worker that was started again begins at 0, and one that did not answer is missing, so a counter can fall. That
    is what Prometheus takes for a restart, and `rate` and `increase` reckon with it.
    """
    families: dict[bytes, _Family] = {}
    ended = False
    for exposition in expositions:
        ended = _read(exposition, families) or ended
    lines: list[bytes] = []
    for family in families.values():
        lines += family.head.values()
        for (name, labels), values in family.samples.items():
            lines.append(b"%s%s %s" % (name, labels, _text(_rule(name, family.kind)(values))))
    if ended:
        lines.append(EOF)
    return b"".join(line + b"\n" for line in lines)


def _read(exposition: bytes, families: dict[bytes, _Family]) -> bool:
    """Adds its samples to `families`; whether it has OpenMetrics' last line."""
    ended = False
    family = None
    # Not `splitlines`: a carriage return may stand in a label.
    for line in exposition.split(b"\n"):
        if line.startswith(b"#"):
            ended = ended or line == EOF
            words = line.split(b" ", 3)
            if len(words) >= 3 and words[1] in _HEADERS:
                family = families.setdefault(words[2], _Family())
                family.head.setdefault(words[1], line)
                if words[1] == b"TYPE":
                    family.kind = words[-1]
            continue
        match = _SAMPLE.match(line)
        if match is None:
            continue
        name, labels, value = match.groups(default=b"")
        if family is None:
            family = families.setdefault(name, _Family())
        family.samples.setdefault((name, labels), []).append(float(value))
    return ended


def _rule(name: bytes, kind: bytes) -> Callable[[Sequence[float]], float]:
    # Before the kind: format 0.0.4 calls them gauges, OpenMetrics makes them part of a counter.
    if name.endswith(b"_created"):
        return min
    return _total if kind in SUMMED_KINDS or name in SUMMED_GAUGES else _highest


def _total(values: Sequence[float]) -> float:
    try:
        # Exact, so that it does not matter which worker is asked.
        return math.fsum(values)
    except (OverflowError, ValueError):
        return sum(values)


def _highest(values: Sequence[float]) -> float:
    return max((value for value in values if not math.isnan(value)), default=math.nan)


def _text(value: float) -> bytes:
    if math.isinf(value):
        return b"+Inf" if value > 0 else b"-Inf"
    return b"NaN" if math.isnan(value) else repr(value).encode()
