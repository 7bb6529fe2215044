"""One trace per request on every surface and outcome, as a real collector receives it; Azure's paths on the way."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from gateway.simulator.server import running
from tests.collectors import grpc_collector, http_collector
from tests.live import running_gateway
from tests.processes import ROOT, serving, statuses, until
from tests.processes import upstream as upstream_process

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


def test_every_outcome_has_one_whole_trace(tmp_path: Path) -> None:
    body = {"model": "quick", "max_tokens": 9, "messages": [{"role": "user", "content": "my secret words"}]}
    contents = {"contents": [{"parts": [{"text": "my secret words"}]}]}
    with running() as upstream, http_collector() as collector:
        with running_gateway(CONFIG.format(url=upstream.url, collector=collector.url), tmp_path) as gateway:
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
            until(lambda: len({span.trace_id for span in collector.spans}) >= 9)
        spans = collector.spans
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


@pytest.mark.parametrize(
    ("sampler", "parent", "flag"),
    [
        ("always_off", "", "00"),
        ("always_off", PARENT, "00"),
        ("always_on", PARENT[:-2] + "00", "01"),
        ("parentbased_always_off", "", "00"),
        ("parentbased_always_off", PARENT, "01"),
        ("parentbased_always_on", PARENT[:-2] + "00", "00"),
        ("traceidratio", "", "00"),
    ],
)
def test_what_the_sampler_decides_goes_upstream(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sampler: str, parent: str, flag: str
) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", sampler)
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", "0")
    body = {"model": "azure", "messages": [{"role": "user", "content": "hi"}]}
    with running() as upstream, http_collector() as collector:
        with running_gateway(CONFIG.format(url=upstream.url, collector=collector.url), tmp_path) as gateway:
            headers = {"traceparent": parent} if parent else {}
            assert gateway.request("POST", "/v1/chat/completions", body, headers).status == 200
        told = upstream.requests[-1]["headers"]["traceparent"].split("-")
    assert told[3] == flag
    assert told[1] == PARENT.split("-")[1] or not parent
    assert len(collector.got) == int(flag)


@pytest.mark.slow
def test_each_worker_sends_its_traces_by_grpc(tmp_path: Path) -> None:
    """A channel of gRPC does not outlive a fork: workers are processes of their own, and make one each."""
    yaml = CONFIG.replace(', otlp: "{collector}"', "").replace("version: 1", "version: 1\nserver: {{workers: 2}}")
    with upstream_process() as upstream, grpc_collector() as collector:
        environ = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}
        with serving(yaml.format(url=upstream.url), tmp_path, 2, environ) as fleet:
            body = b'{"model": "azure", "messages": [{"role": "user", "content": "hi"}]}'
            asked = 0

            def both_have_sent() -> bool:
                nonlocal asked
                assert statuses(asyncio.run(fleet.burst(20, body))) == {200: 20}
                asked += 20
                return len(instances()) == 2

            def instances() -> set[str]:
                resources = [each.resource_spans[0].resource.attributes for each in collector.got]
                return {p.value.string_value for r in resources for p in r if p.key == "service.instance.id"}

            until(both_have_sent)
        # The end has sent what waited.
        roots = [span for span in collector.spans if span.name == "POST /v1/chat/completions"]
        assert len(roots) == asked
        assert "can't be delivered" not in fleet.log


@pytest.mark.slow
def test_a_gateway_that_does_not_trace_imports_nothing_for_it(tmp_path: Path) -> None:
    """FastAPI imports the API of OpenTelemetry; the SDK, gRPC and `requests` are only here for traces."""
    yaml = CONFIG.replace(', otlp: "{collector}"', "").format(url="http://127.0.0.1:9")
    environ = {"PYTHONPROFILEIMPORTTIME": "1", "OTEL_TRACES_EXPORTER": "none"}
    with serving(yaml, tmp_path, environ=environ) as fleet:
        imported = {line.rpartition("|")[2].strip() for line in fleet.log.splitlines() if "import time:" in line}
    assert "observability.recorder" in imported
    tops = ("opentelemetry.sdk", "opentelemetry.exporter", "opentelemetry.proto", "grpc", "requests", "google")
    assert [name for name in imported if name.startswith(tops)] == []


@pytest.mark.slow
def test_a_variable_that_says_where_traces_go_stops_the_start_when_it_is_wrong(tmp_path: Path) -> None:
    path = tmp_path / "gatehouse.yaml"
    path.write_text(CONFIG.replace(', otlp: "{collector}"', "").format(url="http://127.0.0.1:9"))
    run = subprocess.run(
        [sys.executable, "-m", "gateway", "serve", "-c", str(path), "--listen", "127.0.0.1:0"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OTEL_TRACES_EXPORTER": "zipkin"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert run.returncode == 1
    assert "OTEL_TRACES_EXPORTER: it must be one of otlp, console and none" in run.stderr
