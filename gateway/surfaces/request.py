"""What every surface does around an answer: the record's begin and end, the headers, errors in the surface's shape."""

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
LONGEST_RETRY_AFTER_S = 120
# Names of fields are the caller's own: as many as a header can hold.
MOST_LOSSES = 20
LONGEST_LOSS = 80
_IN_NAMES = re.compile(r"[^a-zA-Z0-9_.\[\]-]")


class ErrorWriter(Protocol):
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


async def run_request(runtime: Runtime, call: HttpCall, surface: str, dialect: ErrorWriter, answer: Answers) -> None:
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
                    accounts = runtime.resources.accounts
                    finished = accounts.finished if accounts.ledger is not None else None
                    await settle_request(exchange, unsettled, engine.prices, finished)
                finally:
                    runtime.recorder.finish(exchange)


async def _await_shared_call(unsettled: Unsettled) -> None:
    """Its caller has left, and others may read on: what the call takes is known when it is over."""
    pending, unsettled.pending_call = unsettled.pending_call, None
    if pending is not None and not pending.done():
        await asyncio.shield(pending)


async def _respond_error(call: HttpCall, exchange: Exchange, dialect: ErrorWriter, error: GatehouseError) -> None:
    status = error.http_status
    note_error(exchange, error, status)
    if not call.began:
        await call.respond(status, error_headers(exchange, error, status), dialect.write_error(error, exchange.id))


def note_error(exchange: Exchange, error: GatehouseError, status: int) -> None:
    """Writes the error into the record."""
    exchange.status = status
    exchange.error = getattr(error, "kind", "") or error.code
    exchange.error_message = error.message
    exchange.outcome = "refused" if isinstance(error, (RequestError, ContentRefused)) else "error"


def note_departure(exchange: Exchange, why: str = "") -> None:
    """The caller left before the end; or, with `why`, was left, because he did not read."""
    exchange.status = exchange.status or CLIENT_CLOSED
    exchange.cancelled = True
    exchange.outcome = "cancelled"
    if why:
        exchange.outcome, exchange.error, exchange.error_message = "interrupted", "slow_reader", why


def reply_headers(exchange: Exchange, content_type: str) -> Headers:
    """Ids, what answered and how; for an answer whole or streamed, a success or an error."""
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
            headers.append((b"x-gatehouse-dropped-params", _written_losses(attempt.losses)))
    for kind, allowance in exchange.allowances.items():
        headers += _limit_headers(kind.encode("latin-1"), allowance)
    if exchange.cost is not None:
        headers.append((b"x-gatehouse-cost-usd", write_amount(exchange.cost).encode("latin-1")))
    return headers


def _written_losses(losses: tuple[DroppedParam, ...]) -> bytes:
    names = [_IN_NAMES.sub("?", loss.field[:LONGEST_LOSS]) for loss in losses[:MOST_LOSSES]]
    more = ["..."] if len(losses) > MOST_LOSSES else []
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
    """The same for a stream, which no proxy may hold back."""
    headers = reply_headers(exchange, content_type)
    headers += ((b"cache-control", b"no-cache"), (b"x-accel-buffering", b"no"))
    return headers


def error_headers(exchange: Exchange, error: GatehouseError, status: int) -> Headers:
    """The same for an error, with what the SDKs need to know about trying again."""
    headers = reply_headers(exchange, "application/json")
    wait = error.retry_after_s
    if wait is None and status == 503:
        wait = 1.0
    if wait is not None and status in (429, 503):
        headers.append((b"retry-after", b"%d" % min(LONGEST_RETRY_AFTER_S, max(1, math.ceil(wait)))))
    headers += [(name.encode("latin-1"), value.encode("latin-1")) for name, value in error.told]
    if error.should_retry is not None:
        headers.append((b"x-should-retry", b"true" if error.should_retry else b"false"))
    return headers
