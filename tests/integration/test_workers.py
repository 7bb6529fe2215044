"""Several processes on one port: uvicorn on uvloop as the gateway runs it, without the gateway."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.live import free_port
from tests.plugins.skips import does_not_apply

ROOT = Path(__file__).resolve().parents[2]

SERVER = """
import asyncio, json, os, signal, sys
from pathlib import Path
import uvicorn
from gateway.process.worker_metrics import WorkerMetrics
from gateway.process.workers import notify_serving, this_worker, watch_parent

notes = Path(sys.argv[1])
watch_parent(grace_s=2)
worker = this_worker()
if (notes / "bad").exists():
    sys.exit(2)
served = 0
TEXT = b"# TYPE asked_total counter\\nasked_total %d\\n"
metrics = WorkerMetrics(worker.folder, worker.number, lambda: TEXT % served)

async def app(scope, receive, send):
    global served
    if scope["type"] == "lifespan":
        await receive()
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, (notes / f"hup-{os.getpid()}").touch)
        await metrics.start()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await metrics.close()
        await send({"type": "lifespan.shutdown.complete"})
        return
    if scope["path"] == "/metrics":
        body = await metrics.gather()
    else:
        served += 1
        await asyncio.sleep(1 if scope["path"] == "/slow" else 0.01)
        body = json.dumps({"pid": os.getpid(), "number": worker.number, "count": worker.count}).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})

class Server(uvicorn.Server):
    async def startup(self, sockets=None):
        await super().startup(sockets)
        notify_serving()

