"""Sends finished spans to a collector (OTLP over HTTP or gRPC) or to the console, with the SDK's exporters.

The exporters provide TLS, compression, deadlines and retries; spans are encoded by `observability/protobuf.py`, for the
reason in `docs/decisions.md`. Only `open_transport` imports the SDK, gRPC and `requests`: a gateway without tracing
imports none of them.
"""

from __future__ import annotations

import base64
import io
import logging
import re
import ssl
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TextIO
from urllib.parse import quote

import structlog

from observability.protobuf import encode, request
from observability.trace import SCOPE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from contract.egress import Proxy
    from contract.exchange import AttributeValue
    from observability.trace import SpanRecord
    from observability.tracing import Collector, Tracing

EXTRA = "telemetry"
# The most bytes of a collector's response to read. It only reports refused spans, which is ignored.
MOST_RESPONSE = 64 * 1024


class ExtraAbsent(ValueError):
    """The packages for traces are not installed, or in unsupported versions. The message names the extra."""


class Transport(Protocol):
    """Sends spans. Used by one thread, except for `close`."""

    shown: str

    def encode(self, span: SpanRecord) -> Any:
        """Encodes a span for `send`. Called on the event loop."""
        ...

    def send(self, batch: Sequence[Any]) -> str:
        """Sends spans. Returns a short reason for a failure, or "" on success."""
        ...

    def close(self) -> None:
        """Stops pending retries and closes connections."""
        ...


def open_transport(tracing: Tracing, output: TextIO | None = None) -> Transport:
    """Opens the configured transport; `output` is the console, by default stdout.

    Raises `ExtraAbsent`, and `OSError` if a certificate file can't be read.
    """
    try:
        from opentelemetry.sdk.resources import Resource

        _SDK_LOG.attach()
        # The SDK adds its own name and version, an id of this process, and the results of its detectors.
        resource = Resource.create(dict(tracing.resource))
        if tracing.collector is None:
            return _Console(resource, output or sys.stdout)
        kind = _Grpc if tracing.collector.protocol == "grpc" else _Http
        return kind(tracing.collector, _written(resource.attributes))
    except ImportError as error:
        cure = f"run pip install 'gatehouse-platform[{EXTRA}]'"
        raise ExtraAbsent(f"traces can't be sent: {error}; {cure}") from None


def _written(attributes: Mapping[str, Any]) -> dict[str, AttributeValue]:
    return {key: list(value) if isinstance(value, tuple) else value for key, value in attributes.items()}


class _Console:
    """Prints spans in the SDK's own format, for development."""

    shown = "console"

    def __init__(self, resource: Any, output: TextIO) -> None:
        from opentelemetry.sdk.trace.export import ConsoleSpanExporter

        from observability.readable import readable

        self._readable = readable
        self._resource = resource
        self._exporter = ConsoleSpanExporter(out=output)

    def encode(self, span: SpanRecord) -> Any:
        """The span as the SDK's `ReadableSpan`."""
        return self._readable(span, self._resource)

    def send(self, batch: Sequence[Any]) -> str:
        """Prints the spans."""
        self._exporter.export(batch)
        return ""

    def close(self) -> None:
        """See `Transport.close`."""
        self._exporter.shutdown()


class _Http:
    """OTLP over HTTP with the client of the SDK's exporter, which uses `requests` and urllib3.

    The exporter itself is not used: it needs `ReadableSpan`, and reads the environment again with its own rules.
    """

    def __init__(self, collector: Collector, resource: Mapping[str, AttributeValue]) -> None:
        from opentelemetry.exporter.http.transport._requests import RequestsHTTPTransport
        from opentelemetry.exporter.otlp.common.http import Compression, _OTLPHTTPClient
        from opentelemetry.exporter.otlp.proto.http.version import __version__ as version

        self.shown = collector.shown
        self._resource = resource
        self._client = _OTLPHTTPClient(
            RequestsHTTPTransport(
                verify=collector.certificate or True,
                cert=(collector.client_certificate, collector.client_key) if collector.client_key else None,
                session=_session(collector.proxy),
            ),
            collector.endpoint,
            "spans",
            collector.timeout_s,
            Compression(collector.compression),
            {
                "user-agent": f"OTel-OTLP-Exporter-Python/{version}",
                **collector.headers,
                "content-type": "application/x-protobuf",
            },
        )

    def encode(self, span: SpanRecord) -> bytes:
        """Protobuf."""
        return encode(span)

    def send(self, batch: Sequence[bytes]) -> str:
        """Posts the spans; retries until the timeout if the collector asks for it or is unreachable."""
        result = self._client.export(request(self._resource, SCOPE, batch))
        if result.status_code is None:
            return "no response" if result.error is None else type(result.error).__name__
        # The client treats a redirect as a success, and does not follow it.
        return "" if 200 <= result.status_code < 300 else f"status {result.status_code}"

    def close(self) -> None:
        """See `Transport.close`."""
        self._client.shutdown()


