"""The seam between a provider and what carries its calls: a pool of our own, or one of httpx's where there is a proxy,
or HTTP/2.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol
from urllib.parse import urlsplit

import msgspec

if TYPE_CHECKING:
    from contract.attempt import Attempt
    from contract.egress import Proxy
    from contract.errors import TimeoutPhase
    from gateway.providers.response import Response

IDLE_S = 55.0
MAX_IDLE = 512
LINGER_S = 1.0
# Of headers; and of anything else that is no body: interim answers, extensions of chunks, trailers.
MAX_HEADER_BYTES = 64 * 1024


class Transport(Protocol):
    """Calls to one origin."""

    @property
    def address(self) -> tuple[str, int]:
        """Host and port."""
        ...

    def head(self, path: str, headers: dict[str, str]) -> bytes:
        """The unchanging part of a request's head, in the form of HTTP/1.1, up to where more headers may follow.

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
        """Sends a request; returns when status and headers are there. Raises `UpstreamError`.

        `head` is from `head()`, with further header lines added or not. `deadline` (loop time) bounds the wait for the
        first byte, and `phase` is what a `TimedOut` calls it. A kept connection that turns out dead before it answered
        is replaced once by a new one. That the request is out is written on `attempt`.
        """
        ...

    async def close(self) -> None:
        """Closes every connection at once."""
        ...


class Origin(msgspec.Struct, frozen=True):
    """A scheme, host and port, with the path that stands before every other."""

    secure: bool
    host: str
    port: int
    prefix: str
    authority: str

    def head(self, path: str, headers: dict[str, str], passed_on_by: Proxy | None = None) -> bytes:
        """See `Transport.head`. `passed_on_by`: the proxy that is asked in place of the origin."""
        origin = f"http://{self.authority}" if passed_on_by is not None else ""
        lines = [f"POST {origin}{self.prefix}{path} HTTP/1.1", f"host: {self.authority}"]
        if passed_on_by is not None and passed_on_by.authorization:
            lines.append(f"proxy-authorization: {passed_on_by.authorization}")
        lines += [f"{name}: {value}" for name, value in headers.items()]
        text = "\r\n".join(lines)
        if text.count("\n") != len(lines) - 1 or text.count("\r") != len(lines) - 1:
            raise ValueError("a header holds a line break")
        return text.encode("latin-1") + b"\r\n"


def origin_of(base_url: str) -> Origin:
    """Of an `http` or `https` URL, which may hold a path."""
    parts = urlsplit(base_url)
    secure = parts.scheme == "https"
    host = parts.hostname or "127.0.0.1"
    port = parts.port or (443 if secure else 80)
    name = f"[{host}]" if ":" in host else host
    authority = name if (443 if secure else 80) == port else f"{name}:{port}"
    return Origin(secure, host, port, parts.path.rstrip("/"), authority)


def read_head(head: bytes) -> tuple[bytes, list[tuple[bytes, bytes]]]:
    """The target of a head's first line, and its headers in lower case."""
    first, *lines = head.split(b"\r\n")[:-1]
    pairs = (line.partition(b":") for line in lines)
    return first.split(b" ")[1], [(name.lower(), value.strip()) for name, _, value in pairs]


def add_header(headers: dict[bytes, bytes], name: bytes, value: bytes) -> None:
    """Adds one of an answer, by lower-case name; the last one holds, but codings are put on top of each other."""
    if name == b"content-encoding" and name in headers:
        value = b"%b, %b" % (headers[name], value)
    headers[name] = value
