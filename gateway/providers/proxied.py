"""Calls to a provider through a proxy, with httpcore's connections and the interface of our own pool.

It is slower than our own pool, so only calls through a proxy use it (see bench/README.md).
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from typing import TYPE_CHECKING, Any

import httpcore

from contract.dialer import Dialer, give_back, reason_of, was_dropped
from contract.egress import CallFailed, ProxyRefused
from contract.endpoint import MAX_ANSWER_BYTES
from contract.errors import ConnectFailed, IncompleteReply, MalformedReply, Overloaded, TimedOut, UpstreamError
from gateway.providers.response import Response
from gateway.providers.transport import (
    IDLE_S,
    LINGER_S,
    MAX_HEADER_BYTES,
    MAX_IDLE,
    OriginPool,
    add_header,
    read_head,
)

if TYPE_CHECKING:
    from contract.attempt import Attempt
    from contract.egress import Proxy
    from contract.errors import TimeoutPhase


class _Sending:
    """The progress of a request, from httpcore's trace events."""

    def __init__(self, connecting: asyncio.Timeout, deadline: float, attempt: Attempt | None) -> None:
        self.sent = False
        self.reused = True
        self._connecting = connecting
        self._deadline = deadline
        self._attempt = attempt

    async def trace(self, name: str, info: dict[str, Any]) -> None:
        """httpcore's trace hook. Ends the connect timeout once there is a connection."""
        if name == "connection.connect_tcp.started":
            self.reused = False
        elif name == "http11.send_request_headers.started":
            self.sent = True
            self._connecting.reschedule(self._deadline)
            if self._attempt is not None:
                self._attempt.sent = True


class _Body:
    """Implements `gateway.providers.response.Connection`: a task reads the body."""

    def __init__(self, given: httpcore.Response, loop: asyncio.AbstractEventLoop) -> None:
        self._given = given
        self._loop = loop
        self._response: Response | None = None
        self._task: asyncio.Task[None] | None = None
        self._begun = self._aborted = False
        self._flows = asyncio.Event()
        self._flows.set()

    def start(self, response: Response) -> asyncio.Task[None]:
        """Starts to read the body into `response`."""
        self._response = response
        self._task = self._loop.create_task(self._read())
        return self._task

    def hold(self, *, held: bool) -> None:
        if held:
            self._flows.clear()
        else:
            self._flows.set()

    def abort(self) -> None:
        self._response = None
        self._aborted = True
        # A cancelled task that has not started would never return the connection.
        if self._task is not None and self._begun:
            self._task.cancel()

    def discard(self) -> None:
        self._response = None
        self._flows.set()
        if self._task is not None:
            lingering = self._loop.call_later(LINGER_S, self._task.cancel)
            self._task.add_done_callback(lambda _: lingering.cancel())

    async def _read(self) -> None:
        problem: UpstreamError | None = None
        self._begun = True
        try:
            if self._aborted:
                return
            async for data in self._given.aiter_stream():
                if (response := self._response) is not None:
                    response.take(data)
                    # Wake up from a callback of the loop, never from a task.
                    self._loop.call_soon(response.wake)
                await self._flows.wait()
        except (httpcore.NetworkError, httpcore.RemoteProtocolError) as error:
            problem = _error_in_body(error)
        except Exception:  # whatever the parser rejects is not HTTP
            problem = MalformedReply("The provider's answer is not HTTP")
        finally:
            # Closes the connection if the response is incomplete.
            await give_back(self._given)
        if (response := self._response) is not None:
            self._response = None
            if problem is None:
                response.end()
            else:
                response.fail(problem)
            self._loop.call_soon(response.wake)


