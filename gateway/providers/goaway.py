"""GOAWAY frames of HTTP/2, taken out of what comes: h2 ends all streams at one, but a server that closes in good order
answers what it has begun (RFC 9113, section 6.8). And a bound on frames that carry nothing, which h2 does not have.
"""

from __future__ import annotations

import msgspec

_HEAD = 9
_GOAWAY = 7
# What we allow a server to send in one frame, HTTP/2's own default.
MAX_FRAME = 16_384
_CARRYING = frozenset({0, 1, 9})  # DATA, HEADERS, CONTINUATION
# So many frames that carry nothing (settings, pings, windows, empty data) may come before one that does, or before we
# send data: each costs time, and a server could keep the gateway busy with them.
MOST_EMPTY = 10_000


class GoAway(msgspec.Struct, frozen=True):
    """The last stream that the server has begun, or may begin; an error code."""

    last_stream: int
    code: int


class GoAwayReader:
    """Reads frames bit by bit."""

    def __init__(self) -> None:
        self._data = b""
        self.empty = 0  # frames in a row that carry nothing

    def feed(self, data: bytes) -> tuple[bytes, list[GoAway]]:
        """Whole frames without those, and those. Raises `ValueError` for a frame that is larger than it may be, and for
        more than `MOST_EMPTY` that carry nothing.
        """
        data = self._data + data
        at = 0
        kept: list[bytes] = []
        found: list[GoAway] = []
        while len(data) - at >= _HEAD:
            size = int.from_bytes(data[at : at + 3])
            if size > MAX_FRAME:
                raise ValueError("a frame is too large")
            end = at + _HEAD + size
            if end > len(data):
                break
            self.empty = 0 if size and data[at + 3] in _CARRYING else self.empty + 1
            if self.empty > MOST_EMPTY:
                raise ValueError("too many frames carry nothing")
            if data[at + 3] == _GOAWAY and size >= 8:
                last, code = data[at + 9 : at + 13], data[at + 13 : at + 17]
                found.append(GoAway(int.from_bytes(last) & 0x7FFFFFFF, int.from_bytes(code)))
            else:
                kept.append(data[at:end])
            at = end
        self._data = data[at:]
        return b"".join(kept), found
