"""Sends traces to a collector by OTLP over HTTP, from a thread of its own.

A collector that is slow, wrong or gone costs bounded memory and no time of a request: batches wait in a bounded
queue, and what does not fit is dropped and counted.
"""

from __future__ import annotations

import http.client
import queue
import ssl
import threading
import time
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

import structlog

from contract.bounded_http import dial, target_of
from contract.egress import DIRECT
from observability.protobuf import request

if TYPE_CHECKING:
    from collections.abc import Mapping

    from contract.egress import Egress
    from contract.exchange import AttributeValue

MAX_WAITING_SPANS = 20_000
BATCH_SPANS = 512
BATCH_WAIT_S = 0.5
TRIES = 4
SCOPE = "gatehouse"


class ExportTarget:
    """Where to send, and what to say about ourselves; from the config, else from OpenTelemetry's own variables."""

    def __init__(
        self,
        endpoint: str,
        headers: Mapping[str, str],
        service: tuple[str, str],
        environ: Mapping[str, str],
        egress: Egress = DIRECT,
    ) -> None:
        """`endpoint` is the collector's base URL or empty; `service` is name and version."""
        if environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
            endpoint = ""
        elif not endpoint:
            endpoint = environ.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "")
            base = environ.get("OTEL_EXPORTER_OTLP_ENDPOINT", "")
            endpoint = endpoint or (base.rstrip("/") + "/v1/traces" if base else "")
        elif not urlsplit(endpoint).path.endswith("/v1/traces"):
            endpoint = endpoint.rstrip("/") + "/v1/traces"
        self.endpoint = endpoint
        self.proxy = egress.proxy_for(endpoint) if endpoint else None
        named = environ.get("OTEL_EXPORTER_OTLP_TRACES_HEADERS", environ.get("OTEL_EXPORTER_OTLP_HEADERS", ""))
        self.headers = {**_pairs(named), **headers, "content-type": "application/x-protobuf"}
        self.timeout_s = _number(environ.get("OTEL_EXPORTER_OTLP_TIMEOUT", ""), 10_000) / 1000
        name, version = service
        self.resource: dict[str, AttributeValue] = {
            "service.name": environ.get("OTEL_SERVICE_NAME", "") if name == "gatehouse" else name,
            "service.version": version,
            "telemetry.sdk.language": "python",
            "telemetry.sdk.name": "gatehouse",
            **_pairs(environ.get("OTEL_RESOURCE_ATTRIBUTES", "")),
        }
        self.resource["service.name"] = self.resource["service.name"] or name


def _pairs(text: str) -> dict[str, str]:
    """`a=b,c=d`, percent-decoded, as OpenTelemetry's variables hold them."""
    found = {}
    for part in text.split(","):
        key, equals, value = part.partition("=")
        if equals and key.strip():
            found[unquote(key.strip())] = unquote(value.strip())
    return found


def _number(text: str, default: float) -> float:
    try:
        return float(text) if text else default
    except ValueError:
        return default


class Exporter:
    """`put` never waits. `dropped` counts spans that could not be kept or delivered."""

    def __init__(self, target: ExportTarget) -> None:
        self._target = target
        self._queue: queue.SimpleQueue[list[bytes] | None] = queue.SimpleQueue()
        self._waiting = 0
        self._lock = threading.Lock()
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="otlp", daemon=True)
        self._connection: http.client.HTTPConnection | None = None
        self._failing = False
        self.dropped = 0
        self._thread.start()

    def put(self, spans: list[bytes]) -> None:
        """Queues the spans of one or more traces."""
        with self._lock:
            if self._waiting + len(spans) > MAX_WAITING_SPANS:
                self.dropped += len(spans)
                return
            self._waiting += len(spans)
        self._queue.put(spans)

    def close(self, deadline_s: float) -> None:
        """Sends what waits, for at most `deadline_s`."""
        self._queue.put(None)
        self._ending.set()
        self._thread.join(deadline_s)

    def _run(self) -> None:
        ended = False
        while not ended:
            batch: list[bytes] = []
            wait = None
            until = 0.0
            while len(batch) < BATCH_SPANS:
                try:
                    spans = self._queue.get(timeout=wait)
                except queue.Empty:
                    break
                if spans is None:
                    ended = True
                    break
                batch += spans
                until = until or time.monotonic() + BATCH_WAIT_S
                wait = max(0.001, until - time.monotonic())
            if batch:
                delivered = self._deliver(batch)
                with self._lock:
                    self._waiting -= len(batch)
                    self.dropped += 0 if delivered else len(batch)

    def _deliver(self, batch: list[bytes]) -> bool:
        body = request(self._target.resource, SCOPE, batch)
        for attempt in range(TRIES):
            status = self._post(body)
            if 200 <= status < 300:
                self._failing = False
                return True
            if status not in (0, 408, 429, 502, 503, 504):
                break
            if self._ending.is_set():
                break
            self._ending.wait(min(5.0, 0.5 * 2**attempt))
        if not self._failing:
            self._failing = True
            structlog.get_logger().warning("traces can't be delivered", endpoint=_shown(self._target.endpoint))
        return False

    def _post(self, body: bytes) -> int:
        """The collector's status; 0 when it can't be reached."""
        try:
            if self._connection is None:
                self._connection = _Dialled(self._target)
            where, told = target_of(self._target.endpoint, self._target.proxy)
            self._connection.request("POST", where, body, {**self._target.headers, **told})
            response = self._connection.getresponse()
            response.read()
            return response.status
        except (OSError, http.client.HTTPException):
            if self._connection is not None:
                self._connection.close()
                self._connection = None
            return 0


class _Dialled(http.client.HTTPConnection):
    def __init__(self, target: ExportTarget) -> None:
        url = urlsplit(target.endpoint)
        self._tls = ssl.create_default_context() if url.scheme == "https" else None
        super().__init__(url.hostname or "127.0.0.1", url.port or (443 if self._tls else 80))
        self._target = target

    def connect(self) -> None:
        timeout_s = self._target.timeout_s
        self.sock = dial(self.host, self.port, time.monotonic() + timeout_s, proxy=self._target.proxy, tls=self._tls)
        self.sock.settimeout(timeout_s)


def _shown(endpoint: str) -> str:
    url = urlsplit(endpoint)
    return f"{url.scheme}://{url.hostname}:{url.port}{url.path}"