def _session(proxy: Proxy | None) -> Any:
    import requests
    from requests.adapters import HTTPAdapter

    class Adapter(HTTPAdapter):
        """Trusts Python's CA certificates, as all other calls do, and limits the size of responses."""

        def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:
            super().cert_verify(conn, url, verify, cert)
            if verify is True:
                # Without those of `certifi`, urllib3 uses Python's, including `SSL_CERT_FILE`.
                conn.ca_certs = conn.ca_cert_dir = None

        def build_response(self, req: Any, resp: Any) -> Any:
            response = super().build_response(req, resp)
            body = resp.read(MOST_RESPONSE + 1)
            if len(body) > MOST_RESPONSE:
                resp.close()
            response.raw = io.BytesIO(body)
            return response

    session = requests.Session()
    # The egress settings already include the proxies of the environment.
    session.trust_env = False
    for scheme in ("http://", "https://"):
        session.mount(scheme, Adapter())
    if proxy is not None:
        session.proxies = dict.fromkeys(("http", "https"), _proxy_url(proxy))
    return session


def _proxy_url(proxy: Proxy) -> str:
    """The URL of the proxy, with credentials."""
    if not proxy.authorization:
        return proxy.shown
    user, _, password = base64.b64decode(proxy.authorization.partition(" ")[2]).decode().partition(":")
    return proxy.shown.replace("://", f"://{quote(user, safe='')}:{quote(password, safe='')}@")


class _Grpc:
    """OTLP over gRPC with the base class of the SDK's gRPC exporters."""

    def __init__(self, collector: Collector, resource: Mapping[str, AttributeValue]) -> None:
        import grpc  # type: ignore[import-untyped]
        from opentelemetry.exporter.otlp.proto.grpc.exporter import OTLPExporterMixin
        from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
        from opentelemetry.sdk.trace.export import SpanExportResult

        class Stub:
            """The gRPC service, for requests that are already encoded."""

            def __init__(self, channel: Any) -> None:
                self.Export = channel.unary_unary(  # the exporter's name for it
                    "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
                    response_deserializer=ExportTraceServiceResponse.FromString,
                )

        class Encoded(OTLPExporterMixin[Any, Any, Any, Any]):
            """Sends encoded requests."""

            _exporting = "traces"

            def _translate_data(self, data: Any) -> Any:
                return data

            def _count_data(self, data: Any) -> int:
                return 1

        self.shown = collector.shown
        self._resource = resource
        self._delivered = SpanExportResult.SUCCESS
        proxy = ("grpc.http_proxy", _proxy_url(collector.proxy)) if collector.proxy is not None else None
        options: Any = (proxy or ("grpc.enable_http_proxy", 0),)
        self._exporter = Encoded(
            stub=Stub,
            result=SpanExportResult,
            endpoint=collector.endpoint,
            insecure=not collector.secure,
            credentials=_credentials(collector) if collector.secure else None,
            headers=tuple(collector.headers.items()),
            timeout=collector.timeout_s,
            compression=grpc.Compression.Gzip if collector.compression == "gzip" else grpc.Compression.NoCompression,
            channel_options=options,
        )

    def encode(self, span: SpanRecord) -> bytes:
        """Protobuf."""
        return encode(span)

    def send(self, batch: Sequence[bytes]) -> str:
        """Calls the collector; retries until the timeout if that may help."""
        if self._exporter._export(request(self._resource, SCOPE, batch)) is self._delivered:
            return ""
        return _SDK_LOG.status or "no response"

    def close(self) -> None:
        """See `Transport.close`."""
        self._exporter.shutdown()


def _credentials(collector: Collector) -> Any:
    import grpc

    # Without a configured file or Python's, gRPC trusts its bundled CA certificates.
    roots = collector.certificate or ssl.get_default_verify_paths().cafile

    def content(path: str | None) -> bytes | None:
        return Path(path).read_bytes() if path else None

    return grpc.ssl_channel_credentials(
        content(roots), content(collector.client_key), content(collector.client_certificate)
    )


class _SdkLog(logging.Handler):
    """Filters the SDK's log.

    The SDK's exporters log every failure again, some with the collector's text or with a header, which is a secret.
    `Exporter` logs a failure once, with the status that is found here. Other warnings go to the gateway's log.
    """

    def __init__(self) -> None:
        super().__init__()
        self.status = ""

    def attach(self) -> None:
        """Attaches to OpenTelemetry's loggers."""
        logger = logging.getLogger("opentelemetry")
        if self not in logger.handlers:
            logger.addHandler(self)
            # Before the logger's own filter, which drops repeated records.
            logging.getLogger("opentelemetry.exporter.otlp.proto.grpc.exporter").filters.insert(0, self._note)
        logger.propagate = False

    def _note(self, record: logging.LogRecord) -> bool:
        if found := re.search(r"StatusCode\.([A-Z_]+)", record.getMessage()):
            self.status = found[1]
        return False

    def emit(self, record: logging.LogRecord) -> None:
        """See `logging.Handler.emit`."""
        # An invalid resource attribute is already reported, without its value.
        is_reported = "resource attribute pair" in str(record.msg)
        if record.name.startswith("opentelemetry.sdk") and record.levelno >= logging.WARNING and not is_reported:
            structlog.get_logger().warning("warning of the OpenTelemetry SDK", message=record.getMessage()[:500])


_SDK_LOG = _SdkLog()
