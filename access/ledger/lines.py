"""Decodes journal lines: a row, a reservation, or a line that this version can't read, with its position and reason.

No line is skipped: `set_aside` stores unreadable lines.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator
from pathlib import Path

import msgspec

from access.ledger.entry import VERSION, LedgerEntry, Reservation

_ROWS = msgspec.json.Decoder(LedgerEntry)
_RESERVATIONS = msgspec.json.Decoder(Reservation)
_RESERVED = b'{"line":"reserved",'
_NUL = b"\\u0000"
_READ_BYTES = 64 * 1024
TORN = "its end is missing"
# msgspec raises the latter two itself, for invalid UTF-8 and for deeply nested values.
BROKEN = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


class UnreadableLine(msgspec.Struct, frozen=True):
    """A line that is neither: its bytes without the line end, and the position of its first byte in the file.

    `why` has the reason without values of the line, which may be personal data.
    """

    place: int
    data: bytes
    why: str


class JournalLines(msgspec.Struct):
    """A batch of journal lines, and the position after them."""

    place: int
    entries: list[LedgerEntry] = []
    unreadable: list[UnreadableLine] = []


class _Head(msgspec.Struct):
    version: int = 1


def _why(line: bytes, error: Exception) -> str:
    """The reason why a line can't be read."""
    try:
        version = msgspec.json.decode(line, type=_Head).version
    except BROKEN:
        return "not a journal line"
    if version > VERSION:
        return f"written by version {version}; this version reads up to {VERSION}"
    # Only the field's path: the text before it may contain the value.
    _, _, field = str(error).rpartition(" - at ")
    return f"unexpected value{f' at {field}' if field.startswith('`$') else ''}"


def _row(line: bytes) -> LedgerEntry:
    entry = _ROWS.decode(line)
    # PostgreSQL refuses NUL, which would block all other rows. The check of the bytes is a fast first test.
    if _NUL in line and "\0" in _texts(entry):
        raise msgspec.ValidationError("text with a NUL")
    return entry


def _texts(entry: LedgerEntry) -> str:
    """All text values of a row, concatenated."""
    own = [value for value in msgspec.structs.astuple(entry) if isinstance(value, str)]
    return "".join(own + [each.target + each.reason + each.error for each in entry.attempts])


def read_lines(
    descriptor: int, place: int, most: int, end: int | None = None, begun: dict[str, Reservation] | None = None
) -> JournalLines:
    """Reads complete lines from a position on: returns rows, and adds reservations to `begun`, if given.

    The row of a request comes after its reservation; the caller must match them.
    """
    size = _READ_BYTES
    while True:
        wanted = size if end is None else min(size, end - place)
        data = os.pread(descriptor, wanted, place)
        lines = data.split(b"\n")[:most] if data.count(b"\n") >= most else data.split(b"\n")[:-1]
        if lines or len(data) < size:
            break
        size *= 4
    found = JournalLines(place)
    for line in lines:
        _decode(line, found, begun)
        found.place += len(line) + 1
    return found


def _decode(line: bytes, found: JournalLines, begun: dict[str, Reservation] | None, *, torn: bool = False) -> None:
    if not line:
        return
    try:
        if not line.startswith(_RESERVED):
            found.entries.append(_row(line))
        elif begun is not None:
            reservation = _RESERVATIONS.decode(line)
            begun[reservation.id] = reservation
    except BROKEN as error:
        found.unreadable.append(UnreadableLine(found.place, line, TORN if torn else _why(line, error)))


def read_journal(
    path: Path,
    most: int,
    in_flight: dict[str, Reservation] | None = None,
    ended: deque[tuple[Reservation, LedgerEntry]] | None = None,
) -> Iterator[tuple[list[LedgerEntry], list[UnreadableLine]]]:
    """Reads the journal of a dead process: yields batches of rows and of unreadable lines.

    At the end `in_flight` has the requests that did not end, and `ended` those that did. A last line without a line
    end is a row if it is otherwise complete.
    """
    begun = in_flight if in_flight is not None else {}
    place = 0
    with path.open("rb") as file:
        while True:
            found = read_lines(file.fileno(), place, most, None, begun)
            if found.place == place:
                file.seek(place)
                _decode(file.read(), found, begun, torn=True)
            for each in found.entries:
                before = begun.pop(each.id, None)
                if before is not None and ended is not None:
                    ended.append((before, each))
            if found.entries or found.unreadable or found.place > place:
                yield found.entries, found.unreadable
            if found.place == place:
                return
            place = found.place