class ProxiedPool(OriginPool):
    """Implements `Transport`: https through the proxy's tunnel, http as requests that the proxy forwards."""

    def __init__(
        self,
        base_url: str,
        max_connections: int = 1000,
        max_answer: int = MAX_ANSWER_BYTES,
        *,
        proxy: Proxy | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """See `OriginPool`."""
        super().__init__(base_url, max_connections, max_answer, tls)
        self._proxy = proxy
        self._pool: httpcore.AsyncConnectionPool | None = None
        self._opening = 0
        self._reading: set[asyncio.Task[None]] = set()

    def head(self, path: str, headers: dict[str, str]) -> bytes:
        """See `Transport.head`."""
        return self._origin.head(path, headers, None if self._origin.secure else self._proxy)

    async def _opened(self) -> httpcore.AsyncConnectionPool:
        if self._pool is None:
            if self._tls is None and self._origin.secure:
                self._tls = await asyncio.to_thread(ssl.create_default_context)
            self._pool = httpcore.AsyncConnectionPool(
                ssl_context=self._tls,
                max_connections=self._max_connections,
                max_keepalive_connections=MAX_IDLE,
                keepalive_expiry=IDLE_S,
                network_backend=Dialer(self._proxy, tunnel=self._origin.secure),
            )
        return self._pool

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
        if self._opening + len(self._reading) >= self._max_connections:
            raise Overloaded(f"{self._max_connections} calls to the provider are open (max_connections)")
        origin, (target, headers) = self._origin, read_head(head)
        url = httpcore.URL(
            scheme=b"https" if origin.secure else b"http",
            host=origin.host.encode("ascii"),
            port=origin.port,
            target=target,
        )
        headers.append((b"content-length", b"%d" % len(body)))
        request = httpcore.Request(b"POST", url, headers=headers, content=body)
        self._opening += 1
        try:
            for last in (False, False, True):
                try:
                    return await self._call(request, connect_s, deadline, phase, attempt)
                except _StaleConnection as dead:
                    if last:
                        raise ConnectFailed(str(dead)) from None
            raise AssertionError("the loop returns or raises")
        finally:
            self._opening -= 1

    async def _call(
        self, request: httpcore.Request, connect_s: float, deadline: float, phase: TimeoutPhase, attempt: Attempt | None
    ) -> Response:
        pool, loop = await self._opened(), asyncio.get_running_loop()
        sending: _Sending | None = None
        try:
            async with asyncio.timeout_at(min(loop.time() + connect_s, deadline)) as connecting:
                sending = _Sending(connecting, deadline, attempt)
                request.extensions = {"trace": sending.trace}
                given = await pool.handle_async_request(request)
        except TimeoutError:
            if sending is not None and sending.sent:
                message = f"The provider did not answer in time ({phase.replace('_', ' ')})"
                raise TimedOut(message, phase=phase) from None
            raise TimedOut("The connection to the provider timed out", phase="connect") from None
        except ProxyRefused as error:
            raise ConnectFailed(f"The provider can't be reached: {error}") from None
        except (CallFailed, httpcore.NetworkError, httpcore.ProtocolError) as error:
            assert sending is not None
            failure = _error_before_response(error, sent=sending.sent)
            if sending.reused and was_dropped(error):
                raise _StaleConnection(failure.message) from None
            raise failure from None
        return await self._begun(given, deadline, phase)

    async def _begun(self, given: httpcore.Response, deadline: float, phase: TimeoutPhase) -> Response:
        loop = asyncio.get_running_loop()
        if given.status == 407 and self._proxy is not None:
            await given.aclose()
            raise ConnectFailed(f"The provider can't be reached: {self._proxy.refused(407)}")
        body = _Body(given, loop)
        response = Response(body, loop, self._max_answer)
        for name, value in given.headers:
            add_header(response.raw_headers, name.lower(), value)
        try:
            if sum(len(name) + len(value) for name, value in given.headers) > MAX_HEADER_BYTES:
                raise MalformedReply("The provider's answer is not HTTP")
            with contextlib.suppress(ValueError):  # the response has already failed
                response.begin(given.status)
            await response.head()
        except BaseException:
            await given.aclose()
            raise
        response.expect_by(deadline, phase)
        task = body.start(response)
        self._reading.add(task)
        task.add_done_callback(self._reading.discard)
        return response

    async def close(self) -> None:
        """See `Transport.close`."""
        for task in list(self._reading):
            task.cancel()
        await asyncio.gather(*self._reading, return_exceptions=True)
        if self._pool is not None:
            await self._pool.aclose()
            self._pool = None


class _StaleConnection(Exception):
    """The server had closed an idle connection: retry on another one."""


def _error_before_response(error: Exception, *, sent: bool) -> UpstreamError:
    """Translates a failure before the status line."""
    if isinstance(error, httpcore.ProtocolError) and not was_dropped(error):
        return MalformedReply("The provider's answer is not HTTP")
    if sent:
        return ConnectFailed("The provider closed the connection before answering")
    reason = str(error) if isinstance(error, CallFailed) else reason_of(error)
    return ConnectFailed(f"The provider can't be reached: {reason}")


def _error_in_body(error: Exception) -> UpstreamError:
    """Translates a failure within the body."""
    if isinstance(error, httpcore.ProtocolError) and not str(error).startswith("peer closed"):
        return MalformedReply("The provider's answer is not HTTP")
    return IncompleteReply("The provider closed the connection before the end of its answer")
