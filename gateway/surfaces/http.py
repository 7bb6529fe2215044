"""One HTTP request over raw ASGI: its headers and body, the ways to answer it, and noticing that the caller left."""

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

# Who stands in front of us may have looked at the other one.
_ONCE = (b"x-gatehouse-user", b"x-gatehouse-conversation", b"x-gatehouse-include", b"x-request-id", b"host")
_CONVERSATION = re.compile(rb"[A-Za-z0-9._:-]{1,200}\Z")


class Connection(Protocol):
    """What a request's connection knows of it. `late`: its body comes too slowly; `why` it was cut off; `due`: when (in
    the loop's time) it is to be cut off if the caller does not read.
    """

    late: bool
    why: str
    due: float


class HttpCall:
    """One request. `began` says that the answer's status line has gone out, `departed` that the caller is gone."""

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
        "began",
        "departed",
        "headers",
        "path",
        "query",
        "vendor",
    )

    def __init__(self, scope: Scope, receive: Receive, send: Send, key_headers: tuple[bytes, ...] = ()) -> None:
        """`key_headers`: where a key may stand beside `authorization`."""
        self._key_headers = key_headers
        self._raw: list[tuple[bytes, bytes]] = scope["headers"]
        self.headers: dict[bytes, bytes] = dict(self._raw)
        self.path: str = scope["path"]
        self.query: bytes = scope.get("query_string", b"")
        peer = scope.get("client")
        # The connection's own end: what headers say of it, anybody could have written.
        self.address: str = peer[0] if peer else ""
        self.began = False
        self.departed = False
        # Whose API it uses, as its surface says; empty for what is Gatehouse's own.
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

    def joined(self, name: bytes) -> str:
        """The values of a header that may come several times, with commas between them."""
        return ", ".join([value.decode("latin-1") for each, value in self._raw if each == name])

    @property
    def has_plain_json(self) -> bool:
        """Whether the body comes as it is, by its headers."""
        return self.headers.get(b"content-type") == b"application/json" and b"content-encoding" not in self.headers

    @property
    def request_id(self) -> str:
        """The caller's own `x-request-id`, if it is fit to be repeated; else an empty string."""
        value = self.headers.get(b"x-request-id")
        return value.decode("ascii") if value and _REQUEST_ID.match(value) else ""

    @property
    def conversation(self) -> str:
        """The caller's name for its conversation, or an empty string. Raises `InvalidRequest`."""
        value = self.headers.get(b"x-gatehouse-conversation")
        if not value:
            return ""
        if _CONVERSATION.match(value) is None:
            raise InvalidRequest(
                "'x-gatehouse-conversation' is 1 to 200 letters, digits and any of . _ : -", param="conversation"
            )
        return value.decode("ascii")

    def asks_cost(self) -> bool:
        """Whether the caller wants to hear the cost in a stream. Raises `InvalidRequest`."""
        value = self.headers.get(b"x-gatehouse-include")
        if value is None:
            return False
        if value.strip().lower() != b"cost":
            raise InvalidRequest("'x-gatehouse-include' knows 'cost'", param="x-gatehouse-include")
        return True

    def betas(self) -> tuple[str, ...]:
        """What the caller asks for in `anthropic-beta`. Raises `InvalidRequest`."""
        if BETA_HEADER not in self.headers:
            return ()
        return read_betas([value for name, value in self._raw if name == BETA_HEADER])

    def cache_control(self) -> CacheControl | None:
        """What the caller asks of the cache in `cache-control`; None for nothing."""
        value = self.headers.get(b"cache-control")
        return None if not value else read_cache_control(value.decode("latin-1"))

    def key(self) -> str:
        """The key as each vendor's SDK sends it.

        Raises `InvalidRequest` for one in the URL, which ends in logs, and for two: what stands in front of us may
        have looked at the other one.
        """
        headers = self.headers
        if len(headers) != len(self._raw):
            names = [name for name, _ in self._raw]
            if any(names.count(name) > 1 for name in (b"authorization", *self._key_headers)):
                raise InvalidRequest("There are two keys: send one")
            for name in _ONCE:
                if names.count(name) > 1:
                    header = name.decode()
                    raise InvalidRequest(f"There are two headers '{header}': send one", param=header)
        if b"key=" in self.query and any(part.startswith(b"key=") for part in self.query.split(b"&")):
            raise InvalidRequest("A key in the URL ends in logs: send it in 'x-goog-api-key'", param="key")
        value = headers.get(b"authorization")
        shown = value[7:].strip() if value is not None and value[:7].lower() == b"bearer " else b""
        for name in self._key_headers:
            value = headers.get(name)
            if value:
                if shown and value.strip() != shown:
                    raise InvalidRequest("There are two different keys: send one")
                shown = value.strip()
        return shown.decode("latin-1")

    def shown(self) -> PresentedCredentials:
        """What the request shows of who sends it. Raises `InvalidRequest`."""
        return PresentedCredentials(self.key(), self.address, self.vendor)

    @property
    def user(self) -> str:
        """The user that the app names in `x-gatehouse-user`, or an empty string. Raises `InvalidRequest`."""
        value = self.headers.get(b"x-gatehouse-user")
        if not value:
            return ""
        if len(value) > 128 or not value.isascii() or not value.decode("ascii").isprintable():
            raise InvalidRequest("'x-gatehouse-user' is up to 128 printable ASCII characters", param="user")
        return value.decode("ascii")

    async def read_body(self, limit: int) -> bytes:
        """The body. Raises `BodyTooLarge` past `limit` bytes, `BodyTooSlow`."""
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
                if self._connection is not None and self._connection.late:
                    raise BodyTooSlow("The body comes too slowly (server.body_timeout, server.min_rate)")
                part = message.get("body", b"")
                size += len(part)
                if size > limit:
                    raise _too_large(limit)
                parts.append(part)
            body = b"".join(parts)
        if message["type"] == "http.disconnect":
            self.departed = True
            raise asyncio.CancelledError
        if len(body) > limit:
            raise _too_large(limit)
        return body

    def watch(self) -> None:
        """Cancels the current task as soon as the caller leaves. Servers don't do it of themselves."""
        self._task = asyncio.current_task()
        # When the loop gets its next turn: an answer that is there at once needs no watch.
        self._starting = asyncio.get_running_loop().call_soon(self._start_watching)

    def _start_watching(self) -> None:
        self._watcher = asyncio.get_running_loop().create_task(self._watch())

    async def _watch(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        if self._task is not None:
            self.departed = True
            self._task.cancel()

    def end_by(self, due: float) -> None:
        """The answer is over at `due` (loop time), also if the caller does not read it."""
        if self._connection is not None:
            self._connection.due = due

    @property
    def cut_off(self) -> str:
        """Why we have left the caller, instead of he us; empty if we have not."""
        return self._connection.why if self._connection is not None else ""

    def unwatch(self) -> None:
        """Ends the watch: the answer is complete."""
        self._task = None
        if self._starting is not None:
            self._starting.cancel()
            self._starting = None
        if self._watcher is not None:
            self._watcher.cancel()
            self._watcher = None

    async def respond(self, status: int, headers: Headers, body: bytes) -> None:
        """A whole answer. `content-length` is added."""
        headers.append((b"content-length", b"%d" % len(body)))
        self.began = True
        await self._send({"type": "http.response.start", "status": status, "headers": headers})
        await self._send({"type": "http.response.body", "body": body})

    async def begin(self, status: int, headers: Headers) -> None:
        """The head of a streamed answer."""
        self.began = True
        await self._send({"type": "http.response.start", "status": status, "headers": headers})

    def write(self, data: bytes) -> Awaitable[None]:
        """More of a streamed answer. Waits, when awaited, while the caller does not read."""
        return self._send({"type": "http.response.body", "body": data, "more_body": True})

    async def end(self, data: bytes) -> None:
        """The last of a streamed answer."""
        await self._send({"type": "http.response.body", "body": data})


def read_cache_control(value: str) -> CacheControl | None:
    """`no-cache`, `no-store` and `max-age=N`; the rest of HTTP's words means nothing here."""
    no_cache = no_store = False
    max_age: float | None = None
    for word in value.lower().split(","):
        name, _, number = word.strip().partition("=")
        no_cache |= name == "no-cache"
        no_store |= name == "no-store"
        if name == "max-age" and number.isascii() and number.strip('"').isdigit():
            max_age = float(number.strip('"')[:9])
    if not (no_cache or no_store) and max_age is None:
        return None
    return CacheControl(no_cache, no_store, max_age)


def _too_large(limit: int) -> BodyTooLarge:
    return BodyTooLarge(f"The body is larger than {limit} bytes, the limit here (server.max_body)")
