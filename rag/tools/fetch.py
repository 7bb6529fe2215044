"""One request to a host that the config names: no redirect, no private address, no body without end."""

from __future__ import annotations

import contextlib
import http.client
import ipaddress
import socket
import ssl
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from gateway.contract.bounded_http import BoundedSocket


class FetchFailed(Exception):
    """It gave nothing that can be used; the message may go to the model."""


class _Pinned(http.client.HTTPConnection):
    """Connects to the address that was checked, whatever the name leads to by then."""

    def __init__(self, host: str, port: int, address: str, until: float, context: ssl.SSLContext | None) -> None:
        super().__init__(host, port)
        self._until = until
        self._address = address
        self._tls = context

    def connect(self) -> None:
        """See `HTTPConnection.connect`."""
        left_s = max(0.001, self._until - time.monotonic())
        sock = socket.create_connection((self._address, self.port), left_s)
        if self._tls is not None:
            sock = self._tls.wrap_socket(sock, server_hostname=self.host)
        self.sock: Any = BoundedSocket(sock, self._until)


def fetch(
    url: str,
    headers: Mapping[str, str],
    timeout_s: float,
    max_bytes: int,
    *,
    private: bool,
    body: bytes | None = None,
) -> tuple[str, str]:
    """Media type and text of a GET, or of a POST of `body`, within `timeout_s` in all. Raises `FetchFailed`.

    `private`: whether addresses of one's own network may be asked.
    """
    parts = urlsplit(url)
    secure = parts.scheme == "https"
    host, port = parts.hostname or "", parts.port or (443 if secure else 80)
    until = time.monotonic() + timeout_s
    address = _checked_address(host, port, private=private)
    context = ssl.create_default_context() if secure else None
    connection = _Pinned(host, port, address, until, context)
    stack = contextlib.ExitStack()
    stack.callback(connection.close)
    try:
        path = f"{parts.path or '/'}{'?' + parts.query if parts.query else ''}"
        method = "GET" if body is None else "POST"
        connection.request(method, path, body, {"user-agent": "gatehouse", "accept": "*/*", **headers})
        response = stack.enter_context(contextlib.closing(connection.getresponse()))
        if response.status != 200:
            moved = 300 <= response.status < 400
            raise FetchFailed(f"it answered {response.status}{', and redirects are not followed' if moved else ''}")
        data = bytearray()
        while part := response.read1(65_536):
            data += part
            if len(data) > max_bytes:
                raise FetchFailed(f"its answer is larger than {max_bytes} bytes")
        return response.headers.get_content_type(), data.decode("utf-8", "replace")
    except TimeoutError:
        raise FetchFailed(f"it took longer than {timeout_s:g} s") from None
    except (OSError, http.client.HTTPException) as error:
        raise FetchFailed(f"it can't be reached ({type(error).__name__})") from None
    finally:
        stack.close()


def _checked_address(host: str, port: int, *, private: bool) -> str:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError:
        raise FetchFailed("its name leads nowhere") from None
    for _, _, _, _, where in found:
        address = ipaddress.ip_address(str(where[0]).partition("%")[0])
        if private or address.is_global:
            return str(where[0])
    raise FetchFailed("its address belongs to a private network")
