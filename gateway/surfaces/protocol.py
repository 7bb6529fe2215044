"""One connection of a caller: uvicorn's protocol, with a bound on all that may come before anybody's key is known.

The parser keeps what it has of a request line or of a header until that is whole, and has no bound of its own: so the
bytes are counted here as they come. Deadlines are looked at from `Connections`, for all connections in one go.
"""

from __future__ import annotations

import asyncio
import math
from functools import partial
from typing import TYPE_CHECKING, Any, Final, cast

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

if TYPE_CHECKING:
    from uvicorn.config import Config
    from uvicorn.server import ServerState

    from gateway.surfaces.connections import Connections

MOST_URL = 65_536
MOST_HEADERS = 65_536
MOST_FIELDS = 200
MOST_PIPELINED = 32
# What stands between the bytes of a body: sizes, extensions and ends of chunks, and what comes after the last one.
MOST_BETWEEN = 65_536
MOST_BETWEEN_ALL = 1_000_000
MOST_A_BYTE = 20
# What is read and thrown away after a refusal, so that the caller comes to read it.
MOST_LINGERING = 64_000_000
LINGER_S = 5.0

_IDLE: Final = 0
_HEAD: Final = 1
_BODY: Final = 2

_BAD = (400, "Invalid HTTP request received.")
_LONG_URL = (414, f"The URL is longer than {MOST_URL} bytes.")
_LONG_HEAD = (431, f"The headers are longer than {MOST_HEADERS} bytes or more than {MOST_FIELDS}.")
_LONG_BETWEEN = (400, "The chunks of the body hold more framing than a body needs.")
_LATE = (408, "The request did not come in time.")
_FULL = (503, "There are too many connections. Try again.")
_NEVER = math.inf


class _Refused(Exception):
    """Ends the parser's work on what it was given."""


