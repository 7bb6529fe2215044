from __future__ import annotations

import asyncio
import io
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from contract.exchange import Exchange
from observability import protobuf
from observability.recorder import Recorder, RecorderConfig
from observability.trace import spans
from observability.waterfall import waterfall
from tests.unit.observability.ledgers import SECRETS, collector, ledger

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
    body = protobuf.request({"service.name": "test"}, "gatehouse", spans(exchange))
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


VALUES = st.one_of(
    st.text(max_size=300),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False),
    st.lists(st.text(max_size=5), max_size=3),
)


@given(st.dictionaries(st.text(max_size=10), VALUES, max_size=5), st.text(max_size=150), st.integers(0, 2**63))
def test_the_encoder_says_what_opentelemetry_reads(values: dict[str, Any], name: str, moment: int) -> None:
    def clean(value: Any) -> Any:
        if isinstance(value, str):
            return value.encode("utf-8", "replace").decode()
        return [clean(item) for item in value] if isinstance(value, list) else value

    data = protobuf.span((b"t" * 16, b"s" * 8, b""), name, 3, (moment, moment), values, (2, "why"))
    body = protobuf.request({}, "scope", [data])
    (span,) = ExportTraceServiceRequest.FromString(body).resource_spans[0].scope_spans[0].spans
    assert attributes(span) == {clean(key): clean(value) for key, value in values.items()}
    assert (span.name, span.kind, span.start_time_unix_nano, span.status.code) == (clean(name), 3, moment, 2)


def run(config: RecorderConfig, exchanges: list[Exchange], environ: dict[str, str] | None = None) -> tuple[str, str]:
    """Records, and gives back the log and the metrics."""
    output = io.BytesIO()

    async def main() -> str:
        recorder = Recorder(config, lambda: (), environ=environ or {}, output=output)
        recorder.start()
        for exchange in exchanges:
            recorder.began(exchange)
            recorder.finish(exchange)
        body, content_type = recorder.render("")
        assert content_type.startswith("text/plain")
        await recorder.close()
        return body.decode()

    metrics = asyncio.run(main())
    return output.getvalue().decode(), metrics


def test_traces_arrive_with_headers_and_resource() -> None:
    with collector() as (url, got, headers):
        environ = {
            "OTEL_EXPORTER_OTLP_HEADERS": "x-team=a%20b",
            "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment=ci",
        }
        run(RecorderConfig(otlp=url, headers={"x-key": "k"}, log="off"), [ledger(), ledger("error", 503)], environ)
    assert headers[0]["path"] == "/v1/traces"
    assert headers[0]["x-team"] == "a b"
    assert headers[0]["x-key"] == "k"
    resource = {pair.key: pair.value.string_value for pair in got[0].resource_spans[0].resource.attributes}
    assert resource["service.name"] == "gatehouse"
    assert resource["deployment.environment"] == "ci"
    traces = {span.trace_id for each in got for span in each.resource_spans[0].scope_spans[0].spans}
    assert len(traces) == 2


def test_environment_decides_where_to_and_can_switch_off() -> None:
    with collector() as (url, got, _):
        run(RecorderConfig(log="off"), [ledger()], {"OTEL_EXPORTER_OTLP_ENDPOINT": url})
        assert len(got) == 1
        run(RecorderConfig(otlp=url, log="off"), [ledger()], {"OTEL_SDK_DISABLED": "true"})
        assert len(got) == 1


def test_unsampled_requests_are_not_sent_but_counted() -> None:
    with collector() as (url, got, _):
        unsampled = ledger(traceparent=PARENT[:-2] + "00")
        _, metrics = run(RecorderConfig(otlp=url, log="off"), [unsampled])
        run(RecorderConfig(otlp=url, log="off", sample=0.0), [ledger()])
    assert not got
    assert 'gatehouse_requests_total{app="bot",code="200",model="quick",outcome="ok"' in metrics


@pytest.mark.parametrize("status", [503, 400, 0])
def test_a_bad_collector_costs_no_time_and_is_counted(status: int) -> None:
    async def main(url: str) -> str:
        recorder = Recorder(RecorderConfig(otlp=url, log="off"), lambda: (), environ={})
        recorder.start()
        for _ in range(2000):
            exchange = ledger()
            recorder.began(exchange)
            recorder.finish(exchange)
        recorder.render("")
        await recorder.close()
        return recorder.render("")[0].decode()

    if status:
        with collector(status) as (url, _, _):
            metrics = asyncio.run(main(url))
    else:
        metrics = asyncio.run(main("http://127.0.0.1:9"))
    dropped = next(line for line in metrics.splitlines() if line.startswith("gatehouse_telemetry_dropped_total"))
    assert float(dropped.split()[1]) > 0


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
    picture = waterfall(ledger(attempts=2))
    assert "fallback: answered" in picture
    assert "up1/m" in picture
    assert all(len(line) <= 120 for line in picture.splitlines())
