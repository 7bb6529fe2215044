"""A provider behind HTTP: a dialect, an endpoint and credentials."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Protocol

import msgspec

from contract.dialect import EVENT_STREAM, WireOptions
from contract.errors import MalformedReply, TimedOut, UnsupportedFeature, UpstreamError
from gateway.dialects.endings import Endings
from gateway.dialects.failures import read_body, words_within
from gateway.dialects.names import put_back
from gateway.dialects.whole import BOM
from gateway.providers.opening import open_transport
from gateway.providers.response import Response, body_kind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from contract.deltas import Delta
    from contract.dialect import Dialect, ReplyReader, WireRequest
    from contract.endpoint import Endpoint
    from contract.errors import TimeoutPhase
    from contract.messages import ChatRequest, EmbeddingRequest, Embeddings
    from contract.provider import UpstreamCall
    from gateway.providers.credentials import Credentials, Key

MAX_ERROR_BYTES = 256 * 1024
# Of the values that are taken out of errors: shorter ones are words as well.
SHORTEST_SECRET = 6


class Settle(Protocol):
    """What a provider does with an error of its answer before anybody else sees it."""

    def __call__(self, error: UpstreamError, *, answered: bool) -> UpstreamError:
        """`answered`: the answer had begun."""


class RemoteProvider:
    """Implements `contract.provider.Provider`."""

    def __init__(
        self,
        name: str,
        dialect: Dialect,
        endpoint: Endpoint,
        credentials: Credentials,
        *,
        trusted: bool = False,
    ) -> None:
        self.name = name
        self.dialect = dialect.name
        self.trusted = trusted
        self._wire = dialect
        self._endpoint = endpoint
        self._credentials = credentials
        # Of several keys each call picks the next.
        self._only_key = credentials.key(1) if len(credentials.secrets) == 1 else None
        self._embeddings = dialect.embeddings
        self._traced_as = dialect.traced_as
        self._embeds_as = msgspec.structs.replace(dialect.traced_as, operation="embeddings")
        self._connect_s = endpoint.connect_s
        self._pool = open_transport(endpoint)
        self._heads: dict[tuple[str, int, bool, bool], bytes] = {}
        self._secrets = tuple(
            each for each in (*credentials.secrets, *endpoint.headers.values()) if len(each) >= SHORTEST_SECRET
        )

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
                endpoint.max_tokens,
                endpoint.nine_letter_ids,
            ),
        )
        begun = asyncio.get_running_loop().time()
        call.attempt.traced_as = self._traced_as
        response = await self._post(wire, call)
        try:
            _unpack(response)
        except BaseException:
            response.close()
            raise
        return RemoteReply(self._wire, response, call, begun, partial(self._settle, call.attempt.key), wire.names)

    async def _post(self, wire: WireRequest, call: UpstreamCall) -> Response:
        """Sends, and returns a response of success. Raises `UpstreamError`."""
        attempt = call.attempt
        attempt.dialect = self.dialect
        attempt.losses = wire.losses
        key = self._only_key or self._credentials.pick()
        attempt.key = key.number
        head = self._head(wire, call, key)
        for name, values in wire.lists.items():
            # The values are the caller's: a head with them is not kept.
            own = [each.strip() for each in self._endpoint.headers.get(name, "").split(",")]
            joined = ",".join(dict.fromkeys([*filter(None, own), *values]))
            head = b"%b%b: %b\r\n" % (head, name.encode("latin-1"), joined.encode("latin-1"))
        if call.traceparent:
            head = b"%btraceparent: %b\r\n" % (head, call.traceparent.encode("latin-1"))
            if call.tracestate:
                head = b"%btracestate: %b\r\n" % (head, call.tracestate.encode("latin-1"))
        timeouts = call.timeouts
        # A whole answer has no first token before its end.
        phase: TimeoutPhase = "first_token" if call.stream else "total"
        wait_s = min(timeouts.first_token_s, timeouts.total_s) if call.stream else timeouts.total_s
        deadline = asyncio.get_running_loop().time() + wait_s
        connect_s = min(timeouts.connect_s or self._connect_s, wait_s)
        try:
            response = await self._pool.post(
                head, wire.body, connect_s=connect_s, deadline=deadline, phase=phase, attempt=attempt
            )
        except TimedOut as late:
            late.limit_s = connect_s if late.phase == "connect" else wait_s
            raise
        attempt.status = response.status
        if response.status < 300:
            return response
        try:
            error = await self._read_error(response)
        finally:
            response.close()
        self._credentials.note(key, error)
        raise self._without_secrets(error)

    def _settle(self, number: int, error: UpstreamError, *, answered: bool) -> UpstreamError:
        """An error within an answer. Before its first word it may be about the key, as one of another status is."""
        if not answered:
            self._credentials.note(self._credentials.key(number), error)
        return self._without_secrets(error)

    def _without_secrets(self, error: UpstreamError) -> UpstreamError:
        """The error, its message without what this provider is sent as a secret: some quote a part of our request."""
        for secret in self._secrets:
            if secret in error.message:
                error.message = error.message.replace(secret, "[secret]")
        return error

    async def _read_error(self, response: Response) -> UpstreamError:
        try:
            _unpack(response)
        except MalformedReply:
            # The status speaks for itself.
            body = b""
        else:
            body = await response.read_all(MAX_ERROR_BYTES)
        if response.status < 400:
            return MalformedReply(f"The provider answered with a redirect ({response.status})")
        return self._wire.read_error(response.status, response.headers, body)

    def _head(self, wire: WireRequest, call: UpstreamCall, key: Key) -> bytes:
        endpoint = self._endpoint
        path = wire.path
        if endpoint.path:
            path = endpoint.path.format(model=endpoint.models.get(call.model, call.model), path=path)
        place = (path, key.number, call.stream, bool(wire.lists))
        head = self._heads.get(place)
        if head is None:
            headers = {
                "content-type": "application/json",
                "accept": self._wire.stream_type if call.stream else "application/json",
                "user-agent": "gatehouse",
                **wire.headers,
                **endpoint.headers,
            }
            for name in wire.lists:
                headers.pop(name, None)
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
        wire = self._embeddings.write_embed_request(request, options)
        call.attempt.traced_as = self._embeds_as
        response = await self._post(wire, call)
        try:
            response.expect_by(asyncio.get_running_loop().time() + call.timeouts.total_s, "total")
            _unpack(response)
            parts: list[bytes] = []
            while (data := await response.read()) is not None:
                parts.append(data)
                # Whatever comes of the rest, the provider has read the prompt.
                call.transcript.add("")
            embeddings = self._read_embeddings(b"".join(parts).removeprefix(BOM), call.attempt.key)
            asked, given = len(request.tokens or request.texts), len(embeddings.vectors)
            if asked != given:
                # Which vector is whose nobody could tell.
                raise MalformedReply(f"The provider gave {given} embeddings for {asked} inputs")
            return embeddings
        except TimedOut as late:
            late.limit_s = call.timeouts.total_s
            raise
        except UpstreamError:
            raise
        except Exception as error:
            raise _unreadable(error) from error
        finally:
            response.close()

    def _read_embeddings(self, body: bytes, number: int) -> Embeddings:
        assert self._embeddings is not None
        try:
            return self._embeddings.read_embed_reply(body)
        except MalformedReply:
            value, _ = read_body(body)
            if not isinstance(value, dict) or not words_within(value):
                raise
            # An error of status 200.
            raise self._settle(number, self._wire.read_error(0, {}, body), answered=False) from None

    async def close(self) -> None:
        """See `Provider.close`."""
        await self._pool.close()

    @property
    def address(self) -> tuple[str, int]:
        """Host and port, for traces."""
        return self._pool.address


# With which an answer is whole only if it has called, or not at all.
_BREAKING = frozenset({"tool_calls", "malformed", "error"})


def _unpack(response: Response) -> None:
    """Sees to it that the body is read as it was before it was packed. Raises `MalformedReply`."""
    if response.raw_headers.get(b"transfer-encoding", b"chunked").strip().lower() != b"chunked":
        raise MalformedReply("The provider packed its answer (transfer-encoding), which it was not asked to")
    response.unpack()


def _unreadable(error: Exception) -> MalformedReply:
    """What no reader foresaw is still the provider's answer at fault: another target may do better."""
    return MalformedReply(f"The provider's answer can't be read ({type(error).__name__})")


