"""Server-sent events, incrementally: bytes in, (event name, data) out.

Follows the WHATWG event stream format: lines end in LF, CRLF or CR, `data` lines of one event are joined by LF,
comments and unknown fields are dropped, a byte order mark at the start is skipped.
"""

from __future__ import annotations

from typing import TypeAlias

from gateway.contract.errors import MalformedReply

Event: TypeAlias = tuple[str, bytes]

MAX_EVENT_BYTES = 32 * 1024 * 1024


class SseParser:
    """Any split of the bytes gives the same events."""

    __slots__ = ("_buffer", "_carriage", "_data", "_event", "_started")

    def __init__(self) -> None:
        self._buffer = b""
        self._carriage = False
        self._data: list[bytes] = []
        self._event = ""
        self._started = False

    def feed(self, data: bytes) -> list[Event]:
        """The events completed by `data`. Raises `MalformedReply` for an event larger than MAX_EVENT_BYTES."""
        if (
            self._started
            and data[:6] == b"data: "
            and data[-2:] == b"\n\n"
            and not (self._buffer or self._data or self._event or self._carriage)
            and data.find(b"\n") == len(data) - 2
            and b"\r" not in data
        ):
            # One whole event of one line, as paced streams come: nothing to split or to keep.
            return [("", data[6:-2])]
        if not self._started:
            data = self._begin(data)
        if self._carriage and data:
            # A CR ended the last line; a LF right after it belongs to it.
            self._carriage = False
            if data[:1] == b"\n":
                data = data[1:]
        if self._buffer:
            data = self._buffer + data
        if b"\r" in data:
            self._carriage = data.endswith(b"\r")
            data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        lines = data.split(b"\n")
        self._buffer = lines.pop()
        events: list[Event] = []
        for line in lines:
            self._take(line, events)
        if len(self._buffer) + sum(map(len, self._data)) > MAX_EVENT_BYTES:
            raise MalformedReply("The provider sent an event that is too large")
        return events

    def finish(self) -> list[Event]:
        """An event that lacks its closing blank line. The format says to drop it; providers exist that end so."""
        events: list[Event] = []
        if self._buffer:
            self._take(self._buffer, events)
            self._buffer = b""
        self._take(b"", events)
        return events

    def _begin(self, data: bytes) -> bytes:
        data = self._buffer + data
        self._buffer = b""
        mark = b"\xef\xbb\xbf"
        if len(data) < len(mark) and mark.startswith(data):
            self._buffer = data
            return b""
        self._started = True
        return data.removeprefix(mark)

    def _take(self, line: bytes, events: list[Event]) -> None:
        if line.startswith(b"data:"):
            self._data.append(line[6:] if line[5:6] == b" " else line[5:])
        elif not line:
            if self._data:
                data = self._data
                events.append((self._event, data[0] if len(data) == 1 else b"\n".join(data)))
                self._data = []
            self._event = ""
        elif line.startswith(b"event:"):
            self._event = line[6:].strip().decode("utf-8", "replace")
        elif line == b"data":
            self._data.append(b"")
