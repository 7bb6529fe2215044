"""Gateways as processes of their own, one or several workers, and many requests to them at once."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.live import free_port

ROOT = Path(__file__).resolve().parents[1]
KEY = "test-key"


class Got(msgspec.Struct):
    """What came back, and how long it took. A status of 0: the connection broke."""

    status: int
    seconds: float
    headers: dict[str, str] = {}
    body: bytes = b""

    def json(self) -> Any:
        return json.loads(self.body)


def chat(model: str = "quick", **more: Any) -> bytes:
    """The body of a small request."""
    return json.dumps({"model": model, "messages": [{"role": "user", "content": "Hello"}], **more}).encode()


class Fleet:
    """A gateway's process: the only one, or the parent of its workers."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, log: Path) -> None:
        self.process = process
        self.port = port
        self._log = log

    @property
    def log(self) -> str:
        """All that it has said."""
        return self._log.read_text()

    async def ask(
        self,
        body: bytes | None = None,
        key: str = KEY,
        path: str = "/v1/chat/completions",
        headers: Mapping[str, str] | None = None,
        timeout_s: float = 20,
    ) -> Got:
        """One request on a connection of its own."""
        return await ask(self.port, chat() if body is None else body, key, path, headers, timeout_s)

    async def burst(self, count: int, body: bytes | None = None, key: str = KEY) -> list[Got]:
        """So many requests at once."""
        return list(await asyncio.gather(*[self.ask(body, key) for _ in range(count)]))


async def ask(
    port: int,
    body: bytes,
    key: str = KEY,
    path: str = "/v1/chat/completions",
    headers: Mapping[str, str] | None = None,
    timeout_s: float = 20,
) -> Got:
    """See `Fleet.ask`. No body is a GET."""
    began = time.monotonic()
    lines = [f"{'POST' if body else 'GET'} {path} HTTP/1.1", "host: x", f"authorization: Bearer {key}"]
    lines += ["connection: close", f"content-length: {len(body)}", *(f"{k}: {v}" for k, v in (headers or {}).items())]
    data = b""
    with contextlib.suppress(OSError, TimeoutError):
        async with asyncio.timeout(timeout_s):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                writer.write("\r\n".join([*lines, "", ""]).encode() + body)
                data = await reader.read()
            finally:
                writer.close()
    return _read(data, time.monotonic() - began)


def _read(data: bytes, seconds: float) -> Got:
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    if not first.startswith("HTTP/1.1 "):
        return Got(0, seconds)
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    return Got(int(first.split()[1]), seconds, headers, body)


def statuses(answers: Sequence[Got]) -> dict[int, int]:
    """How many there were of each."""
    return dict(sorted(Counter(each.status for each in answers).items()))


def longest(answers: Sequence[Got]) -> float:
    """Seconds of the slowest."""
    return max(each.seconds for each in answers)


@contextlib.contextmanager
def serving(yaml: str, folder: Path, workers: int = 1, environ: Mapping[str, str] | None = None) -> Iterator[Fleet]:
    """Runs `python -m gateway serve` until the end of the block; it serves when the block begins."""
    port, config = free_port(), folder / f"gatehouse-{time.monotonic_ns()}.yaml"
    config.write_text(yaml)
    log = config.with_suffix(".log")
    command = [sys.executable, "-m", "gateway", "serve", "--config", str(config), "--listen", f"127.0.0.1:{port}"]
    # Workers' sockets are here: pytest's own folders can be too deep for the address of one.
    with tempfile.TemporaryDirectory() as temporary, log.open("wb") as out:
        all_environ = {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": temporary, **(environ or {})}
        process = subprocess.Popen(command, cwd=ROOT, env=all_environ, stdout=out, stderr=out)
        try:
            fleet = Fleet(process, port, log)
            _wait_until_it_serves(fleet, Path(temporary), workers)
            yield fleet
        finally:
            _end(process)


def _wait_until_it_serves(fleet: Fleet, temporary: Path, workers: int) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        assert fleet.process.poll() is None, fleet.log
        if workers == 1 or len(list(temporary.glob("*/*.sock"))) == workers:
            got = asyncio.run(ask(fleet.port, b"", path="/readyz"))
            if got.status == 200:
                return
        time.sleep(0.05)
    raise RuntimeError(f"the gateway does not serve: {fleet.log}")


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


class Upstream:
    """A simulated provider in a process of its own."""

    def __init__(self, process: subprocess.Popen[bytes], port: int) -> None:
        self.process = process
        self.port = port
        self.url = f"http://127.0.0.1:{port}"

    def requests(self) -> list[dict[str, Any]]:
        """The last thousand, see `docs/concepts/simulator.md`."""
        listed: list[dict[str, Any]] = asyncio.run(ask(self.port, b"", path="/__requests")).json()
        return listed

    def reset(self) -> None:
        """Forgets them."""
        asyncio.run(ask(self.port, b"{}", path="/__reset"))

    def most_at_once(self) -> int:
        """How many requests it had at the same time, at most."""
        marks = [
            mark
            for each in self.requests()
            for mark in ((each["started"], 1), (each.get("ended", each.get("left", time.monotonic())), -1))
        ]
        most = now = 0
        for _, step in sorted(marks):
            now += step
            most = max(most, now)
        return most


@contextlib.contextmanager
def upstream(script: str = "ok") -> Iterator[Upstream]:
    """A running one, that does what `script` says."""
    port = free_port()
    command = [sys.executable, "-m", "gateway", "simulate", "--port", str(port), "--script", script]
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(command, cwd=ROOT, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until(lambda: asyncio.run(ask(port, b"", path="/__stats")).status == 200, 20)
        yield Upstream(process, port)
    finally:
        process.terminate()
        process.wait(10)


def tell(*figures: object) -> None:
    """What was measured: `pytest -s` shows it."""
    sys.stdout.write(" ".join(map(str, figures)) + "\n")


# What must come is waited for so long, on a machine that is busy with other things too: only what hangs is later.
HANG_S = 60.0


def until(is_so: Callable[[], bool], seconds: float = HANG_S) -> float:
    """Waits. Gives how long it took."""
    began = time.monotonic()
    while not is_so():
        if time.monotonic() > began + seconds:
            pytest.fail(f"it did not come to that in {seconds} s")
        time.sleep(0.02)
    return time.monotonic() - began


async def eventually(is_so: Callable[[], bool], seconds: float = HANG_S) -> None:
    """As `until`, while the loop goes on."""
    async with asyncio.timeout(seconds):
        while not is_so():
            await asyncio.sleep(0.005)


@contextlib.asynccontextmanager
async def callers(count: int, call: Callable[[], Awaitable[Got]], pause_s: float = 0.0) -> AsyncIterator[list[Got]]:
    """So many callers, each of whom asks again and again; the list grows as answers come."""
    answers: list[Got] = []
    ending = asyncio.Event()

    async def one() -> None:
        while not ending.is_set():
            answers.append(await call())
            await asyncio.sleep(pause_s)

    tasks = [asyncio.create_task(one()) for _ in range(count)]
    try:
        yield answers
    finally:
        ending.set()
        await asyncio.gather(*tasks)
