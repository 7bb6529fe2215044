"""Converts a span to the SDK's `ReadableSpan`, for exporters of the SDK that need it.

This module needs the extra `telemetry`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opentelemetry.attributes import BoundedAttributes
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, TraceFlags, TraceState
from opentelemetry.trace.status import Status, StatusCode

from observability.trace import CLIENT, INTERNAL, SCOPE, SERVER

if TYPE_CHECKING:
    from opentelemetry.sdk.resources import Resource

    from observability.trace import SpanRecord

_SAMPLED = TraceFlags(TraceFlags.SAMPLED)
_KINDS = {INTERNAL: SpanKind.INTERNAL, SERVER: SpanKind.SERVER, CLIENT: SpanKind.CLIENT}
_SCOPE = InstrumentationScope(SCOPE)


def readable(span: SpanRecord, resource: Resource) -> ReadableSpan:
    """The span as a `ReadableSpan` with its resource."""
    trace_id = int.from_bytes(span.trace_id, "big")
    parent = None
    if span.parent_id:
        parent = SpanContext(trace_id, int.from_bytes(span.parent_id, "big"), span.remote, _SAMPLED)
    attributes: Any = span.attributes
    if span.dropped:
        attributes = BoundedAttributes(attributes=attributes)
        attributes.dropped = span.dropped
    return ReadableSpan(
        span.name,
        SpanContext(
            trace_id,
            int.from_bytes(span.span_id, "big"),
            is_remote=False,
            trace_flags=_SAMPLED,
            trace_state=TraceState.from_header([span.trace_state]) if span.trace_state else None,
        ),
        parent,
        resource,
        attributes,
        kind=_KINDS[span.kind],
        status=Status(StatusCode.ERROR, span.error or None) if span.failed else Status(),
        start_time=span.started_ns,
        end_time=span.ended_ns,
        instrumentation_scope=_SCOPE,
    )
