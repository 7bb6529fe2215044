"""What every surface does around an answer: the ledger's begin and end, and errors in the surface's own shape."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Protocol

import structlog

from contract.errors import GatehouseError, InternalFault, Refusal, RequestError, Unavailable
from contract.exchange import Exchange
from gateway.surfaces.headers import error_headers

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from gateway.engine.runtime import Runtime
    from gateway.surfaces.http import HttpCall

CLIENT_CLOSED = 499


class WritesErrors(Protocol):
    """A dialect, as far as errors go."""

    def write_error(self, error: GatehouseError, request_id: str) -> bytes:
        """The body of an error answer."""
        ...


async def conduct(
    runtime: Runtime,
    call: HttpCall,
    surface: str,
    dialect: WritesErrors,
    answer: Callable[[HttpCall, Exchange], Awaitable[None]],
) -> None:
    """Runs `answer` and sees to it that the request ends in exactly one way, and is recorded once."""
    exchange = Exchange(surface, call.header(b"traceparent"), call.header(b"tracestate"), call.request_id)
    runtime.recorder.began(exchange)
    try:
        if runtime.draining:
            raise Unavailable("The gateway is shutting down", retry_after_s=1.0)
        await answer(call, exchange)
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
            if exchange.goes_on:
                await _see_out(runtime, exchange)
        finally:
            try:
                # Its row first: whenever the process dies, no budget holds less than the ledger says.
                runtime.resources.accounts.finished(exchange)
                if exchange.ticket is not None:
                    await exchange.ticket.settle(exchange)
            except Exception as error:
                structlog.get_logger().error("a request could not be settled", problem=type(error).__name__)
            finally:
                runtime.recorder.finish(exchange)


async def _see_out(runtime: Runtime, exchange: Exchange) -> None:
    """Its caller has left, and others read on: what the call takes is known when it is over."""
    with runtime.borrow() as engine:
        try:
            if exchange.under_way is not None:
                await asyncio.shield(exchange.under_way)
        finally:
            exchange.under_way = None
            engine.prices.settle(exchange)


async def _respond_error(call: HttpCall, exchange: Exchange, dialect: WritesErrors, error: GatehouseError) -> None:
    status = error.http_status
    note_error(exchange, error, status)
    if not call.began:
        await call.respond(status, error_headers(exchange, error, status), dialect.write_error(error, exchange.id))


def note_error(exchange: Exchange, error: GatehouseError, status: int) -> None:
    """Writes the error into the ledger."""
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
