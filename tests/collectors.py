"""Collectors of traces that run in the test: OTLP over HTTP and over gRPC, with TLS, and with faults in turn."""

from __future__ import annotations

import contextlib
import gzip
import http.server
import ssl
import threading
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc  # type: ignore[import-untyped]
import msgspec
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import (
    TraceServiceServicer,
    add_TraceServiceServicer_to_server,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.reports.proxies import certificate


class Fault(msgspec.Struct):
    """What a collector says instead of taking a batch: an HTTP status, or a code of gRPC's by its name."""

    status: int | str
    headers: dict[str, str] = {}


class Taken:
    """What a collector got: requests that it took, all requests' headers, and their bodies as they came."""

    def __init__(self, faults: Sequence[Fault] = ()) -> None:
        self.url = ""
        self.got: list[ExportTraceServiceRequest] = []
        self.headers: list[dict[str, str]] = []
        self.bodies: list[bytes] = []
        # Requests wait here while it is not set.
        self.open = threading.Event()
        self.open.set()
        # A request has come, and may wait.
        self.asked = threading.Event()
        self._faults = list(faults)

    @property
    def spans(self) -> list[Span]:
        return [span for each in self.got for span in each.resource_spans[0].scope_spans[0].spans]

    @property
    def resource(self) -> dict[str, str]:
        """Of the first request."""
        return {pair.key: pair.value.string_value for pair in self.got[0].resource_spans[0].resource.attributes}

    def take(self, body: bytes, headers: Mapping[str, str]) -> Fault | None:
        """One request."""
        self.headers.append({key.lower(): value for key, value in headers.items()})
        self.bodies.append(body)
        self.asked.set()
        self.open.wait(30)
        if self._faults:
            return self._faults.pop(0)
        unpack: dict[str, Callable[[bytes], bytes]] = {"gzip": gzip.decompress, "deflate": zlib.decompress, "": bytes}
        data = unpack[self.headers[-1].get("content-encoding", "")](body)
        self.got.append(ExportTraceServiceRequest.FromString(data))
        return None


class Files(msgspec.Struct):
    """PEM files of a certificate that vouches for itself."""

    both: str
    certificate: str
    key: str


def make_files(folder: Path, name: str = "localhost") -> Files:
    """A certificate for `name` and 127.0.0.1."""
    both, _ = certificate(folder, name)
    text = both.read_text()
    end = "-----END CERTIFICATE-----\n"
    parts = (folder / f"{name}.crt", folder / f"{name}.key")
    parts[0].write_text(text[: text.index(end) + len(end)])
    parts[1].write_text(text[text.index(end) + len(end) :])
    return Files(str(both), *map(str, parts))


@contextlib.contextmanager
def http_collector(
    faults: Sequence[Fault] = (), tls: Files | None = None, client: Files | None = None, reply: bytes = b""
) -> Iterator[Taken]:
    """`tls` makes it speak https, `client` is the certificate that callers must have, `reply` what it answers."""
    taken = Taken(faults)

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            fault = taken.take(body, {":path": self.path, **dict(self.headers)})
            self.send_response(200 if fault is None else int(fault.status))
            for name, value in (fault.headers if fault is not None else {}).items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(reply)))
            self.end_headers()
            with contextlib.suppress(OSError):
                self.wfile.write(reply)

        def log_message(self, format: str, *args: object) -> None:
            pass

    class Server(http.server.ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: Any, client_address: Any) -> None:
            """Callers that do not trust it, or that have left."""

    server = Server(("127.0.0.1", 0), Handler)
    if tls is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(tls.both)
        if client is not None:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(client.certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    taken.url = f"http{'s' if tls else ''}://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield taken
    finally:
        taken.open.set()
        server.shutdown()
        server.server_close()


@contextlib.contextmanager
def grpc_collector(
    faults: Sequence[Fault] = (), tls: Files | None = None, client: Files | None = None, port: int = 0
) -> Iterator[Taken]:
    """As `http_collector`; its URL is `http://` or `https://` with host and port."""
    taken = Taken(faults)

    class Service(TraceServiceServicer):  # type: ignore[misc, unused-ignore]
        def Export(self, request: Any, context: Any) -> ExportTraceServiceResponse:  # noqa: N802
            metadata = {str(key): str(value) for key, value in context.invocation_metadata()}
            fault = taken.take(request.SerializeToString(), metadata)
            if fault is not None:
                context.set_trailing_metadata(tuple(fault.headers.items()))
                context.abort(grpc.StatusCode[str(fault.status)], "the collector's own words")
            return ExportTraceServiceResponse()

    server = grpc.server(ThreadPoolExecutor(4))
    add_TraceServiceServicer_to_server(Service(), server)  # type: ignore[no-untyped-call]
    if tls is None:
        port = server.add_insecure_port(f"127.0.0.1:{port}")
    else:
        pair = (Path(tls.key).read_bytes(), Path(tls.certificate).read_bytes())
        roots = Path(client.certificate).read_bytes() if client is not None else None
        credentials = grpc.ssl_server_credentials([pair], roots, require_client_auth=client is not None)
        port = server.add_secure_port(f"127.0.0.1:{port}", credentials)
    server.start()
    taken.url = f"http{'s' if tls else ''}://127.0.0.1:{port}"
    try:
        yield taken
    finally:
        taken.open.set()
        server.stop(None).wait(10)
