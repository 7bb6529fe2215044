"""A small app behind the protocol of the gateway, on a real socket."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine
from typing import Any

import pytest
import uvicorn
import uvloop

from contract.errors import BodyTooSlow
from gateway.surfaces.connections import Bounds, Connections
from gateway.surfaces.http import HttpCall
from gateway.surfaces.protocol import front_protocol

guarded = pytest.mark.guarantee("access", "Input before authentication is limited: URL, headers, trailers, chunks")
patient = pytest.mark.guarantee(
    "access", "A connection that stalls while sending or reading is closed and does not block other callers"
)

HEAD = b"POST /echo HTTP/1.1\r\nhost: x\r\n"


class App:
    """Answers with the body and the headers that it saw; remembers how each request ended."""

    def __init__(self) -> None:
        self.seen: list[dict[bytes, bytes]] = []
        self.ended: list[str] = []
        self.going = asyncio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        call = HttpCall(scope, receive, send)
        try:
            await self._answer(call)
            self.ended.append("ok")
        except BodyTooSlow:
            self.ended.append("slow")
            await call.respond(408, [], b"slow")
        except asyncio.CancelledError:
            self.ended.append(call.close_reason or "left")
        finally:
            call.unwatch()

    async def _answer(self, call: HttpCall) -> None:
        self.going.set()
        if call.path == "/early":
            await call.respond(401, [], b"no")
            return
        body = await call.read_body(10_000_000)
        self.seen.append(call.headers)
        if call.path == "/wait":
            call.watch()
            await asyncio.Event().wait()
        if call.path == "/flood":
            call.watch()
            await call.begin(200, [])
            if call.query:
                call.set_deadline(asyncio.get_running_loop().time() + 0.05)
            while True:
                await call.write(b"x" * 100_000)
        await call.respond(200, [], body if call.path != "/big" else b"x" * 8_000_000)


class Place:
    """A server with the app."""

    def __init__(self, app: App, connections: Connections, port: int) -> None:
        self.app = app
        self.connections = connections
        self.port = port

    async def open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port)

    async def ask(self, data: bytes) -> bytes:
        """All that comes back until the server closes."""
        reader, writer = await self.open()
        writer.write(data)
        got = await rest(reader)
        writer.close()
        return got


async def rest(reader: asyncio.StreamReader) -> bytes:
    got = b""
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(65_536):
            got += data
    return got


@contextlib.asynccontextmanager
async def place(bounds: Bounds | None = None) -> AsyncIterator[Place]:
    app, connections = App(), Connections(bounds or Bounds())
    server = uvicorn.Server(
        uvicorn.Config(
            app, http=front_protocol(connections), ws="none", lifespan="off", log_config=None, host="127.0.0.1", port=0,
            timeout_graceful_shutdown=1,
        )
    )  # fmt: skip
    serving = asyncio.create_task(server._serve())
    while not server.started:
        await asyncio.sleep(0.001)
    try:
        yield Place(app, connections, server.servers[0].sockets[0].getsockname()[1])
    finally:
        server.should_exit = True
        await serving


def run(work: Coroutine[Any, Any, None]) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(asyncio.wait_for(work, 60))


SMALL = Bounds(head_s=0.2, body_s=0.2, write_s=0.3, idle_s=0.2, min_bytes_per_s=100_000)
