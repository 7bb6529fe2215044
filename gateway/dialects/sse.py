"""An incremental parser of server-sent events: bytes in, (event name, data) out.

Follows the WHATWG event stream format: lines end in LF, CRLF or CR, `data` lines of one event are joined by LF,
comments and unknown fields are dropped, a byte order mark at the start is skipped.
"""

from __future__ import annotations

from typing import TypeAlias

from contract.errors import MalformedReply

Event: TypeAlias = tuple[str, bytes]

MAX_EVENT_BYTES = 32 * 1024 * 1024


class SseParser:
    """Any split of the bytes results in the same events. Each byte is processed once, however the event is split."""

    __slots__ = ("_buffered", "_data", "_ended_with_cr", "_event", "_line", "_started")

    def __init__(self) -> None:
        # The parts of an incomplete line, and the data lines of an incomplete event.
        self._line: list[bytes] = []
        self._data: list[bytes] = []
        # The number of bytes in both.
        self._buffered = 0
        self._ended_with_cr = False
        self._event = ""
        self._started = False

    def feed(self, data: bytes) -> list[Event]:
        """The events completed by `data`. Raises `MalformedReply` for an event larger than MAX_EVENT_BYTES."""
        if (
            self._started
            and data[:6] == b"data: "
            and data[-2:] == b"\n\n"
            and not (self._buffered or self._data or self._event or self._ended_with_cr)
            and data.find(b"\n") == len(data) - 2
            and b"\r" not in data
        ):
            # The common case: a complete event with one line. Nothing to split or to buffer.
            return [("", data[6:-2])]
        if not self._started:
            data = self._begin(data)
        if self._ended_with_cr and data:
            # The previous data ended with CR; a LF right after it belongs to the same line end.
            self._ended_with_cr = False
            if data[:1] == b"\n":
                data = data[1:]
        if b"\r" in data:
            self._ended_with_cr = data.endswith(b"\r")
            data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        if b"\n" not in data:
            self._buffer(data)
            return []
        lines = data.split(b"\n")
        if self._line:
            lines[0] = self._take_line(lines[0])
        last = lines.pop()
        events: list[Event] = []
        for line in lines:
            self._take(line, events)
        self._buffer(last)
        return events

    def finish(self) -> list[Event]:
        """The last event, if it lacks its closing blank line. The standard drops it, but some providers end so."""
        events: list[Event] = []
        if self._line:
            self._take(self._take_line(b""), events)
        self._take(b"", events)
        return events

    def _buffer(self, piece: bytes) -> None:
        if piece:
            self._line.append(piece)
            self._buffered += len(piece)
        if self._buffered > MAX_EVENT_BYTES:
            raise MalformedReply("The provider sent an event that is too large")

    def _take_line(self, end: bytes) -> bytes:
        """The buffered line, completed by `end`."""
        self._buffered -= sum(map(len, self._line))
        line = b"".join([*self._line, end])
        self._line = []
        return line

    def _begin(self, data: bytes) -> bytes:
        if self._line:
            data = self._take_line(data)
        bom = b"\xef\xbb\xbf"
        if len(data) < len(bom) and bom.startswith(data):
            self._buffer(data)
            return b""
        self._started = True
        return data.removeprefix(bom)

    def _take(self, line: bytes, events: list[Event]) -> None:
        if line.startswith(b"data:"):
            self._add(line[6:] if line[5:6] == b" " else line[5:])
        elif not line:
            if self._data:
                data = self._data
                events.append((self._event, data[0] if len(data) == 1 else b"\n".join(data)))
                self._buffered -= sum(map(len, data)) + len(data)
                self._data = []
            self._event = ""
        elif line.startswith(b"event:"):
            self._event = line[6:].strip().decode("utf-8", "replace")
        elif line == b"data":
            self._add(b"")

    def _add(self, line: bytes) -> None:
        self._data.append(line)
        self._buffered += len(line) + 1
