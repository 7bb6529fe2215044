"""Calls to a provider by HTTP/2, straight or through a proxy: with the contract of the other pools."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from typing import TYPE_CHECKING

import httpcore

from contract.dialer import Dialer, reason_of
from contract.egress import CallFailed, ProxyRefused
from contract.endpoint import MAX_ANSWER_BYTES
from contract.errors import ConnectFailed, Overloaded, TimedOut
from gateway.providers.http2_connection import Http2Connection, Unprocessed
from gateway.providers.transport import OriginPool, read_head

if TYPE_CHECKING:
    from contract.attempt import Attempt
    from contract.egress import Proxy
    from contract.errors import TimeoutPhase
    from gateway.providers.response import Response


class Http2Pool(OriginPool):
    """Implements `Transport`."""

    def __init__(
        self,
        base_url: str,
        max_connections: int = 1000,
        max_answer: int = MAX_ANSWER_BYTES,
        *,
        proxy: Proxy | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """`max_connections` bounds the calls that are open: they share connections. `base_url` is of https."""
        super().__init__(base_url, max_connections, max_answer, tls)
        self._proxy = proxy
        self._connecting = asyncio.Lock()
        self._waiting = 0
        self._connections: list[Http2Connection] = []

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
        if self._waiting + sum(each.calls for each in self._connections) >= self._max_connections:
            raise Overloaded(f"{self._max_connections} calls to the provider are open (max_connections)")
        target, given = read_head(head)
        headers = [
            (b":method", b"POST"),
            (b":authority", self._origin.authority.encode("ascii")),
            (b":scheme", b"https"),
            (b":path", target),
            *((name, value) for name, value in given if name != b"host"),
            (b"content-length", b"%d" % len(body)),
        ]
        kept = self._free()
        if kept is not None:
            with contextlib.suppress(Unprocessed):
                return await self._call(kept, headers, body, deadline, phase, attempt)
        self._waiting += 1
        try:
            connection = await self._connect(kept, connect_s)
        finally:
            self._waiting -= 1
        return await self._call(connection, headers, body, deadline, phase, attempt)

    async def _call(
        self,
        connection: Http2Connection,
        headers: list[tuple[bytes, bytes]],
        body: bytes,
        deadline: float,
        phase: TimeoutPhase,
        attempt: Attempt | None,
    ) -> Response:
        response = connection.send(headers, body, self._max_answer)
        response.expect_by(deadline, phase)
        if attempt is not None:
            attempt.sent = True
        try:
            await response.head()
        except BaseException:
            response.close()
            raise
        return response

    def _free(self, dead: Http2Connection | None = None) -> Http2Connection | None:
        """A connection other than `dead`. It asks all of them, so that those which were idle too long close."""
        free = [each for each in self._connections if each.takes_calls()]
        self._connections = [each for each in self._connections if not each.closed]
        return next((each for each in free if each is not dead), None)

    async def _connect(self, dead: Http2Connection | None, connect_s: float) -> Http2Connection:
        """A connection other than `dead`: calls that come at the same time share a new one."""
        try:
            async with asyncio.timeout(connect_s), self._connecting:
                found = self._free(dead)
                if found is None:
                    found = Http2Connection(await self._dial(), asyncio.get_running_loop())
                    self._connections.append(found)
                return found
        except TimeoutError:
            raise TimedOut("The connection to the provider timed out", phase="connect") from None
        except (CallFailed, ProxyRefused) as error:
            raise ConnectFailed(f"The provider can't be reached: {error}") from None
        except httpcore.NetworkError as error:
            raise ConnectFailed(f"The provider can't be reached: {reason_of(error)}") from None

    async def _dial(self) -> httpcore.AsyncNetworkStream:
        if self._tls is None:
            self._tls = await asyncio.to_thread(ssl.create_default_context)
        self._tls.set_alpn_protocols(["h2", "http/1.1"])
        stream = await Dialer(self._proxy, tunnel=True).connect_tcp(*self.address)
        secured = await stream.start_tls(self._tls, self._origin.host)
        if secured.get_extra_info("ssl_object").selected_alpn_protocol() != "h2":
            await secured.aclose()
            raise CallFailed("it does not speak HTTP/2; take http2 out of its config")
        return secured

    async def close(self) -> None:
        """See `Transport.close`."""
        for each in self._connections:
            each.close()
        for each in self._connections:
            await each.ended()