config = uvicorn.Config(app, loop="uvloop", http="httptools", ws="none", backlog=4096, timeout_graceful_shutdown=5)
Server(config).run(sockets=[worker.listener])
"""

STUBBORN = """
import pathlib, signal, sys, time
from gateway.process.workers import notify_serving
signal.signal(signal.SIGTERM, signal.SIG_IGN)
notify_serving()
(pathlib.Path(sys.argv[1]) / "serving").touch()
time.sleep(60)
"""

PARENT = """
import sys
from observability.logs import configure_logging
from gateway.process.workers import supervise
configure_logging("json")
host, port, count, drain, *command = sys.argv[1:]
sys.exit(supervise(command, host, int(port), int(count), float(drain)))
"""


class Parent:
    """A process that supervises, and what its workers say."""

    def __init__(self, folder: Path, port: int, process: subprocess.Popen[bytes], host: str) -> None:
        self.folder = folder
        self.port = port
        self.process = process
        self.host = host

    def get(self, path: str = "/") -> bytes:
        connection = http.client.HTTPConnection(self.host, self.port, timeout=10)
        try:
            connection.request("GET", path)
            return connection.getresponse().read()
        finally:
            connection.close()

    def pid(self, path: str = "/") -> int:
        pid: int = json.loads(self.get(path))["pid"]
        return pid

    def pids(self, asked: int = 20) -> set[int]:
        with ThreadPoolExecutor(asked) as pool:
            return set(pool.map(lambda _: self.pid(), range(asked)))

    def children(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children()

    def log(self) -> str:
        return (self.folder / "parent.log").read_text()

    def ended(self, seconds: float = 10) -> int:
        return self.process.wait(seconds)


def until(is_so: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < end, "it did not come to that in time"
        time.sleep(0.02)


def gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


@contextmanager
def supervised(
    folder: Path, script: str = SERVER, count: int = 2, drain_s: float = 5, host: str = "127.0.0.1", port: int = 0
) -> Iterator[Parent]:
    """`folder` takes the workers' notes and the log; their temporary files are in `folder/tmp`."""
    port = port or free_port()
    (folder / "tmp").mkdir()
    (folder / "worker.py").write_text(script)
    worker = [sys.executable, str(folder / "worker.py"), str(folder)]
    command = [sys.executable, "-c", PARENT, host, str(port), str(count), str(drain_s), *worker]
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(folder / "tmp")}
    with (folder / "parent.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, env=environ, stdout=log, stderr=log)
    try:
        yield Parent(folder, port, process, host)
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()


@contextmanager
def serving(folder: Path, count: int = 2, host: str = "127.0.0.1") -> Iterator[Parent]:
    with supervised(folder, count=count, host=host) as parent:
        until(lambda: parent.log().count("worker started") == count, 10)
        until(lambda: len(list((folder / "tmp").glob("*/*.sock"))) == count, 20)
        yield parent


@pytest.fixture
def folder() -> Iterator[Path]:
    # pytest's own can be too deep for the address of a Unix socket.
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


def test_workers_share_the_port_and_end_together(folder: Path) -> None:
    with serving(folder, count=3) as parent:
        pids: set[int] = set()
        until(lambda: len(pids.update(parent.pids()) or pids) == 3)  # type: ignore[func-returns-value]
        assert {child.pid for child in parent.children()} == pids
        assert json.loads(parent.get())["count"] == 3
        (shared,) = (folder / "tmp").iterdir()
        assert shared.stat().st_mode & 0o777 == 0o700
        with ThreadPoolExecutor(1) as pool:
            slow = pool.submit(parent.pid, "/slow")
            time.sleep(0.3)
            parent.process.send_signal(signal.SIGTERM)
            assert slow.result() in pids
        assert parent.ended() == 0
        assert all(gone(pid) for pid in pids)
        assert list((folder / "tmp").iterdir()) == []
        with pytest.raises(OSError, match="refused"):
            parent.get()


def test_metrics_of_one_are_those_of_all(folder: Path) -> None:
    with serving(folder) as parent:
        until(lambda: len(parent.pids(10)) == 2)
        asked = float("nan")
        for _ in range(5):
            (family,) = text_string_to_metric_families(parent.get("/metrics").decode())
            before, asked = asked, family.samples[0].value
            assert asked >= 10
            # Whichever worker was asked.
            assert before != before or before == asked


def test_one_that_is_killed_is_replaced_at_once(folder: Path) -> None:
    with serving(folder) as parent:
        first = {child.pid for child in parent.children()}
        killed = first.pop()
        os.kill(killed, signal.SIGKILL)
        for _ in range(50):
            assert parent.pid() != killed
        until(lambda: bool(parent.pids() - first), 10)
        assert first <= {child.pid for child in parent.children()}
        assert len(parent.children()) == 2
        assert '"again_in_s": 0.0' in parent.log()


def test_nobody_is_left_when_the_parent_is_killed(folder: Path) -> None:
    with serving(folder) as parent:
        pids = [child.pid for child in parent.children()]
        parent.process.kill()
        until(lambda: all(gone(pid) for pid in pids), 3)


def test_workers_that_are_still_starting_see_it_too(folder: Path) -> None:
    late = "import time, gateway.process.workers as w\ntime.sleep(1)\nw.watch_parent(grace_s=1)\ntime.sleep(60)\n"
    with supervised(folder, late) as parent:
        until(lambda: parent.log().count("worker started") == 2)
        pids = [child.pid for child in parent.children()]
        parent.process.kill()
        until(lambda: all(gone(pid) for pid in pids))


def test_ipv6(folder: Path) -> None:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        does_not_apply("this machine has no IPv6")
    with serving(folder, host="::1") as parent:
        assert parent.pid() in {child.pid for child in parent.children()}


def test_a_taken_port_ends_with_1(folder: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with supervised(folder, port=port) as parent:
            assert parent.ended() == 1
            assert f"can't listen on 127.0.0.1:{port}: Address already in use" in parent.log()


def test_a_host_that_there_is_not_ends_with_1(folder: Path) -> None:
    with supervised(folder, host="nobody.invalid") as parent:
        assert parent.ended() == 1
        assert "can't listen on nobody.invalid" in parent.log()


def test_a_bad_config_ends_with_2(folder: Path) -> None:
    (folder / "bad").touch()
    with supervised(folder) as parent:
        assert parent.ended() == 2
        assert parent.log().count("worker started") == 2


def test_a_config_that_turns_bad_does_not_end_those_that_serve(folder: Path) -> None:
    with serving(folder) as parent:
        (folder / "bad").touch()
        lives, killed = sorted(child.pid for child in parent.children())
        os.kill(killed, signal.SIGKILL)
        # Tried again, with pauses that grow.
        until(lambda: '"again_in_s": 0.5' in parent.log())
        assert parent.pid() == lives
        (folder / "bad").unlink()
        until(lambda: len(parent.pids()) == 2)


def test_workers_that_never_come_to_serve_end_with_their_code(folder: Path) -> None:
    with supervised(folder, "raise SystemExit(7)") as parent:
        assert parent.ended() == 7
        assert 6 <= parent.log().count("worker ended") <= 8


def test_a_program_that_is_not_there_ends_with_1(folder: Path) -> None:
    command = [sys.executable, "-c", PARENT, "127.0.0.1", str(free_port()), "2", "1", str(folder / "nothing")]
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    result = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=20, check=False)
    assert result.returncode == 1
    assert "can't be started" in result.stderr


def test_sighup_reaches_all(folder: Path) -> None:
    with serving(folder) as parent:
        pids = {child.pid for child in parent.children()}
        parent.process.send_signal(signal.SIGHUP)
        until(lambda: {path.name for path in folder.glob("hup-*")} == {f"hup-{pid}" for pid in pids})
        assert parent.pids() <= pids


def test_sighup_waits_for_a_worker_that_starts(folder: Path) -> None:
    with supervised(folder) as parent:
        until(lambda: parent.log().count("worker started") == 2)
        parent.process.send_signal(signal.SIGHUP)
        until(lambda: len(list(folder.glob("hup-*"))) == 2)
        assert "worker ended" not in parent.log()


def test_a_second_signal_kills_at_once(folder: Path) -> None:
    with supervised(folder, STUBBORN, drain_s=60) as parent:
        until((folder / "serving").exists)
        pids = [child.pid for child in parent.children()]
        parent.process.send_signal(signal.SIGINT)
        time.sleep(0.5)
        assert parent.process.poll() is None
        parent.process.send_signal(signal.SIGINT)
        assert parent.ended(3) == 1
        assert all(gone(pid) for pid in pids)


def test_those_that_do_not_end_are_killed_after_the_drain(folder: Path) -> None:
    # There are 5 s on top of the drain.
    with supervised(folder, STUBBORN, count=1, drain_s=-4) as parent:
        until((folder / "serving").exists)
        parent.process.send_signal(signal.SIGTERM)
        assert parent.ended(4) == 1
        assert "workers killed" in parent.log()
