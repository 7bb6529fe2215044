"""A pool of HTTP/1.1 connections to one origin, with only what a model call needs.

It is our own client because every token passes through it: a call takes about a fifth of the CPU time of aiohttp's
client, and a streamed chunk needs no queue and no task (see bench/README.md). httptools (llhttp) parses the responses.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import time
from collections import deque
from typing import TYPE_CHECKING, Any, cast

import httptools

from contract.endpoint import MAX_ANSWER_BYTES
from contract.errors import ConnectFailed, IncompleteReply, MalformedReply, Overloaded, TimedOut
from gateway.providers.response import Response
from gateway.providers.transport import IDLE_S, LINGER_S, MAX_HEADER_BYTES, MAX_IDLE, OriginPool

if TYPE_CHECKING:
    from contract.attempt import Attempt
    from contract.errors import TimeoutPhase


class _Connection(asyncio.Protocol):
    """One connection; carries one response at a time."""

    __slots__ = (
        "_delimited",
        "_dry_bytes",
        "_lingering",
        "_loop",
        "_parser",
        "_pool",
        "_response",
        "_transport",
        "closed",
        "idle_since",
    )

    def __init__(self, pool: ConnectionPool, loop: asyncio.AbstractEventLoop) -> None:
        self._pool = pool
        self._loop = loop
        self._parser: Any = httptools.HttpResponseParser(self)
        self._response: Response | None = None
        self._transport: asyncio.Transport | None = None
        self._delimited = False
        # Bytes received since the last piece of a body.
        self._dry_bytes = 0
        self._lingering: asyncio.TimerHandle | None = None
        self.closed = False
        self.idle_since = 0.0

    def send(self, data: bytes, response: Response) -> None:
        self._response = response
        self._delimited = False
        self._dry_bytes = 0
        assert self._transport is not None
        self._transport.write(data)

    def hold(self, *, held: bool) -> None:
        if self._transport is not None and not self.closed:
            if held:
                self._transport.pause_reading()
            else:
                self._transport.resume_reading()

    def abort(self) -> None:
        self._response = None
        self.closed = True
        if self._lingering is not None:
            self._lingering.cancel()
            self._lingering = None
        if self._transport is not None:
            self._transport.abort()

    def discard(self) -> None:
        self._response = None
        self.hold(held=False)
        self._lingering = self._loop.call_later(LINGER_S, self.abort)

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        if self.idle_since:
            self.abort()
            return
        response = self._response
        self._dry_bytes += len(data)
        try:
            self._parser.feed_data(data)
            if self._dry_bytes > MAX_HEADER_BYTES:
                raise ValueError("too many bytes outside the body")
        except Exception:  # whatever the parser rejects is not HTTP
            if self._response is not None:
                self._response.fail(MalformedReply("The provider's answer is not HTTP"))
            self.abort()
        if response is not None:
            response.wake()

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        self._pool.forget(self)
        response, self._response = self._response, None
        if self._lingering is not None:
            self._lingering.cancel()
            self._lingering = None
        if response is None:
            return
        if not response.status:
            response.fail(ConnectFailed("The provider closed the connection before answering"))
        elif exc is None and not self._delimited:
            response.end()
        else:
            response.fail(IncompleteReply("The provider closed the connection before the end of its answer"))
        response.wake()

    # httptools callbacks

    def on_header(self, name: bytes, value: bytes) -> None:
        response = self._response
        if response is None or response.status:
            return  # trailers are not used
        key = name.lower()
        if key in (b"content-length", b"transfer-encoding"):
            self._delimited = True
        elif key == b"content-encoding" and key in response.raw_headers:
            value = b"%b, %b" % (response.raw_headers[key], value)
        response.raw_headers[key] = value

    def on_headers_complete(self) -> None:
        response = self._response
        status = self._parser.get_status_code()
        if response is None:
            return
        if status >= 200:
            response.begin(status)
        else:
            # An interim response: its headers do not belong to the final one.
            response.raw_headers.clear()
            self._delimited = False

    def on_body(self, data: bytes) -> None:
        self._dry_bytes = 0
        if self._response is not None:
            self._response.take(data)

    def on_message_complete(self) -> None:
        if self._parser.get_status_code() < 200:
            return
        response, self._response = self._response, None
        if response is None and self._lingering is None:
            raise ValueError("a response without a request")
        if self._lingering is not None:
            self._lingering.cancel()
            self._lingering = None
        if response is not None and response.held:
            self.hold(held=False)
        if self._parser.should_keep_alive() and not self.closed:
            self._pool.put_back(self)
        elif self._transport is not None:
            self.closed = True
            self._transport.close()
        if response is not None:
            response.end()


class ConnectionPool(OriginPool):
    """Implements `Transport` for calls without a proxy: keeps connections alive and reuses the newest first."""

    def __init__(
        self,
        base_url: str,
        max_connections: int = 1000,
        max_answer: int = MAX_ANSWER_BYTES,
        *,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """See `OriginPool`."""
        super().__init__(base_url, max_connections, max_answer, tls)
        self._opening = 0
        self._idle: deque[_Connection] = deque()
        self._open: set[_Connection] = set()

    async def post(
        self,
        head: bytes,
        body: bytes,
        *,
        connect_s: float,
        deadline: float,
        phase: TimeoutPhase = "first_token",
        attempt: Attempt | None = None,
    ) -> Response:
        """See `Transport.post`."""
        data = b"%bcontent-length: %d\r\n\r\n%b" % (head, len(body), body)
        idle = self._take_idle()
        if idle is not None:
            try:
                return await self._call(idle, data, deadline, phase, attempt)
            except ConnectFailed:
                pass
        return await self._call(await self._connect(connect_s), data, deadline, phase, attempt)

    async def _call(
        self, connection: _Connection, data: bytes, deadline: float, phase: TimeoutPhase, attempt: Attempt | None
    ) -> Response:
        response = Response(connection, asyncio.get_running_loop(), self._max_answer)
        response.expect_by(deadline, phase)
        connection.send(data, response)
        if attempt is not None:
            attempt.sent = True
        try:
            await response.head()
        except BaseException:
            response.close()
            raise
        return response

    def _take_idle(self) -> _Connection | None:
        oldest = time.monotonic() - IDLE_S
        while self._idle:
            connection = self._idle.pop()
            if connection.closed:
                continue
            if connection.idle_since < oldest:
                connection.abort()
                continue
            connection.idle_since = 0.0
            return connection
        return None

    async def _connect(self, connect_s: float) -> _Connection:
        loop = asyncio.get_running_loop()
        if len(self._open) + self._opening >= self._max_connections:
            raise Overloaded(f"{self._max_connections} calls to the provider are open (max_connections)")
        if self._origin.secure and self._tls is None:
            self._tls = await asyncio.to_thread(ssl.create_default_context)
        self._opening += 1
        try:
            async with asyncio.timeout(connect_s):
                _, connection = await loop.create_connection(
                    lambda: _Connection(self, loop),
                    self._origin.host,
                    self._origin.port,
                    ssl=self._tls if self._origin.secure else None,
                )
        except TimeoutError:
            raise TimedOut("The connection to the provider timed out", phase="connect") from None
        except ssl.SSLError as error:
            raise ConnectFailed(f"TLS with the provider failed: {error.reason}") from None
        except OSError as error:
            raise ConnectFailed(f"The provider can't be reached: {error.strerror or type(error).__name__}") from None
        finally:
            self._opening -= 1
        self._open.add(connection)
        return connection

    def put_back(self, connection: _Connection) -> None:
        """Returns a connection to the pool after a complete response."""
        connection.idle_since = time.monotonic()
        self._idle.append(connection)
        if len(self._idle) > MAX_IDLE:
            self._idle.popleft().abort()

    def forget(self, connection: _Connection) -> None:
        """Removes a closed connection."""
        self._open.discard(connection)
        if connection.idle_since:
            with contextlib.suppress(ValueError):
                self._idle.remove(connection)

    async def close(self) -> None:
        """See `Transport.close`."""
        for connection in list(self._open):
            connection.abort()
        self._idle.clear()
