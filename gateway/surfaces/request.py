"""The steps around every response: starting and finishing the record, headers, errors in the surface's format."""

from __future__ import annotations

import asyncio
import math
import re
import time
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeAlias

import structlog

from access.ledger.prices import settle_request
from contract.errors import ContentRefused, GatehouseError, InternalFault, RequestError, Unavailable
from contract.exchange import Exchange
from contract.units import write_amount
from contract.unsettled import Unsettled

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from contract.exchange import CacheNote
    from contract.messages import DroppedParam
    from contract.rules import Allowance
    from gateway.engine.runtime import Engine, Runtime
    from gateway.surfaces.http import Headers, HttpCall

CLIENT_CLOSED = 499
MAX_RETRY_AFTER_S = 120
# The caller chooses the field names, so the header's size is bounded.
MAX_DROPPED_PARAMS = 20
MAX_PARAM_NAME = 80
_NOT_IN_NAMES = re.compile(r"[^a-zA-Z0-9_.\[\]-]")


class ErrorWriter(Protocol):
    """The part of a dialect that writes errors."""

    def write_error(self, error: GatehouseError, request_id: str) -> bytes:
        """The body of an error response."""
        ...


class BufferedResponse(NamedTuple):
    """A response that is not streamed. It is sent once its cost is recorded."""

    content_type: str
    body: bytes
    headers: tuple[tuple[bytes, bytes], ...] = ()


# A surface's handler: it returns a buffered response, or streams the response itself and returns None.
RequestHandler: TypeAlias = "Callable[[HttpCall, Exchange, Engine, Unsettled], Awaitable[BufferedResponse | None]]"


async def run_request(
    runtime: Runtime, call: HttpCall, surface: str, dialect: ErrorWriter, handle: RequestHandler
) -> None:
    """Runs `handle`. The request is responded to, settled and recorded exactly once, whatever happens."""
    exchange = Exchange(surface, call.header(b"traceparent"), call.header(b"tracestate"), call.request_id)
    unsettled = Unsettled()
    runtime.recorder.began(exchange)
    with runtime.borrow() as engine:
        try:
            try:
                if runtime.draining:
                    raise Unavailable("The gateway is shutting down", retry_after_s=1.0)
                response = await handle(call, exchange, engine, unsettled)
            finally:
                if unsettled.due:
                    # The headers of the response, also of an error, contain the cost.
                    engine.prices.settle(exchange, unsettled)
            if response is not None:
                headers = reply_headers(exchange, response.content_type)
                headers += response.headers
                await call.respond(200, headers, response.body)
        except GatehouseError as error:
            await _respond_with_error(call, exchange, dialect, error)
        except asyncio.CancelledError:
            record_disconnect(exchange, call.close_reason)
            if not call.disconnected:
                raise
        except Exception:
            structlog.get_logger().exception("unhandled exception", request_id=exchange.id)
            await _respond_with_error(call, exchange, dialect, InternalFault("The gateway had an internal error"))
        finally:
            call.unwatch()
            exchange.ended = time.perf_counter()
            try:
                if unsettled.call_pending:
                    await _await_shared_call(unsettled)
            finally:
                try:
                    accounts = runtime.resources.accounts
                    finished = accounts.finished if accounts.ledger is not None else None
                    await settle_request(exchange, unsettled, engine.prices, finished)
                finally:
                    runtime.recorder.finish(exchange)


async def _await_shared_call(unsettled: Unsettled) -> None:
    """Waits for a shared call whose caller disconnected: other readers may remain, and its cost is known at its end."""
    pending, unsettled.pending_call = unsettled.pending_call, None
    if pending is not None and not pending.done():
        await asyncio.shield(pending)


async def _respond_with_error(call: HttpCall, exchange: Exchange, dialect: ErrorWriter, error: GatehouseError) -> None:
    status = error.http_status
    record_error(exchange, error, status)
    if not call.response_started:
        await call.respond(status, error_headers(exchange, error, status), dialect.write_error(error, exchange.id))


def record_error(exchange: Exchange, error: GatehouseError, status: int) -> None:
    """Records the error in the exchange."""
    exchange.status = status
    exchange.error = getattr(error, "kind", "") or error.code
    exchange.error_message = error.message
    exchange.outcome = "refused" if isinstance(error, (RequestError, ContentRefused)) else "error"


