"""Chat on every surface: reads the request and writes the response in one dialect; the target may use another."""

from __future__ import annotations

import asyncio
import re
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from contract.dialect import InboundCall
from contract.errors import GatehouseError, InternalFault, InvalidRequest
from gateway.surfaces.bodies import MAX_INLINE_BYTES, check_part_count
from gateway.surfaces.costing import CostedReply
from gateway.surfaces.early_frame import EarlyFrame
from gateway.surfaces.http import read_cache_control
from gateway.surfaces.keepalive import KeepAlive
from gateway.surfaces.request import BufferedResponse, record_error, run_request, stream_headers

if TYPE_CHECKING:
    from contract.deltas import Delta
    from contract.dialect import Dialect, ReplyWriter
    from contract.exchange import Exchange
    from contract.messages import ChatRequest
    from contract.unsettled import Unsettled
    from gateway.engine.pump import Pump
    from gateway.engine.runtime import Engine
    from gateway.surfaces.http import HttpCall
    from gateway.surfaces.surface import SurfaceParts, Vendor


# The body field that holds options for the gateway rather than the provider.
EXTENSION = "gatehouse"


class ChatSurface:
    """A chat endpoint of one dialect."""

    def __init__(self, parts: SurfaceParts, vendor: Vendor, dialect: Dialect, surface: str) -> None:
        """`surface` is the name in traces and metrics, such as `POST /v1/chat/completions`."""
        self._runtime = parts.runtime
        self._bodies = parts.bodies
        self._vendor = vendor.name
        self._dialect = dialect
        self._surface = surface

    async def serve(self, call: HttpCall, inbound: InboundCall) -> None:
        """Answers one HTTP request."""
        call.vendor = self._vendor

        await run_request(self._runtime, call, self._surface, self._dialect, partial(self._answer, inbound))

    async def _answer(
        self, inbound: InboundCall, call: HttpCall, exchange: Exchange, engine: Engine, unsettled: Unsettled
    ) -> BufferedResponse | None:
        exchange.config = engine.digest
        await engine.pipeline.identify(call.credentials(), exchange)
        exchange.user = exchange.user or call.user
        body = await call.read_body(engine.max_body) if call.has_plain_json else None
        if body is None or body[:1] != b"{":
            # Compressed, in another charset, or with a byte order mark.
            body = await self._bodies.receive(call, exchange, engine.max_body, body)
        if len(body) <= MAX_INLINE_BYTES:
            request = self._dialect.read_request(body, inbound)
        else:
            request = await self._bodies.read(exchange, body, lambda body: self._read(body, inbound))
        if conversation := call.conversation:
            request = msgspec.structs.replace(request, conversation=conversation)
        if request.extra and EXTENSION in request.extra:
            request = _with_extension(request)
        if control := call.cache_control():
            request = msgspec.structs.replace(request, cache=control)
        if betas := call.betas():
            request = msgspec.structs.replace(request, betas=betas)
        if names := engine.pipeline.headers:
            headers = {name: call.header(name.encode("latin-1", "ignore")) for name in names}
            request = msgspec.structs.replace(request, headers=headers)
        call.watch()
        if not request.stream:
            return await self._respond_buffered(exchange, request, engine, unsettled)
        if call.wants_cost():
            request = msgspec.structs.replace(request, include_usage=True)
        await self._stream(call, exchange, request, engine, unsettled)
        return None

    def _read(self, body: bytes, inbound: InboundCall) -> ChatRequest:
        return check_part_count(self._dialect.read_request(body, inbound), self._dialect.turns)

    def _writer(
        self, request: ChatRequest, reply: Pump | CostedReply, exchange: Exchange, *, opened: bool
    ) -> ReplyWriter:
        raw = reply.raw and reply.dialect == self._dialect.name and reply.streamed == request.stream
        reply_id = _reply_id(self._dialect, exchange)
        return self._dialect.reply_writer(request, reply_id=reply_id, raw=raw, opened=opened)

    async def _respond_buffered(
        self, exchange: Exchange, request: ChatRequest, engine: Engine, unsettled: Unsettled
    ) -> BufferedResponse:
        reply = await engine.pipeline.handle(request, exchange, unsettled)
        try:
            writer = self._writer(request, reply, exchange, opened=False)
            while (deltas := await reply.next()) is not None:
                writer.feed(deltas)
            body = writer.finish()
        finally:
            await reply.close()
        _record_dropped_params(exchange, writer)
        exchange.status = 200
        exchange.outcome = "ok"
        exchange.output_bytes = len(body)
        return BufferedResponse(writer.content_type, body)

    async def _stream(
        self, call: HttpCall, exchange: Exchange, request: ChatRequest, engine: Engine, unsettled: Unsettled
    ) -> None:
        reply_id = _reply_id(self._dialect, exchange)
        early_frame = EarlyFrame(call, exchange, request, self._dialect, reply_id, engine.keepalive_s)
        reply: Pump | CostedReply | None = None
        try:
            reply = await engine.pipeline.handle(request, exchange, unsettled, early_frame)
            if call.wants_cost():
                reply = CostedReply(reply, exchange, engine.prices)
            # Until the first deltas arrive, the response may still become an error with its own status.
            deltas = await reply.next()
        except GatehouseError as error:
            if reply is not None:
                await reply.close()
            opened = await early_frame.settle()
            if not call.response_started:
                raise
            # The status line has been sent, so the error is written into the stream.
            writer = self._dialect.reply_writer(request, reply_id=reply_id, raw=False, opened=opened)
            await call.end(self._fail(error, exchange, writer))
            return
        except BaseException:
            early_frame.cancel()
            if reply is not None:
                await reply.close()
            raise
        try:
            writer = self._writer(request, reply, exchange, opened=await early_frame.settle())
            exchange.status = 200
            if not call.response_started:
                await call.begin(200, stream_headers(exchange, writer.content_type))
            await self._relay(call, exchange, deltas, reply, writer, engine.keepalive_s)
        finally:
            await reply.close()

    async def _relay(
        self,
        call: HttpCall,
        exchange: Exchange,
        deltas: list[Delta] | None,
        reply: Pump | CostedReply,
        writer: ReplyWriter,
        keepalive_s: float,
    ) -> None:
        keepalive = KeepAlive(call, self._dialect.sign_of_life, keepalive_s)
        write = call.write
        if exchange.attempts and (timeout_s := exchange.attempts[-1].timeout_s):
            call.set_deadline(asyncio.get_running_loop().time() + timeout_s)
        try:
            while deltas is not None:
                data = writer.feed(deltas)
                if data:
                    exchange.output_bytes += len(data)
                    keepalive.touch()
                    await write(data)
                deltas = await reply.next()
            exchange.outcome = "ok"
            final_frames = writer.finish()
            # Too late for a header: the trace, the log line and the metric report them.
            _record_dropped_params(exchange, writer)
        except Exception as error:
            final_frames = self._fail(error, exchange, writer)
        except asyncio.CancelledError:
            if not call.disconnected:
                # The process is stopping: the caller must not mistake a partial response for a complete one.
                stopped = InternalFault("The gateway is shutting down")
                await call.end(self._fail(stopped, exchange, writer))
            raise
        finally:
            keepalive.stop()
        await call.end(final_frames)

    @staticmethod
    def _fail(error: Exception, exchange: Exchange, writer: ReplyWriter) -> bytes:
        if not isinstance(error, GatehouseError):
            error = InternalFault("The gateway had an internal error")
        record_error(exchange, error, 200)
        exchange.outcome = "interrupted"
        return writer.fail(error, exchange.id)


def _with_extension(request: ChatRequest) -> ChatRequest:
    """Moves the gateway's options out of the body, such as `{"cache": "no-cache"}`: providers must not receive them.

    Raises `InvalidRequest`.
    """
    extra = dict(request.extra or {})
    options = extra.pop(EXTENSION)
    directives = options.get("cache") if isinstance(options, dict) and set(options) <= {"cache"} else None
    if not isinstance(directives, str):
        raise InvalidRequest(
            f"'{EXTENSION}' must contain only 'cache', with cache-control directives such as 'no-cache'",
            param=EXTENSION,
        )
    return msgspec.structs.replace(request, extra=extra or None, cache=read_cache_control(directives))


def _record_dropped_params(exchange: Exchange, writer: ReplyWriter) -> None:
    if not writer.losses:
        return
    for attempt in exchange.attempts:
        if attempt.chosen:
            attempt.losses += tuple(writer.losses)


_NOT_ALPHANUMERIC = re.compile(r"[^A-Za-z0-9]")


def _reply_id(dialect: Dialect, exchange: Exchange) -> str:
    """A response id, used if the provider sent none."""
    return dialect.id_prefix + _NOT_ALPHANUMERIC.sub("", exchange.id.removeprefix("req_"))
