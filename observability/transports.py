"""Where finished spans go: a collector by OTLP over HTTP or gRPC, or the console. The SDK's exporters carry them.

The exporters bring TLS, packing, deadlines and retries; what they carry is encoded here (`observability/protobuf.py`,
for the reason in `docs/decisions.md`). The SDK, gRPC and `requests` are imported by `open_transport` alone: a gateway
that does not trace imports none of them.
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
# Bytes of a collector's answer that are read: it has a word about refused spans at most, and nobody reads that.
MOST_ANSWER = 64 * 1024


class ExtraAbsent(ValueError):
    """The packages that traces need are not installed, or others of their versions. The message names the extra."""


class Transport(Protocol):
    """Takes spans away. Used by one thread, but for `close`."""

    shown: str

    def encode(self, span: SpanRecord) -> Any:
        """The form in which a span waits for `send`. Called on the event loop."""
        ...

    def send(self, batch: Sequence[Any]) -> str:
        """Delivers spans. Returns why that failed, in a few words, or "" when it did not."""
        ...

    def close(self) -> None:
        """Ends a delivery that is waiting to be tried again, and lets go of connections."""
        ...


def open_transport(tracing: Tracing, output: TextIO | None = None) -> Transport:
    """What the settings ask for; `output` is the console, stdout by default.

    Raises `ExtraAbsent`, and `OSError` where a file of certificates can't be read.
    """
    try:
        from opentelemetry.sdk.resources import Resource

        _SDK_LOG.attach()
        # The SDK adds its own name and version, an id of this process, and what its detectors find.
        resource = Resource.create(dict(tracing.resource))
        if tracing.collector is None:
            return _Console(resource, output or sys.stdout)
        kind = _Grpc if tracing.collector.protocol == "grpc" else _Http
        return kind(tracing.collector, _written(resource.attributes))
    except ImportError as error:
        cure = f"pip install 'gatehouse-platform[{EXTRA}]' brings what they need"
        raise ExtraAbsent(f"traces can't be sent: {error}; {cure}") from None


def _written(attributes: Mapping[str, Any]) -> dict[str, AttributeValue]:
    return {key: list(value) if isinstance(value, tuple) else value for key, value in attributes.items()}


class _Console:
    """The SDK's own form, on stdout; for looking at traces while developing."""

    shown = "console"

    def __init__(self, resource: Any, output: TextIO) -> None:
        from opentelemetry.sdk.trace.export import ConsoleSpanExporter

        from observability.readable import readable

        self._readable = readable
        self._resource = resource
        self._exporter = ConsoleSpanExporter(out=output)

    def encode(self, span: SpanRecord) -> Any:
        """The SDK's span."""
        return self._readable(span, self._resource)

    def send(self, batch: Sequence[Any]) -> str:
        """Prints them."""
        self._exporter.export(batch)
        return ""

    def close(self) -> None:
        """Nothing to let go of."""
        self._exporter.shutdown()


class _Http:
    """OTLP over HTTP by the client of the SDK's exporter, which is `requests` and urllib3.

    The exporter around it takes spans, and reads the environment again by rules of its own: its timeout is in seconds.
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
        """Posts them, again and again until the timeout where the collector asks for that or can't be reached."""
        result = self._client.export(request(self._resource, SCOPE, batch))
        if result.status_code is None:
            return "no answer" if result.error is None else type(result.error).__name__
        # The client takes a redirect for a success, and does not follow it.
        return "" if 200 <= result.status_code < 300 else f"status {result.status_code}"

    def close(self) -> None:
        """See `Transport.close`."""
        self._client.shutdown()


