"""A gateway as a process of its own: reload, drain, start-up errors."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gateway.simulator.server import running
from tests.live import free_port
from tests.processes import HANG_S, until

ROOT = Path(__file__).resolve().parents[2]
CONFIG = """
version: 1
server: {{drain: 5s}}
providers: {{up: {{kind: openai, base_url: "{url}/v1"}}}}
models:
  quick: {{targets: [up/sim-echo]}}
  paced: {{targets: [up/sim-n40-pace25]}}
  {more}
"""


@contextmanager
def process(config: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "gateway", "serve", "-c", str(config), "--listen", f"127.0.0.1:{port}"]
    log = config.with_suffix(".log").open("wb")
    running_process = subprocess.Popen(command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, stderr=log)
    try:
        until = time.monotonic() + HANG_S
        while time.monotonic() < until and running_process.poll() is None:
            try:
                if get(port, "/readyz")[0] == 200:
                    break
            except OSError:
                time.sleep(0.02)
        yield running_process
    finally:
        if running_process.poll() is None:
            running_process.terminate()
            running_process.wait(HANG_S)
        log.close()


def get(port: int, path: str) -> tuple[int, Any]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read() or b"{}")


def ask(port: int, model: str) -> int:
    body = json.dumps({"model": model, "messages": [{"role": "user", "content": "hi"}]}).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{port}/v1/chat/completions", body)
    try:
        with urllib.request.urlopen(request, timeout=5) as response:
            status: int = response.status
            return status
    except urllib.error.HTTPError as error:
        return error.code


def wait_for_config(port: int, other_than: str) -> str:
    until = time.monotonic() + 5
    while time.monotonic() < until:
        digest: str = get(port, "/health")[1]["config"]
        if digest != other_than:
            return digest
        time.sleep(0.02)
    return other_than


def test_reload_takes_only_a_whole_valid_config(tmp_path: Path) -> None:
    path, port = tmp_path / "gatehouse.yaml", free_port()
    with running() as upstream:
        path.write_text(CONFIG.format(url=upstream.url, more=""))
        with process(path, port) as gateway:
            assert (ask(port, "quick"), ask(port, "other")) == (200, 404)
            first = get(port, "/health")[1]["config"]
            path.write_text(CONFIG.format(url=upstream.url, more="other: {targets: [up/some-model]}"))
            gateway.send_signal(signal.SIGHUP)
            second = wait_for_config(port, first)
            assert (ask(port, "quick"), ask(port, "other")) == (200, 200)
            path.write_text(CONFIG.format(url=upstream.url, more="other: {targets: [nobody/some-model]}"))
            gateway.send_signal(signal.SIGHUP)
            time.sleep(0.5)
            assert get(port, "/health")[1]["config"] == second
            assert ask(port, "other") == 200
            # Without a signal the change of the file is seen.
            path.write_text(CONFIG.format(url=upstream.url, more=""))
            assert wait_for_config(port, second) == first
            assert ask(port, "other") == 404
    log = path.with_suffix(".log").read_text()
    assert "the old config stays active" in log
    assert "nobody" in log


def test_a_change_that_waits_for_the_next_start_and_is_taken_back(tmp_path: Path) -> None:
    path, port = tmp_path / "gatehouse.yaml", free_port()
    with running() as upstream:
        usual = CONFIG.format(url=upstream.url, more="")
        path.write_text(usual)
        with process(path, port) as gateway:
            first = get(port, "/health")[1]["config"]
            changed = usual.replace("drain: 5s", "drain: 6s")
            assert changed != usual
            path.write_text(changed)
            gateway.send_signal(signal.SIGHUP)
            second = wait_for_config(port, first)
            assert second != first
            path.write_text(usual)
            gateway.send_signal(signal.SIGHUP)
            assert wait_for_config(port, second) == first
    # The second time the file says what runs.
    assert path.with_suffix(".log").read_text().count("section changed, takes effect after a restart") == 1


def read_while_it_ends(gateway: subprocess.Popen[bytes], port: int, model: str) -> bytes:
    """All of a stream that had begun when SIGTERM came."""
    body = json.dumps({"model": model, "stream": True, "messages": [{"role": "user", "content": "hi"}]}).encode()
    with socket.create_connection(("127.0.0.1", port), HANG_S) as stream:
        head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n"
        stream.sendall(head % len(body) + body)
        got = stream.recv(65536)
        gateway.send_signal(signal.SIGTERM)
        while data := stream.recv(65536):
            got += data
    return got


def test_sigterm_drains_streams_then_ends(tmp_path: Path) -> None:
    path, port = tmp_path / "gatehouse.yaml", free_port()
    with running() as upstream:
        path.write_text(CONFIG.format(url=upstream.url, more=""))
        with process(path, port) as gateway:
            got = read_while_it_ends(gateway, port, "paced")
            assert b"word39" in got
            assert b"data: [DONE]" in got
            assert gateway.wait(HANG_S) in (0, -signal.SIGTERM)


def test_a_drain_that_is_too_short_ends_in_an_error_event(tmp_path: Path) -> None:
    path, port = tmp_path / "gatehouse.yaml", free_port()
    with running() as upstream:
        config = CONFIG.format(url=upstream.url, more="long: {targets: [up/sim-n900-pace25]}")
        path.write_text(config.replace("drain: 5s", "drain: 1s"))
        with process(path, port) as gateway:
            got = read_while_it_ends(gateway, port, "long")
            assert b'"error"' in got
            assert b"[DONE]" not in got
            gateway.wait(HANG_S)


def test_a_bad_config_ends_with_2_and_a_place(tmp_path: Path) -> None:
    path = tmp_path / "gatehouse.yaml"
    path.write_text("version: 1\nmodels: {quick: {targets: [nobody/x]}}\n")
    command = [sys.executable, "-m", "gateway", "serve", "-c", str(path)]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=20, check=False)
    assert result.returncode == 2
    assert f"{path}:2:" in result.stderr


def test_a_taken_port_ends_with_1(tmp_path: Path) -> None:
    path = tmp_path / "gatehouse.yaml"
    path.write_text("version: 1\nproviders: {b: {kind: extractive}}\nmodels: {m: {targets: [b/extractive]}}\n")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        command = [sys.executable, "-m", "gateway", "serve", "-c", str(path), "--listen", listen]
        result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=20, check=False)
    assert result.returncode == 1


def test_load_balancers_see_the_end_before_it_comes(tmp_path: Path) -> None:
    with running() as simulator:
        port, path = free_port(), tmp_path / "gatehouse.yaml"
        path.write_text(
            CONFIG.format(url=simulator.url, more="").replace("drain: 5s", "drain: 60s, shutdown_delay: 5s")
        )
        with process(path, port) as gateway:
            gateway.terminate()
            until(lambda: get(port, "/readyz")[0] == 503)
            assert get(port, "/readyz") == (503, {"status": "draining", "parts": {}})
            assert get(port, "/livez")[0] == 200
            # Who has not heard of it yet is served.
            assert ask(port, "quick") == 200
            gateway.wait(60)
        with process(path, port) as gateway:
            # Whoever presses Ctrl-C twice does not want to wait.
            gateway.send_signal(signal.SIGINT)
            time.sleep(0.1)
            gateway.send_signal(signal.SIGINT)
            gateway.wait(30)
