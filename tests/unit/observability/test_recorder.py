from __future__ import annotations

import json
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from contract.exchange import Exchange
from observability import protobuf
from observability.recorder import RecorderConfig
from observability.trace import spans
from observability.waterfall import waterfall
from tests.shown import shown
from tests.unit.observability.ledgers import SECRETS, ledger
from tests.unit.observability.recording import run

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
OUTCOMES: list[tuple[Any, int, int]] = [
    ("ok", 200, 1),
    ("ok", 200, 2),
    ("error", 503, 2),
    ("interrupted", 200, 1),
    ("cancelled", 499, 1),
    ("refused", 401, 0),
    ("refused", 404, 0),
]


def decoded(exchange: Exchange) -> list[Span]:
    encoded = [protobuf.encode(span) for span in spans(exchange)]
    body = protobuf.request({"service.name": "test"}, "gatehouse", encoded)
    (resource,) = ExportTraceServiceRequest.FromString(body).resource_spans
    assert resource.resource.attributes[0].value.string_value == "test"
    return list(resource.scope_spans[0].spans)


def attributes(span: Span) -> dict[str, Any]:
    found = {}
    for pair in span.attributes:
        kind = pair.value.WhichOneof("value")
        assert kind is not None, pair
        value = getattr(pair.value, kind)
        found[pair.key] = [item.string_value for item in value.values] if kind == "array_value" else value
    return found


@pytest.mark.parametrize(("outcome", "status", "attempts"), OUTCOMES)
@pytest.mark.parametrize("traceparent", ["", PARENT])
def test_one_trace_without_orphans(outcome: Any, status: int, attempts: int, traceparent: str) -> None:
    exchange = ledger(outcome, status, traceparent, attempts)
    found = decoded(exchange)
    root = found[0]
    assert root.name == "POST /v1/chat/completions"
    assert root.kind == Span.SPAN_KIND_SERVER
    assert root.parent_span_id.hex() == (PARENT.split("-")[2] if traceparent else "")
    assert root.trace_state == ("vendor=1" if traceparent else "")
    assert len({span.span_id for span in found}) == len(found)
    ids = {span.span_id for span in found}
    for span in found:
        assert span.trace_id.hex() == exchange.trace_id
        assert span.start_time_unix_nano <= span.end_time_unix_nano
        assert span is root or span.parent_span_id in ids
    assert (root.status.code == 2) == (status >= 500 or outcome in ("error", "interrupted"))
    calls = [span for span in found if span.kind == Span.SPAN_KIND_CLIENT]
    assert [span.span_id.hex() for span in calls] == [attempt.span_id for attempt in exchange.attempts]
    text = str(found)
    assert not any(secret in text for secret in SECRETS)


def test_attributes_by_the_conventions() -> None:
    exchange = ledger(attempts=2)
    found = {span.name: span for span in decoded(exchange)}
    root = attributes(found["POST /v1/chat/completions"])
    assert root["http.response.status_code"] == 200
    assert root["gatehouse.app"] == "bot"
    assert root["gatehouse.outcome"] == "ok"
    call = attributes(decoded(exchange)[-1])
    assert call["gen_ai.operation.name"] == "chat"
    assert call["gen_ai.provider.name"] == "openai"
    assert call["gen_ai.response.model"] == "m-2026"
    assert call["gen_ai.response.finish_reasons"] == ["stop"]
    assert call["gen_ai.usage.input_tokens"] == 10
    assert call["gen_ai.usage.cache_read.input_tokens"] == 3
    assert call["gen_ai.request.stream"] is True
    assert call["gatehouse.dropped_params"] == ["top_k"]
    spans_by_name = {span.name: span for span in decoded(exchange)}
    retrieve = spans_by_name["gatehouse.retrieve"]
    assert attributes(retrieve) == {"passages": 3, "sources": ["a", "b"]}


def test_retrieval_stands_below_its_phase() -> None:
    found = decoded(ledger())
    by_name = {span.name: span for span in found}
    assert by_name["gatehouse.retrieve"].parent_span_id == by_name["gatehouse.context"].span_id
    assert by_name["chat m"].parent_span_id == by_name["gatehouse.dispatch"].span_id


def test_the_log_holds_one_line_a_request_and_no_content() -> None:
    exchanges = [ledger(outcome, status, attempts=attempts) for outcome, status, attempts in OUTCOMES]
    log, metrics = run(RecorderConfig(), exchanges)
    lines = [json.loads(line) for line in log.splitlines()]
    assert [line["request_id"] for line in lines] == [exchange.id for exchange in exchanges]
    assert lines[1]["attempts"][0]["result"] == "overloaded"
    assert lines[0]["tokens"] == {"input": 10, "output": 5}
    assert lines[0]["first_token_ms"] == pytest.approx(60, abs=0.1)
    assert not any(secret in log + metrics for secret in SECRETS)
    text, _ = run(RecorderConfig(log="text"), exchanges)
    assert len(text.splitlines()) == len(exchanges)


def test_metrics_of_each_outcome() -> None:
    exchanges = [ledger(outcome, status, attempts=attempts) for outcome, status, attempts in OUTCOMES]
    _, metrics = run(RecorderConfig(log="off"), exchanges)
    for expected in (
        'gatehouse_fallbacks_total{model="quick"} 2.0',
        'gatehouse_interrupted_streams_total{model="quick"} 1.0',
        'gatehouse_client_disconnects_total{model="quick"} 1.0',
        'gatehouse_dropped_params_total{field="top_k"}',
        'gatehouse_tokens_total{app="bot",direction="output",model="quick"} 10.0',
        'gatehouse_attempts_total{result="overloaded",target="up1/m"}',
        'gatehouse_errors_total{kind="model_not_found",model="unknown"} 1.0',
        'gatehouse_in_flight{surface="POST /v1/chat/completions"} 0.0',
    ):
        assert expected in metrics, expected


def test_the_waterfall_fits_and_shows_each_attempt() -> None:
    picture = shown(waterfall(ledger(attempts=2)))
    assert "fallback: answered" in picture
    assert "up1/m" in picture
    assert all(len(line) <= 120 for line in picture.splitlines())
