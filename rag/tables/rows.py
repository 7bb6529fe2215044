"""The result of a query, with limits on rows, bytes, and the length of each value."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import msgspec

# Longer values are cut, and rows beyond the total are left out; a prompt has room for far less.
MAX_VALUE = 2_000
MAX_BYTES = 256_000
SAMPLES = 3
_MAX_SAMPLE = 40
_PLAIN_TYPES = (bool, int, float)


class EngineRefused(ValueError):
    """The database can't be used, or not safely; the message gives the reason and the fix."""


class QueryFailed(Exception):
    """The query failed; the message may be sent to the model."""


class Column(msgspec.Struct, frozen=True):
    """A column with sample values."""

    name: str
    kind: str
    samples: tuple[str, ...] = ()


class Rows(msgspec.Struct, frozen=True):
    """A query's result; `more`: there were more rows than the limit; `cut`: the number of values that were cut."""

    columns: tuple[str, ...]
    rows: tuple[tuple[object, ...], ...]
    more: bool = False
    cut: int = 0


def collect_rows(columns: Sequence[str], rows: Iterable[Sequence[object]], max_rows: int) -> Rows:
    """Collects rows up to the limits. Reads at most one more row from `rows`."""
    collected: list[tuple[object, ...]] = []
    size, cut, more = 0, 0, False
    for row in rows:
        if len(collected) >= max_rows or size > MAX_BYTES:
            more = True
            break
        values: list[object] = []
        for value in row:
            short, was_cut = _value(value)
            size += len(short.encode(errors="replace")) if isinstance(short, str) else 8
            cut += was_cut
            values.append(short)
        if size > MAX_BYTES and collected:
            more = True
            break
        collected.append(tuple(values))
    return Rows(tuple(columns), tuple(collected), more, cut)


def _value(value: object) -> tuple[object, bool]:
    """Returns numbers of up to 64 bits unchanged and all else as text, and whether the text was cut."""
    if value is None or (isinstance(value, _PLAIN_TYPES) and _is_plain(value)):
        return value, False
    if isinstance(value, bytes):
        value = _read_bytes(value[: 4 * MAX_VALUE])
    text = value if isinstance(value, str) else str(value)
    return (text[:MAX_VALUE] + "\u2026", True) if len(text) > MAX_VALUE else (text, False)


def _is_plain(value: float) -> bool:
    return math.isfinite(value) if isinstance(value, float) else -(2**63) <= value < 2**63


def _read_bytes(value: bytes) -> str:
    """Decodes bytes as text, or as hex if they are none."""
    try:
        text = value.decode()
    except UnicodeDecodeError as error:
        # The last character may be cut off.
        if error.start < len(value) - 3 or not value[: error.start]:
            return "0x" + value.hex()
        text = value[: error.start].decode()
    return text if text.isprintable() else "0x" + value.hex()


def sample(value: object) -> str:
    """A value shortened for the model's prompt."""
    value = _read_bytes(value[: _MAX_SAMPLE * 10]) if isinstance(value, bytes) else value
    text = " ".join(str(value)[: _MAX_SAMPLE * 10].split())
    return text if len(text) <= _MAX_SAMPLE else text[: _MAX_SAMPLE - 1] + "\u2026"


def with_samples(columns: Sequence[Column], rows: Sequence[Sequence[object]]) -> list[Column]:
    """The columns with sample values from `rows`."""
    return [
        Column(column.name, column.kind, tuple(sample(row[at]) for row in rows if row[at] is not None))
        for at, column in enumerate(columns)
    ]
