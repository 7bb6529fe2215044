"""One HTTP request over raw ASGI: its headers and body, the response, and detection of a disconnect."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from access.callers.keys import PresentedCredentials
from contract.errors import BodyTooLarge, BodyTooSlow, InvalidRequest
from contract.messages import CacheControl
from gateway.surfaces.betas import HEADER as BETA_HEADER
from gateway.surfaces.betas import read_betas

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, MutableMapping

    Scope: TypeAlias = MutableMapping[str, Any]
    Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]
    Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]

Headers: TypeAlias = "list[tuple[bytes, bytes]]"
_REQUEST_ID = re.compile(rb"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}\Z")

# Refused if repeated: a proxy in front may have read the other value.
_SINGLE_HEADERS = (b"x-gatehouse-user", b"x-gatehouse-conversation", b"x-gatehouse-include", b"x-request-id", b"host")
_CONVERSATION = re.compile(rb"[A-Za-z0-9._:-]{1,200}\Z")


class Connection(Protocol):
    """The state that a connection shares with its request.

    `body_is_late`: the body arrives too slowly. `close_reason`: why the gateway closes the connection.
    `response_deadline`: when (in the event loop's time) it is closed even if the caller has not read the response.
    """

    body_is_late: bool
    close_reason: str
    response_deadline: float


class HttpCall:
    """One request.

    `response_started`: the response's status line has been sent. `disconnected`: the caller has disconnected.
    """

    __slots__ = (
        "_connection",
        "_key_headers",
        "_raw",
        "_receive",
        "_send",
        "_starting",
        "_task",
        "_watcher",
        "address",
        "disconnected",
        "headers",
        "path",
        "query",
        "response_started",
        "vendor",
    )

    def __init__(self, scope: Scope, receive: Receive, send: Send, key_headers: tuple[bytes, ...] = ()) -> None:
        """`key_headers`: headers that may contain the key, besides `authorization`."""
        self._key_headers = key_headers
        self._raw: list[tuple[bytes, bytes]] = scope["headers"]
        self.headers: dict[bytes, bytes] = dict(self._raw)
        self.path: str = scope["path"]
        self.query: bytes = scope.get("query_string", b"")
        peer = scope.get("client")
        # The peer's IP address. Anyone can forge an address in a header.
        self.address: str = peer[0] if peer else ""
        self.response_started = False
        self.disconnected = False
        # The vendor of the API in use, set by the surface; empty for Gatehouse's own API.
        self.vendor = ""
        extensions = scope.get("extensions")
        self._connection: Connection | None = extensions.get("gatehouse.connection") if extensions else None
        self._receive = receive
        self._send = send
        self._watcher: asyncio.Task[None] | None = None
        self._starting: asyncio.Handle | None = None
        self._task: asyncio.Task[Any] | None = None

    def header(self, name: bytes) -> str:
        """A header's value, or an empty string."""
        value = self.headers.get(name)
        return "" if value is None else value.decode("latin-1")

    def joined_header(self, name: bytes) -> str:
        """The values of a header that may be repeated, joined by commas."""
        return ", ".join([value.decode("latin-1") for each, value in self._raw if each == name])

    @property
    def has_plain_json(self) -> bool:
        """Whether the headers declare an uncompressed JSON body."""
        return self.headers.get(b"content-type") == b"application/json" and b"content-encoding" not in self.headers

    @property
    def request_id(self) -> str:
        """The caller's `x-request-id` if it is valid, else an empty string."""
        value = self.headers.get(b"x-request-id")
        return value.decode("ascii") if value and _REQUEST_ID.match(value) else ""

    @property
    def conversation(self) -> str:
        """The caller's conversation id, or an empty string. Raises `InvalidRequest`."""
        value = self.headers.get(b"x-gatehouse-conversation")
        if not value:
            return ""
        if _CONVERSATION.match(value) is None:
            raise InvalidRequest(
                "'x-gatehouse-conversation' must be 1 to 200 letters, digits and any of . _ : -", param="conversation"
            )
        return value.decode("ascii")

    def wants_cost(self) -> bool:
        """Whether the caller requests the cost in a stream. Raises `InvalidRequest`."""
        value = self.headers.get(b"x-gatehouse-include")
        if value is None:
            return False
        if value.strip().lower() != b"cost":
            raise InvalidRequest("'x-gatehouse-include' must be 'cost'", param="x-gatehouse-include")
        return True

    def betas(self) -> tuple[str, ...]:
        """The names in `anthropic-beta`. Raises `InvalidRequest`."""
        if BETA_HEADER not in self.headers:
            return ()
        return read_betas([value for name, value in self._raw if name == BETA_HEADER])

    def cache_control(self) -> CacheControl | None:
        """The directives in `cache-control`; None if there are none."""
        value = self.headers.get(b"cache-control")
        return None if not value else read_cache_control(value.decode("latin-1"))

    def key(self) -> str:
        """The key, from any header that a vendor's SDK uses.

        Raises `InvalidRequest` for a key in the URL, which ends up in logs, and for two keys: a proxy in front may have
        checked the other one.
        """
        headers = self.headers
        if len(headers) != len(self._raw):
            names = [name for name, _ in self._raw]
            if any(names.count(name) > 1 for name in (b"authorization", *self._key_headers)):
                raise InvalidRequest("The request contains two keys: send one")
            for name in _SINGLE_HEADERS:
                if names.count(name) > 1:
                    header = name.decode()
                    raise InvalidRequest(f"The header '{header}' is sent twice: send it once", param=header)
        if b"key=" in self.query and any(part.startswith(b"key=") for part in self.query.split(b"&")):
            raise InvalidRequest("A key in the URL ends up in logs: send it in 'x-goog-api-key'", param="key")
        value = headers.get(b"authorization")
        key = value[7:].strip() if value is not None and value[:7].lower() == b"bearer " else b""
        for name in self._key_headers:
            value = headers.get(name)
            if value:
                if key and value.strip() != key:
                    raise InvalidRequest("The request contains two different keys: send one")
                key = value.strip()
        return key.decode("latin-1")

    def credentials(self) -> PresentedCredentials:
        """The credentials that identify the caller. Raises `InvalidRequest`."""
        return PresentedCredentials(self.key(), self.address, self.vendor)

    @property
    def user(self) -> str:
        """The user in `x-gatehouse-user`, or an empty string. Raises `InvalidRequest`."""
        value = self.headers.get(b"x-gatehouse-user")
        if not value:
            return ""
        if len(value) > 128 or not value.isascii() or not value.decode("ascii").isprintable():
            raise InvalidRequest("'x-gatehouse-user' must be up to 128 printable ASCII characters", param="user")
        return value.decode("ascii")

    async def read_body(self, limit: int) -> bytes:
        """Reads the body. Raises `BodyTooLarge` above `limit` bytes, and `BodyTooSlow`."""
        declared = self.headers.get(b"content-length", b"0")
        if declared.isdigit() and int(declared) > limit:
            raise _too_large(limit)
        message = await self._receive()
        body: bytes = message.get("body", b"")
        if message.get("more_body"):
            parts = [body]
            size = len(body)
            while message.get("more_body"):
                message = await self._receive()
                if self._connection is not None and self._connection.body_is_late:
                    raise BodyTooSlow("The body arrives too slowly (server.body_timeout, server.min_rate)")
                part = message.get("body", b"")
                size += len(part)
                if size > limit:
                    raise _too_large(limit)
                parts.append(part)
            body = b"".join(parts)
        if message["type"] == "http.disconnect":
            self.disconnected = True
            raise asyncio.CancelledError
        if len(body) > limit:
            raise _too_large(limit)
        return body

    def watch(self) -> None:
        """Cancels the current task when the caller disconnects. ASGI servers don't do this."""
        self._task = asyncio.current_task()
        # Starts on the next loop iteration: an immediate response needs no watch.
        self._starting = asyncio.get_running_loop().call_soon(self._start_watching)

    def _start_watching(self) -> None:
        self._watcher = asyncio.get_running_loop().create_task(self._watch())

    async def _watch(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        if self._task is not None:
            self.disconnected = True
            self._task.cancel()

    def set_deadline(self, due: float) -> None:
        """Closes the connection at `response_deadline` (loop time), even if the caller has not read the response."""
        if self._connection is not None:
            self._connection.response_deadline = due

    @property
    def close_reason(self) -> str:
        """Why the gateway closed the connection; empty if it did not."""
        return self._connection.close_reason if self._connection is not None else ""

    def unwatch(self) -> None:
        """Stops watching for a disconnect."""
        self._task = None
        if self._starting is not None:
            self._starting.cancel()
            self._starting = None
        if self._watcher is not None:
            self._watcher.cancel()
            self._watcher = None

    async def respond(self, status: int, headers: Headers, body: bytes) -> None:
        """Sends a complete response. Adds `content-length`."""
        headers.append((b"content-length", b"%d" % len(body)))
        self.response_started = True
        await self._send({"type": "http.response.start", "status": status, "headers": headers})
        await self._send({"type": "http.response.body", "body": body})

    async def begin(self, status: int, headers: Headers) -> None:
        """Sends the status line and headers of a streamed response."""
        self.response_started = True
        await self._send({"type": "http.response.start", "status": status, "headers": headers})

    def write(self, data: bytes) -> Awaitable[None]:
        """Sends a part of a streamed response. Awaiting it applies backpressure: it waits while the caller is slow."""
        return self._send({"type": "http.response.body", "body": data, "more_body": True})

    async def end(self, data: bytes) -> None:
        """Sends the last part of a streamed response."""
        await self._send({"type": "http.response.body", "body": data})


def read_cache_control(value: str) -> CacheControl | None:
    """Reads `no-cache`, `no-store` and `max-age=N`; ignores other directives."""
    no_cache = no_store = False
    max_age: float | None = None
    for directive in value.lower().split(","):
        name, _, number = directive.strip().partition("=")
        no_cache |= name == "no-cache"
        no_store |= name == "no-store"
        if name == "max-age" and number.isascii() and number.strip('"').isdigit():
            max_age = float(number.strip('"')[:9])
    if not (no_cache or no_store) and max_age is None:
        return None
    return CacheControl(no_cache, no_store, max_age)


def _too_large(limit: int) -> BodyTooLarge:
    return BodyTooLarge(f"The body is larger than the limit of {limit} bytes (server.max_body)")
