"""The cost of traces: requests without them, with our encoder, and with the SDK's spans and encoder.

    python -m bench.traces [--rounds 9] [--requests 6400]

Three gateways run side by side and receive requests in turn, in a changing order. The CPU time is that of a gateway
process with its threads, until it has sent the last batch. All use the SDK's exporter and a collector that discards
everything.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil

from bench.load import Load, body, raw_request
from observability import transports
from observability.trace import SpanRecord
from observability.tracing import Collector

ROOT = Path(__file__).resolve().parents[1]
KEY = "bench-key-0123456789"
PORTS = {"upstream": 18310, "collector": 18311, "off": 18312, "ours": 18313, "sdk": 18314}
WAYS = ("off", "ours", "sdk")
BY_SDK = "--by-sdk"
YAML = """
version: 1
server: {{listen: "127.0.0.1:{port}", watch: false}}
providers: {{up: {{kind: openai, base_url: "http://127.0.0.1:{upstream}/v1", api_key: upstream-key}}}}
models: {{bench: {{targets: [up/bench]}}}}
apps: {{bench: {{keys: [{key}]}}}}
observe: {{log: "off"{otlp}}}
"""
# The exporter's thread waits half a second for a batch to fill.
SETTLE_S = 1.2


class _BySdk:
    """In the place of the transport over HTTP: the SDK's spans, and its encoder."""

    def __init__(self, collector: Collector, resource: dict[str, Any]) -> None:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource

        self.shown = collector.shown
        self._resource = Resource(resource)
        self._exporter = OTLPSpanExporter(endpoint=collector.endpoint)

    def encode(self, span: SpanRecord) -> Any:
        from observability.readable import readable

        return readable(span, self._resource)

    def send(self, batch: Sequence[Any]) -> str:
        return "" if self._exporter.export(batch).name == "SUCCESS" else "failed"

    def close(self) -> None:
        self._exporter.shutdown()  # type: ignore[no-untyped-call]


def _start(way: str, folder: Path) -> subprocess.Popen[bytes]:
    otlp = f', otlp: "http://127.0.0.1:{PORTS["collector"]}"' if way != "off" else ""
    config = folder / f"{way}.yaml"
    config.write_text(YAML.format(port=PORTS[way], upstream=PORTS["upstream"], key=KEY, otlp=otlp))
    serve = ["serve", "-c", str(config)]
    return _spawn(["bench.traces", BY_SDK, *serve] if way == "sdk" else ["gateway", *serve], folder / f"{way}.log")


def _spawn(module: list[str], log: Path) -> subprocess.Popen[bytes]:
    with log.open("wb") as out:
        environ = {**os.environ, "PYTHONPATH": str(ROOT)}
        return subprocess.Popen([sys.executable, "-m", *module], cwd=ROOT, env=environ, stdout=out, stderr=out)


def _ask(way: str, requests: int) -> int:
    """How many were answered."""
    load = Load(PORTS[way], raw_request(PORTS[way], KEY, body("bench")), 32, requests // 32, 60)
    done = load.run()
    return int(done["done"]) - int(done["failed"])


def _wait(way: str) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            if _ask(way, 32) == 32:
                return
        except OSError:
            pass
        time.sleep(0.1)
    raise SystemExit(f"{way} does not answer")


def _cost_us(way: str, process: psutil.Process, requests: int) -> float:
    before = sum(process.cpu_times()[:2])
    if _ask(way, requests) != requests:
        raise SystemExit(f"{way} failed")
    time.sleep(SETTLE_S)
    return (sum(process.cpu_times()[:2]) - before) / requests * 1e6


def measure(rounds: int, requests: int) -> dict[str, list[float]]:
    """CPU microseconds of a request in each round, by way."""
    found: dict[str, list[float]] = {way: [] for way in WAYS}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        running = [_spawn([f"bench.{each}", str(PORTS[each])], folder / each) for each in ("upstream", "collector")]
        try:
            gateways = {way: _start(way, folder) for way in WAYS}
            running += gateways.values()
            processes = {way: psutil.Process(gateway.pid) for way, gateway in gateways.items()}
            for way in WAYS:
                _wait(way)
                _cost_us(way, processes[way], requests)
            for _ in range(rounds):
                for way in random.sample(WAYS, len(WAYS)):
                    found[way].append(_cost_us(way, processes[way], requests))
        finally:
            for process in running:
                process.terminate()
            for process in running:
                process.wait(15)
    return found


def main() -> None:
    """Prints a table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--requests", type=int, default=6400)
    options = parser.parse_args()
    found = measure(options.rounds, options.requests)
    bare = statistics.median(found["off"])
    print("| traces | CPU us a request: median, least, most | more than without |\n|---|---|---|")
    for way, costs in found.items():
        middle = statistics.median(costs)
        print(f"| {way} | {middle:.0f}, {min(costs):.0f}, {max(costs):.0f} | {(middle / bare - 1) * 100:.0f} % |")


if __name__ == "__main__":
    if BY_SDK in sys.argv:
        from gateway.commands.cli import main as gatehouse

        sys.argv.remove(BY_SDK)
        transports._Http = _BySdk  # type: ignore[assignment, misc]
        gatehouse()
    else:
        main()
