"""A caller's connection: uvicorn's protocol, with a bound on all bytes that arrive before the key is known.

The parser buffers an incomplete request line or header without a limit, so the bytes are counted here as they arrive.
`Connections` checks the deadlines of all connections together.
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

MAX_URL = 65_536
MAX_HEADER_BYTES = 65_536
MAX_HEADERS = 200
MAX_PIPELINED = 32
# Bytes of framing between the bytes of a body: chunk sizes, extensions, line ends and trailers.
MAX_FRAMING = 65_536
MAX_FRAMING_FIXED = 1_000_000
MAX_FRAMING_PER_BYTE = 20
# Bytes to read and discard after a refusal, so that the caller gets to read the response.
MAX_LINGERING = 64_000_000
LINGER_S = 5.0

_IDLE: Final = 0
_HEAD: Final = 1
_BODY: Final = 2

_BAD = (400, "Invalid HTTP request received.")
_LONG_URL = (414, f"The URL is longer than {MAX_URL} bytes.")
_LONG_HEAD = (431, f"The headers are longer than {MAX_HEADER_BYTES} bytes, or there are more than {MAX_HEADERS}.")
_LONG_FRAMING = (400, "The body's chunks contain too much framing.")
_LATE = (408, "The request did not arrive in time.")
_FULL = (503, "Too many connections. Try again.")
_NO_DEADLINE = math.inf


class _Refused(Exception):
    """Stops the parser."""


class FrontProtocol(HttpToolsProtocol):
    """See the module. `HttpCall` uses its attributes `body_is_late`, `close_reason` and `response_deadline`."""

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
        # The body arrives too slowly: its reader responds with the error.
        self.body_is_late = False
        # Why the gateway closed the connection during a response.
        self.close_reason = ""
        # When (loop time) the connection is closed, even if the caller has not read the response.
        self.response_deadline = _NO_DEADLINE
        self._connections = connections
        self._extensions = {"gatehouse.connection": self}
        self._phase = _IDLE
        self._since = connections.now
        self._last_check = connections.now
        self._had_request = False
        self._refused = False
        self._parse_error = _BAD
        self._upgrade = b""
        # Bytes of the request being received: in total, of its body, and since the last byte of its body.
        self._received = 0
        self._body = 0
        self._framing = 0
        self._trailers = 0
        # When the caller last read, and how many bytes were unread then.
        self._reader_progress: tuple[float, int] | None = None
        # The request being served: pipelined requests may wait behind it.
        self._running: RequestResponseCycle | None = None

    # Calls from the transport.

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
        # uvicorn notifies the last request received; the one being served may be another.
        self._signal_disconnect()
        self._connections.close(self)

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        self._received += len(data)
        if self._refused:
            if self._received > MAX_LINGERING:
                self.transport.abort()
            return
        if self._phase == _BODY:
            self._framing += len(data)
        elif self._phase == _IDLE:
            self._phase, self._since = _HEAD, self._connections.now
        self._feed(data)
        if self._refused:
            return
        if self._phase == _BODY:
            too_much = self._received > MAX_FRAMING_FIXED + MAX_FRAMING_PER_BYTE * self._body
            if too_much or self._framing > MAX_FRAMING:
                self._refuse(*_LONG_FRAMING)
        elif self._phase == _HEAD and self._received > MAX_HEADER_BYTES + len(self.url):
            self._refuse(*_LONG_HEAD)

    def _feed(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._ignore_upgrade(data[upgrade.args[0] :])
        except httptools.HttpParserError:
            self._refuse(*self._parse_error)

    def _ignore_upgrade(self, rest: bytes) -> None:
        """Restarts the parser without the upgrade: the gateway ignores it, so what follows is an HTTP body."""
        head, self._upgrade = self._upgrade, b""
        if not head:
            self._refuse(*_BAD)
            return
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self._feed(head + rest)

    # Calls from the parser.

    def on_message_begin(self) -> None:
        """The start of a request."""
        super().on_message_begin()
        self.scope["extensions"] = self._extensions  # type: ignore[typeddict-item]
        if self._phase != _HEAD:
            self._phase, self._since = _HEAD, self._connections.now

    def on_url(self, url: bytes) -> None:
        """A part of the URL."""
        self.url += url
        if len(self.url) > MAX_URL:
            self._parse_error = _LONG_URL
            raise _Refused

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header. A trailer is only counted, because access was decided before it."""
        if self._phase == _BODY:
            self._trailers += len(name) + len(value)
            if self._trailers > MAX_HEADER_BYTES:
                self._parse_error = _LONG_HEAD
                raise _Refused
            return
        name = name.lower()
        if name == b"expect" and value.lower() == b"100-continue":
            self.expect_100_continue = True
        elif name == b"transfer-encoding" and value.strip().lower() != b"chunked":
            # Other transfer codings: a proxy in front may have read another length (request smuggling).
            raise _Refused
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        """The end of the headers: the request can be served."""
        headers = self.headers
        if len(headers) > MAX_HEADERS or (
            self._received > MAX_HEADER_BYTES
            and sum(len(name) + len(value) + 4 for name, value in headers) > MAX_HEADER_BYTES
        ):
            self._parse_error = _LONG_HEAD
            raise _Refused
        if self.parser.should_upgrade():
            self._upgrade = self._without_upgrade()
            return
        if len(self.pipeline) >= MAX_PIPELINED:
            raise _Refused
        self._phase, self._since, self._had_request = _BODY, self._connections.now, True
        self._body = self._framing = self._trailers = 0
        self.body_is_late = False
        super().on_headers_complete()
        if self.pipeline:
            # A disconnect is noticed only while reading.
            self.flow.resume_reading()
        else:
            self._running = self.cycle

    def _without_upgrade(self) -> bytes:
        """The head without the upgrade headers; empty for CONNECT."""
        method = self.parser.get_method()
        if method == b"CONNECT":
            return b""
        lines = [b"%b %b HTTP/%b" % (method, self.url, self.parser.get_http_version().encode())]
        for name, value in self.headers:
            if name == b"connection":
                options = [each.strip() for each in value.split(b",")]
                value = b", ".join(each for each in options if each.lower() not in (b"upgrade", b"http2-settings"))
            if name not in (b"upgrade", b"http2-settings"):
                lines.append(name + b": " + value)
        return b"\r\n".join([*lines, b"", b""])

    def on_body(self, body: bytes) -> None:
        """A part of the body."""
        self._body += len(body)
        self._framing = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The end of the request."""
        if self._upgrade:
            return
        self._phase, self._received = _IDLE, 0
        super().on_message_complete()

    # Calls from the response.

    def on_response_complete(self) -> None:
        """Like uvicorn's, but without a timer per response."""
        self.server_state.total_requests += 1
        self.response_deadline = _NO_DEADLINE
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._running, app = self.pipeline.pop()
            self._start_asgi_task(self._running, app)
            return
        self._since = self._connections.now
        if self._phase == _BODY and (self.body_is_late or (self.expect_100_continue and not self._body)):
            # The next request can't be distinguished from the rest of the unread body.
            self.transport.close()

    # Calls from `Connections`.

    @property
    def idle_state(self) -> tuple[bool, float] | None:
        """See `Connection.idle_state`."""
        busy = self.cycle is not None and not self.cycle.response_complete
        return None if busy and not self._refused else (self._had_request, self._since)

    def drop(self) -> None:
        """See `Connection.drop`."""
        self.transport.abort()

    def check_deadlines(self, now: float) -> None:
        """See `Connection.check_deadlines`."""
        looked, self._last_check = self._last_check, now
        bounds = self._connections.bounds
        waited = now - self._since
        if self.flow.write_paused or self.transport.is_closing():
            self._check_reader(now)
        else:
            self._reader_progress = None
        if self._refused:
            if waited > LINGER_S:
                self.transport.abort()
        elif self._phase == _BODY:
            if self.cycle.response_complete:
                if waited > bounds.body_s:
                    self.transport.abort()
            elif self.flow.read_paused or self.pipeline:
                # The gateway is not reading, so the time does not count.
                self._since += now - looked
            elif waited > bounds.body_s + self._body / bounds.min_bytes_per_s:
                self._too_slow()
        elif self.cycle is None or self.cycle.response_complete:
            if self._phase == _HEAD and waited > bounds.head_s:
                self._refuse(*_LATE)
            elif waited > (bounds.idle_s if self._had_request else bounds.head_s):
                self.transport.close()

    def _check_reader(self, now: float) -> None:
        unread = self.transport.get_write_buffer_size()
        if self._reader_progress is None:
            self._reader_progress = now, unread
        bounds, (since, before) = self._connections.bounds, self._reader_progress
        if self.flow.write_paused and self.loop.time() >= self.response_deadline:
            self._close_with_reason("The response timed out while the caller did not read it")
        elif now - since > bounds.write_s:
            if before - unread < bounds.min_bytes_per_s * (now - since):
                self._close_with_reason(f"The caller read less than {bounds.min_bytes_per_s} bytes per second")
            else:
                self._reader_progress = now, unread

    def _close_with_reason(self, reason: str) -> None:
        self.close_reason = reason
        self.transport.abort()

    def _too_slow(self) -> None:
        """First lets the body's reader respond in its surface's format; the second time, refuses here."""
        if self.body_is_late:
            self._refuse(*_LATE)
            return
        self.body_is_late = True
        self.cycle.keep_alive = False
        self.cycle.message_event.set()

    def _refuse(self, status: int, message: str) -> None:
        """Responds instead of the app if no other response is in flight, and stops reading."""
        self._refused, self._received, self._since = True, 0, self._connections.now
        running = self._running
        in_flight = running is not None and not running.response_complete
        if running is not None and in_flight and (running.response_started or self.pipeline or self._phase != _BODY):
            # It was pipelined behind a request whose response is not finished.
            self.transport.close()
        else:
            self._respond(status, message)
        self._signal_disconnect()

    def _signal_disconnect(self) -> None:
        running = self._running
        if running is not None and not running.response_complete:
            running.disconnected = True
            running.message_event.set()

    def _respond(self, status: int, message: str) -> None:
        body = message.encode("ascii")
        head = b"content-type: text/plain; charset=utf-8\r\ncontent-length: %d\r\nconnection: close\r\n" % len(body)
        retry = b"retry-after: 1\r\n" if status == 503 else b""
        dates = b"".join(name + b": " + value + b"\r\n" for name, value in self.server_state.default_headers)
        self.transport.write(STATUS_LINE[status] + dates + head + retry + b"\r\n" + body)
        # Closing now would discard the response in the caller's TCP stack if the caller is still sending.
        self.transport.write_eof()
        self.flow.resume_reading()

    def shutdown(self) -> None:
        """See `HttpToolsProtocol.shutdown`."""
        if self._refused:
            self.transport.close()
        super().shutdown()


def front_protocol(connections: Connections) -> type[asyncio.Protocol]:
    """The factory that uvicorn calls for each new connection."""
    return cast("type[asyncio.Protocol]", partial(FrontProtocol, connections))
