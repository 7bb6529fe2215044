"""Connections for httpx and for HTTP/2: straight or through a proxy, and to checked addresses only where that is asked.

It resolves a name once, checks the addresses that come, and connects to one of those. So a name that leads elsewhere a
moment later (DNS rebinding), or a redirect, is checked like the first: no connection is made in any other way.
"""

from __future__ import annotations

import asyncio
import ipaddress
import os
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, TypeAlias

import httpcore

from contract.egress import CallFailed, ConnectReply, Proxy, ProxyRefused

_PIECE = 1 << 14
_MOST_ADDRESSES = 16
# IPv4 within IPv6, in the last 32 bits: as translators to IPv4 have it, and the old form.
_HOLD_IPV4 = tuple(ipaddress.ip_network(each) for each in ("64:ff9b::/96", "::/96", "::ffff:0:0:0/96"))
_OWN_NAT64 = ipaddress.ip_network("64:ff9b:1::/48")


Resolve: TypeAlias = Callable[[str, int], Awaitable[list[str]]]


async def resolve(host: str, port: int) -> list[str]:
    """The addresses of a name, as the system finds them. Raises `CallFailed`."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise CallFailed("its name leads nowhere") from None
    return list(dict.fromkeys(str(where[0]) for *_, where in found))[:_MOST_ADDRESSES]


class Dialer(httpcore.AsyncNetworkBackend):
    """How httpcore connects."""

    def __init__(
        self,
        proxy: Proxy | None = None,
        *,
        tunnel: bool = False,
        private: bool = True,
        resolve: Resolve = resolve,
        network: httpcore.AsyncNetworkBackend | None = None,
    ) -> None:
        """Through `proxy`: to the host by its tunnel, or to the proxy itself, which passes requests on.

        `private`: whether addresses may be connected to that are not of the public internet.
        """
        self.proxy = proxy
        self._tunnel = tunnel
        self._private = private
        self._resolve = resolve
        self._network = network or httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 -- httpcore's signature
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """A stream to the host, before TLS. Raises `CallFailed`, `ProxyRefused`; the caller bounds the time."""
        proxy = self.proxy
        if proxy is None:
            return await self._connect(await self._addresses(host, port), port)
        try:
            stream = await self._connect(await self._resolve(proxy.host, proxy.port), proxy.port)
        except CallFailed as error:
            raise ProxyRefused(f"the proxy {proxy.shown} can't be reached: {error}") from None
        if self._tunnel:
            try:
                await _open_tunnel(stream, proxy, host, port)
            except BaseException:
                await stream.aclose()
                raise
        return stream

    async def _connect(self, addresses: list[str], port: int) -> httpcore.AsyncNetworkStream:
        """To the first address that takes the connection."""
        problem: Exception | None = None
        for address in addresses:
            try:
                return await self._network.connect_tcp(address, port)
            except httpcore.ConnectError as error:
                problem = error
        raise CallFailed(reason_of(problem)) from None

    async def _addresses(self, host: str, port: int) -> list[str]:
        addresses = await self._resolve(host, port)
        if self._private:
            return addresses
        public = [each for each in addresses if is_public(each)]
        if not public:
            raise CallFailed("its address belongs to a private network")
        return public

    async def check(self, host: str, port: int) -> None:
        """Of a request that a proxy will answer: raises `CallFailed` for a host with any private address.

        The proxy looks the name up again and may take each of them. A name that only the proxy knows is its to find.
        Without a proxy `connect_tcp` checks what it connects to.
        """
        if self._private or self.proxy is None:
            return
        try:
            addresses = await self._resolve(host, port)
        except CallFailed:
            return
        if not all(is_public(each) for each in addresses):
            raise CallFailed("its address belongs to a private network")


async def _open_tunnel(stream: httpcore.AsyncNetworkStream, proxy: Proxy, host: str, port: int) -> None:
    """Raises `ProxyRefused`. The proxy sees the host's name and no more: TLS is from end to end."""
    reply = ConnectReply(proxy)
    try:
        await stream.write(proxy.connect_request(host, port))
        while not reply.feed(data := await stream.read(_PIECE)):
            if not data:
                raise ProxyRefused(f"the proxy {proxy.shown} closed the connection")
    except (httpcore.ReadError, httpcore.WriteError):
        raise ProxyRefused(f"the proxy {proxy.shown} closed the connection") from None


def was_dropped(error: Exception) -> bool:
    """Whether a connection ended before an answer began."""
    if isinstance(error, httpcore.RemoteProtocolError):
        return str(error).startswith("Server disconnected")
    return isinstance(error, httpcore.NetworkError) and not isinstance(error, httpcore.ConnectError)


def h11_state_of(given: httpcore.Response) -> Any:
    """The parser of the connection that an answer came by; None where httpcore has moved it.

    Private to httpcore, and there is no other way to see what follows an answer: a test says when it has moved.
    """
    connection = getattr(getattr(given.stream, "_stream", None), "_connection", None)
    return getattr(connection, "_h11_state", None)


async def give_back(given: httpcore.Response) -> None:
    """Ends an answer: its connection is kept if it can be used again.

    httpcore keeps what follows an answer, and would read it as the next answer. Such a connection closes.
    """
    state = h11_state_of(given)
    if state is not None and state.trailing_data[0]:
        state.send_failed()
    await given.aclose()


def is_public(text: str) -> bool:
    """Whether an address belongs to the public internet, also one of IPv4 that is written within one of IPv6."""
    address = ipaddress.ip_address(text.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour or (address.teredo or (None, None))[1]
        if inner is None and any(address in each for each in _HOLD_IPV4):
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if address in _OWN_NAT64 or address.is_site_local:
            return False
        if inner is not None:
            address = inner
    return address.is_global and not address.is_multicast


def reason_of(error: BaseException | None) -> str:
    """Why a connection could not be had, in the system's words: libraries wrap its error in their own."""
    name, seen = type(error).__name__, 0
    while error is not None and seen < 8:
        if isinstance(error, ssl.SSLError):
            return f"TLS failed: {error.reason or type(error).__name__}"
        if isinstance(error, BaseExceptionGroup):
            error, seen = error.exceptions[0], seen + 1
            continue
        if isinstance(error, OSError) and error.errno is not None and error.errno > 0:
            # Event loops put the address into their own words for it.
            return os.strerror(error.errno)
        error, seen = error.__cause__ or error.__context__, seen + 1
    return name
