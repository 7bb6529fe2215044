"""A real gateway on a free port, in a thread of its own, for tests that speak HTTP to it."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import uvloop

from gateway.assembly.configuration import load
from gateway.process.app import Server, make_server

KEY = "test-key"


class Gateway:
    """Where it listens, and how to ask it."""

    def __init__(self, server: Server, port: int) -> None:
        self.server = server
        self.port = port
        self.url = f"http://127.0.0.1:{port}"

    def request(
        self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None, timeout: float = 20
    ) -> Answer:
        """One request on a connection of its own; `body` as JSON unless it is bytes."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        try:
            connection.request(method, path, data, {"authorization": f"Bearer {KEY}", **(headers or {})})
            response = connection.getresponse()
            return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
        finally:
            connection.close()


class Answer:
    """What came back."""

    def __init__(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.status = status
        self.headers = headers
        self.body = body

    def json(self) -> Any:
        return json.loads(self.body)


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextlib.contextmanager
def running_gateway(yaml: str, folder: Path, environ: Mapping[str, str] | None = None) -> Iterator[Gateway]:
    """Serves `yaml` (written to `folder`) until the end of the block."""
    path = folder / f"gatehouse-{time.monotonic_ns()}.yaml"
    path.write_text(yaml)
    config = load(path, environ=environ or {}, listen="127.0.0.1:0")
    server = make_server(config, path, "127.0.0.1:0")
    server.main_loop = partial(_main_loop, server)  # type: ignore[method-assign]
    thread = threading.Thread(target=_serve, args=(server,), daemon=True)
    thread.start()
    deadline = time.monotonic() + 20
    while not server.started:
        if not thread.is_alive() or time.monotonic() > deadline:
            raise RuntimeError("the gateway did not start")
        time.sleep(0.005)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield Gateway(server, port)
    finally:
        server.should_exit = True
        thread.join(15)


async def _main_loop(server: Server) -> None:
    """uvicorn's, which looks ten times a second whether it is to end: hundreds of tests would wait for that."""
    ticks = 0
    while not server.should_exit:
        if ticks % 5 == 0:
            await server.on_tick(ticks // 5)
        ticks += 1
        await asyncio.sleep(0.02)


def _serve(server: Server) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        # Not `serve`, which takes over the process's signals: those belong to pytest.
        runner.run(server._serve(None))
