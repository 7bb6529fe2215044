"""Ledgers of each outcome, and a collector that takes what is sent to it."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from contract.attempt import Attempt
from contract.caller import Caller
from contract.deltas import Usage
from contract.exchange import Exchange, Outcome, Step
from contract.messages import DroppedParam
from contract.trace_context import new_span_id

SECRETS = ("sk-secret", "my phone number", "the caller's own words")


def ledger(outcome: Outcome = "ok", status: int = 200, traceparent: str = "", attempts: int = 1) -> Exchange:
    """A request of 100 ms with a dispatch and its attempts, the last of which answered unless it went wrong."""
    exchange = Exchange("POST /v1/chat/completions", traceparent, "vendor=1")
    start = exchange.started
    exchange.ended = start + 0.1
    exchange.status = status
    exchange.outcome = outcome
    exchange.stream = True
    if status == 401:
        exchange.error = "invalid_api_key"
        return exchange
    exchange.caller = Caller("bot")
    if status == 404:
        exchange.model = SECRETS[2]
        exchange.error = "model_not_found"
        return exchange
    exchange.model = exchange.route = "quick"
    exchange.steps = [
        Step("admit", start, start + 0.001),
        Step("retrieve", start + 0.002, start + 0.009, {"passages": 3, "sources": ["a", "b"]}),
        Step("context", start + 0.001, start + 0.01),
        Step("dispatch", start + 0.01, start + 0.05),
    ]
    for number in range(1, attempts + 1):
        last = number == attempts
        attempt = Attempt(
            target=f"up{number}/m",
            provider=f"up{number}",
            model="m",
            dialect="openai",
            number=number,
            reason="first" if number == 1 else "fallback",
            started=start + 0.01 * number,
            ended=start + (0.1 if last else 0.01 * number + 0.005),
            status=200 if last else 503,
            error="" if last and outcome == "ok" else "overloaded",
            message=SECRETS[0],
            span_id=new_span_id(),
            chosen=last and outcome == "ok",
            losses=(DroppedParam("top_k", "x"),),
        )
        exchange.attempts.append(attempt)
    if outcome == "ok":
        exchange.target = f"up{attempts}/m"
        exchange.first_byte = start + 0.06
        exchange.usage = Usage(10, 5, cache_read=3, reasoning=2)
        exchange.finish = "stop"
        exchange.reply_id = "chatcmpl-1"
        exchange.reply_model = "m-2026"
    else:
        exchange.error = "overloaded"
        exchange.error_message = SECRETS[1]
    return exchange


@contextmanager
def collector(
    status: int = 200, delay_s: float = 0.0
) -> Iterator[tuple[str, list[ExportTraceServiceRequest], list[Any]]]:
    """Its URL, the requests that it got, and their headers."""
    got: list[ExportTraceServiceRequest] = []
    headers: list[Any] = []
    gate = threading.Event()

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            gate.wait(delay_s)
            got.append(ExportTraceServiceRequest.FromString(body))
            headers.append({"path": self.path, **dict(self.headers)})
            self.send_response(status)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", got, headers
    finally:
        gate.set()
        server.shutdown()
        server.server_close()