class RemoteReply:
    """Implements `contract.reply.Reply` over one HTTP response."""

    __slots__ = (
        "_alive",
        "_begun",
        "_dialect",
        "_endings",
        "_finished",
        "_has_content",
        "_head",
        "_heard",
        "_limit_s",
        "_loop",
        "_names",
        "_reader",
        "_response",
        "_settle",
        "_stream",
        "_timeouts",
        "_total",
        "_transcript",
        "dialect",
        "streamed",
    )

    def __init__(
        self,
        dialect: Dialect,
        response: Response,
        call: UpstreamCall,
        begun: float,
        settle: Settle,
        names: dict[str, str],
    ) -> None:
        """`begun` is the loop's time of the call; `settle` takes secrets out of an error, and notes it on its key;
        `names`: see `WireRequest`.
        """
        self.dialect = dialect.name
        self.streamed = response.content_type == dialect.stream_type
        self._dialect = dialect
        self._response = response
        self._transcript = call.transcript
        self._settle = settle
        self._endings: Endings | None = None
        self._names = names
        self._loop = asyncio.get_running_loop()
        self._timeouts = call.timeouts
        self._stream = call.stream
        self._begun = begun
        self._total = begun + call.timeouts.total_s
        self._finished = False
        self._has_content = False
        # When the last content came.
        self._heard = begun
        # The limit that holds now, and whether only signs of life have moved it. Of a whole answer it stays the total.
        self._limit_s = call.timeouts.first_token_s if call.stream else call.timeouts.total_s
        self._alive = False
        # Until its first bytes tell what it is, there is no reader.
        self._head = b""
        self._reader: ReplyReader | None = None

    async def next(self) -> list[Delta] | None:
        """See `Reply.next`."""
        if self._finished:
            return None
        try:
            while True:
                data = await self._response.read()
                reader = self._reader
                if reader is None:
                    if (reader := self._begin(data)) is None:
                        self._expect_next(())
                        continue
                    data, self._head = (self._head or None), b""
                if data is None:
                    return self._end(reader)
                deltas = reader.feed(data)
                if reader.done:
                    return self._end(reader, deltas)
                self._expect_next(deltas)
                if deltas:
                    return self._checked(deltas)
        except UpstreamError as error:
            if isinstance(error, TimedOut) and not error.upstream_status:
                error.limit_s, error.alive = self._limit_s, self._alive
            self._break_off(error)
            raise self._settle(error, answered=self._has_content) from None
        except Exception as error:
            broken = _unreadable(error)
            self._break_off(broken)
            raise broken from error
        except BaseException:
            self._break_off(None)
            raise

    def _begin(self, data: bytes | None) -> ReplyReader | None:
        """The reader, as soon as the first bytes tell which. Servers stream what was asked whole, and the reverse."""
        self._head += data or b""
        kind = body_kind(self._head, ended=data is None)
        if kind is None:
            return None
        said = self._response.content_type
        if kind == "json" and self._stream and said == self._dialect.stream_type != EVENT_STREAM:
            kind = "events"  # of a dialect whose events are lines of JSON
        if not kind:
            if said == self._dialect.stream_type:
                kind = "events"
            elif not self._head.strip() or said in ("application/json", "application/problem+json"):
                kind = "json"
            else:
                said = said or "something"
                raise MalformedReply(f"The provider answered with {said[:60]} where JSON or an event stream belongs")
        self.streamed = kind == "events"
        if self._stream and not self.streamed:
            # It has no first token before its end.
            whole_s = self._timeouts.whole_s
            self._expect(min(self._begun + whole_s, self._total), "total", min(whole_s, self._timeouts.total_s))
        self._reader = self._dialect.reply_reader(stream=self.streamed)
        return self._reader

    def _checked(self, deltas: list[Delta]) -> list[Delta]:
        endings = self._endings
        if endings is None:
            for delta in deltas:
                for choice in delta.choices:
                    if choice.tool_calls or choice.extra or choice.finish in _BREAKING:
                        # Its end is to be held against what came before it.
                        endings = self._endings = Endings()
        if endings is not None:
            deltas = endings.take(deltas)
        return put_back(deltas, self._names) if self._names else deltas

    def _break_off(self, error: UpstreamError | None) -> None:
        """Ends early. What came of a whole answer was generated, though nobody gets it: that is noted for its price."""
        self._finished = True
        self._response.close()
        unread = self._reader.unread() if self._reader is not None else None
        # A body that is no answer at all, such as a page to sign in, has no words; one that broke off is an answer.
        if unread is not None and (unread or not isinstance(error, MalformedReply)):
            self._transcript.add(unread)

    def _expect_next(self, deltas: Sequence[Delta]) -> None:
        """Sets the time for what comes next. Comments, pings and events without content are signs of life."""
        if not self._stream or (self._reader is not None and not self.streamed):
            return
        now, timeouts = self._loop.time(), self._timeouts
        if not self._has_content:
            self._has_content = any(choice.has_content for delta in deltas for choice in delta.choices)
        elif not deltas or not (deltas[-1].choices or any(delta.choices or delta.usage for delta in deltas)):
            self._expect_alive(now + timeouts.idle_s, self._heard + timeouts.alive_idle_s, "idle")
            return
        if self._has_content:
            self._heard = now
            self._expect(now + timeouts.idle_s, "idle", timeouts.idle_s)
        else:
            self._expect_alive(now + timeouts.first_token_s, self._begun + timeouts.alive_first_token_s, "first_token")

    def _expect_alive(self, due: float, latest: float, phase: TimeoutPhase) -> None:
        """The next sign of life by `due`, content by `latest`."""
        timeouts, first = self._timeouts, phase == "first_token"
        limit_s, alive_s = (
            (timeouts.first_token_s, timeouts.alive_first_token_s)
            if first
            else (timeouts.idle_s, timeouts.alive_idle_s)
        )
        if due <= latest:
            self._expect(due, phase, limit_s)
        else:
            self._expect(latest, phase, alive_s)
            self._alive = alive_s > limit_s

    def _expect(self, due: float, phase: TimeoutPhase, limit_s: float) -> None:
        self._alive = False
        if due < self._total:
            self._limit_s = limit_s
            self._response.expect_by(due, phase)
        else:
            self._limit_s = self._timeouts.total_s
            self._response.expect_by(self._total, "total")

    def _end(self, reader: ReplyReader, deltas: list[Delta] | None = None) -> list[Delta] | None:
        self._finished = True
        last = [*(deltas or ()), *reader.finish()]
        self._response.close(linger=True)
        return self._checked(last) or None

    async def close(self) -> None:
        """See `Reply.close`."""
        if not self._finished:
            self._break_off(None)
        self._response.close()