def record_disconnect(exchange: Exchange, reason: str = "") -> None:
    """Records that the caller disconnected or, with `reason`, that the gateway disconnected a slow reader."""
    exchange.status = exchange.status or CLIENT_CLOSED
    exchange.cancelled = True
    exchange.outcome = "cancelled"
    if reason:
        exchange.outcome, exchange.error, exchange.error_message = "interrupted", "slow_reader", reason


def reply_headers(exchange: Exchange, content_type: str) -> Headers:
    """The headers of every response: ids, target, cache, limits and cost."""
    request_id = exchange.id.encode("latin-1")
    headers = [
        (b"content-type", content_type.encode("latin-1")),
        (b"x-request-id", request_id),
        (b"request-id", request_id),
        (b"x-gatehouse-attempts", b"%d" % len(exchange.attempts)),
        (b"x-gatehouse-cache", b"off" if exchange.cache is None else exchange.cache.kind.encode("latin-1")),
        (b"x-gatehouse-overhead-ms", b"%.2f" % (exchange.overhead_s(time.perf_counter()) * 1000)),
    ]
    if exchange.target:
        headers.append((b"x-gatehouse-target", exchange.target.encode("utf-8")))
    if exchange.route:
        headers.append((b"x-gatehouse-route", exchange.route.encode("utf-8")))
    if exchange.cache is not None:
        headers += _cache_headers(exchange.cache)
    for attempt in exchange.attempts:
        if attempt.losses and attempt.chosen:
            headers.append((b"x-gatehouse-dropped-params", _dropped_param_names(attempt.losses)))
    for kind, allowance in exchange.allowances.items():
        headers += _limit_headers(kind.encode("latin-1"), allowance)
    if exchange.cost is not None:
        headers.append((b"x-gatehouse-cost-usd", write_amount(exchange.cost).encode("latin-1")))
    return headers


def _dropped_param_names(losses: tuple[DroppedParam, ...]) -> bytes:
    names = [_NOT_IN_NAMES.sub("?", loss.field[:MAX_PARAM_NAME]) for loss in losses[:MAX_DROPPED_PARAMS]]
    more = ["..."] if len(losses) > MAX_DROPPED_PARAMS else []
    return ", ".join(dict.fromkeys(names + more)).encode("latin-1")


def _limit_headers(kind: bytes, allowance: Allowance) -> Headers:
    return [
        (b"x-ratelimit-limit-" + kind, b"%d" % allowance.limit),
        (b"x-ratelimit-remaining-" + kind, b"%d" % max(0, allowance.left)),
        (b"x-ratelimit-reset-" + kind, b"%ds" % math.ceil(allowance.reset_s)),
    ]


def _cache_headers(note: CacheNote) -> Headers:
    headers: Headers = []
    if note.entry:
        headers.append((b"x-gatehouse-cache-entry", note.entry.encode("latin-1")))
        headers.append((b"age", b"%d" % note.age_s))
    if note.similarity:
        headers.append((b"x-gatehouse-cache-similarity", b"%.4f" % note.similarity))
    if note.why:
        headers.append((b"x-gatehouse-cache-reason", note.why.encode("latin-1")))
    return headers


def stream_headers(exchange: Exchange, content_type: str) -> Headers:
    """`reply_headers` for a stream, plus headers that stop proxies from buffering it."""
    headers = reply_headers(exchange, content_type)
    headers += ((b"cache-control", b"no-cache"), (b"x-accel-buffering", b"no"))
    return headers


def error_headers(exchange: Exchange, error: GatehouseError, status: int) -> Headers:
    """`reply_headers` for an error, plus the retry headers that SDKs read."""
    headers = reply_headers(exchange, "application/json")
    wait = error.retry_after_s
    if wait is None and status == 503:
        wait = 1.0
    if wait is not None and status in (429, 503):
        headers.append((b"retry-after", b"%d" % min(MAX_RETRY_AFTER_S, max(1, math.ceil(wait)))))
    headers += [(name.encode("latin-1"), value.encode("latin-1")) for name, value in error.headers]
    if error.should_retry is not None:
        headers.append((b"x-should-retry", b"true" if error.should_retry else b"false"))
    return headers
