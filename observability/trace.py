"""The trace of a request: the root span, its steps nested by their times, and a span for each attempt."""

from __future__ import annotations

import itertools
import os
from typing import TYPE_CHECKING

import msgspec

from observability import names
from observability.summary import written_finding

if TYPE_CHECKING:
    from contract.attempt import Attempt
    from contract.deltas import Usage
    from contract.exchange import Attributes, AttributeValue, Exchange, Step
    from observability.tracing import Limits

# OpenTelemetry's numbers of a span's kind.
INTERNAL, SERVER, CLIENT = 1, 2, 3
SCOPE = "gatehouse"


class SpanRecord(msgspec.Struct, gc=False, kw_only=True):
    """One span, as in OpenTelemetry; times are nanoseconds since 1970.

    `parent_id` is empty for a root without a caller's trace; `remote` means that the parent is the caller's span.
    `error` is the description of a failed span. `dropped` counts the attributes removed by a limit.
    """

    trace_id: bytes
    span_id: bytes
    parent_id: bytes
    name: str
    kind: int
    started_ns: int
    ended_ns: int
    attributes: Attributes
    failed: bool = False
    error: str = ""
    trace_state: str = ""
    remote: bool = False
    dropped: int = 0


def spans(exchange: Exchange) -> list[SpanRecord]:
    """The spans of a trace, the root first."""
    trace_id = bytes.fromhex(exchange.trace_id)
    root = bytes.fromhex(exchange.span_id)
    noise = os.urandom(8 * len(exchange.steps))
    found = [_root_span(exchange, trace_id, root)]
    placed: list[tuple[Step, bytes]] = []
    # Longer steps first, so that a nested step finds its parent.
    for index, step in enumerate(sorted(exchange.steps, key=lambda each: (each.started, -each.ended))):
        span_id = noise[8 * index : 8 * index + 8]
        started_ns, ended_ns = _times_ns(exchange, step.started, step.ended)
        found.append(
            SpanRecord(
                trace_id=trace_id,
                span_id=span_id,
                parent_id=_enclosing(placed, step.started, step.ended) or root,
                name=names.STEP + step.name,
                kind=INTERNAL,
                started_ns=started_ns,
                ended_ns=ended_ns,
                attributes=step.attributes or {},
            )
        )
        placed.append((step, span_id))
    # An attempt may end after its dispatch: its parent is the dispatch in which it began.
    dispatches = [place for place in placed if place[0].name == "dispatch"]
    for attempt in exchange.attempts:
        above = _enclosing(dispatches, attempt.started, attempt.started) or root
        found.append(_attempt_span(exchange, attempt, trace_id, above))
    return found


def limit(span: SpanRecord, limits: Limits) -> None:
    """Drops attributes and cuts text beyond the limits."""
    count, length = limits.attributes, limits.characters
    if count is not None and len(span.attributes) > count:
        span.dropped = len(span.attributes) - count
        span.attributes = dict(itertools.islice(span.attributes.items(), count))
    if length is not None:
        span.attributes = {key: _shortened(value, length) for key, value in span.attributes.items()}


def _shortened(value: AttributeValue, length: int) -> AttributeValue:
    if isinstance(value, str):
        return value[:length]
    return [each[:length] for each in value] if isinstance(value, list) else value


def _root_span(exchange: Exchange, trace_id: bytes, span_id: bytes) -> SpanRecord:
    failed = exchange.status >= 500 or exchange.outcome in ("error", "interrupted")
    started_ns, ended_ns = _times_ns(exchange, exchange.started, exchange.ended)
    return SpanRecord(
        trace_id=trace_id,
        span_id=span_id,
        parent_id=bytes.fromhex(exchange.parent_span_id),
        name=exchange.surface,
        kind=SERVER,
        started_ns=started_ns,
        ended_ns=ended_ns,
        attributes=_root(exchange),
        failed=failed,
        error=exchange.error if failed else "",
        trace_state=exchange.trace_state,
        remote=bool(exchange.parent_span_id),
    )


def _times_ns(exchange: Exchange, started: float, ended: float) -> tuple[int, int]:
    """Start and end of a part of the exchange in nanoseconds; the end is never before the start."""
    begin = exchange.started_ns + max(0, round((started - exchange.started) * 1e9))
    return begin, begin + max(0, round((ended - started) * 1e9))


def _enclosing(placed: list[tuple[Step, bytes]], started: float, ended: float) -> bytes | None:
    for step, span_id in reversed(placed):
        if step.started <= started and ended <= step.ended:
            return span_id
    return None


