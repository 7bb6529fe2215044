"""One trace per request on every surface and outcome, as a real collector receives it; Azure's paths on the way."""

from __future__ import annotations

import json
import socket
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from gateway.simulator.server import running
from tests.live import running_gateway
from tests.processes import until
from tests.unit.observability.ledgers import collector

CONFIG = """
version: 1
providers:
  up: {{kind: openai, base_url: "{url}/v1", api_key: upstream-secret}}
  azure:
    {{kind: azure, endpoint: "{url}", api_version: "2024-10-21", api_key: secret-key, deployments: {{gpt: my-gpt}}}}
models:
  quick: {{targets: [up/sim-500, up/some-model], retry: {{attempts: 1}}}}
  cut: {{targets: [up/sim-cut5]}}
  paced: {{targets: [up/sim-n200-pace20]}}
  azure: {{targets: [azure/gpt]}}
apps: {{bot: {{keys: [test-key]}}}}
observe: {{log: "off", otlp: "{collector}"}}
"""
PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def attribute(span: Span, key: str) -> Any:
    for pair in span.attributes:
        if pair.key == key:
            return getattr(pair.value, str(pair.value.WhichOneof("value")))
    return None


def spans_of(got: Sequence[ExportTraceServiceRequest]) -> list[Span]:
    return [span for each in got for span in each.resource_spans[0].scope_spans[0].spans]


def test_every_outcome_has_one_whole_trace(tmp_path: Path) -> None:
    body = {"model": "quick", "max_tokens": 9, "messages": [{"role": "user", "content": "my secret words"}]}
    contents = {"contents": [{"parts": [{"text": "my secret words"}]}]}
    with running() as upstream, collector() as (url, got, _):
        with running_gateway(CONFIG.format(url=upstream.url, collector=url), tmp_path) as gateway:
            assert gateway.request("POST", "/v1/chat/completions", body, {"traceparent": PARENT}).status == 200
            assert gateway.request("POST", "/v1/messages", {**body, "stream": True}).status == 200
            assert gateway.request("POST", "/v1beta/models/quick:generateContent", contents).status == 200
            assert gateway.request("POST", "/v1/chat/completions", {**body, "model": "azure"}).status == 200
            assert upstream.requests[-1]["path"] == "/openai/deployments/my-gpt/chat/completions"
            assert upstream.requests[-1]["query"] == "api-version=2024-10-21"
            assert (
                gateway.request("POST", "/v1/chat/completions", {**body, "model": "cut", "stream": True}).status == 200
            )
            assert gateway.request("POST", "/v1/chat/completions", {**body, "model": "none"}).status == 404
            assert gateway.request("POST", "/v1/chat/completions", body, {"authorization": "Bearer no"}).status == 401
            assert gateway.request("GET", "/v1/models").status == 200
            assert gateway.request("GET", "/livez").status == 200
            data = json.dumps({**body, "model": "paced", "stream": True}).encode()
            with socket.create_connection(("127.0.0.1", gateway.port)) as leaving:
                head = "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer test-key\r\n"
                leaving.sendall(f"{head}content-length: {len(data)}\r\n\r\n".encode() + data)
                while b"word2" not in leaving.recv(4096):
                    pass
            until(lambda: len({span.trace_id for span in spans_of(got)}) >= 9)
        spans = spans_of(got)
    traces: dict[bytes, list[Span]] = defaultdict(list)
    for span in spans:
        traces[span.trace_id].append(span)
    assert len(traces) == 9
    outcomes = []
    for found in traces.values():
        ids = {span.span_id for span in found}
        roots = [span for span in found if span.kind == Span.SPAN_KIND_SERVER]
        assert len(roots) == 1
        assert all(span.parent_span_id in ids for span in found if span is not roots[0])
        outcomes.append((attribute(roots[0], "gatehouse.outcome"), attribute(roots[0], "http.response.status_code")))
    assert sorted(outcomes) == sorted(
        [("ok", 200)] * 5 + [("interrupted", 200), ("refused", 404), ("refused", 401), ("cancelled", 200)]
    )
    first = traces[bytes.fromhex(PARENT.split("-")[1])]
    assert {span.parent_span_id.hex() for span in first} >= {PARENT.split("-")[2]}
    calls = [span for span in first if span.kind == Span.SPAN_KIND_CLIENT]
    assert [attribute(span, "gatehouse.attempt.reason") for span in calls] == ["first", "fallback"]
    assert "my secret words" not in str(spans)
    assert "upstream-secret" not in str(spans)
    assert "secret-key" not in str(spans)
