"""Connections for httpx and for HTTP/2: direct or through a proxy, and only to public addresses if so configured.

It resolves a name once, checks the addresses, and connects to one of them, so DNS rebinding and redirects can't bypass
the check: no connection is made in any other way.
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
# IPv6 ranges with an IPv4 address in the last 32 bits: NAT64, IPv4-compatible and IPv4-translated addresses.
_HOLD_IPV4 = tuple(ipaddress.ip_network(each) for each in ("64:ff9b::/96", "::/96", "::ffff:0:0:0/96"))
_OWN_NAT64 = ipaddress.ip_network("64:ff9b:1::/48")


Resolve: TypeAlias = Callable[[str, int], Awaitable[list[str]]]


async def resolve(host: str, port: int) -> list[str]:
    """Resolves a name with the system's resolver. Raises `CallFailed`."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise CallFailed("the host name can't be resolved") from None
    return list(dict.fromkeys(str(where[0]) for *_, where in found))[:_MOST_ADDRESSES]


class Dialer(httpcore.AsyncNetworkBackend):
    """The network backend of httpcore."""

    def __init__(
        self,
        proxy: Proxy | None = None,
        *,
        tunnel: bool = False,
        private: bool = True,
        resolve: Resolve = resolve,
        network: httpcore.AsyncNetworkBackend | None = None,
    ) -> None:
        """Connects through `proxy`, if any: with `tunnel`, by CONNECT to the host; else to the proxy, which forwards.

        `private`: whether connections to private addresses are allowed.
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
        """Returns a stream to the host, before TLS. Raises `CallFailed`, `ProxyRefused`; the caller bounds the time."""
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
        """Connects to the first address that accepts."""
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
            raise CallFailed("the host has a private address")
        return public

    async def check(self, host: str, port: int) -> None:
        """Checks the host of a request that goes through a proxy. Raises `CallFailed` if any address is private.

        The proxy resolves the name again and may use any of the addresses. A name that only the proxy can resolve
        passes. Without a proxy, `connect_tcp` checks the addresses.
        """
        if self._private or self.proxy is None:
            return
        try:
            addresses = await self._resolve(host, port)
        except CallFailed:
            return
        if not all(is_public(each) for each in addresses):
            raise CallFailed("the host has a private address")


async def _open_tunnel(stream: httpcore.AsyncNetworkStream, proxy: Proxy, host: str, port: int) -> None:
    """Opens a tunnel. Raises `ProxyRefused`. The proxy sees only the host's name, because TLS is end to end."""
    reply = ConnectReply(proxy)
    try:
        await stream.write(proxy.connect_request(host, port))
        while not reply.feed(data := await stream.read(_PIECE)):
            if not data:
                raise ProxyRefused(f"the proxy {proxy.shown} closed the connection")
    except (httpcore.ReadError, httpcore.WriteError):
        raise ProxyRefused(f"the proxy {proxy.shown} closed the connection") from None


def was_dropped(error: Exception) -> bool:
    """Whether the connection closed before a response began."""
    if isinstance(error, httpcore.RemoteProtocolError):
        return str(error).startswith("Server disconnected")
    return isinstance(error, httpcore.NetworkError) and not isinstance(error, httpcore.ConnectError)


def h11_state_of(given: httpcore.Response) -> Any:
    """Returns the h11 parser of a response's connection; None if httpcore no longer has it there.

    It is private to httpcore, but the only way to detect data after a response; a test fails if it moves.
    """
    connection = getattr(getattr(given.stream, "_stream", None), "_connection", None)
    return getattr(connection, "_h11_state", None)


async def give_back(given: httpcore.Response) -> None:
    """Closes a response; its connection returns to the pool if it can be reused.

    httpcore would read data after a response as the next response, so such a connection is closed.
    """
    state = h11_state_of(given)
    if state is not None and state.trailing_data[0]:
        state.send_failed()
    await given.aclose()


def is_public(text: str) -> bool:
    """Whether an address is public, including IPv4 addresses embedded in IPv6."""
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
    """Returns the system's reason for a failed connection; libraries wrap that error in their own."""
    name, seen = type(error).__name__, 0
    while error is not None and seen < 8:
        if isinstance(error, ssl.SSLError):
            return f"TLS failed: {error.reason or type(error).__name__}"
        if isinstance(error, BaseExceptionGroup):
            error, seen = error.exceptions[0], seen + 1
            continue
        if isinstance(error, OSError) and error.errno is not None and error.errno > 0:
            # Event loops add the address to the message.
            return os.strerror(error.errno)
        error, seen = error.__cause__ or error.__context__, seen + 1
    return name
