"""Blocking HTTP that ends at a deadline, however slowly the other side sends: the library's own timeout is per read."""

from __future__ import annotations

import contextlib
import http.client
import io
import math
import socket
import ssl
import time
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

import msgspec

from contract.egress import DIRECT, ConnectReply, Egress, Proxy, ProxyRefused
from contract.packing import ExpansionTooLarge, Unpacker, read_codings

_PIECE = 1 << 16


class BoundedSocket:
    """A connected socket for `http.client` whose reads and writes all end at one moment. Raises `TimeoutError`."""

    def __init__(self, sock: socket.socket, until: float) -> None:
        """`until` on the clock of `time.monotonic`."""
        self._sock = sock
        self._until = until
        self._readers = 0
        self._closed = False

    def _left_s(self) -> float:
        left = self._until - time.monotonic()
        if left <= 0:
            raise TimeoutError("the deadline has passed")
        return left

    def sendall(self, data: Any) -> None:
        """See `socket.sendall`, whose timeout is for the whole of it."""
        self._sock.settimeout(self._left_s())
        self._sock.sendall(data)

    def makefile(self, mode: str) -> io.BufferedReader:
        """What is read from it; the socket stays open until this is closed too."""
        self._readers += 1
        return io.BufferedReader(_Reads(self))

    def receive(self, buffer: Any) -> int:
        """See `socket.recv_into`."""
        self._sock.settimeout(self._left_s())
        return self._sock.recv_into(buffer)

    def close(self) -> None:
        """Lets go of it: it closes with the last of those who read from it."""
        self._closed = True
        if not self._readers:
            self._sock.close()

    def leave(self) -> None:
        """One reader less."""
        self._readers -= 1
        if self._closed:
            self.close()


class _Reads(io.RawIOBase):
    """The readable side of a `BoundedSocket`."""

    def __init__(self, sock: BoundedSocket) -> None:
        self._sock = sock

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: Any) -> int:
        """See `io.RawIOBase.readinto`."""
        return self._sock.receive(buffer)

    def close(self) -> None:
        """The response has been read, or given up."""
        if not self.closed:
            super().close()
            self._sock.leave()


def dial(host: str, port: int, until: float, *, proxy: Proxy | None, tls: ssl.SSLContext | None) -> socket.socket:
    """A connected socket, through a proxy's tunnel where it is for TLS. Raises `OSError`, `TimeoutError`."""

    def left_s() -> float:
        left = until - time.monotonic()
        if left <= 0:
            raise TimeoutError("the deadline has passed")
        return left

    where = (host, port) if proxy is None else (proxy.host, proxy.port)
    try:
        sock = socket.create_connection(where, left_s())
    except OSError as error:
        if proxy is None or isinstance(error, TimeoutError):
            raise
        reason = error.strerror or type(error).__name__
        raise ProxyRefused(f"the proxy {proxy.shown} can't be reached: {reason}") from None
    try:
        if proxy is not None and tls is not None:
            sock.settimeout(left_s())
            sock.sendall(proxy.connect_request(host, port))
            reply = ConnectReply(proxy)
            # Byte by byte: what follows the answer belongs to TLS.
            while not reply.feed(byte := sock.recv(1)):
                if not byte:
                    raise ProxyRefused(f"the proxy {proxy.shown} closed the connection")
                sock.settimeout(left_s())
        sock.settimeout(left_s())
        return sock if tls is None else tls.wrap_socket(sock, server_hostname=host)
    except BaseException:
        sock.close()
        raise


class _Dialled(http.client.HTTPConnection):
    def __init__(self, host: str, port: int, address: str, until: float, route: _Route) -> None:
        super().__init__(host, port)
        self._address = address
        self._until = until
        self._route = route

    def connect(self) -> None:
        route = self._route
        if self._address and route.proxy is None:
            # The address that was checked, whatever the name leads to by then.
            sock = dial(self._address, self.port, self._until, proxy=None, tls=None)
            if route.tls is not None:
                sock = route.tls.wrap_socket(sock, server_hostname=self.host)
        else:
            sock = dial(self.host, self.port, self._until, proxy=route.proxy, tls=route.tls)
        self.sock: Any = BoundedSocket(sock, self._until)


class _Route(msgspec.Struct, frozen=True):
    proxy: Proxy | None
    tls: ssl.SSLContext | None


def target_of(url: str, proxy: Proxy | None) -> tuple[str, dict[str, str]]:
    """What stands in the request line for `url`, and the headers that a proxy which passes it on needs."""
    parts = urlsplit(url)
    path = f"{parts.path or '/'}{'?' + parts.query if parts.query else ''}"
    if proxy is None or parts.scheme == "https":
        return path, {}
    told = {"proxy-authorization": proxy.authorization} if proxy.authorization else {}
    return f"http://{parts.netloc}{path}", told


@contextlib.contextmanager
def opened(
    url: str,
    timeout_s: float,
    *,
    headers: Mapping[str, str],
    body: bytes | None = None,
    address: str = "",
    egress: Egress = DIRECT,
) -> Iterator[http.client.HTTPResponse]:
    """The response to a GET, or to a POST of `body`; redirects are responses like others.

    The timeout is for the whole exchange, from the connection to the last byte. `address` is connected to where no
    proxy is. Raises `OSError`, `http.client.HTTPException`.
    """
    parts = urlsplit(url)
    secure = parts.scheme == "https"
    proxy = egress.proxy_for(url)
    route = _Route(proxy, ssl.create_default_context() if secure else None)
    until = time.monotonic() + timeout_s
    connection = _Dialled(parts.hostname or "", parts.port or (443 if secure else 80), address, until, route)
    target, told = target_of(url, proxy)
    stack = contextlib.ExitStack()
    stack.callback(connection.close)
    with stack:
        connection.request("GET" if body is None else "POST", target, body, {**headers, **told})
        response = stack.enter_context(contextlib.closing(connection.getresponse()))
        if response.status == 407 and proxy is not None:
            raise proxy.refused(407)
        yield response


def read_body(response: http.client.HTTPResponse, most: int, until: float = math.inf) -> bytes:
    """The body, unpacked if it is packed; nobody asks for that. `until` on the clock of `time.monotonic`.

    Raises `ExpansionTooLarge` past `most` bytes, `Broken`, `UnknownCoding`, `TimeoutError`.
    """
    codings = read_codings(response.headers.get("content-encoding", ""))
    unpacker = Unpacker(codings) if codings else None
    data = bytearray()
    while part := response.read1(_PIECE):
        if time.monotonic() > until:
            raise TimeoutError("the deadline has passed")
        if unpacker is None:
            data += part
        else:
            unpacker.give(part)
            while len(data) <= most and (piece := unpacker.take()):
                data += piece
        if len(data) > most:
            raise ExpansionTooLarge(f"more than {most} bytes")
    if unpacker is not None:
        unpacker.finish()
    return bytes(data)
