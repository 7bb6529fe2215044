"""Traces as real collectors receive them, over HTTP and over gRPC; collectors that are slow, wrong or gone."""

from __future__ import annotations

import contextlib
import io
import json
import os
import socket
import sys
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration  # type: ignore[import-untyped]
from google.rpc.error_details_pb2 import RetryInfo  # type: ignore[import-untyped]
from structlog.testing import capture_logs

from contract.egress import Egress, read_proxy
from observability.exporter import Exporter
from observability.recorder import RecorderConfig
from observability.trace import spans
from observability.tracing import Batching, Limits, TracingConfig, read_tracing
from observability.transports import Transport, open_transport
from tests.collectors import Fault, Files, Taken, grpc_collector, http_collector, make_files
from tests.live import free_port
from tests.processes import until
from tests.reports.proxies import Proxy, copy
from tests.unit.observability.ledgers import SECRETS, ledger
from tests.unit.observability.recording import dropped, run
from tests.unit.observability.test_tracing import TUNES

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
SECRET = "s3cret"
OFF = RecorderConfig(log="off")
HTTP = {"OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}
GRPC = {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}
PREFIX = "OTEL_EXPORTER_OTLP_"
Collecting = Callable[..., AbstractContextManager[Taken]]
# The protocols: their variables, their collector, and what it says for "busy, come again" and for "never".
WAYS = [
    pytest.param(HTTP, http_collector, 503, 400, id="http"),
    pytest.param(GRPC, grpc_collector, "UNAVAILABLE", "INVALID_ARGUMENT", id="grpc"),
]
every_way = pytest.mark.parametrize(("way", "collecting", "busy", "never"), WAYS)


def to(taken: Taken, way: dict[str, str], **more: str) -> dict[str, str]:
    """The environment for a collector; `more` without its prefix."""
    return {f"{PREFIX}ENDPOINT": taken.url, **way, **{f"{PREFIX}{name}": value for name, value in more.items()}}


def undelivered(lines: list[Any]) -> list[str]:
    """The problems of deliveries that were told. What fails during the end may be told as lost too."""
    return [line["problem"] for line in lines if line["event"] == "traces can't be delivered"]


def soon(retry: str) -> dict[str, str]:
    """How a collector asks to be tried again at once."""
    if retry == "http":
        return {"retry-after": "0"}
    return {"google.rpc.retryinfo-bin": RetryInfo(retry_delay=Duration()).SerializeToString()}


@every_way
def test_traces_arrive_with_headers_and_resource(
    way: dict[str, str], collecting: Collecting, busy: Any, never: Any
) -> None:
    with collecting() as taken:
        environ = to(taken, way, HEADERS="x-team=a%20b,x-key=env")
        environ |= {"OTEL_RESOURCE_ATTRIBUTES": "deployment.environment=ci"}
        config = RecorderConfig(tracing=TracingConfig(headers={"X-Key": "k"}, service_version="9"), log="off")
        _, metrics = run(config, [ledger(), ledger("error", 503)], environ)
    assert dropped(metrics) == 0
    assert (taken.headers[0]["x-team"], taken.headers[0]["x-key"]) == ("a b", "k")
    assert taken.headers[0].get(":path", "/v1/traces") == "/v1/traces"
    resource = taken.resource
    assert (resource["service.name"], resource["service.version"]) == ("gatehouse", "9")
    assert resource["deployment.environment"] == "ci"
    assert (resource["telemetry.sdk.name"], resource["telemetry.sdk.language"]) == ("opentelemetry", "python")
    assert resource["service.instance.id"]
    assert len({span.trace_id for span in taken.spans}) == 2
    assert not any(secret in str(taken.got) for secret in SECRETS)


def test_the_yaml_says_where_to_and_how() -> None:
    with http_collector() as http, grpc_collector() as grpc:
        run(RecorderConfig(tracing=TracingConfig(otlp=http.url), log="off"), [ledger()])
        run(RecorderConfig(tracing=TracingConfig(otlp=grpc.url, protocol="grpc"), log="off"), [ledger()])
        run(RecorderConfig(tracing=TracingConfig(otlp=http.url), log="off"), [ledger()], {"OTEL_SDK_DISABLED": "true"})
    assert (len(http.got), len(grpc.got)) == (1, 1)


def test_unsampled_requests_are_not_sent_but_counted() -> None:
    with http_collector() as taken:
        tracing = TracingConfig(otlp=taken.url)
        unsampled = ledger(traceparent=PARENT[:-2] + "00")
        _, metrics = run(RecorderConfig(tracing=tracing, log="off"), [unsampled])
        run(RecorderConfig(tracing=TracingConfig(otlp=taken.url, sample=0.0), log="off"), [ledger()])
        run(RecorderConfig(tracing=tracing, log="off"), [ledger()], {"OTEL_TRACES_SAMPLER": "always_off"})
        run(RecorderConfig(tracing=tracing, log="off"), [unsampled], {"OTEL_TRACES_SAMPLER": "always_on"})
    assert len(taken.got) == 1
    assert 'gatehouse_requests_total{app="bot",code="200",model="quick",outcome="ok"' in metrics


@pytest.mark.parametrize("packing", ["gzip", "deflate"])
def test_packed_over_http(packing: str) -> None:
    with http_collector() as taken:
        run(OFF, [ledger()], to(taken, HTTP, COMPRESSION=packing))
    assert taken.headers[0]["content-encoding"] == packing
    assert len(taken.spans) == 6


def test_packed_over_grpc() -> None:
    """gRPC unpacks by itself and tells nobody: what went over the wire is counted by a proxy."""
    sizes = []
    for packing in ("none", "gzip"):
        with grpc_collector() as taken:
            wire = Wire(int(taken.url.rpartition(":")[2]))
            environ = {f"{PREFIX}ENDPOINT": wire.url, f"{PREFIX}COMPRESSION": packing, **GRPC}
            run(OFF, [ledger() for _ in range(50)], environ)
            wire.close()
        assert len(taken.spans) == 300
        sizes.append(wire.sent)
    assert sizes[1] * 2 < sizes[0]


class Wire(Proxy):
    """Passes everything on, and counts what callers send."""

    sent = 0

    def _serve(self, caller: Any) -> None:
        with caller, socket.create_connection(("127.0.0.1", self.leads_to)) as host:
            threading.Thread(target=copy, args=(host, caller), daemon=True).start()
            with contextlib.suppress(OSError):
                while data := caller.recv(65_536):
                    self.sent += len(data)
                    host.sendall(data)


@every_way
def test_tls_with_an_authority_of_ones_own(
    tmp_path: Path, way: dict[str, str], collecting: Collecting, busy: Any, never: Any
) -> None:
    tls, other = make_files(tmp_path), make_files(tmp_path, "other")
    with collecting(tls=tls) as taken:
        _, metrics = run(OFF, [ledger()], to(taken, way, CERTIFICATE=tls.certificate))
        assert (len(taken.got), dropped(metrics)) == (1, 0)
        for trusted in (None, other):
            more = {"CERTIFICATE": trusted.certificate} if trusted is not None else {}
            _, metrics = run(OFF, [ledger()], to(taken, way, TIMEOUT="200", **more))
            assert dropped(metrics) == 6
        assert len(taken.got) == 1


@every_way
def test_tls_with_the_authorities_that_python_trusts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: dict[str, str], collecting: Collecting, busy: Any, never: Any
) -> None:
    tls = make_files(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", tls.certificate)
    # What `requests` would take instead.
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", make_files(tmp_path, "other").certificate)
    with collecting(tls=tls) as taken:
        _, metrics = run(OFF, [ledger()], to(taken, way))
    assert (len(taken.got), dropped(metrics)) == (1, 0)


@every_way
def test_client_certificates(
    tmp_path: Path, way: dict[str, str], collecting: Collecting, busy: Any, never: Any
) -> None:
    tls, client = make_files(tmp_path), make_files(tmp_path, "client")
    mine = {"CLIENT_KEY": client.key, "CLIENT_CERTIFICATE": client.certificate}
    with collecting(tls=tls, client=client) as taken:
        _, metrics = run(OFF, [ledger()], to(taken, way, CERTIFICATE=tls.certificate, **mine))
        assert (len(taken.got), dropped(metrics)) == (1, 0)
        _, metrics = run(OFF, [ledger()], to(taken, way, CERTIFICATE=tls.certificate, TIMEOUT="200"))
        assert (len(taken.got), dropped(metrics)) == (1, 6)


@every_way
def test_a_busy_collector_is_tried_again_as_soon_as_it_says(
    way: dict[str, str], collecting: Collecting, busy: Any, never: Any
) -> None:
    faults = [Fault(busy, soon("http" if way is HTTP else "grpc"))] * 3
    with collecting(faults) as taken, capture_logs() as lines:
        started = time.monotonic()
        _, metrics = run(OFF, [ledger()], to(taken, way), lambda: until(lambda: bool(taken.got)))
    assert (len(taken.headers), len(taken.got), dropped(metrics)) == (4, 1, 0)
    # Without its word the SDK's exporters wait for one second, two and four.
    assert time.monotonic() - started < 5
    assert lines == []


def test_too_many_requests() -> None:
    with http_collector([Fault(429, {"retry-after": "0"})]) as taken:
        _, metrics = run(OFF, [ledger()], to(taken, HTTP), lambda: until(lambda: bool(taken.got)))
    assert (len(taken.headers), dropped(metrics)) == (2, 0)


@every_way
def test_a_wait_that_does_not_fit_into_the_timeout_is_not_waited_for(
    way: dict[str, str], collecting: Collecting, busy: Any, never: Any
) -> None:
    with collecting([Fault(busy)]) as taken:
        _, metrics = run(OFF, [ledger()], to(taken, way, TIMEOUT="300"))
    assert (len(taken.headers), dropped(metrics)) == (1, 6)


@every_way
def test_a_collector_that_refuses_is_told_once_and_without_its_words(
    way: dict[str, str], collecting: Collecting, busy: Any, never: Any
) -> None:
    with collecting([Fault(never)] * 2) as taken, capture_logs() as lines:
        environ = to(taken, way, HEADERS=f"authorization={SECRET}")
        environ |= {"OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "6", "OTEL_BSP_SCHEDULE_DELAY": "0"}
        _, metrics = run(OFF, [ledger() for _ in range(3)], environ)
    # The third batch arrives.
    assert (len(taken.headers), len(taken.got), dropped(metrics)) == (3, 1, 12)
    problem = f"status {never}" if way is HTTP else never
    assert undelivered(lines) == [problem]
    assert SECRET not in str(lines)
    assert "own words" not in str(lines)


@pytest.mark.parametrize("status", [301, 307, 404, 500])
def test_what_is_no_success_is_none(status: int) -> None:
    """The SDK's client takes a redirect for one."""
    with http_collector([Fault(status, {"location": "https://elsewhere.test/"})]) as taken:
        _, metrics = run(OFF, [ledger()], to(taken, HTTP))
    assert (len(taken.headers), dropped(metrics)) == (1, 6)


@every_way
def test_a_collector_that_is_gone_and_comes_back(
    way: dict[str, str], collecting: Collecting, busy: Any, never: Any
) -> None:
    port = free_port()
    environ = {f"{PREFIX}ENDPOINT": f"http://127.0.0.1:{port}", f"{PREFIX}TIMEOUT": "200", **way}
    with capture_logs() as lines:
        _, metrics = run(OFF, [ledger()], environ)
    assert dropped(metrics) == 6
    assert len(undelivered(lines)) == 1
    assert lines[0]["endpoint"].startswith("http://127.0.0.1" if way is HTTP else "127.0.0.1")


def test_a_grpc_collector_that_restarts() -> None:
    with grpc_collector() as first:
        port = int(first.url.rpartition(":")[2])
        transport = opened(to(first, GRPC))
        assert transport.send([transport.encode(span) for span in spans(ledger())]) == ""
    with grpc_collector(port=port) as second:
        assert transport.send([transport.encode(span) for span in spans(ledger())]) == ""
        transport.close()
    assert (len(first.got), len(second.got)) == (1, 1)


def opened(environ: dict[str, str]) -> Transport:
    return open_transport(read_tracing(TracingConfig(), environ))


@every_way
def test_the_end_waits_for_a_slow_collector_no_longer_than_its_deadline(
    way: dict[str, str], collecting: Collecting, busy: Any, never: Any
) -> None:
    with collecting() as taken:
        taken.open.clear()
        exporter = Exporter(opened(to(taken, way)), Batching(100, 6, 0.0), Limits())
        for _ in range(4):
            exporter.put(spans(ledger()))
        assert taken.asked.wait(20)
        started = time.monotonic()
        with capture_logs() as lines:
            exporter.close(0.2)
        assert time.monotonic() - started < 5
    assert exporter.dropped == 24
    assert [(line["event"], line["spans"]) for line in lines if "dropped" in line["event"]] == [
        ("traces dropped at shutdown", 24)
    ]


@every_way
def test_the_end_interrupts_a_wait_for_another_try(
    way: dict[str, str], collecting: Collecting, busy: Any, never: Any
) -> None:
    with collecting([Fault(busy)] * 9) as taken:
        exporter = Exporter(opened(to(taken, way)), Batching(100, 6, 0.0), Limits())
        exporter.put(spans(ledger()))
        until(lambda: len(taken.headers) > 0)
        started = time.monotonic()
        exporter.close(0.1)
        assert time.monotonic() - started < 5
        exporter._thread.join(20)
        assert not exporter._thread.is_alive()
    assert exporter.dropped == 6


@every_way
def test_the_end_sends_what_waits(way: dict[str, str], collecting: Collecting, busy: Any, never: Any) -> None:
    with collecting() as taken:
        environ = {**to(taken, way), "OTEL_BSP_SCHEDULE_DELAY": "3600000", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "10"}
        _, metrics = run(OFF, [ledger() for _ in range(6)], environ)
    assert dropped(metrics) == 0
    # No batch is larger than it may be, though a trace has six spans.
    assert [len(each.resource_spans[0].scope_spans[0].spans) for each in taken.got] == [10, 10, 10, 6]


def test_a_full_queue_drops_whole_traces_and_counts_them() -> None:
    with http_collector() as taken:
        taken.open.clear()
        exporter = Exporter(opened(to(taken, HTTP)), Batching(20, 6, 0.0), Limits())
        exporter.put(spans(ledger()))
        assert taken.asked.wait(20)
        for _ in range(5):
            exporter.put(spans(ledger()))
        # Six are being sent, and twelve wait.
        assert exporter.dropped == 18
        taken.open.set()
        exporter.close(10)
    assert exporter.dropped == 18
    assert len({span.trace_id for span in taken.spans}) == 3
    assert len(taken.spans) == 18


def test_the_first_span_waits_for_others_and_a_full_batch_does_not() -> None:
    with http_collector() as taken:
        exporter = Exporter(opened(to(taken, HTTP)), Batching(1000, 12, 3600.0), Limits())
        exporter.put(spans(ledger()))
        assert not taken.asked.is_set()
        exporter.put(spans(ledger()))
        assert taken.asked.wait(20)
        exporter.close(10)
    assert len(taken.got) == 1


@pytest.mark.parametrize("way", [HTTP, GRPC])
def test_limits_of_attributes(way: dict[str, str]) -> None:
    with http_collector() if way is HTTP else grpc_collector() as taken:
        limits = {"OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT": "2", "OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT": "3"}
        run(OFF, [ledger()], {**to(taken, way), **limits})
    root = taken.spans[0]
    assert [(pair.key, pair.value.string_value) for pair in root.attributes] == [
        ("http.request.method", "POS"),
        ("http.route", "/v1"),
    ]
    assert root.dropped_attributes_count > 5
    (retrieve,) = (span for span in taken.spans if span.name == "gatehouse.retrieve")
    assert retrieve.dropped_attributes_count == 0


def test_proxies(tmp_path: Path) -> None:
    for way, collecting in ((HTTP, http_collector), (GRPC, grpc_collector)):
        with collecting() as taken:
            proxy = Proxy(int(taken.url.rpartition(":")[2]))
            url = proxy.url.replace("://", "://user:p%40ss@")
            egress = Egress(read_proxy(url), read_proxy(url))
            environ = {f"{PREFIX}ENDPOINT": "http://collector.test:81", f"{PREFIX}TIMEOUT": "5000", **way}
            _, metrics = run(RecorderConfig(tracing=TracingConfig(egress=egress), log="off"), [ledger()], environ)
            proxy.close()
        assert (len(taken.got), dropped(metrics)) == (1, 0)
        first = "POST http://collector.test:81/v1/traces" if way is HTTP else "CONNECT collector.test:81"
        assert proxy.tunnels[0].startswith(f"{first} HTTP/1.")
        assert "proxy-authorization: basic dxnlcjpwqhnz" in proxy.heads[0].lower()


@pytest.mark.parametrize("way", [HTTP, GRPC])
def test_proxies_of_the_environment_are_read_by_egress_alone(
    way: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "https_proxy", "grpc_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with http_collector() if way is HTTP else grpc_collector() as taken:
        _, metrics = run(OFF, [ledger()], to(taken, way))
    assert (len(taken.got), dropped(metrics)) == (1, 0)


def test_https_through_a_proxy(tmp_path: Path) -> None:
    tls = make_files(tmp_path, "collector.test")
    for way, collecting in ((HTTP, http_collector), (GRPC, grpc_collector)):
        with collecting(tls=tls) as taken:
            proxy = Proxy(int(taken.url.rpartition(":")[2]))
            egress = Egress(None, read_proxy(proxy.url))
            environ = {f"{PREFIX}ENDPOINT": "https://collector.test", f"{PREFIX}CERTIFICATE": tls.certificate, **way}
            _, metrics = run(RecorderConfig(tracing=TracingConfig(egress=egress), log="off"), [ledger()], environ)
            proxy.close()
        assert (len(taken.got), dropped(metrics)) == (1, 0)
        assert proxy.tunnels[0].startswith("CONNECT collector.test:443 HTTP/1.")


@every_way
@pytest.mark.parametrize(("name", "value"), TUNES)
def test_wrong_values_in_the_process_s_environment(
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    way: dict[str, str],
    collecting: Collecting,
    busy: Any,
    never: Any,
    name: str,
    value: str,
) -> None:
    """Where the SDK could read it a second time, and fail or log it."""
    with collecting() as taken, capture_logs() as lines:
        for key, text in {**to(taken, way), name: value}.items():
            monkeypatch.setenv(key, text)
        run(OFF, [ledger()], os.environ)
    assert len(taken.got) == 1
    assert lines
    assert {(line["event"], line["problem"].partition(" ")[0]) for line in lines} == {
        ("an environment variable is invalid", name)
    }
    assert "s3cret" not in str(lines) + "".join(capfd.readouterr())


def test_the_console() -> None:
    output = io.StringIO()
    transport = open_transport(read_tracing(TracingConfig(), {"OTEL_TRACES_EXPORTER": "console"}), output)
    exchange = ledger("error", 503, PARENT)
    assert transport.send([transport.encode(span) for span in spans(exchange)]) == ""
    transport.close()
    printed = json.loads("[" + output.getvalue().replace("}\n{", "},{") + "]")
    assert [each["name"] for each in printed][:2] == ["POST /v1/chat/completions", "gatehouse.admit"]
    assert printed[0]["parent_id"] == "0xb7ad6b7169203331"
    assert printed[0]["status"] == {"status_code": "ERROR", "description": "overloaded"}
    assert printed[0]["resource"]["attributes"]["service.name"] == "gatehouse"


def test_the_console_of_a_recorder(capsys: pytest.CaptureFixture[str]) -> None:
    run(OFF, [ledger()], {"OTEL_TRACES_EXPORTER": "console"})
    assert '"name": "gatehouse.admit"' in capsys.readouterr().out


@pytest.mark.parametrize("absent", ["opentelemetry.sdk.resources", "opentelemetry.exporter.otlp.common.http"])
def test_without_the_extra(monkeypatch: pytest.MonkeyPatch, absent: str) -> None:
    monkeypatch.setitem(sys.modules, absent, None)
    with http_collector() as taken:
        with pytest.raises(ValueError, match=r"gatehouse-platform\[telemetry\]"):
            run(RecorderConfig(tracing=TracingConfig(otlp=taken.url)), [])
        with capture_logs() as lines:
            _, metrics = run(OFF, [ledger()], to(taken, HTTP))
    assert "gatehouse_requests_total" in metrics
    (line,) = lines
    assert line["log_level"] == "warning"
    assert "gatehouse-platform[telemetry]" in line["problem"]
    assert not taken.headers


def test_an_answer_without_an_end_costs_no_memory() -> None:
    with http_collector(reply=b"x" * 10_000_000) as taken:
        transport = opened(to(taken, HTTP))
        for _ in range(2):
            assert transport.send([transport.encode(span) for span in spans(ledger())]) == ""
        transport.close()
    assert len(taken.got) == 2


def test_a_detector_of_resources_that_is_not_there_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPERIMENTAL_RESOURCE_DETECTORS", "nowhere")
    with http_collector() as taken, capture_logs() as lines:
        run(OFF, [ledger()], to(taken, HTTP))
    assert len(taken.got) == 1
    assert [line["event"] for line in lines] == ["warning of the OpenTelemetry SDK"]


def test_files_of_a_certificate(tmp_path: Path) -> None:
    files: Files = make_files(tmp_path)
    assert Path(files.certificate).read_text().startswith("-----BEGIN CERTIFICATE-----")
    assert "PRIVATE" not in Path(files.certificate).read_text()
    assert "PRIVATE" in Path(files.key).read_text()