def _session(proxy: Proxy | None) -> Any:
    import requests
    from requests.adapters import HTTPAdapter

    class Adapter(HTTPAdapter):
        """Trusts the authorities that Python does, as every other call of ours, and reads no answer without end."""

        def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:
            super().cert_verify(conn, url, verify, cert)
            if verify is True:
                # Not those of `certifi`: urllib3 then takes Python's, `SSL_CERT_FILE` among them.
                conn.ca_certs = conn.ca_cert_dir = None

        def build_response(self, req: Any, resp: Any) -> Any:
            response = super().build_response(req, resp)
            body = resp.read(MOST_ANSWER + 1)
            if len(body) > MOST_ANSWER:
                resp.close()
            response.raw = io.BytesIO(body)
            return response

    session = requests.Session()
    # What the environment says of proxies has been read into the egress settings, and those count.
    session.trust_env = False
    for scheme in ("http://", "https://"):
        session.mount(scheme, Adapter())
    if proxy is not None:
        session.proxies = dict.fromkeys(("http", "https"), _proxy_url(proxy))
    return session


def _proxy_url(proxy: Proxy) -> str:
    """With its credentials."""
    if not proxy.authorization:
        return proxy.shown
    user, _, password = base64.b64decode(proxy.authorization.partition(" ")[2]).decode().partition(":")
    return proxy.shown.replace("://", f"://{quote(user, safe='')}:{quote(password, safe='')}@")


class _Grpc:
    """OTLP over gRPC by what the SDK's exporters over gRPC are made from."""

    def __init__(self, collector: Collector, resource: Mapping[str, AttributeValue]) -> None:
        import grpc  # type: ignore[import-untyped]
        from opentelemetry.exporter.otlp.proto.grpc.exporter import OTLPExporterMixin
        from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
        from opentelemetry.sdk.trace.export import SpanExportResult

        class Stub:
            """The service, for requests that are bytes already."""

            def __init__(self, channel: Any) -> None:
                self.Export = channel.unary_unary(  # the exporter's name for it
                    "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
                    response_deserializer=ExportTraceServiceResponse.FromString,
                )

        class Encoded(OTLPExporterMixin[Any, Any, Any, Any]):
            """Passes the bytes of a request on."""

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
        """Calls the collector, again and again until the timeout where that may help."""
        if self._exporter._export(request(self._resource, SCOPE, batch)) is self._delivered:
            return ""
        return _SDK_LOG.status or "no answer"

    def close(self) -> None:
        """See `Transport.close`."""
        self._exporter.shutdown()


def _credentials(collector: Collector) -> Any:
    import grpc

    # Without a file of its own or Python's, gRPC trusts the authorities that it ships with.
    roots = collector.certificate or ssl.get_default_verify_paths().cafile

    def content(path: str | None) -> bytes | None:
        return Path(path).read_bytes() if path else None

    return grpc.ssl_channel_credentials(
        content(roots), content(collector.client_key), content(collector.client_certificate)
    )


class _SdkLog(logging.Handler):
    """Stands between the SDK's log and stderr.

    The SDK's exporters log every failure again, some with the collector's words or with a header, which is a secret.
    `Exporter` tells once of a failure, by the status that is found here. Other warnings become lines of our own log.
    """

    def __init__(self) -> None:
        super().__init__()
        self.status = ""

    def attach(self) -> None:
        """Takes over OpenTelemetry's loggers."""
        logger = logging.getLogger("opentelemetry")
        if self not in logger.handlers:
            logger.addHandler(self)
            # Before the filter of its own, which drops what repeats.
            logging.getLogger("opentelemetry.exporter.otlp.proto.grpc.exporter").filters.insert(0, self._note)
        logger.propagate = False

    def _note(self, record: logging.LogRecord) -> bool:
        if found := re.search(r"StatusCode\.([A-Z_]+)", record.getMessage()):
            self.status = found[1]
        return False

    def emit(self, record: logging.LogRecord) -> None:
        """See `logging.Handler.emit`."""
        # Of a wrong attribute of the resource we have told, without its value.
        told = "resource attribute pair" in str(record.msg)
        if record.name.startswith("opentelemetry.sdk") and record.levelno >= logging.WARNING and not told:
            structlog.get_logger().warning("OpenTelemetry's SDK warns", message=record.getMessage()[:500])


_SDK_LOG = _SdkLog()
