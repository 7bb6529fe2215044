"""What every surface does around an answer: its record's begin and end, and errors in the surface's own shape."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeAlias

import structlog

from access.ledger.prices import settle_request
from contract.errors import GatehouseError, InternalFault, Refusal, RequestError, Unavailable
from contract.exchange import Exchange
from contract.unsettled import Unsettled
from gateway.surfaces.headers import error_headers, reply_headers

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from gateway.engine.runtime import Engine, Runtime
    from gateway.surfaces.http import HttpCall

CLIENT_CLOSED = 499


class WritesErrors(Protocol):
    """A dialect, as far as errors go."""

    def write_error(self, error: GatehouseError, request_id: str) -> bytes:
        """The body of an error answer."""
        ...


class Whole(NamedTuple):
    """An answer that is not streamed: it goes out once the record says what it has cost."""

    content_type: str
    body: bytes
    headers: tuple[tuple[bytes, bytes], ...] = ()


# What a surface does: gives a whole answer, or streams it by itself and gives None.
Answers: TypeAlias = "Callable[[HttpCall, Exchange, Engine, Unsettled], Awaitable[Whole | None]]"


async def run_request(runtime: Runtime, call: HttpCall, surface: str, dialect: WritesErrors, answer: Answers) -> None:
    """Runs `answer` and sees to it that the request ends in exactly one way, is settled, and is recorded once."""
    exchange = Exchange(surface, call.header(b"traceparent"), call.header(b"tracestate"), call.request_id)
    unsettled = Unsettled()
    runtime.recorder.began(exchange)
    with runtime.borrow() as engine:
        try:
            try:
                if runtime.draining:
                    raise Unavailable("The gateway is shutting down", retry_after_s=1.0)
                whole = await answer(call, exchange, engine, unsettled)
            finally:
                if unsettled.due:
                    # The headers of what follows, an error's too, say what it has cost.
                    engine.prices.settle(exchange, unsettled)
            if whole is not None:
                headers = reply_headers(exchange, whole.content_type)
                headers += whole.headers
                await call.respond(200, headers, whole.body)
        except GatehouseError as error:
            await _respond_error(call, exchange, dialect, error)
        except asyncio.CancelledError:
            note_departure(exchange, call.cut_off)
            if not call.departed:
                raise
        except Exception:
            structlog.get_logger().exception("a mistake of ours", request_id=exchange.id)
            await _respond_error(call, exchange, dialect, InternalFault("Something went wrong in the gateway"))
        finally:
            call.unwatch()
            exchange.ended = time.perf_counter()
            try:
                if unsettled.call_pending:
                    await _await_shared_call(unsettled)
            finally:
                try:
                    await settle_request(exchange, unsettled, engine.prices, runtime.resources.accounts.finished)
                finally:
                    runtime.recorder.finish(exchange)


async def _await_shared_call(unsettled: Unsettled) -> None:
    """Its caller has left, and others may read on: what the call takes is known when it is over."""
    pending, unsettled.pending_call = unsettled.pending_call, None
    if pending is not None and not pending.done():
        await asyncio.shield(pending)


async def _respond_error(call: HttpCall, exchange: Exchange, dialect: WritesErrors, error: GatehouseError) -> None:
    status = error.http_status
    note_error(exchange, error, status)
    if not call.began:
        await call.respond(status, error_headers(exchange, error, status), dialect.write_error(error, exchange.id))


def note_error(exchange: Exchange, error: GatehouseError, status: int) -> None:
    """Writes the error into the record."""
    exchange.status = status
    exchange.error = getattr(error, "kind", "") or error.code
    exchange.error_message = error.message
    exchange.outcome = "refused" if isinstance(error, (RequestError, Refusal)) else "error"


def note_departure(exchange: Exchange, why: str = "") -> None:
    """The caller left before the end; or, with `why`, was left, because he did not read."""
    exchange.status = exchange.status or CLIENT_CLOSED
    exchange.cancelled = True
    exchange.outcome = "cancelled"
    if why:
        exchange.outcome, exchange.error, exchange.error_message = "cut", "slow_reader", why
