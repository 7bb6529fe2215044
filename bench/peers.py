"""Gatehouse compared with other gateways, in one run on one machine: CPU per request and per streamed event.

    python -m bench.peers [--rounds 3] [--only gatehouse,nginx] [--json FILE]

Skips peers that are not installed: `nginx` from PATH; `litellm` by BENCH_LITELLM (its entry point); `portkey` by
BENCH_PORTKEY (the folder of @portkey-ai/gateway) and node. Figures are CPU time, user and system, of a peer's complete
process tree from /proc, because wall-clock figures on a shared machine mean little. Rounds are interleaved; the median
counts.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

from bench.load import Load, body, raw_request

ROOT = Path(__file__).resolve().parents[1]
KEY = "bench-key-0123456789"
PORTS = {"upstream": 18200, "collector": 18201, "gatehouse": 18202, "nginx": 18203, "portkey": 18204, "litellm": 18205}
MODELS = ("bench", "bench-n200", "bench-n200-burst", "bench-n100-pace20", "bench-n60-pace100")
GATEHOUSE = """
version: 1
server: {{listen: "127.0.0.1:{gatehouse}"}}
providers: {{up: {{kind: openai, base_url: "http://127.0.0.1:{upstream}/v1", api_key: upstream-key}}}}
models:
{models}
apps: {{bench: {{keys: [{key}]}}}}
observe: {{otlp: "http://127.0.0.1:{collector}", log: json, metrics: true}}
"""
NGINX = """
daemon off; worker_processes 1; error_log stderr crit; pid {folder}/nginx.pid;
events {{ worker_connections 4096; }}
http {{
  access_log off; keepalive_timeout 300s; keepalive_requests 100000000; client_max_body_size 32m;
  client_body_temp_path {folder}/b; proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f;
  uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  upstream up {{ server 127.0.0.1:{upstream}; keepalive 256; keepalive_requests 100000000; keepalive_timeout 300s; }}
  server {{ listen 127.0.0.1:{nginx};
    location / {{
      proxy_pass http://up; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_buffering off; }} }}
}}
"""


class Peer:
    """A process under measure."""

    def __init__(self, name: str, argv: list[str], folder: Path, environ: dict[str, str] | None = None) -> None:
        self.name = name
        self.port = PORTS[name]
        log = (folder / f"{name}.log").open("wb")
        started = time.perf_counter()
        self.process = subprocess.Popen(
            argv, cwd=folder, env={**os.environ, **(environ or {})}, stdout=log, stderr=log, stdin=subprocess.DEVNULL
        )
        self.first_answer_s = self._wait(started)

    def _wait(self, started: float) -> float:
        while time.perf_counter() - started < 90:
            if self.process.poll() is not None:
                raise RuntimeError(f"{self.name} ended with {self.process.returncode}")
            try:
                if self._ask() == 200:
                    return time.perf_counter() - started
            except OSError:
                pass
            time.sleep(0.02)
        raise RuntimeError(f"{self.name} did not answer")

    def _ask(self) -> int:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            headers = {
                "authorization": f"Bearer {KEY}",
                "content-type": "application/json",
                "x-portkey-provider": "openai",
            }
            headers["x-portkey-custom-host"] = f"http://127.0.0.1:{PORTS['upstream']}/v1"
            connection.request("POST", "/v1/chat/completions", body("bench"), headers)
            return connection.getresponse().status
        finally:
            connection.close()

    def _tree(self) -> list[psutil.Process]:
        try:
            root = psutil.Process(self.process.pid)
            return [root, *root.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def cpu_s(self) -> float:
        """User and system time so far."""
        return sum(sum(process.cpu_times()[:2]) for process in self._tree())

    def rss_mb(self) -> float:
        """Resident memory."""
        return sum(float(process.memory_info().rss) for process in self._tree()) / 1e6

    def stop(self) -> None:
        """Stops it, by its process id."""
        for process in reversed(self._tree()):
            process.terminate()
        try:
            self.process.wait(8)
        except subprocess.TimeoutExpired:
            self.process.kill()


def start(name: str, folder: Path) -> Peer | None:
    """The peer, or None when it is not installed."""
    if name == "gatehouse":
        models = "\n".join(f"  {model}: {{targets: [up/{model}]}}" for model in MODELS)
        (folder / "gatehouse.yaml").write_text(GATEHOUSE.format(models=models, key=KEY, **PORTS))
        argv = [sys.executable, "-m", "gateway", "serve", "-c", str(folder / "gatehouse.yaml")]
        return Peer(name, argv, folder, {"PYTHONPATH": str(ROOT)})
    if name == "nginx" and shutil.which("nginx"):
        (folder / "nginx.conf").write_text(NGINX.format(folder=folder, **PORTS))
        return Peer(name, ["nginx", "-p", str(folder), "-c", str(folder / "nginx.conf")], folder)
    if name == "portkey" and os.environ.get("BENCH_PORTKEY"):
        script = Path(os.environ["BENCH_PORTKEY"]) / "build" / "start-server.js"
        environ = {"NODE_ENV": "production"}
        return Peer(name, ["node", str(script), "--headless", f"--port={PORTS[name]}"], folder, environ)
    if name == "litellm" and os.environ.get("BENCH_LITELLM"):
        return _start_litellm(folder)
    return None


def _start_litellm(folder: Path) -> Peer:
    parameters = {"api_base": f"http://127.0.0.1:{PORTS['upstream']}/v1", "api_key": "upstream-key"}
    models = [{"model_name": m, "litellm_params": {"model": f"openai/{m}", **parameters}} for m in MODELS]
    config = {"model_list": models, "litellm_settings": {"num_retries": 0}, "general_settings": {"master_key": KEY}}
    (folder / "litellm.yaml").write_text(json.dumps(config))
    argv = [os.environ["BENCH_LITELLM"], "--config", str(folder / "litellm.yaml"), "--host", "127.0.0.1"]
    argv += ["--port", str(PORTS["litellm"]), "--num_workers", "1"]
    environ = {
        "LITELLM_MODE": "PRODUCTION",
        "LITELLM_LOG": "ERROR",
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true",
        "DO_NOT_TRACK": "1",
    }
    return Peer("litellm", argv, folder, environ)


def request(peer: Peer, model: str, *, stream: bool) -> bytes:
    """The same request to each; Portkey wants to be told where to."""
    data = raw_request(peer.port, KEY, body(model, stream=stream))
    if peer.name == "portkey":
        host = f"x-portkey-custom-host: http://127.0.0.1:{PORTS['upstream']}/v1\r\n".encode()
        data = data.replace(b"x-portkey-provider", host + b"x-portkey-provider", 1)
    return data


def measure(
    peer: Peer, model: str, load: tuple[int, int, float], *, stream: bool, given: bytes = b""
) -> dict[str, Any]:
    """CPU per request and per event under `load` (connections, times, seconds at most); `given` is another request."""
    before = peer.cpu_s()
    # The load comes from a process of its own: its CPU is not the peer's.
    command = [sys.executable, "-m", "bench.peers", "--load", json.dumps([peer.port, *load])]
    given = given or request(peer, model, stream=stream)
    result = subprocess.run(command, cwd=ROOT, input=given, capture_output=True, check=True, timeout=load[2] + 60)
    found: dict[str, Any] = json.loads(result.stdout)
    spent = peer.cpu_s() - before
    found["us_per_request"] = round(spent / max(1, found["done"]) * 1e6, 1)
    if found["events"]:
        found["us_per_event"] = round(spent / found["events"] * 1e6, 2)
    return found


PHASES: tuple[tuple[str, str, tuple[int, int, float], bool], ...] = (
    ("whole, 32 at once", "bench", (32, 150, 60), False),
    ("stream, as fast as it goes", "bench-n200", (16, 6, 60), True),
    ("stream, in bursts", "bench-n200-burst", (16, 12, 60), True),
    ("stream, an event every 20 ms, 16 at once", "bench-n100-pace20", (16, 3, 60), True),
)
CROWD = ("500 streams at once, an event every 100 ms", "bench-n60-pace100", (500, 1, 90), True)


def main() -> int:
    """Runs all phases; prints a table; writes JSON when asked."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="gatehouse,nginx,portkey,litellm")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--load")
    arguments = parser.parse_args()
    if arguments.load:
        port, connections, times, limit_s = json.loads(arguments.load)
        ramp_s = 2.0 if connections > 100 else 0.0
        sys.stdout.write(json.dumps(Load(port, sys.stdin.buffer.read(), connections, times, limit_s).run(ramp_s)))
        return 0
    results = _run(arguments.only.split(","), arguments.rounds)
    print(table(results))
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=1) + "\n")
    return 0


def _run(names: list[str], rounds: int) -> dict[str, Any]:
    folder = Path(tempfile.mkdtemp(prefix="gatehouse-bench-"))
    helpers = [
        subprocess.Popen([sys.executable, "-m", f"bench.{name}", str(PORTS[name])], cwd=ROOT)
        for name in ("upstream", "collector")
    ]
    time.sleep(1)
    peers: list[Peer] = []
    results: dict[str, Any] = {}
    try:
        for name in names:
            peer = start(name, folder)
            if peer is None:
                print(f"{name} is not installed: left out", file=sys.stderr)
                continue
            peers.append(peer)
            results[name] = {"first answer, s": round(peer.first_answer_s, 2), "idle, MB": round(peer.rss_mb())}
            measure(peer, "bench", (16, 50, 60), stream=False)
        for phase, model, load, stream in PHASES:
            for _ in range(rounds):
                for peer in peers:
                    found = measure(peer, model, load, stream=stream)
                    results[peer.name].setdefault(phase, []).append(found)
                    print(peer.name, phase, found, file=sys.stderr)
        phase, model, load, stream = CROWD
        for peer in peers:
            found = measure(peer, model, load, stream=stream)
            results[peer.name][phase] = [{**found, "rss_mb": round(peer.rss_mb())}]
            print(peer.name, phase, found, file=sys.stderr)
    finally:
        for peer in peers:
            peer.stop()
        for process in helpers:
            process.terminate()
            process.wait(5)
        shutil.rmtree(folder, ignore_errors=True)
    return results


def table(results: dict[str, Any]) -> str:
    """Markdown: the medians, and each peer's ratio to Gatehouse."""
    lines = ["| " + " | ".join(["", *results]) + " |", "|---" * (len(results) + 1) + "|"]
    lines += [
        "| " + " | ".join([fact, *[str(found[fact]) for found in results.values()]]) + " |"
        for fact in ("first answer, s", "idle, MB")
    ]
    for phase, _, _, stream in (*PHASES, CROWD):
        unit = "us_per_event" if stream else "us_per_request"
        medians = {
            name: statistics.median(each.get(unit, float("nan")) for each in found[phase])
            for name, found in results.items()
        }
        ours = medians.get("gatehouse")
        cells = [f"{value:.1f}" + (f" ({value / ours:.1f}x)" if ours else "") for value in medians.values()]
        lines.append("| " + " | ".join([f"{phase}: {unit.replace('_', ' ')}", *cells]) + " |")
    phase = CROWD[0]
    for key in ("done", "failed", "first_byte_p50_ms", "first_byte_p99_ms", "rss_mb"):
        cells = [str(found[phase][0][key]) for found in results.values()]
        lines.append("| " + " | ".join([f"{phase}: {key.replace('_', ' ')}", *cells]) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
