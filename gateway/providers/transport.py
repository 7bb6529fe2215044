"""The interface between a provider and its HTTP client: our own HTTP/1.1 pool, httpcore for proxies, or HTTP/2."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol
from urllib.parse import urlsplit

import msgspec

if TYPE_CHECKING:
    import ssl

    from contract.attempt import Attempt
    from contract.egress import Proxy
    from contract.errors import TimeoutPhase
    from gateway.providers.response import Response

IDLE_S = 55.0
MAX_IDLE = 512
LINGER_S = 1.0
# For headers, and for everything else outside the body: interim responses, chunk extensions, trailers.
MAX_HEADER_BYTES = 64 * 1024


class Transport(Protocol):
    """Calls to one origin."""

    @property
    def address(self) -> tuple[str, int]:
        """Host and port."""
        ...

    def head(self, path: str, headers: dict[str, str]) -> bytes:
        """Returns the constant part of a request's head in HTTP/1.1 format; more headers may follow.

        Raises `ValueError` for a line break in it.
        """
        ...

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
        """Sends a request; returns when status and headers have arrived. Raises `UpstreamError`.

        `head` is from `head()`, optionally with more header lines. `deadline` (loop time) bounds the wait for the first
        byte, and `phase` is its name in a `TimedOut`. An idle connection that the server has closed is replaced once by
        a new one. Sets `attempt.sent` once the request is sent.
        """
        ...

    async def close(self) -> None:
        """Closes every connection at once."""
        ...


class Origin(msgspec.Struct, frozen=True):
    """A scheme, host and port, with the prefix of every path."""

    secure: bool
    host: str
    port: int
    prefix: str
    authority: str

    def head(self, path: str, headers: dict[str, str], forwarded_by: Proxy | None = None) -> bytes:
        """See `Transport.head`. `forwarded_by`: the proxy that forwards the request."""
        origin = f"http://{self.authority}" if forwarded_by is not None else ""
        lines = [f"POST {origin}{self.prefix}{path} HTTP/1.1", f"host: {self.authority}"]
        if forwarded_by is not None and forwarded_by.authorization:
            lines.append(f"proxy-authorization: {forwarded_by.authorization}")
        lines += [f"{name}: {value}" for name, value in headers.items()]
        text = "\r\n".join(lines)
        if text.count("\n") != len(lines) - 1 or text.count("\r") != len(lines) - 1:
            raise ValueError("a header contains a line break")
        return text.encode("latin-1") + b"\r\n"


class OriginPool:
    """What the transports share: their origin, and the bounds on connections and answers."""

    def __init__(self, base_url: str, max_connections: int, max_answer: int, tls: ssl.SSLContext | None) -> None:
        """`base_url` may contain a path, the prefix of every path. `max_answer` bounds one body, in bytes."""
        self._origin = origin_of(base_url)
        self._max_connections = max_connections
        self._max_answer = max_answer
        self._tls = tls

    @property
    def address(self) -> tuple[str, int]:
        """See `Transport.address`."""
        return self._origin.host, self._origin.port

    def head(self, path: str, headers: dict[str, str]) -> bytes:
        """See `Transport.head`."""
        return self._origin.head(path, headers)


def origin_of(base_url: str) -> Origin:
    """Parses an `http` or `https` URL, which may contain a path."""
    parts = urlsplit(base_url)
    secure = parts.scheme == "https"
    host = parts.hostname or "127.0.0.1"
    port = parts.port or (443 if secure else 80)
    name = f"[{host}]" if ":" in host else host
    authority = name if (443 if secure else 80) == port else f"{name}:{port}"
    return Origin(secure, host, port, parts.path.rstrip("/"), authority)


def read_head(head: bytes) -> tuple[bytes, list[tuple[bytes, bytes]]]:
    """Returns the request target of a head, and its headers in lower case."""
    first, *lines = head.split(b"\r\n")[:-1]
    pairs = (line.partition(b":") for line in lines)
    return first.split(b" ")[1], [(name.lower(), value.strip()) for name, _, value in pairs]


def add_header(headers: dict[bytes, bytes], name: bytes, value: bytes) -> None:
    """Adds a response header by lower-case name; a later one replaces it, but content codings are joined."""
    if name == b"content-encoding" and name in headers:
        value = b"%b, %b" % (headers[name], value)
    headers[name] = value
