"""A provider behind HTTP: a dialect, an endpoint and credentials."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Protocol

import msgspec

from contract.dialect import EVENT_STREAM, WireOptions
from contract.errors import MalformedReply, TimedOut, UnsupportedFeature, UpstreamError
from gateway.dialects.buffered_body import BOM
from gateway.dialects.endings import Endings
from gateway.dialects.failures import find_message, read_body
from gateway.dialects.names import restore_names
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
# Shorter values are not removed from errors, because they may also be ordinary words.
SHORTEST_SECRET = 6


class Settle(Protocol):
    """How a provider processes an error within its response: notes it on the key, and removes secrets."""

    def __call__(self, error: UpstreamError, *, answered: bool) -> UpstreamError:
        """`answered`: content had been received."""


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
        # With several keys, each call picks the next.
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
        started = asyncio.get_running_loop().time()
        call.attempt.traced_as = self._traced_as
        response = await self._post(wire, call)
        try:
            _unpack(response)
        except BaseException:
            response.close()
            raise
        return RemoteReply(self._wire, response, call, started, partial(self._settle, call.attempt.key), wire.names)

    async def _post(self, wire: WireRequest, call: UpstreamCall) -> Response:
        """Sends the request, and returns a successful response. Raises `UpstreamError`."""
        attempt = call.attempt
        attempt.dialect = self.dialect
        attempt.losses = wire.losses
        key = self._only_key or self._credentials.pick()
        attempt.key = key.number
        head = self._build_head(wire, call, key)
        for name, values in wire.lists.items():
            # The values come from the caller, so a head with them is not cached.
            own = [each.strip() for each in self._endpoint.headers.get(name, "").split(",")]
            joined = ",".join(dict.fromkeys([*filter(None, own), *values]))
            head = b"%b%b: %b\r\n" % (head, name.encode("latin-1"), joined.encode("latin-1"))
        if call.traceparent:
            head = b"%btraceparent: %b\r\n" % (head, call.traceparent.encode("latin-1"))
            if call.tracestate:
                head = b"%btracestate: %b\r\n" % (head, call.tracestate.encode("latin-1"))
        timeouts = call.timeouts
        # A buffered response has no first token before its end.
        phase: TimeoutPhase = "first_token" if call.stream else "total"
        wait_s = min(timeouts.first_token_s, timeouts.total_s) if call.stream else timeouts.total_s
        deadline = asyncio.get_running_loop().time() + wait_s
        connect_s = min(timeouts.connect_s or self._connect_s, wait_s)
        try:
            response = await self._pool.post(
                head, wire.body, connect_s=connect_s, deadline=deadline, phase=phase, attempt=attempt
            )
        except TimedOut as timeout:
            timeout.limit_s = connect_s if timeout.phase == "connect" else wait_s
            raise
        attempt.status = response.status
        if response.status < 300:
            return response
        try:
            error = await self._read_error(response)
        finally:
            response.close()
        self._credentials.record_error(key, error)
        raise self._without_secrets(error)

    def _settle(self, number: int, error: UpstreamError, *, answered: bool) -> UpstreamError:
        """Processes an error in a response of status 200. Before any content it may concern the key, so it is noted."""
        if not answered:
            self._credentials.record_error(self._credentials.key(number), error)
        return self._without_secrets(error)

    def _without_secrets(self, error: UpstreamError) -> UpstreamError:
        """The error without secrets in its message: some providers quote a part of the request."""
        for secret in self._secrets:
            if secret in error.message:
                error.message = error.message.replace(secret, "[secret]")
        return error

    async def _read_error(self, response: Response) -> UpstreamError:
        try:
            _unpack(response)
        except MalformedReply:
            # The status is enough.
            body = b""
        else:
            body = await response.read_all(MAX_ERROR_BYTES)
        if response.status < 400:
            return MalformedReply(f"The provider responded with a redirect ({response.status})")
        return self._wire.read_error(response.status, response.headers, body)

    def _build_head(self, wire: WireRequest, call: UpstreamCall, key: Key) -> bytes:
        endpoint = self._endpoint
        path = wire.path
        if endpoint.path:
            path = endpoint.path.format(model=endpoint.models.get(call.model, call.model), path=path)
        head_key = (path, key.number, call.stream, bool(wire.lists))
        head = self._heads.get(head_key)
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
            head = self._heads[head_key] = self._pool.head(path, headers)
        return head

    async def embed(self, request: EmbeddingRequest, call: UpstreamCall) -> Embeddings:
        """See `Provider.embed`."""
        if self._embeddings is None:
            raise UnsupportedFeature(f"The provider {self.name} does not support embeddings", param="model")
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
                # The provider has read the prompt, even if the rest fails.
                call.transcript.add("")
            embeddings = self._read_embeddings(b"".join(parts).removeprefix(BOM), call.attempt.key)
            inputs, vectors = len(request.tokens or request.texts), len(embeddings.vectors)
            if inputs != vectors:
                # The vectors can't be matched to the inputs.
                raise MalformedReply(f"The provider returned {vectors} embeddings for {inputs} inputs")
            return embeddings
        except TimedOut as timeout:
            timeout.limit_s = call.timeouts.total_s
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
            if not isinstance(value, dict) or not find_message(value):
                raise
            # An error with status 200.
            raise self._settle(number, self._wire.read_error(0, {}, body), answered=False) from None

    async def close(self) -> None:
        """See `Provider.close`."""
        await self._pool.close()

    @property
    def address(self) -> tuple[str, int]:
        """Host and port, for traces."""
        return self._pool.address


# Finish reasons that are valid only if the response has tool calls, or never.
_CHECKED_FINISHES = frozenset({"tool_calls", "malformed", "error"})


def _unpack(response: Response) -> None:
    """Sets up decompression of the body. Raises `MalformedReply`."""
    if response.raw_headers.get(b"transfer-encoding", b"chunked").strip().lower() != b"chunked":
        raise MalformedReply("The provider used an unsupported transfer-encoding; only chunked is supported")
    response.unpack()


def _unreadable(error: Exception) -> MalformedReply:
    """An unexpected reader error counts as the provider's fault, so that another target is tried."""
    return MalformedReply(f"The provider's response can't be parsed ({type(error).__name__})")


