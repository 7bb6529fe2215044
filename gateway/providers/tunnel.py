"""A connection through a proxy's tunnel (`CONNECT`)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

from contract.egress import ConnectReply, ProxyRefused

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    from contract.egress import Proxy

P = TypeVar("P", bound=asyncio.Protocol)


class _Knock(asyncio.Protocol):
    """Reads the proxy's answer."""

    def __init__(self, proxy: Proxy, opened: asyncio.Future[None]) -> None:
        self._proxy = proxy
        self._reply = ConnectReply(proxy)
        self._opened = opened

    def data_received(self, data: bytes) -> None:
        try:
            if self._reply.feed(data) and not self._opened.done():
                self._opened.set_result(None)
        except ProxyRefused as error:
            if not self._opened.done():
                self._opened.set_exception(error)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._opened.done():
            self._opened.set_exception(ProxyRefused(f"the proxy {self._proxy.shown} closed the connection"))


async def open_tunnel(proxy: Proxy, host: str, port: int, tls: ssl.SSLContext, make: Callable[[], P]) -> P:
    """A protocol of `make`, connected to `host` by TLS from end to end. Raises `OSError`, `ssl.SSLError`.

    The proxy sees the host's name and no more.
    """
    loop = asyncio.get_running_loop()
    opened: asyncio.Future[None] = loop.create_future()
    try:
        transport, _ = await loop.create_connection(lambda: _Knock(proxy, opened), proxy.host, proxy.port)
    except OSError as error:
        raise ProxyRefused(
            f"the proxy {proxy.shown} can't be reached: {error.strerror or type(error).__name__}"
        ) from None
    try:
        transport.write(proxy.connect_request(host, port))
        await opened
        protocol = make()
        secured = await loop.start_tls(transport, protocol, tls, server_hostname=host)
    except BaseException:
        transport.abort()
        raise
    if secured is None:
        raise ProxyRefused(f"the proxy {proxy.shown} closed the connection")
    # The loop tells only protocols of connections that it made itself.
    protocol.connection_made(secured)
    return protocol
