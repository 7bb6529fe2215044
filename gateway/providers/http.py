"""A pool of HTTP/1.1 connections to one origin: what it takes to call a model, and nothing else.

Our own, for it lies on the way of every token: a call costs about a fifth of what aiohttp's client takes, and a
streamed chunk is handed over without a queue or a task (see bench/README.md). Parsing is httptools (llhttp).
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import time
from collections import deque
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

import httptools

from gateway.contract.errors import ConnectFailed, CutShort, MalformedReply, Overloaded, TimedOut, UpstreamError
from gateway.providers.wakeup import Wakeup

if TYPE_CHECKING:
    from gateway.contract.errors import TimeoutPhase
    from gateway.contract.exchange import Attempt

HIGH_WATER = 256 * 1024
MAX_IDLE = 512
IDLE_S = 55.0
LINGER_S = 1.0
MAX_HEADER_BYTES = 64 * 1024


class Response:
    """One answer under way: status and headers, then the body as it comes. Whoever holds it closes it."""

    __slots__ = (
        "_chunks",
        "_connection",
        "_deadline",
        "_error",
        "_loop",
        "_patience_s",
        "_phase",
        "_size",
        "_timer",
        "_waiter",
        "ended",
        "held",
        "raw_headers",
        "status",
    )

    def __init__(self, connection: _Connection, loop: asyncio.AbstractEventLoop) -> None:
        self.status = 0
        self.raw_headers: dict[bytes, bytes] = {}
        self.ended = False
        self.held = False
        self._connection: _Connection | None = connection
        self._loop = loop
        self._chunks: list[bytes] = []
        self._size = 0
        self._waiter: Wakeup | None = None
        self._error: UpstreamError | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._deadline = 0.0
        self._patience_s = 0.0
        self._phase: TimeoutPhase = "total"

    @property
    def headers(self) -> dict[str, str]:
        """By lower-case name."""
        return {name.decode("latin-1"): value.decode("latin-1") for name, value in self.raw_headers.items()}

    @property
    def content_type(self) -> str:
        """Lower case, without parameters; empty when unsaid."""
        return self.raw_headers.get(b"content-type", b"").partition(b";")[0].strip().lower().decode("latin-1")

    def expect_by(self, deadline: float, phase: TimeoutPhase) -> None:
        """The next byte must come before `deadline` (loop time), else the answer fails with `TimedOut`."""
        self._deadline = deadline
        if phase != self._phase:
            self._phase = phase
            self._patience_s = deadline - self._loop.time()
        timer = self._timer
        if timer is None:
            self._timer = self._loop.call_at(deadline, self._on_timer)
        elif deadline < timer.when():
            timer.cancel()
            self._timer = self._loop.call_at(deadline, self._on_timer)

    def _on_timer(self) -> None:
        # A deadline that moved on is not worth a timer of its own: this one looks again.
        self._timer = None
        if self.ended or self._error is not None:
            return
        now = self._loop.time()
        if self._phase == "idle" and self._waiter is None:
            # Nobody waits for the provider: it is the caller who is slow to read.
            self._deadline = max(self._deadline, now + self._patience_s)
        if now < self._deadline:
            self._timer = self._loop.call_at(self._deadline, self._on_timer)
            return
        self.fail(TimedOut(f"The provider did not answer in time ({self._phase.replace('_', ' ')})", phase=self._phase))
        self.close()
        self.wake()

    async def head(self) -> None:
        """Waits for status and headers. Raises `UpstreamError`."""
        while not self.status:
            if self._error is not None:
                raise self._error
            await self._wait()

    async def read(self) -> bytes | None:
        """What has come of the body since the last call, at least a byte; None at its end. Raises `UpstreamError`."""
        while True:
            chunks = self._chunks
            if chunks:
                data = chunks[0] if len(chunks) == 1 else b"".join(chunks)
                chunks.clear()
                self._size = 0
                if self.held:
                    self._hold(held=False)
                return data
            if self.ended:
                return None
            if self._error is not None:
                raise self._error
            await self._wait()

    async def read_all(self, limit: int) -> bytes:
        """The whole body, at most `limit` bytes of it; an early end counts as the end."""
        parts: list[bytes] = []
        size = 0
        try:
            while size < limit and (data := await self.read()) is not None:
                parts.append(data)
                size += len(data)
        except (CutShort, MalformedReply):
            pass
        return b"".join(parts)[:limit]

    def _wait(self) -> Wakeup:
        wakeup = self._waiter = Wakeup(self._loop)
        return wakeup

    def wake(self) -> None:
        """Lets whoever waits go on, in this call: not to be made from within the parser."""
        waiter = self._waiter
        if waiter is not None:
            self._waiter = None
            waiter.wake()

    def _hold(self, *, held: bool) -> None:
        connection = self._connection
        self.held = held
        if connection is not None:
            connection.hold(held=held)

    def take(self, data: bytes) -> None:
        """A piece of the body has come."""
        self._chunks.append(data)
        self._size += len(data)
        if self._size > HIGH_WATER and not self.held:
            self._hold(held=True)

    def begin(self, status: int) -> None:
        """Status and headers are complete."""
        self.status = status

    def end(self) -> None:
        """The body is complete; the connection is no longer ours."""
        self.ended = True
        self._let_go()

    def fail(self, error: UpstreamError) -> None:
        """Nothing more will come."""
        if self._error is None and not self.ended:
            self._error = error

    def _let_go(self) -> None:
        self._connection = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def close(self, *, linger: bool = False) -> None:
        """Ends the call at once. `linger`: all that matters has come, but the last bytes may save the connection."""
        connection = self._connection
        self._let_go()
        if connection is None:
            return
        if linger and self._error is None:
            connection.discard()
        else:
            connection.abort()


class _Connection(asyncio.Protocol):
    """One connection; carries one answer at a time."""

    __slots__ = (
        "_delimited",
        "_header_bytes",
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
        self._header_bytes = 0
        self._lingering: asyncio.TimerHandle | None = None
        self.closed = False
        self.idle_since = 0.0

    def send(self, data: bytes, response: Response) -> None:
        self._response = response
        self._delimited = False
        self._header_bytes = 0
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
        try:
            self._parser.feed_data(data)
        except Exception:  # whatever the parser dislikes, the answer is not HTTP
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
            response.fail(CutShort("The provider closed the connection before the end of its answer"))
        response.wake()

    # httptools callbacks

    def on_header(self, name: bytes, value: bytes) -> None:
        response = self._response
        self._header_bytes += len(name) + len(value)
        if self._header_bytes > MAX_HEADER_BYTES:
            raise ValueError("headers too large")
        if response is not None:
            key = name.lower()
            response.raw_headers[key] = value
            if key in (b"content-length", b"transfer-encoding"):
                self._delimited = True

    def on_headers_complete(self) -> None:
        response = self._response
        status = self._parser.get_status_code()
        if response is not None and status >= 200:
            response.begin(status)

    def on_body(self, data: bytes) -> None:
        if self._response is not None:
            self._response.take(data)

    def on_message_complete(self) -> None:
        if self._parser.get_status_code() < 200:
            return
        response, self._response = self._response, None
        if response is None and self._lingering is None:
            raise ValueError("an answer that nobody asked for")
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


class ConnectionPool:
    """Connections to one origin, `http` or `https`, kept alive and used newest first."""

    def __init__(self, base_url: str, *, tls: ssl.SSLContext | None = None, max_connections: int = 1000) -> None:
        """`base_url` may hold a path, which `post` puts before its own."""
        parts = urlsplit(base_url)
        self._secure = parts.scheme == "https"
        self._host = parts.hostname or "127.0.0.1"
        self._port = parts.port or (443 if self._secure else 80)
        self._tls = tls
        self._prefix = parts.path.rstrip("/")
        default = (443 if self._secure else 80) == self._port
        name = f"[{self._host}]" if ":" in self._host else self._host
        self._authority = name if default else f"{name}:{self._port}"
        self._max_connections = max_connections
        self._opening = 0
        self._idle: deque[_Connection] = deque()
        self._open: set[_Connection] = set()

    @property
    def address(self) -> tuple[str, int]:
        """Host and port."""
        return self._host, self._port

    def head(self, path: str, headers: dict[str, str]) -> bytes:
        """The unchanging part of a request's head, up to where more headers or `content-length` follow."""
        lines = [f"POST {self._prefix}{path} HTTP/1.1", f"host: {self._authority}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        text = "\r\n".join(lines)
        if text.count("\n") != len(lines) - 1 or text.count("\r") != len(lines) - 1:
            raise ValueError("a header holds a line break")
        return text.encode("latin-1") + b"\r\n"

    async def post(
        self, head: bytes, body: bytes, *, connect_s: float, deadline: float, attempt: Attempt | None = None
    ) -> Response:
        """Sends a request; returns when status and headers are there. Raises `UpstreamError`.

        `head` is from `head()`, with further header lines added or not. `deadline` (loop time) bounds the wait for the
        first byte. A kept connection that turns out dead before it answered is replaced once by a new one. That the
        request is out is written on `attempt`.
        """
        data = b"%bcontent-length: %d\r\n\r\n%b" % (head, len(body), body)
        kept = self._take_idle()
        if kept is not None:
            try:
                return await self._call(kept, data, deadline, attempt)
            except ConnectFailed:
                pass
        return await self._call(await self._connect(connect_s), data, deadline, attempt)

    async def _call(self, connection: _Connection, data: bytes, deadline: float, attempt: Attempt | None) -> Response:
        response = Response(connection, asyncio.get_running_loop())
        response.expect_by(deadline, "first_token")
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
        if self._secure and self._tls is None:
            self._tls = await asyncio.to_thread(ssl.create_default_context)
        self._opening += 1
        try:
            async with asyncio.timeout(connect_s):
                _, connection = await loop.create_connection(
                    lambda: _Connection(self, loop), self._host, self._port, ssl=self._tls if self._secure else None
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
        """A connection whose answer is complete."""
        connection.idle_since = time.monotonic()
        self._idle.append(connection)
        if len(self._idle) > MAX_IDLE:
            self._idle.popleft().abort()

    def forget(self, connection: _Connection) -> None:
        """A connection that is gone."""
        self._open.discard(connection)
        if connection.idle_since:
            with contextlib.suppress(ValueError):
                self._idle.remove(connection)

    def close(self) -> None:
        """Closes every connection at once."""
        for connection in list(self._open):
            connection.abort()
        self._idle.clear()
