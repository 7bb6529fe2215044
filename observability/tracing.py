"""Settings of tracing: from the YAML first, then from OpenTelemetry's environment variables.

Variables: https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/ and
https://opentelemetry.io/docs/specs/otel/protocol/exporter/; the table of supported ones is in `docs/observability.md`.
An invalid tuning value is replaced by its default, with a warning. An invalid destination or TLS setting is an error at
startup, because traces must not be sent elsewhere or be lost silently.
"""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias
from urllib.parse import urlsplit

import msgspec

from contract.egress import DIRECT, Egress, Proxy
from observability.variables import Variables

if TYPE_CHECKING:
    from collections.abc import Mapping

OtlpProtocol: TypeAlias = Literal["http/protobuf", "grpc"]
PROTOCOLS: tuple[OtlpProtocol, ...] = ("http/protobuf", "grpc")
Compression: TypeAlias = Literal["none", "gzip", "deflate"]

PREFIX = "OTEL_EXPORTER_OTLP_"
HOUR_MS = 3_600_000
MOST_SPANS = 1_000_000
# The range of the 64 bits of a trace id that sampling uses, as in the SDK.
ALL_TRACES = 1 << 64
SAMPLERS = ("always_on", "always_off", "traceidratio")


class Sampling(msgspec.Struct, frozen=True):
    """Which requests are traced: those whose lower 64 bits of the trace id are less than `below`.

    With `parent_decides`, the `traceparent` of a request decides, if it has one.
    """

    below: int = ALL_TRACES
    parent_decides: bool = True


class Limits(msgspec.Struct, frozen=True):
    """The most attributes of a span, and the most characters of a text value; None for no limit."""

    attributes: int | None = None
    characters: int | None = None


class Batching(msgspec.Struct, frozen=True):
    """The most queued spans, the most spans of one batch, and the longest wait of a span in the queue."""

    waiting: int = 20_000
    spans: int = 512
    delay_s: float = 0.5


class Collector(msgspec.Struct, frozen=True, kw_only=True):
    """An OTLP collector. `endpoint` is the full URL for HTTP, or host and port for gRPC; files are in PEM format."""

    protocol: OtlpProtocol
    endpoint: str
    headers: dict[str, str]
    secure: bool
    timeout_s: float = 10.0
    compression: Compression = "none"
    certificate: str = ""
    client_key: str = ""
    client_certificate: str = ""
    proxy: Proxy | None = None

    @property
    def shown(self) -> str:
        """The endpoint without credentials and query."""
        if self.protocol == "grpc":
            return self.endpoint
        url = urlsplit(self.endpoint)
        return f"{url.scheme}://{url.hostname}{f':{url.port}' if url.port else ''}{url.path}"


class TracingConfig(msgspec.Struct, frozen=True, kw_only=True):
    """The settings of the YAML. `otlp` is the collector's base URL; the environment sets what is empty or None."""

    otlp: str = ""
    protocol: OtlpProtocol | None = None
    headers: dict[str, str] = {}
    sample: float | None = None
    service_name: str = "gatehouse"
    service_version: str = "0"
    egress: Egress = DIRECT


class Tracing(msgspec.Struct, frozen=True, kw_only=True):
    """The settings from YAML and environment combined. Without a collector and `console`, tracing is off."""

    sampling: Sampling
    limits: Limits
    batching: Batching
    resource: dict[str, str]
    collector: Collector | None
    console: bool
    warnings: tuple[str, ...]