class RemoteReply:
    """Implements `contract.reply.Reply` over one HTTP response."""

    __slots__ = (
        "_dialect",
        "_endings",
        "_extended_by_keepalive",
        "_finished",
        "_has_content",
        "_last_content_at",
        "_limit_s",
        "_loop",
        "_names",
        "_pending",
        "_reader",
        "_response",
        "_settle",
        "_started",
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
        started: float,
        settle: Settle,
        names: dict[str, str],
    ) -> None:
        """`started`: the loop's time at the start of the call. `settle`: see `Settle`. `names`: see `WireRequest`."""
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
        self._started = started
        self._total = started + call.timeouts.total_s
        self._finished = False
        self._has_content = False
        # When the last content arrived.
        self._last_content_at = started
        # The current limit, and whether keep-alives have extended it. For a buffered response it stays the total.
        self._limit_s = call.timeouts.first_token_s if call.stream else call.timeouts.total_s
        self._extended_by_keepalive = False
        # The reader is created once the first bytes show the format.
        self._pending = b""
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
                    if (reader := self._create_reader(data)) is None:
                        self._expect_next(())
                        continue
                    data, self._pending = (self._pending or None), b""
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
                error.limit_s, error.alive = self._limit_s, self._extended_by_keepalive
            self._abort(error)
            raise self._settle(error, answered=self._has_content) from None
        except Exception as error:
            broken = _unreadable(error)
            self._abort(broken)
            raise broken from error
        except BaseException:
            self._abort(None)
            raise

    def _create_reader(self, data: bytes | None) -> ReplyReader | None:
        """The reader that the first bytes call for. Some servers ignore whether the request asked for a stream."""
        self._pending += data or b""
        kind = body_kind(self._pending, ended=data is None)
        if kind is None:
            return None
        content_type = self._response.content_type
        if kind == "json" and self._stream and content_type == self._dialect.stream_type != EVENT_STREAM:
            kind = "events"  # The dialect's events are lines of JSON.
        if not kind:
            if content_type == self._dialect.stream_type:
                kind = "events"
            elif not self._pending.strip() or content_type in ("application/json", "application/problem+json"):
                kind = "json"
            else:
                content_type = content_type or "no content type"
                raise MalformedReply(
                    f"The provider responded with {content_type[:60]} instead of JSON or an event stream"
                )
        self.streamed = kind == "events"
        if self._stream and not self.streamed:
            # A buffered response has no first token before its end.
            whole_s = self._timeouts.whole_s
            self._expect(min(self._started + whole_s, self._total), "total", min(whole_s, self._timeouts.total_s))
        self._reader = self._dialect.reply_reader(stream=self.streamed)
        return self._reader

    def _checked(self, deltas: list[Delta]) -> list[Delta]:
        endings = self._endings
        if endings is None:
            for delta in deltas:
                for choice in delta.choices:
                    if choice.tool_calls or choice.extra or choice.finish in _CHECKED_FINISHES:
                        # The end of the response must be consistent with its content.
                        endings = self._endings = Endings()
        if endings is not None:
            deltas = endings.check(deltas)
        return restore_names(deltas, self._names) if self._names else deltas

    def _abort(self, error: UpstreamError | None) -> None:
        """Ends early. Text that was received but not delivered is added to the transcript, because it is billed."""
        self._finished = True
        self._response.close()
        unread = self._reader.unread() if self._reader is not None else None
        # A body that is not a response, such as a login page, has no text. A truncated body is a response.
        if unread is not None and (unread or not isinstance(error, MalformedReply)):
            self._transcript.add(unread)

    def _expect_next(self, deltas: Sequence[Delta]) -> None:
        """Sets the next deadline. Comments, pings and events without content count as keep-alives."""
        if not self._stream or (self._reader is not None and not self.streamed):
            return
        now, timeouts = self._loop.time(), self._timeouts
        if not self._has_content:
            self._has_content = any(choice.has_content for delta in deltas for choice in delta.choices)
        elif not deltas or not (deltas[-1].choices or any(delta.choices or delta.usage for delta in deltas)):
            self._expect_alive(now + timeouts.idle_s, self._last_content_at + timeouts.alive_idle_s, "idle")
            return
        if self._has_content:
            self._last_content_at = now
            self._expect(now + timeouts.idle_s, "idle", timeouts.idle_s)
        else:
            latest = self._started + timeouts.alive_first_token_s
            self._expect_alive(now + timeouts.first_token_s, latest, "first_token")

    def _expect_alive(self, due: float, latest: float, phase: TimeoutPhase) -> None:
        """Expects the next keep-alive by `due`, and content by `latest`."""
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
            self._extended_by_keepalive = alive_s > limit_s

    def _expect(self, due: float, phase: TimeoutPhase, limit_s: float) -> None:
        self._extended_by_keepalive = False
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
            self._abort(None)
        self._response.close()
