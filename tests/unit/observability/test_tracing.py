"""OpenTelemetry's environment variables, one by one: what is read, what is wrong, and what the YAML says first."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry import trace
from opentelemetry.sdk.trace import sampling
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags

from contract.egress import Egress, read_proxy
from contract.exchange import Exchange
from observability.recorder import sample
from observability.tracing import Batching, Collector, Limits, Sampling, Tracing, TracingConfig, read_tracing
from tests.collectors import make_files

ENDPOINT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector.test:4318"}
GRPC = {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}
SECRET = "s3cret!"


def read(environ: dict[str, str], config: TracingConfig | None = None) -> Tracing:
    return read_tracing(config or TracingConfig(), environ)


def collector(environ: dict[str, str], config: TracingConfig | None = None) -> Collector:
    found = read({**ENDPOINT, **environ}, config).collector
    assert found is not None
    return found


OTLP = "OTEL_EXPORTER_OTLP_"
# Of the collector: variables, the attribute, and its value.
READ: list[tuple[dict[str, str], str, Any]] = [
    ({}, "endpoint", "http://collector.test:4318/v1/traces"),
    ({f"{OTLP}ENDPOINT": "https://c.test/otlp/"}, "endpoint", "https://c.test/otlp/v1/traces"),
    ({f"{OTLP}TRACES_ENDPOINT": "http://other.test/spans"}, "endpoint", "http://other.test/spans"),
    ({f"{OTLP}TRACES_ENDPOINT": " "}, "endpoint", "http://collector.test:4318/v1/traces"),
    ({}, "secure", False),
    ({f"{OTLP}ENDPOINT": "https://c.test"}, "secure", True),
    ({}, "protocol", "http/protobuf"),
    (GRPC, "protocol", "grpc"),
    ({f"{OTLP}TRACES_PROTOCOL": "grpc", f"{OTLP}PROTOCOL": "http/protobuf"}, "protocol", "grpc"),
    ({**GRPC}, "endpoint", "collector.test:4318"),
    ({**GRPC, f"{OTLP}ENDPOINT": "https://c.test/ignored"}, "endpoint", "c.test:443"),
    ({**GRPC, f"{OTLP}ENDPOINT": "http://[::1]:4317"}, "endpoint", "[::1]:4317"),
    ({**GRPC, f"{OTLP}TRACES_ENDPOINT": "other:4317"}, "endpoint", "other:4317"),
    ({**GRPC, f"{OTLP}ENDPOINT": "unix:///run/otel.sock"}, "endpoint", "unix:///run/otel.sock"),
    ({**GRPC, f"{OTLP}ENDPOINT": "other:4317"}, "secure", True),
    ({**GRPC, f"{OTLP}ENDPOINT": "other:4317", f"{OTLP}INSECURE": "true"}, "secure", False),
    ({**GRPC, f"{OTLP}ENDPOINT": "o:1", f"{OTLP}TRACES_INSECURE": "false", f"{OTLP}INSECURE": "true"}, "secure", True),
    ({**GRPC, f"{OTLP}ENDPOINT": "https://c.test", f"{OTLP}INSECURE": "true"}, "secure", True),
    ({}, "headers", {}),
    ({f"{OTLP}HEADERS": "X-Team=a%20b, api-key = k=1"}, "headers", {"x-team": "a b", "api-key": "k=1"}),
    ({f"{OTLP}TRACES_HEADERS": "a=1", f"{OTLP}HEADERS": "b=2"}, "headers", {"a": "1"}),
    ({}, "timeout_s", 10.0),
    ({f"{OTLP}TIMEOUT": "2500"}, "timeout_s", 2.5),
    ({f"{OTLP}TRACES_TIMEOUT": "100", f"{OTLP}TIMEOUT": "2500"}, "timeout_s", 0.1),
    ({"OTEL_BSP_EXPORT_TIMEOUT": "300"}, "timeout_s", 0.3),
    ({}, "compression", "none"),
    ({f"{OTLP}COMPRESSION": "gzip"}, "compression", "gzip"),
    ({f"{OTLP}TRACES_COMPRESSION": "deflate", f"{OTLP}COMPRESSION": "gzip"}, "compression", "deflate"),
]


@pytest.mark.parametrize(("environ", "attribute", "value"), READ)
def test_where_traces_go(environ: dict[str, str], attribute: str, value: Any) -> None:
    assert getattr(collector(environ), attribute) == value
    assert read({**ENDPOINT, **environ}).warnings == ()


@pytest.mark.parametrize("special", ["", "TRACES_"])
def test_files(tmp_path: Path, special: str) -> None:
    mine, other = make_files(tmp_path), make_files(tmp_path, "other")
    wrong = tmp_path / "wrong.pem"
    wrong.write_text("no certificate")
    paths = {"CERTIFICATE": mine.certificate, "CLIENT_KEY": mine.key, "CLIENT_CERTIFICATE": mine.certificate}
    environ = {f"{OTLP}{special}{end}": path for end, path in paths.items()}
    found = collector(environ)
    assert [found.certificate, found.client_key, found.client_certificate] == list(paths.values())
    for end in paths:
        with pytest.raises(ValueError, match=f"{OTLP}{special}{end}: the file can't be read: No such file"):
            collector({**environ, f"{OTLP}{special}{end}": "/not/there"})
        with pytest.raises(ValueError, match=f"{OTLP}{special}{end}.* PEM"):
            collector({**environ, f"{OTLP}{special}{end}": str(wrong)})
    with pytest.raises(ValueError, match=f"{OTLP}{special}CLIENT_KEY are not a matching PEM certificate and key"):
        collector({**environ, f"{OTLP}{special}CLIENT_KEY": other.key})
    for there, absent in (("CLIENT_KEY", "CLIENT_CERTIFICATE"), ("CLIENT_CERTIFICATE", "CLIENT_KEY")):
        with pytest.raises(ValueError, match=f"{OTLP}{absent}: .* needed together"):
            collector({f"{OTLP}{there}": paths[there]})


def test_a_key_with_a_password_does_not_ask_for_it(tmp_path: Path) -> None:
    mine = make_files(tmp_path)
    key = serialization.load_pem_private_key(Path(mine.key).read_bytes(), None)
    form = serialization.BestAvailableEncryption(b"password")
    Path(mine.key).write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, form))
    with pytest.raises(ValueError, match="CLIENT_CERTIFICATE: "):
        collector({f"{OTLP}CLIENT_KEY": mine.key, f"{OTLP}CLIENT_CERTIFICATE": mine.certificate})


# Variables that stop the start when they are wrong.
STOPS = [
    ({"OTEL_TRACES_EXPORTER": "zipkin"}, "OTEL_TRACES_EXPORTER"),
    ({"OTEL_TRACES_EXPORTER": "otlp,console"}, "OTEL_TRACES_EXPORTER"),
    ({f"{OTLP}PROTOCOL": "http/json"}, f"{OTLP}PROTOCOL"),
    ({f"{OTLP}TRACES_PROTOCOL": "http/json"}, f"{OTLP}TRACES_PROTOCOL"),
    ({f"{OTLP}ENDPOINT": f"collector.test/{SECRET}"}, f"{OTLP}ENDPOINT"),
    ({f"{OTLP}ENDPOINT": "http://:4318"}, f"{OTLP}ENDPOINT"),
    ({f"{OTLP}TRACES_ENDPOINT": "http://collector.test:port"}, f"{OTLP}TRACES_ENDPOINT"),
    ({**GRPC, f"{OTLP}ENDPOINT": "ftp://collector.test"}, f"{OTLP}ENDPOINT"),
    ({**GRPC, f"{OTLP}ENDPOINT": "collector:99999"}, f"{OTLP}ENDPOINT"),
]


@pytest.mark.parametrize(("environ", "name"), STOPS)
def test_what_says_where_traces_go_stops_the_start_when_it_is_wrong(environ: dict[str, str], name: str) -> None:
    with pytest.raises(ValueError, match=f"^{name}: ") as caught:
        read({**ENDPOINT, **environ})
    assert SECRET not in str(caught.value)
    # What switches everything off switches this off too.
    assert read({**ENDPOINT, **environ, "OTEL_SDK_DISABLED": "true"}).collector is None


# Variables that are replaced by their default when they are wrong.
TUNES = [
    ("OTEL_SDK_DISABLED", "yes"),
    ("OTEL_TRACES_SAMPLER", "jaeger_remote"),
    ("OTEL_BSP_SCHEDULE_DELAY", "-1"),
    ("OTEL_BSP_MAX_QUEUE_SIZE", "0"),
    ("OTEL_BSP_MAX_QUEUE_SIZE", "100000000"),
    ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "many"),
    ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "30000"),
    ("OTEL_BSP_EXPORT_TIMEOUT", "1.5"),
    ("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "-5"),
    ("OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT", "long"),
    ("OTEL_ATTRIBUTE_COUNT_LIMIT", "x"),
    ("OTEL_RESOURCE_ATTRIBUTES", f"a=1,{SECRET}"),
    (f"{OTLP}HEADERS", f"a=1,{SECRET}"),
    (f"{OTLP}HEADERS", f"a=1,b=x%0d%0a{SECRET}"),
    (f"{OTLP}TRACES_HEADERS", f"a=1,b c={SECRET}"),
    (f"{OTLP}TIMEOUT", "10s"),
    (f"{OTLP}TRACES_TIMEOUT", "0"),
    (f"{OTLP}COMPRESSION", "zstd"),
    (f"{OTLP}TRACES_COMPRESSION", "brotli"),
    ("OTEL_PROPAGATORS", "tracecontext,b3"),
    ("OTEL_PROPAGATORS", "tracecontext,baggage"),
    ("OTEL_PROPAGATORS", "none"),
]


@pytest.mark.parametrize(("name", "value"), TUNES)
def test_a_wrong_value_is_told_by_its_variable_and_the_default_holds(name: str, value: str) -> None:
    found = read({**ENDPOINT, name: value})
    assert found.warnings
    assert all(warning.startswith(f"{name} ") for warning in found.warnings)
    assert SECRET not in str(found.warnings)
    default = read(ENDPOINT)
    assert (found.sampling, found.limits) == (default.sampling, default.limits)
    assert found.collector is not None
    assert (found.collector.timeout_s, found.collector.compression) == (10.0, "none")
    assert found.batching in (Batching(), Batching(spans=20_000))


def test_grpc_has_no_deflate_and_insecure_is_true_or_false() -> None:
    found = read({**ENDPOINT, **GRPC, f"{OTLP}COMPRESSION": "deflate", f"{OTLP}INSECURE": "1"})
    assert [warning.partition(" ")[0] for warning in found.warnings] == [f"{OTLP}INSECURE", f"{OTLP}COMPRESSION"]


def test_which_exporter() -> None:
    assert read({}).collector is None
    assert read({"OTEL_TRACES_EXPORTER": "none", **ENDPOINT}).collector is None
    assert read({"OTEL_TRACES_EXPORTER": "console", **ENDPOINT}).console
    assert read({"OTEL_TRACES_EXPORTER": "console", **ENDPOINT}).collector is None
    found = read({"OTEL_TRACES_EXPORTER": "OTLP"}).collector
    assert found is not None
    assert found.endpoint == "http://localhost:4318/v1/traces"
    found = read({"OTEL_TRACES_EXPORTER": "otlp", **GRPC}).collector
    assert found is not None
    assert (found.endpoint, found.secure) == ("localhost:4317", False)
    # traceparent goes upstream all the same.
    assert len(read({"OTEL_PROPAGATORS": "tracecontext,b3"}).warnings) == 1
    # Nothing is traced: what nobody reads is not checked.
    assert read({f"{OTLP}TIMEOUT": "x", "OTEL_BSP_SCHEDULE_DELAY": "x"}).warnings == ()


def test_batches_and_limits() -> None:
    assert read(ENDPOINT).batching == Batching(20_000, 512, 0.5)
    environ = {
        "OTEL_BSP_MAX_QUEUE_SIZE": "100", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "10", "OTEL_BSP_SCHEDULE_DELAY": "0",
    }  # fmt: skip
    assert read({**ENDPOINT, **environ}).batching == Batching(100, 10, 0.0)
    assert read({**ENDPOINT, "OTEL_BSP_MAX_QUEUE_SIZE": "100"}).batching == Batching(100, 100, 0.5)
    assert read(ENDPOINT).limits == Limits(128, None)
    assert read({**ENDPOINT, "OTEL_ATTRIBUTE_COUNT_LIMIT": "7"}).limits == Limits(7, None)
    environ = {
        "OTEL_ATTRIBUTE_COUNT_LIMIT": "7", "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT": "3",
        "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT": "20", "OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT": "10",
    }  # fmt: skip
    assert read({**ENDPOINT, **environ}).limits == Limits(3, 10)


@pytest.mark.parametrize(
    ("environ", "service_name", "resource"),
    [
        ({}, "gatehouse", {"service.name": "gatehouse", "service.version": "9"}),
        ({"OTEL_SERVICE_NAME": "front"}, "gatehouse", {"service.name": "front", "service.version": "9"}),
        (
            {"OTEL_RESOURCE_ATTRIBUTES": "service.name=other,service.version=1,deployment.environment=a%2Cb"},
            "gatehouse",
            {"service.name": "other", "service.version": "1", "deployment.environment": "a,b"},
        ),
        (
            {"OTEL_SERVICE_NAME": "front", "OTEL_RESOURCE_ATTRIBUTES": "service.name=other"},
            "gatehouse",
            {"service.name": "front", "service.version": "9"},
        ),
        (
            {"OTEL_SERVICE_NAME": "front", "OTEL_RESOURCE_ATTRIBUTES": "service.name=other"},
            "mine",
            {"service.name": "mine", "service.version": "9"},
        ),
    ],
)
def test_resource(environ: dict[str, str], service_name: str, resource: dict[str, str]) -> None:
    config = TracingConfig(service_name=service_name, service_version="9")
    assert read({**ENDPOINT, **environ}, config).resource == resource


def test_the_yaml_comes_first() -> None:
    environ = {
        "OTEL_TRACES_EXPORTER": "none", f"{OTLP}TRACES_ENDPOINT": "http://env.test", f"{OTLP}PROTOCOL": "grpc",
        f"{OTLP}HEADERS": "a=env,b=env", "OTEL_TRACES_SAMPLER": "always_off", "OTEL_SERVICE_NAME": "env",
    }  # fmt: skip
    config = TracingConfig(
        otlp="http://yaml.test:4318", protocol="http/protobuf", headers={"A": "yaml"}, sample=0.5, service_name="yaml"
    )
    found = read(environ, config)
    assert found.collector is not None
    assert found.collector.endpoint == "http://yaml.test:4318/v1/traces"
    assert found.collector.headers == {"a": "yaml", "b": "env"}
    assert found.sampling == Sampling(2**63)
    assert found.resource["service.name"] == "yaml"
    assert collector({}, TracingConfig(otlp="http://y.test/v1/traces")).endpoint == "http://y.test/v1/traces"
    # But for the switch that an operator has for all programs.
    assert read({**environ, "OTEL_SDK_DISABLED": "TRUE"}, config).collector is None


def test_proxies() -> None:
    egress = Egress(read_proxy("http://plain:1"), read_proxy("http://tls:2"), ("near.test",))
    for environ, host in (
        ({f"{OTLP}ENDPOINT": "http://far.test"}, "plain"),
        ({f"{OTLP}ENDPOINT": "https://far.test"}, "tls"),
        ({**GRPC, f"{OTLP}ENDPOINT": "http://far.test:4317"}, "plain"),
        ({**GRPC, f"{OTLP}ENDPOINT": "far.test:4317"}, "tls"),
        ({f"{OTLP}ENDPOINT": "https://near.test"}, ""),
        ({f"{OTLP}ENDPOINT": "http://127.0.0.1:4318"}, ""),
    ):
        proxy = collector(environ, TracingConfig(egress=egress)).proxy
        assert (proxy.host if proxy is not None else "") == host


NAMES = [f"{parent}{kind}" for parent in ("", "parentbased_") for kind in ("always_on", "always_off", "traceidratio")]


@given(
    st.sampled_from(["", *NAMES]),
    st.one_of(st.just(""), st.floats(0, 1).map(str)),
    st.binary(min_size=16, max_size=16).filter(any),
    st.sampled_from(["", "00", "01", "03"]),
)
def test_sampling_is_as_the_sdks(name: str, argument: str, trace_id: bytes, parent: str) -> None:
    """Ours is a comparison of two numbers, on every request's path; the SDK's builds contexts."""
    environ = {"OTEL_TRACES_SAMPLER": name, "OTEL_TRACES_SAMPLER_ARG": argument}
    exchange = Exchange("POST /v1/x", f"00-{trace_id.hex()}-b7ad6b7169203331-{parent}" if parent else "")
    exchange.trace_id = trace_id.hex()
    sample(exchange, read(environ).sampling)
    with pytest.MonkeyPatch.context() as patch:
        for key, value in environ.items():
            patch.setitem(os.environ, key, value) if value else patch.delitem(os.environ, key, raising=False)
        theirs = sampling._get_from_env_or_default()
    number = int.from_bytes(trace_id, "big")
    context = None
    if parent:
        flags = TraceFlags(int(parent, 16))
        context = trace.set_span_in_context(NonRecordingSpan(SpanContext(number, 1, is_remote=True, trace_flags=flags)))
    decision = theirs.should_sample(context, number, "x").decision
    assert bool(exchange.trace_flags & 1) == (decision is sampling.Decision.RECORD_AND_SAMPLE)
    # The other flags are the caller's.
    assert exchange.trace_flags & ~1 == (int(parent, 16) & ~1 if parent else 0)


def test_a_share_that_is_wrong() -> None:
    for argument in ("", "2", "-1", "nan", "x", "1e999"):
        found = read({"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": argument})
        assert found.sampling == Sampling(2**64, parent_decides=False)
        assert [warning.partition(" ")[0] for warning in found.warnings] == ["OTEL_TRACES_SAMPLER_ARG"][: len(argument)]
