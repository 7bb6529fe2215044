"""Lines of a journal, decoded: a row, a reservation, or one that this version can't read, with where it stands and why.

No line is ever skipped: see `aside` for what becomes of the last kind.
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
# msgspec raises the latter two itself, for bytes that are no UTF-8 and for values in thousands of others.
BROKEN = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


class UnreadableLine(msgspec.Struct, frozen=True):
    """A line that is neither: its bytes, without the end of the line, and the number of its first byte in its file.

    `why` says so without a value of the line, which may be somebody's name.
    """

    place: int
    data: bytes
    why: str


class JournalLines(msgspec.Struct):
    """Some lines of a journal, and the place after them."""

    place: int
    entries: list[LedgerEntry] = []
    unreadable: list[UnreadableLine] = []


class _Head(msgspec.Struct):
    version: int = 1


def _why(line: bytes, error: Exception) -> str:
    """Whose fault it is."""
    try:
        version = msgspec.json.decode(line, type=_Head).version
    except BROKEN:
        return "no line of a journal"
    if version > VERSION:
        return f"of version {version}, and this one knows {VERSION}"
    # The path of the field only: what is in front of it may be its value.
    _, _, field = str(error).rpartition(" - at ")
    return f"not as this version expects it{f' at {field}' if field.startswith('`$') else ''}"


def _row(line: bytes) -> LedgerEntry:
    entry = _ROWS.decode(line)
    # PostgreSQL takes none: it would keep every other row out as well. Most lines don't even look so.
    if _NUL in line and "\0" in _texts(entry):
        raise msgspec.ValidationError("a text with a NUL")
    return entry


def _texts(entry: LedgerEntry) -> str:
    """All texts of a row, one after the other."""
    own = [value for value in msgspec.structs.astuple(entry) if isinstance(value, str)]
    return "".join(own + [each.target + each.reason + each.error for each in entry.attempts])


def read_lines(
    descriptor: int, place: int, most: int, end: int | None = None, begun: dict[str, Reservation] | None = None
) -> JournalLines:
    """Whole lines from a place on: rows, and into `begun` the reservations, if it is given.

    A row comes after the beginning of its request: whoever has both is for the caller to tell.
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
    """All rows of the file of a process that is no more, so many at a time, each time with what can't be read.

    `in_flight` has at the end who began and did not end, `ended` those who did. A last line without its end is a row
    if nothing but the end of the line is missing.
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
