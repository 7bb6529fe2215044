"""Chat answers on every surface: read in one dialect, answered by any, written in the first."""

from __future__ import annotations

import asyncio
import re
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from contract.dialect import InboundCall
from contract.errors import GatehouseError, InternalFault, InvalidRequest
from gateway.surfaces.bodies import SMALL, bounded
from gateway.surfaces.costing import CostedReply
from gateway.surfaces.early_frame import EarlyFrame
from gateway.surfaces.http import read_cache_control
from gateway.surfaces.keepalive import KeepAlive
from gateway.surfaces.request import Whole, note_error, run_request, stream_headers

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


# The body's field that speaks to the gateway and not to a provider.
EXTENSION = "gatehouse"


class ChatSurface:
    """One dialect's endpoint."""

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
    ) -> Whole | None:
        exchange.config = engine.digest
        await engine.pipeline.identify(call.shown(), exchange)
        exchange.user = exchange.user or call.user
        body = await call.read_body(engine.max_body) if call.has_plain_json else None
        if body is None or body[:1] != b"{":
            # Packed, in another charset, or behind a byte order mark.
            body = await self._bodies.receive(call, exchange, engine.max_body, body)
        if len(body) <= SMALL:
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
            given = {name: call.header(name.encode("latin-1", "ignore")) for name in names}
            request = msgspec.structs.replace(request, headers=given)
        call.watch()
        if not request.stream:
            return await self._whole(exchange, request, engine, unsettled)
        if call.asks_cost():
            request = msgspec.structs.replace(request, include_usage=True)
        await self._stream(call, exchange, request, engine, unsettled)
        return None

    def _read(self, body: bytes, inbound: InboundCall) -> ChatRequest:
        return bounded(self._dialect.read_request(body, inbound), self._dialect.turns)

    def _writer(
        self, request: ChatRequest, reply: Pump | CostedReply, exchange: Exchange, *, opened: bool
    ) -> ReplyWriter:
        raw = reply.raw and reply.dialect == self._dialect.name and reply.streamed == request.stream
        reply_id = _reply_id(self._dialect, exchange)
        return self._dialect.reply_writer(request, reply_id=reply_id, raw=raw, opened=opened)

    async def _whole(self, exchange: Exchange, request: ChatRequest, engine: Engine, unsettled: Unsettled) -> Whole:
        reply = await engine.pipeline.handle(request, exchange, unsettled)
        try:
            writer = self._writer(request, reply, exchange, opened=False)
            while (deltas := await reply.next()) is not None:
                writer.feed(deltas)
            body = writer.finish()
        finally:
            await reply.close()
        _note_losses(exchange, writer)
        exchange.status = 200
        exchange.outcome = "ok"
        exchange.output_bytes = len(body)
        return Whole(writer.content_type, body)

    async def _stream(
        self, call: HttpCall, exchange: Exchange, request: ChatRequest, engine: Engine, unsettled: Unsettled
    ) -> None:
        reply_id = _reply_id(self._dialect, exchange)
        opening = EarlyFrame(call, exchange, request, self._dialect, reply_id, engine.keepalive_s)
        reply: Pump | CostedReply | None = None
        try:
            reply = await engine.pipeline.handle(request, exchange, unsettled, opening)
            if call.asks_cost():
                reply = CostedReply(reply, exchange, engine.prices)
            # Until the first deltas are there the answer may still become an error with a status of its own.
            deltas = await reply.next()
        except GatehouseError as error:
            if reply is not None:
                await reply.close()
            opened = await opening.settle()
            if not call.began:
                raise
            # The status line is out: the error goes into the stream.
            writer = self._dialect.reply_writer(request, reply_id=reply_id, raw=False, opened=opened)
            await call.end(self._fail(error, exchange, writer))
            return
        except BaseException:
            opening.cancel()
            if reply is not None:
                await reply.close()
            raise
        try:
            writer = self._writer(request, reply, exchange, opened=await opening.settle())
            exchange.status = 200
            if not call.began:
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
            call.end_by(asyncio.get_running_loop().time() + timeout_s)
        try:
            while deltas is not None:
                data = writer.feed(deltas)
                if data:
                    exchange.output_bytes += len(data)
                    keepalive.touch()
                    await write(data)
                deltas = await reply.next()
            exchange.outcome = "ok"
            last = writer.finish()
            # Too late for a header: they are in the trace, the log line and the metric.
            _note_losses(exchange, writer)
        except Exception as error:
            last = self._fail(error, exchange, writer)
        except asyncio.CancelledError:
            if not call.departed:
                # We are being stopped: the caller must not take what it has for the whole.
                stopped = InternalFault("The gateway was stopped")
                await call.end(self._fail(stopped, exchange, writer))
            raise
        finally:
            keepalive.stop()
        await call.end(last)

    @staticmethod
    def _fail(error: Exception, exchange: Exchange, writer: ReplyWriter) -> bytes:
        if not isinstance(error, GatehouseError):
            error = InternalFault("Something went wrong in the gateway")
        note_error(exchange, error, 200)
        exchange.outcome = "interrupted"
        return writer.fail(error, exchange.id)


def _with_extension(request: ChatRequest) -> ChatRequest:
    """The request without the body's own field for the gateway, such as `{"cache": "no-cache"}`: it is no provider's.

    Raises `InvalidRequest`.
    """
    extra = dict(request.extra or {})
    asked = extra.pop(EXTENSION)
    words = asked.get("cache") if isinstance(asked, dict) and set(asked) <= {"cache"} else None
    if not isinstance(words, str):
        raise InvalidRequest(
            f"'{EXTENSION}' holds 'cache' with the words of cache-control, such as 'no-cache'", param=EXTENSION
        )
    return msgspec.structs.replace(request, extra=extra or None, cache=read_cache_control(words))


def _note_losses(exchange: Exchange, writer: ReplyWriter) -> None:
    if not writer.losses:
        return
    for attempt in exchange.attempts:
        if attempt.chosen:
            attempt.losses += tuple(writer.losses)


_NOT_WORD = re.compile(r"[^A-Za-z0-9]")


def _reply_id(dialect: Dialect, exchange: Exchange) -> str:
    """An id for an answer whose provider gave none."""
    return dialect.id_prefix + _NOT_WORD.sub("", exchange.id.removeprefix("req_"))
