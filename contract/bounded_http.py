"""A blocking connection for the exporter of traces, straight or through a proxy."""

from __future__ import annotations

import socket
import ssl
import time
from urllib.parse import urlsplit

from contract.egress import ConnectReply, Proxy, ProxyRefused


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


def target_of(url: str, proxy: Proxy | None) -> tuple[str, dict[str, str]]:
    """What stands in the request line for `url`, and the headers that a proxy which passes it on needs."""
    parts = urlsplit(url)
    path = f"{parts.path or '/'}{'?' + parts.query if parts.query else ''}"
    if proxy is None or parts.scheme == "https":
        return path, {}
    told = {"proxy-authorization": proxy.authorization} if proxy.authorization else {}
    return f"http://{parts.netloc}{path}", told
