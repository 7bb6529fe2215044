"""A real Prometheus scrapes a real gateway and finds the metrics under their names."""

from __future__ import annotations

import json
import subprocess
import time
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tests.live import Gateway, free_port, running_gateway
from tests.services import binary

CONFIG = """
version: 1
providers: {pretend: {kind: simulated, script: [ok]}}
models: {quick: {targets: [pretend/m]}}
apps: {bot: {keys: [test-key]}}
observe: {log: "off"}
"""


def ask(port: int, query: str) -> list[Any]:
    url = f"http://127.0.0.1:{port}/api/v1/query?" + urllib.parse.urlencode({"query": query})
    with urllib.request.urlopen(url, timeout=5) as response:
        result: list[Any] = json.load(response)["data"]["result"]
        return result


def test_prometheus_scrapes_the_gateway(tmp_path: Path) -> None:
    prometheus = binary("prometheus", "prometheus")
    with running_gateway(CONFIG, tmp_path) as gateway:
        _requests(gateway)
        port = free_port()
        (tmp_path / "prometheus.yml").write_text(
            "global: {scrape_interval: 250ms}\n"
            f"scrape_configs: [{{job_name: gatehouse, static_configs: [{{targets: ['127.0.0.1:{gateway.port}']}}]}}]\n"
        )
        process = subprocess.Popen(
            [
                prometheus,
                f"--config.file={tmp_path}/prometheus.yml",
                f"--storage.tsdb.path={tmp_path}/data",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            found = _wait(port, 'gatehouse_requests_total{outcome="ok"}')
            assert found[0]["metric"]["app"] == "bot"
            assert found[0]["metric"]["model"] == "quick"
            assert float(found[0]["value"][1]) == 3
            for query in (
                "histogram_quantile(0.95, sum by (le) (gatehouse_request_duration_seconds_bucket)) > 0",
                "histogram_quantile(0.95, sum by (le) (gatehouse_time_to_first_token_seconds_bucket)) > 0",
                'gatehouse_tokens_total{direction="input"} > 0',
                'gatehouse_attempts_total{result="ok"} == 3',
                'gatehouse_breaker_state{state="closed"} == 1',
                'gatehouse_errors_total{kind="model_not_found"} == 1',
                "gatehouse_build_info == 1",
                "process_resident_memory_bytes > 0",
            ):
                assert ask(port, query), query
        finally:
            process.terminate()
            process.wait(10)


def _requests(gateway: Gateway) -> None:
    body = {"model": "quick", "messages": [{"role": "user", "content": "hi"}]}
    for extra in ({}, {}, {"stream": True}):
        assert gateway.request("POST", "/v1/chat/completions", {**body, **extra}).status == 200
    assert gateway.request("POST", "/v1/chat/completions", {**body, "model": "quik"}).status == 404


def _wait(port: int, query: str) -> list[Any]:
    until = time.monotonic() + 20
    while time.monotonic() < until:
        try:
            found = ask(port, query)
        except OSError:
            found = []
        if found:
            return found
        time.sleep(0.1)
    pytest.fail("prometheus did not see the gateway")