def _root(exchange: Exchange) -> Attributes:
    method, _, route = exchange.surface.partition(" ")
    found: Attributes = {
        names.HTTP_METHOD: method,
        names.HTTP_ROUTE: route,
        names.HTTP_STATUS: exchange.status,
        names.OUTCOME: exchange.outcome,
        names.REQUEST_ID: exchange.id,
        names.CONFIG: exchange.config,
        names.CACHE: exchange.cache.kind if exchange.cache is not None else "off",
        names.ATTEMPTS: len(exchange.attempts),
        names.REQUEST_STREAM: exchange.stream,
    }
    if exchange.cache is not None:
        note = exchange.cache
        found |= {names.CACHE_REASON: note.why} if note.why else {}
        found |= {names.CACHE_AGE: note.age_s} if note.entry else {}
        found |= {names.CACHE_SIMILARITY: note.similarity} if note.similarity else {}
    if exchange.cost is not None:
        found[names.COST] = float(exchange.cost)
    if exchange.caller is not None:
        found[names.APP] = exchange.caller.app
    if exchange.route:
        # An unknown model is arbitrary text from the caller, which does not belong in a trace.
        found[names.REQUEST_MODEL] = exchange.model
        found[names.ROUTE] = exchange.route
    if exchange.target:
        found[names.TARGET] = exchange.target
    if exchange.error:
        found[names.ERROR_TYPE] = exchange.error
    if exchange.finish:
        found[names.FINISH_REASONS] = [exchange.finish]
    if exchange.findings:
        found[names.FINDINGS] = [written_finding(finding) for finding in exchange.findings]
    if exchange.usage is not None:
        _add_usage(found, exchange.usage)
    return found


def _attempt_span(exchange: Exchange, attempt: Attempt, trace_id: bytes, parent: bytes) -> SpanRecord:
    otel = attempt.traced_as
    operation = otel.operation if otel is not None else names.usual_operation(exchange.surface)
    found: Attributes = {
        names.OPERATION: operation,
        names.PROVIDER: (otel.provider if otel is not None else "") or attempt.dialect,
        names.REQUEST_MODEL: attempt.model,
        names.REQUEST_STREAM: exchange.stream,
        names.TARGET: attempt.target,
        names.ATTEMPT_NUMBER: attempt.number,
        names.ATTEMPT_REASON: attempt.reason,
        names.ATTEMPT_CHOSEN: attempt.chosen,
    }
    if attempt.waited_s:
        found[names.ATTEMPT_WAITED_S] = attempt.waited_s
    if attempt.key:
        found[names.ATTEMPT_KEY] = attempt.key
    if attempt.status:
        found[names.HTTP_STATUS] = attempt.status
    if attempt.first_token:
        found[names.FIRST_CHUNK_S] = attempt.first_token - attempt.started
    if attempt.losses:
        found[names.DROPPED_PARAMS] = [param.field for param in attempt.losses]
    if attempt.error:
        found[names.ERROR_TYPE] = attempt.error
    if attempt.chosen:
        if exchange.reply_id:
            found[names.RESPONSE_ID] = exchange.reply_id
        if exchange.reply_model:
            found[names.RESPONSE_MODEL] = exchange.reply_model
        if exchange.finish:
            found[names.FINISH_REASONS] = [exchange.finish]
    usage = attempt.usage or (exchange.usage if attempt.chosen else None)
    if usage is not None:
        _add_usage(found, usage)
    failed = bool(attempt.error) and attempt.error != "cancelled"
    started_ns, ended_ns = _times_ns(exchange, attempt.started, attempt.ended or exchange.ended)
    return SpanRecord(
        trace_id=trace_id,
        span_id=bytes.fromhex(attempt.span_id),
        parent_id=parent,
        name=f"{operation} {attempt.model}",
        kind=CLIENT,
        started_ns=started_ns,
        ended_ns=ended_ns,
        attributes=found,
        failed=failed,
        error=attempt.error if failed else "",
    )


def _add_usage(found: Attributes, usage: Usage) -> None:
    found[names.INPUT_TOKENS] = usage.input
    found[names.OUTPUT_TOKENS] = usage.output
    for name, count in (
        (names.CACHE_READ_TOKENS, usage.cache_read),
        (names.CACHE_WRITE_TOKENS, usage.cache_write),
        (names.REASONING_TOKENS, usage.reasoning),
    ):
        if count:
            found[name] = count
