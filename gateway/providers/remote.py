"""A provider behind HTTP: a dialect, an endpoint and credentials."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

import msgspec

from gateway.contract.errors import MalformedReply, UnsupportedFeature, UpstreamError
from gateway.contract.protocols import WireOptions
from gateway.dialects.endings import Endings
from gateway.providers.http import MAX_ANSWER_BYTES, ConnectionPool

if TYPE_CHECKING:
    from gateway.contract.deltas import Delta
    from gateway.contract.messages import ChatRequest, EmbeddingRequest, Embeddings
    from gateway.contract.protocols import Dialect, ReplyReader, Unsupported, UpstreamCall, WireRequest
    from gateway.providers.credentials import Credentials, Key
    from gateway.providers.response import Response

MAX_ERROR_BYTES = 256 * 1024


class EmbeddingDialect(Protocol):
    """The two pure directions of an embeddings call."""

    def write_embed_request(self, request: EmbeddingRequest, options: WireOptions) -> WireRequest:
        """Raises `UnsupportedFeature`."""
        ...

    def read_embed_reply(self, body: bytes) -> Embeddings:
        """Raises `MalformedReply`."""
        ...


class Endpoint(msgspec.Struct, frozen=True):
    """Where and how a provider is reached. `auth` is the header of the key, `scheme` what stands before it."""

    base_url: str
    auth: str = "authorization"
    scheme: str = "Bearer "
    headers: dict[str, str] = {}
    version: str = ""
    native: bool = True
    unsupported: Unsupported = "drop"
    path: str = ""  # replaces the dialect's path, `{model}` and `{path}` filled in (Azure's deployments)
    models: dict[str, str] = {}  # our model id -> the provider's
    prompt_cache: bool = False
    max_answer: int = MAX_ANSWER_BYTES


class RemoteProvider:
    """Implements `gateway.contract.protocols.Provider`."""

    def __init__(
        self,
        name: str,
        dialect: Dialect,
        endpoint: Endpoint,
        credentials: Credentials,
        *,
        embeddings: EmbeddingDialect | None = None,
        trusted: bool = False,
        connect_s: float = 5.0,
        max_connections: int = 1000,
    ) -> None:
        self.name = name
        self.dialect = dialect.name
        self.trusted = trusted
        self._wire = dialect
        self._endpoint = endpoint
        self._credentials = credentials
        self._embeddings = embeddings
        self._connect_s = connect_s
        self._pool = ConnectionPool(endpoint.base_url, max_connections=max_connections, max_answer=endpoint.max_answer)
        self._heads: dict[tuple[str, int, bool], bytes] = {}

    async def open(self, request: ChatRequest, call: UpstreamCall) -> RemoteReply:
        """See `Provider.open`."""
        endpoint = self._endpoint
        wire = self._wire.write_request(
            request,
            WireOptions(
                endpoint.models.get(call.model, call.model) if endpoint.models else call.model,
                call.stream,
                endpoint.version,
                call.unsupported or endpoint.unsupported,
                endpoint.native,
                endpoint.prompt_cache,
            ),
        )
        response = await self._post(wire, call)
        try:
            streams = _streams(response, asked=call.stream)
        except BaseException:
            response.close()
            raise
        return RemoteReply(self._wire, response, call, streams=streams)

    async def _post(self, wire: WireRequest, call: UpstreamCall) -> Response:
        """Sends, and returns a response of success. Raises `UpstreamError`."""
        attempt = call.attempt
        attempt.dialect = self.dialect
        attempt.losses = wire.losses
        key = self._credentials.pick()
        attempt.key = key.number
        head = self._head(wire, call, key)
        if call.traceparent:
            head = b"%btraceparent: %b\r\n" % (head, call.traceparent.encode("latin-1"))
            if call.tracestate:
                head = b"%btracestate: %b\r\n" % (head, call.tracestate.encode("latin-1"))
        timeouts = call.timeouts
        # A whole answer has no first token before its end.
        wait_s = min(timeouts.first_token_s, timeouts.total_s) if call.stream else timeouts.total_s
        deadline = asyncio.get_running_loop().time() + wait_s
        connect_s = min(timeouts.connect_s or self._connect_s, timeouts.total_s)
        response = await self._pool.post(head, wire.body, connect_s=connect_s, deadline=deadline, attempt=attempt)
        attempt.status = response.status
        if response.status < 300:
            return response
        try:
            error = await self._read_error(response)
        finally:
            response.close()
        self._credentials.note(key, error)
        raise error

    async def _read_error(self, response: Response) -> UpstreamError:
        body = await response.read_all(MAX_ERROR_BYTES)
        if response.status < 400:
            return MalformedReply(f"The provider answered with a redirect ({response.status})")
        return self._wire.read_error(response.status, response.headers, body)

    def _head(self, wire: WireRequest, call: UpstreamCall, key: Key) -> bytes:
        endpoint = self._endpoint
        path = wire.path
        if endpoint.path:
            path = endpoint.path.format(model=endpoint.models.get(call.model, call.model), path=path)
        place = (path, key.number, call.stream)
        head = self._heads.get(place)
        if head is None:
            headers = {
                "content-type": "application/json",
                "accept": "text/event-stream" if call.stream else "application/json",
                "user-agent": "gatehouse",
                **wire.headers,
                **endpoint.headers,
            }
            if key.secret:
                headers[endpoint.auth] = endpoint.scheme + key.secret
            head = self._heads[place] = self._pool.head(path, headers)
        return head

    async def embed(self, request: EmbeddingRequest, call: UpstreamCall) -> Embeddings:
        """See `Provider.embed`."""
        if self._embeddings is None:
            raise UnsupportedFeature(f"The provider {self.name} has no embeddings", param="model")
        endpoint = self._endpoint
        model = endpoint.models.get(call.model, call.model)
        options = WireOptions(model, stream=False, version=endpoint.version, native=endpoint.native)
        response = await self._post(self._embeddings.write_embed_request(request, options), call)
        try:
            response.expect_by(asyncio.get_running_loop().time() + call.timeouts.total_s, "total")
            _check_packing(response)
            parts: list[bytes] = []
            while (data := await response.read()) is not None:
                parts.append(data)
                # Whatever comes of the rest, the provider has read the prompt.
                call.attempt.said = [""]
            embeddings = self._embeddings.read_embed_reply(b"".join(parts))
            asked, given = len(request.tokens or request.texts), len(embeddings.vectors)
            if asked != given:
                # Which vector is whose nobody could tell.
                raise MalformedReply(f"The provider gave {given} embeddings for {asked} inputs")
            return embeddings
        except UpstreamError:
            raise
        except Exception as error:
            raise _unreadable(error) from error
        finally:
            response.close()

    async def close(self) -> None:
        """See `Provider.close`."""
        self._pool.close()

    @property
    def address(self) -> tuple[str, int]:
        """Host and port, for traces."""
        return self._pool.address


def _streams(response: Response, *, asked: bool) -> bool:
    """Whether it is a stream by its content type: a server may stream what was asked whole, and the reverse.

    One that says nothing is what was `asked`. The first bytes may yet contradict it: see `RemoteReply`.
    """
    _check_packing(response)
    kind = response.content_type
    if kind == "text/event-stream":
        return True
    if kind in ("application/json", "application/problem+json"):
        return False
    if not kind or kind in ("application/octet-stream", "text/plain"):
        return asked
    raise MalformedReply(f"The provider answered with {kind[:60]} where JSON or an event stream belongs")


def _check_packing(response: Response) -> None:
    """Nobody has asked for a packed answer, and what a small one holds has no bound."""
    headers = response.raw_headers
    packed = headers.get(b"content-encoding", b"").strip().lower()
    if packed not in (b"", b"identity") or headers.get(b"transfer-encoding", b"chunked").strip().lower() != b"chunked":
        raise MalformedReply("The provider packed its answer (content-encoding), which it was not asked to")


def _unreadable(error: Exception) -> MalformedReply:
    """What no reader foresaw is still the provider's answer at fault: another target may do better."""
    return MalformedReply(f"The provider's answer can't be read ({type(error).__name__})")


