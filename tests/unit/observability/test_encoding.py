"""The encoder gives the bytes that OpenTelemetry's SDK gives: the condition on which there is one of our own."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.resources import Resource

from observability import protobuf
from observability.readable import readable
from observability.trace import CLIENT, INTERNAL, SCOPE, SERVER, SpanRecord, spans
from tests.unit.observability.ledgers import ledger
from tests.unit.observability.test_recorder import OUTCOMES, PARENT, attributes

TEXT = st.text(max_size=150)
VALUES = st.one_of(
    TEXT,
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(),
    st.lists(st.text(max_size=5), max_size=3),
)
# Nothing of ours begins in 1970 or has no name: such fields the SDK leaves out.
MOMENTS = st.integers(1, 2**63)
RECORDS = st.builds(
    # Its annotations are for type checkers: they name what is not imported.
    lambda **fields: SpanRecord(**fields),
    trace_id=st.binary(min_size=16, max_size=16).filter(any),
    span_id=st.binary(min_size=8, max_size=8).filter(any),
    parent_id=st.one_of(st.just(b""), st.binary(min_size=8, max_size=8).filter(any)),
    name=TEXT.filter(bool),
    kind=st.sampled_from([INTERNAL, SERVER, CLIENT]),
    started_ns=MOMENTS,
    ended_ns=MOMENTS,
    attributes=st.dictionaries(TEXT.filter(bool), VALUES, max_size=5),
    failed=st.just(True),
    error=TEXT,
    trace_state=st.sampled_from(["", "vendor=1", "a=1,b=x%20y"]),
    dropped=st.integers(0, 300),
)


def both(records: list[SpanRecord], resource: Resource) -> tuple[bytes, bytes]:
    """Our request, and the SDK's."""
    found: dict[str, Any] = dict(resource.attributes)
    ours = protobuf.request(found, SCOPE, [protobuf.encode(record) for record in records])
    return ours, encode_spans([readable(record, resource) for record in records]).SerializeToString()


@pytest.mark.parametrize(("outcome", "status", "attempts"), OUTCOMES)
@pytest.mark.parametrize("traceparent", ["", PARENT])
def test_a_trace_has_the_same_bytes(outcome: Any, status: int, attempts: int, traceparent: str) -> None:
    resource = Resource.create({"service.name": "test", "process.pid": 7, "process.command_args": ["a", "b"]})
    ours, theirs = both(spans(ledger(outcome, status, traceparent, attempts)), resource)
    assert ours == theirs


@given(st.lists(RECORDS, min_size=1, max_size=2))
def test_every_span_has_the_same_bytes(records: list[SpanRecord]) -> None:
    for record in records:
        record.remote = bool(record.parent_id)
    ours, theirs = both(records, Resource({"service.name": "test"}))
    assert ours == theirs


def test_a_span_without_a_failure_has_the_same_bytes() -> None:
    record = SpanRecord(
        trace_id=b"t" * 16, span_id=b"s" * 8, parent_id=b"", name="x", kind=INTERNAL, started_ns=1, ended_ns=2,
        attributes={},
    )  # fmt: skip
    ours, theirs = both([record], Resource({}))
    assert ours == theirs


@pytest.mark.parametrize("trace_state", ["vendor=\xff", "vendor=\ud800"])
def test_texts_that_are_no_unicode_do_not_spoil_the_batch(trace_state: str) -> None:
    """A caller's own `tracestate` is among them: a collector refuses a batch with one text that is no UTF-8."""
    exchange = ledger(traceparent=PARENT)
    exchange.trace_state = trace_state
    exchange.surface = "POST /\ud800"
    exchange.attempts[0].model = "m\ud800"
    body = protobuf.request({}, SCOPE, [protobuf.encode(record) for record in spans(exchange)])
    found = ExportTraceServiceRequest.FromString(body).resource_spans[0].scope_spans[0].spans
    assert found[0].name == "POST /?"
    assert attributes(found[-1])["gen_ai.request.model"] == "m?"