class FrontProtocol(HttpToolsProtocol):
    """See above. What `HttpCall` sees of it: `late`, `why`, `due`."""

    def __init__(
        self,
        connections: Connections,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.address = ""
        self.url = b""
        # The body that is being read comes too slowly: whoever reads it says so to the caller.
        self.late = False
        # Why we ended the connection in the middle of an answer.
        self.why = ""
        # When (loop time) the answer is over, also if the caller does not read it.
        self.due = _NEVER
        self._connections = connections
        self._extensions = {"gatehouse.connection": self}
        self._phase = _IDLE
        self._since = connections.now
        self._looked = connections.now
        self._spoken = False
        self._refused = False
        self._wrong = _BAD
        self._upgrade = b""
        # Of the request that is coming in: all bytes, those of its body, and those since the last of its body.
        self._received = 0
        self._body = 0
        self._between = 0
        self._trailers = 0
        # When the caller was last seen to read, and what was still unread then.
        self._reading: tuple[float, int] | None = None
        # The request that is being answered: others may stand behind it.
        self._running: RequestResponseCycle | None = None

    # What the transport says.

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """See `asyncio.Protocol`."""
        super().connection_made(transport)
        self.address = self.client[0] if self.client else ""
        if not self._connections.open(self):
            self._refuse(*_FULL)
            transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        super().connection_lost(exc)
        # uvicorn tells the last request that came; the one that is being answered may be another.
        self._tell_departure()
        self._connections.close(self)

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        self._received += len(data)
        if self._refused:
            if self._received > MOST_LINGERING:
                self.transport.abort()
            return
        if self._phase == _BODY:
            self._between += len(data)
        elif self._phase == _IDLE:
            self._phase, self._since = _HEAD, self._connections.now
        self._feed(data)
        if self._refused:
            return
        if self._phase == _BODY:
            between = self._received > MOST_BETWEEN_ALL + MOST_A_BYTE * self._body
            if between or self._between > MOST_BETWEEN:
                self._refuse(*_LONG_BETWEEN)
        elif self._phase == _HEAD and self._received > MOST_HEADERS + len(self.url):
            self._refuse(*_LONG_HEAD)

    def _feed(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._pass_over_upgrade(data[upgrade.args[0] :])
        except httptools.HttpParserError:
            self._refuse(*self._wrong)

    def _pass_over_upgrade(self, rest: bytes) -> None:
        """The parser takes what follows for another protocol's; we have none, so it is the body as ever."""
        head, self._upgrade = self._upgrade, b""
        if not head:
            self._refuse(*_BAD)
            return
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self._feed(head + rest)

    # What the parser says.

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self.scope["extensions"] = self._extensions  # type: ignore[typeddict-item]
        if self._phase != _HEAD:
            self._phase, self._since = _HEAD, self._connections.now

    def on_url(self, url: bytes) -> None:
        """A piece of the URL."""
        self.url += url
        if len(self.url) > MOST_URL:
            self._wrong = _LONG_URL
            raise _Refused

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header; or a field after the body, which is none: what a request may do was decided before it."""
        if self._phase == _BODY:
            self._trailers += len(name) + len(value)
            if self._trailers > MOST_HEADERS:
                self._wrong = _LONG_HEAD
                raise _Refused
            return
        name = name.lower()
        if name == b"expect" and value.lower() == b"100-continue":
            self.expect_100_continue = True
        elif name == b"transfer-encoding" and value.strip().lower() != b"chunked":
            # A body that is packed on the way: whoever stands in front may have read another length.
            raise _Refused
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        """The request may be answered."""
        headers = self.headers
        if len(headers) > MOST_FIELDS or (
            self._received > MOST_HEADERS and sum(len(name) + len(value) + 4 for name, value in headers) > MOST_HEADERS
        ):
            self._wrong = _LONG_HEAD
            raise _Refused
        if self.parser.should_upgrade():
            self._upgrade = self._without_upgrade()
            return
        if len(self.pipeline) >= MOST_PIPELINED:
            raise _Refused
        self._phase, self._since, self._spoken = _BODY, self._connections.now, True
        self._body = self._between = self._trailers = 0
        self.late = False
        super().on_headers_complete()
        if self.pipeline:
            # Who does not read on does not see either that the caller leaves.
            self.flow.resume_reading()
        else:
            self._running = self.cycle

    def _without_upgrade(self) -> bytes:
        """The head as it would be from a caller who does not offer another protocol; empty for a tunnel."""
        method = self.parser.get_method()
        if method == b"CONNECT":
            return b""
        lines = [b"%b %b HTTP/%b" % (method, self.url, self.parser.get_http_version().encode())]
        for name, value in self.headers:
            if name == b"connection":
                words = [each.strip() for each in value.split(b",")]
                value = b", ".join(each for each in words if each.lower() not in (b"upgrade", b"http2-settings"))
            if name not in (b"upgrade", b"http2-settings"):
                lines.append(name + b": " + value)
        return b"\r\n".join([*lines, b"", b""])

    def on_body(self, body: bytes) -> None:
        """A piece of the body."""
        self._body += len(body)
        self._between = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is whole."""
        if self._upgrade:
            return
        self._phase, self._received = _IDLE, 0
        super().on_message_complete()

    # What the answer says.

    def on_response_complete(self) -> None:
        """As uvicorn has it, without a timer for each answer."""
        self.server_state.total_requests += 1
        self.due = _NEVER
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._running, app = self.pipeline.pop()
            self._start_asgi_task(self._running, app)
            return
        self._since = self._connections.now
        if self._phase == _BODY and (self.late or (self.expect_100_continue and not self._body)):
            # What comes next can't be told from the body that was not wanted.
            self.transport.close()

    # What the book of connections asks.

    @property
    def silent(self) -> tuple[bool, float] | None:
        """See `Connection.silent`."""
        busy = self.cycle is not None and not self.cycle.response_complete
        return None if busy and not self._refused else (self._spoken, self._since)

    def drop(self) -> None:
        """See `Connection.drop`."""
        self.transport.abort()

    def look(self, now: float) -> None:
        """See `Connection.look`."""
        looked, self._looked = self._looked, now
        bounds = self._connections.bounds
        waited = now - self._since
        if self.flow.write_paused or self.transport.is_closing():
            self._look_at_reader(now)
        else:
            self._reading = None
        if self._refused:
            if waited > LINGER_S:
                self.transport.abort()
        elif self._phase == _BODY:
            if self.cycle.response_complete:
                if waited > bounds.body_s:
                    self.transport.abort()
            elif self.flow.read_paused or self.pipeline:
                # It is we who don't read.
                self._since += now - looked
            elif waited > bounds.body_s + self._body / bounds.slowest:
                self._too_slow()
        elif self.cycle is None or self.cycle.response_complete:
            if self._phase == _HEAD and waited > bounds.head_s:
                self._refuse(*_LATE)
            elif waited > (bounds.idle_s if self._spoken else bounds.head_s):
                self.transport.close()

    def _look_at_reader(self, now: float) -> None:
        unread = self.transport.get_write_buffer_size()
        if self._reading is None:
            self._reading = now, unread
        bounds, (since, before) = self._connections.bounds, self._reading
        if self.flow.write_paused and self.loop.time() >= self.due:
            self._cut("The time for the answer was over while the caller did not read it")
        elif now - since > bounds.write_s:
            if before - unread < bounds.slowest * (now - since):
                self._cut(f"The caller read less than {bounds.slowest} bytes a second")
            else:
                self._reading = now, unread

    def _cut(self, why: str) -> None:
        self.why = why
        self.transport.abort()

    def _too_slow(self) -> None:
        """First the one who reads the body may say it in the words of his surface; who does not is spoken for."""
        if self.late:
            self._refuse(*_LATE)
            return
        self.late = True
        self.cycle.keep_alive = False
        self.cycle.message_event.set()

    def _refuse(self, status: int, message: str) -> None:
        """Answers in place of the app, where no other answer is under way, and takes nothing more."""
        self._refused, self._received, self._since = True, 0, self._connections.now
        running = self._running
        at_work = running is not None and not running.response_complete
        if running is not None and at_work and (running.response_started or self.pipeline or self._phase != _BODY):
            # It came behind a request whose answer is not over.
            self.transport.close()
        else:
            self._answer(status, message)
        self._tell_departure()

    def _tell_departure(self) -> None:
        running = self._running
        if running is not None and not running.response_complete:
            running.disconnected = True
            running.message_event.set()

    def _answer(self, status: int, message: str) -> None:
        body = message.encode("ascii")
        head = b"content-type: text/plain; charset=utf-8\r\ncontent-length: %d\r\nconnection: close\r\n" % len(body)
        retry = b"retry-after: 1\r\n" if status == 503 else b""
        dates = b"".join(name + b": " + value + b"\r\n" for name, value in self.server_state.default_headers)
        self.transport.write(STATUS_LINE[status] + dates + head + retry + b"\r\n" + body)
        # Closed at once, what the caller still sends would make his machine throw away the answer.
        self.transport.write_eof()
        self.flow.resume_reading()

    def shutdown(self) -> None:
        """See `HttpToolsProtocol.shutdown`."""
        if self._refused:
            self.transport.close()
        super().shutdown()


def front_protocol(connections: Connections) -> type[asyncio.Protocol]:
    """What uvicorn calls for each new connection."""
    return cast("type[asyncio.Protocol]", partial(FrontProtocol, connections))