def read_tracing(config: TracingConfig, environ: Mapping[str, str]) -> Tracing:
    """Reads the settings. Raises `ValueError`, which names the variable, but not its value."""
    variables = Variables(environ)
    exporter = _exporter(config, variables)
    sampling = _sampling(config.sample, variables)
    _check_propagators(variables)
    if exporter == "none":
        # Unused variables are not checked.
        return Tracing(
            sampling=sampling, limits=Limits(), batching=Batching(), resource={}, collector=None, console=False,
            warnings=tuple(variables.warnings),
        )  # fmt: skip
    batching = _batching(variables)
    tracing = Tracing(
        sampling=sampling,
        limits=Limits(
            variables.limit(128, "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "OTEL_ATTRIBUTE_COUNT_LIMIT"),
            variables.limit(None, "OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT", "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT"),
        ),
        batching=batching,
        resource=_resource(config, variables),
        collector=_collector(config, variables) if exporter == "otlp" else None,
        console=exporter == "console",
        warnings=(),
    )
    return msgspec.structs.replace(tracing, warnings=tuple(variables.warnings))


def _exporter(config: TracingConfig, variables: Variables) -> str:
    name, text = variables.text("OTEL_TRACES_EXPORTER")
    if variables.flag("OTEL_SDK_DISABLED"):
        return "none"
    if config.otlp:
        return "otlp"
    endpoint = variables.text(f"{PREFIX}TRACES_ENDPOINT", f"{PREFIX}ENDPOINT")[1]
    chosen = text.lower() or ("otlp" if endpoint else "none")
    if chosen not in ("otlp", "console", "none"):
        raise ValueError(f"{name}: it must be one of otlp, console and none; unset it to turn tracing off")
    return chosen


def _sampling(sample: float | None, variables: Variables) -> Sampling:
    if sample is not None:
        return Sampling(round(sample * ALL_TRACES))
    known = (*SAMPLERS, *(f"parentbased_{name}" for name in SAMPLERS))
    name = variables.choice("parentbased_always_on", known, "OTEL_TRACES_SAMPLER")
    kind = name.removeprefix("parentbased_")
    share = {"always_on": 1.0, "always_off": 0.0}.get(kind)
    if share is None:
        share = variables.share(1.0, "OTEL_TRACES_SAMPLER_ARG")
    return Sampling(round(share * ALL_TRACES), kind != name)


def _batching(variables: Variables) -> Batching:
    default = Batching()
    waiting = variables.whole(default.waiting, (1, MOST_SPANS), "OTEL_BSP_MAX_QUEUE_SIZE")
    name = "OTEL_BSP_MAX_EXPORT_BATCH_SIZE"
    spans = variables.whole(min(default.spans, waiting), (1, MOST_SPANS), name)
    if spans > waiting:
        variables.note(name, f"is more than OTEL_BSP_MAX_QUEUE_SIZE; used instead: {waiting}")
    delay_ms = variables.whole(round(default.delay_s * 1000), (0, HOUR_MS), "OTEL_BSP_SCHEDULE_DELAY")
    return Batching(waiting, min(spans, waiting), delay_ms / 1000)


def _resource(config: TracingConfig, variables: Variables) -> dict[str, str]:
    found = {"service.version": config.service_version, **variables.pairs("OTEL_RESOURCE_ATTRIBUTES")}
    default = TracingConfig().service_name
    if config.service_name != default:
        return {**found, "service.name": config.service_name}
    named = variables.text("OTEL_SERVICE_NAME")[1]
    return {**found, "service.name": named or found.get("service.name", "") or default}


def _collector(config: TracingConfig, variables: Variables) -> Collector:
    protocol = config.protocol or _protocol(variables)
    endpoint, secure = _endpoint(config.otlp, protocol, variables)
    headers = variables.pairs(f"{PREFIX}TRACES_HEADERS", f"{PREFIX}HEADERS", headers=True)
    timeout_ms = min(
        variables.whole(10_000, (1, HOUR_MS), f"{PREFIX}TRACES_TIMEOUT", f"{PREFIX}TIMEOUT"),
        variables.whole(30_000, (1, HOUR_MS), "OTEL_BSP_EXPORT_TIMEOUT"),
    )
    supported: tuple[Compression, ...] = ("none", "gzip") if protocol == "grpc" else ("none", "gzip", "deflate")
    compression = variables.choice("none", supported, f"{PREFIX}TRACES_COMPRESSION", f"{PREFIX}COMPRESSION")
    own = {name.lower(): value for name, value in config.headers.items()}
    certificate, client_key, client_certificate = _files(variables)
    url = endpoint if protocol != "grpc" else f"{'https' if secure else 'http'}://{endpoint}"
    return Collector(
        protocol=protocol,
        endpoint=endpoint,
        headers={**headers, **own},
        secure=secure,
        timeout_s=timeout_ms / 1000,
        compression=next(each for each in supported if each == compression),
        certificate=certificate,
        client_key=client_key,
        client_certificate=client_certificate,
        proxy=config.egress.proxy_for(url),
    )


def _protocol(variables: Variables) -> OtlpProtocol:
    name, text = variables.text(f"{PREFIX}TRACES_PROTOCOL", f"{PREFIX}PROTOCOL")
    for each in PROTOCOLS:
        if text.lower() in ("", each):
            return each
    raise ValueError(f"{name}: it must be one of {' and '.join(PROTOCOLS)}")


def _endpoint(otlp: str, protocol: OtlpProtocol, variables: Variables) -> tuple[str, bool]:
    """The endpoint in its protocol's format, and whether it uses TLS."""
    special, general = f"{PREFIX}TRACES_ENDPOINT", f"{PREFIX}ENDPOINT"
    name, text = ("observe.otlp", otlp) if otlp else variables.text(special, general)
    if protocol == "grpc":
        return _grpc_endpoint(name, text or "http://localhost:4317", variables)
    text = text or "http://localhost:4318"
    if name != special and not (name == "observe.otlp" and urlsplit(text).path.endswith("/v1/traces")):
        text = text.rstrip("/") + "/v1/traces"
    url = _parsed(name, text)
    return text, url == "https"


def _grpc_endpoint(name: str, text: str, variables: Variables) -> tuple[str, bool]:
    insecure = variables.flag(f"{PREFIX}TRACES_INSECURE", f"{PREFIX}INSECURE")
    if text.startswith("unix:"):
        return text, False
    if "://" not in text:
        _parsed(name, f"http://{text}")
        return text, not insecure
    scheme, url = _parsed(name, text), urlsplit(text)
    host = f"[{url.hostname}]" if ":" in (url.hostname or "") else url.hostname
    return f"{host}:{url.port or (443 if scheme == 'https' else 80)}", scheme == "https"


def _parsed(name: str, text: str) -> str:
    """Returns the scheme of a valid URL. Raises `ValueError`."""
    try:
        url = urlsplit(text)
        if url.scheme in ("http", "https") and url.hostname and url.port != 0:
            return url.scheme
    except ValueError:
        pass
    raise ValueError(f"{name}: it must be a URL such as http://collector:4318")


def _files(variables: Variables) -> tuple[str, str, str]:
    """The paths of CA certificates, client key and client certificate, checked; empty if not set."""
    found = [
        variables.text(f"{PREFIX}TRACES_{end}", f"{PREFIX}{end}")
        for end in ("CERTIFICATE", "CLIENT_KEY", "CLIENT_CERTIFICATE")
    ]
    for name, path in found:
        if path:
            try:
                with Path(path).open("rb") as file:
                    file.read(1)
            except OSError as error:
                raise ValueError(f"{name}: the file can't be read: {error.strerror}") from None
    (authorities, certificate), (key_name, key), (chain_name, chain) = found
    if bool(key) != bool(chain):
        absent = chain_name if key else key_name
        raise ValueError(f"{absent}: it is not set, but the client's key and certificate are needed together")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        if certificate:
            context.load_verify_locations(certificate)
    except ssl.SSLError:
        raise ValueError(f"{authorities}: the file has no PEM certificate") from None
    try:
        if chain:
            # With an empty password, because OpenSSL would prompt for one on the terminal.
            context.load_cert_chain(chain, key, password="")
    except ssl.SSLError:
        raise ValueError(f"{chain_name}: it and {key_name} are not a matching PEM certificate and key") from None
    return certificate, key, chain


def _check_propagators(variables: Variables) -> None:
    name, text = variables.text("OTEL_PROPAGATORS")
    named = {each.strip().lower() for each in text.split(",") if each.strip()}
    if "baggage" in named:
        # Baggage is text of the caller, and providers are not part of the caller's system.
        variables.note(name, "has baggage, which is not forwarded to providers")
    if named - {"tracecontext", "baggage"}:
        variables.note(name, "has an unsupported propagator; only tracecontext is supported")
    if named and "tracecontext" not in named:
        variables.note(name, "lacks tracecontext, which is always read and sent")
