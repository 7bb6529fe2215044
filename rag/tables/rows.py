"""What a query gives, and how much of it is taken: bounded in rows, in bytes, and in the length of each value."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import msgspec

# A value beyond this is cut, and rows beyond so many bytes in all are left out: a prompt holds far less of either.
MAX_VALUE = 2_000
MAX_BYTES = 256_000
SAMPLES = 3
_MAX_SAMPLE = 40
_SHOWN_AS_THEY_ARE = (bool, int, float)


class EngineRefused(ValueError):
    """The database can't be used safely, or not at all; the message says why and what helps."""


class QueryFailed(Exception):
    """The database would not answer; the message may go to the model."""


class Column(msgspec.Struct, frozen=True):
    """A column with some of its values."""

    name: str
    kind: str
    samples: tuple[str, ...] = ()


class Rows(msgspec.Struct, frozen=True):
    """What a query gave; `more` says that there were more rows than were taken, `cut` how many values were cut."""

    columns: tuple[str, ...]
    rows: tuple[tuple[object, ...], ...]
    more: bool = False
    cut: int = 0


def taken(columns: Sequence[str], rows: Iterable[Sequence[object]], max_rows: int) -> Rows:
    """The first of the rows, as many as the bounds let in. No more are asked of `rows` than that and one."""
    kept: list[tuple[object, ...]] = []
    size, cut, more = 0, 0, False
    for row in rows:
        if len(kept) >= max_rows or size > MAX_BYTES:
            more = True
            break
        values: list[object] = []
        for value in row:
            short, was_cut = _value(value)
            size += len(short.encode(errors="replace")) if isinstance(short, str) else 8
            cut += was_cut
            values.append(short)
        if size > MAX_BYTES and kept:
            more = True
            break
        kept.append(tuple(values))
    return Rows(tuple(columns), tuple(kept), more, cut)


def _value(value: object) -> tuple[object, bool]:
    """Numbers as they are, if every reader can hold them; all else as text that isn't too long."""
    if value is None or (isinstance(value, _SHOWN_AS_THEY_ARE) and _is_plain(value)):
        return value, False
    if isinstance(value, bytes):
        value = _read_bytes(value[: 4 * MAX_VALUE])
    text = value if isinstance(value, str) else str(value)
    return (text[:MAX_VALUE] + "\u2026", True) if len(text) > MAX_VALUE else (text, False)


def _is_plain(value: float) -> bool:
    return math.isfinite(value) if isinstance(value, float) else -(2**63) <= value < 2**63


def _read_bytes(value: bytes) -> str:
    """As text, if they are one."""
    try:
        text = value.decode()
    except UnicodeDecodeError as error:
        # A letter that was cut in two at the end.
        if error.start < len(value) - 3 or not value[: error.start]:
            return "0x" + value.hex()
        text = value[: error.start].decode()
    return text if text.isprintable() else "0x" + value.hex()


def sample(value: object) -> str:
    """A value as the model is shown it."""
    value = _read_bytes(value[: _MAX_SAMPLE * 10]) if isinstance(value, bytes) else value
    text = " ".join(str(value)[: _MAX_SAMPLE * 10].split())
    return text if len(text) <= _MAX_SAMPLE else text[: _MAX_SAMPLE - 1] + "\u2026"


def sampled(columns: Sequence[Column], rows: Sequence[Sequence[object]]) -> list[Column]:
    """The columns with values out of `rows`."""
    return [
        Column(column.name, column.kind, tuple(sample(row[at]) for row in rows if row[at] is not None))
        for at, column in enumerate(columns)
    ]