class RemoteReply:
    """Implements `gateway.contract.protocols.Reply` over one HTTP response."""

    __slots__ = (
        "_attempt",
        "_endings",
        "_finished",
        "_has_content",
        "_idle_s",
        "_loop",
        "_reader",
        "_response",
        "_total",
        "_unseen",
        "_wire",
        "dialect",
        "streamed",
    )

    def __init__(self, wire: Dialect, response: Response, call: UpstreamCall, *, streams: bool) -> None:
        """`streams` is what the answer's content type says."""
        timeouts = call.timeouts
        self.dialect = wire.name
        self.streamed = streams
        self._wire = wire
        # Until the first byte that is no white space has come.
        self._unseen = True
        self._response = response
        self._reader: ReplyReader = wire.reply_reader(stream=streams)
        self._attempt = call.attempt
        self._endings = Endings()
        self._loop = asyncio.get_running_loop()
        self._idle_s = timeouts.idle_s
        self._total = self._loop.time() + timeouts.total_s
        self._finished = False
        self._has_content = False

    async def next(self) -> list[Delta] | None:
        """See `Reply.next`."""
        if self._finished:
            return None
        try:
            while True:
                data = await self._response.read()
                if data is None:
                    return self._end()
                if self._unseen:
                    self._look(data)
                deltas = self._reader.feed(data)
                if self._reader.done:
                    return self._end(deltas)
                if deltas:
                    self._expect_next(deltas)
                    return self._endings.take(deltas)
        except UpstreamError as error:
            self._break_off(error)
            raise
        except Exception as error:
            broken = _unreadable(error)
            self._break_off(broken)
            raise broken from error
        except BaseException:
            self._break_off(None)
            raise

    def _look(self, data: bytes) -> None:
        """Takes the other reader where an answer is labelled wrongly: an object is no event, nor the reverse."""
        start = data.lstrip()[:6]
        if not start:
            return
        self._unseen = False
        if start.startswith((b"{", b"[")):
            streams = False
        elif start.startswith((b"data:", b"event:", b"id:", b":")):
            streams = True
        else:
            return
        if streams != self.streamed:
            self._reader = self._wire.reply_reader(stream=streams)
            self.streamed = streams

    def _break_off(self, error: UpstreamError | None) -> None:
        """Ends early. What came of a whole answer was generated, though nobody gets it: that is noted for its price."""
        self._finished = True
        self._response.close()
        unread = self._reader.unread()
        # A body that is no answer at all, such as a page to sign in, has no words; one that broke off is an answer.
        if unread is not None and (unread or not isinstance(error, MalformedReply)):
            self._attempt.said.append(unread)

    def _expect_next(self, deltas: list[Delta]) -> None:
        if not self._has_content:
            self._has_content = any(choice.has_content for delta in deltas for choice in delta.choices)
            if not self._has_content:
                return
        idle = self._loop.time() + self._idle_s
        if idle < self._total:
            self._response.expect_by(idle, "idle")
        else:
            self._response.expect_by(self._total, "total")

    def _end(self, deltas: list[Delta] | None = None) -> list[Delta] | None:
        self._finished = True
        last = [*(deltas or ()), *self._reader.finish()]
        self._response.close(linger=True)
        return self._endings.take(last) or None

    async def close(self) -> None:
        """See `Reply.close`."""
        if not self._finished:
            self._break_off(None)
        self._response.close()
