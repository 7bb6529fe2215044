"""The simulator's HTTP server: asyncio's protocols and httptools, so that each byte and its absence can be decided."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

import httptools

from gateway.simulator.behaviours import Script, behaviours_help
from gateway.simulator.play import Play
from gateway.simulator.routes import Reply, Request, answer_request
from gateway.simulator.wire import dump

KEPT_REQUESTS = 1000
_SECRET_HEADERS = {"authorization", "x-api-key", "x-goog-api-key", "api-key"}


class Simulator:
    """One upstream on one port. `requests` holds the last 1000 requests, oldest first; `stats` counts."""

    def __init__(self, script: Mapping[str, str | Sequence[str]] | None = None, require_key: bool = False) -> None:
        """Raises `ValueError` for an unknown behaviour."""
        self.script = Script(script)
        self.require_key = require_key
        self.requests: deque[dict[str, Any]] = deque(maxlen=KEPT_REQUESTS)
        self.stats = {"requests": 0, "streams": 0, "open": 0, "client_left": 0}
        self.url = ""
        self._server: asyncio.Server | None = None
        self._connections: set[_Connection] = set()

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> int:
        """Listens; returns the port."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Connection(self, loop), host, port, backlog=1024)
        bound: int = self._server.sockets[0].getsockname()[1]
        self.url = f"http://{host}:{bound}"
        return bound

    async def close(self) -> None:
        """Closes the port and every connection."""
        if self._server is not None:
            self._server.close()
        for connection in list(self._connections):
            connection.abort()

    def add(self, connection: _Connection) -> None:
        """A connection has been opened."""
        self._connections.add(connection)
        self.stats["open"] += 1

    def remove(self, connection: _Connection) -> None:
        """A connection is gone."""
        self._connections.discard(connection)
        self.stats["open"] -= 1

    def reset(self) -> None:
        """Forgets what has been."""
        self.requests.clear()
        self.stats.update(requests=0, streams=0, client_left=0)


class _Connection(asyncio.Protocol):
    """Reads one request at a time; a `Play` task answers it."""

    def __init__(self, simulator: Simulator, loop: asyncio.AbstractEventLoop) -> None:
        self._simulator = simulator
        self._loop = loop
        self._parser: Any = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport | None = None
        self._url = b""
        self._headers: dict[str, str] = {}
        self._body: list[bytes] = []
        self._waiting: deque[Request] = deque()
        self._playing: asyncio.Task[None] | None = None
        self._record: dict[str, Any] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._simulator.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._simulator.remove(self)
        if self._playing is not None and not self._playing.done():
            if self._record is not None and "ended" not in self._record:
                self._record["client_left"] = True
                self._record["left"] = time.monotonic()
                self._simulator.stats["client_left"] += 1
            self._playing.cancel()

    def abort(self) -> None:
        if self._playing is not None:
            self._playing.cancel()
        if self._transport is not None:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self.abort()

    # httptools callbacks

    def on_message_begin(self) -> None:
        self._url, self._headers, self._body = b"", {}, []

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        method = self._parser.get_method().decode()
        path, _, query = self._url.decode("latin-1").partition("?")
        self._waiting.append(Request(method, path, query, self._headers, b"".join(self._body)))
        self._next()

    def _next(self) -> None:
        if self._waiting and (self._playing is None or self._playing.done()):
            self._playing = self._loop.create_task(self._serve(self._waiting.popleft()))

    async def _serve(self, request: Request) -> None:
        reply = answer_control(self._simulator, request)
        if reply is None:
            record = self._record = _record(request)
            self._simulator.requests.append(record)
            self._simulator.stats["requests"] += 1
            reply = answer_request(request, self._simulator.script, self._simulator.require_key)
            record["behaviour"] = sorted(reply.behaviour.words)
            if reply.frames is not None:
                self._simulator.stats["streams"] += 1
        assert self._transport is not None
        await Play(self._transport, reply).run()
        if self._record is not None:
            self._record["ended"] = time.monotonic()
            self._record = None
        self._loop.call_soon(self._next)


def _record(request: Request) -> dict[str, Any]:
    headers = {
        name: f"...{value[-4:]}" if name in _SECRET_HEADERS else value for name, value in request.headers.items()
    }
    try:
        body = json.loads(request.body) if request.body else None
    except ValueError:
        body = None
    return {
        "method": request.method,
        "path": request.path,
        "query": request.query,
        "headers": headers,
        "body": body,
        "started": time.monotonic(),
        "client_left": False,
    }


def answer_control(simulator: Simulator, request: Request) -> Reply | None:
    """The answers about the simulator itself; None for a request to a model."""
    if request.path == "/__requests":
        return Reply(200, dump(list(simulator.requests)))
    if request.path == "/__stats":
        return Reply(200, dump(simulator.stats))
    if request.path == "/__reset":
        simulator.reset()
        return Reply(200, b"{}")
    if request.path == "/__script":
        try:
            simulator.script = Script(json.loads(request.body))
        except (ValueError, AttributeError) as error:
            return Reply(400, dump({"error": str(error)}))
        return Reply(200, b"{}")
    return None


@contextlib.contextmanager
def running(script: Mapping[str, str | Sequence[str]] | None = None, require_key: bool = False) -> Iterator[Simulator]:
    """A simulator in a thread of its own, for code that is not asynchronous."""
    simulator = Simulator(script, require_key)
    started = threading.Event()
    loop = asyncio.new_event_loop()

    def serve() -> None:
        asyncio.set_event_loop(loop)
        loop.run_until_complete(simulator.start())
        started.set()
        loop.run_forever()
        loop.run_until_complete(simulator.close())
        loop.run_until_complete(asyncio.sleep(0.01))
        loop.close()

    thread = threading.Thread(target=serve, name="simulator", daemon=True)
    thread.start()
    started.wait(10)
    try:
        yield simulator
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)


def main(host: str, port: int, script: str | None) -> None:
    """Serves until it is interrupted. `script` is JSON, or `model=behaviour,model=behaviour`."""
    asyncio.run(_serve_for_ever(host, port, read_script(script)))


def read_script(script: str | None) -> dict[str, str | list[str]]:
    """Raises `ValueError`. A behaviour alone is for every model."""
    if not script:
        return {}
    if script.lstrip().startswith("{"):
        value = json.loads(script)
        return {str(model): behaviour for model, behaviour in value.items()}
    found: dict[str, str | list[str]] = {}
    for part in script.split(","):
        model, equals, behaviour = part.partition("=")
        found[model.strip() if equals else "*"] = (behaviour if equals else model).strip()
    return found


async def _serve_for_ever(host: str, port: int, script: dict[str, str | list[str]]) -> None:
    simulator = Simulator(script)
    await simulator.start(host, port)
    sys.stdout.write(
        f"A simulated upstream listens at {simulator.url}\n"
        f"  OpenAI's dialect: base_url {simulator.url}/v1, Anthropic's and Gemini's: {simulator.url}\n"
        f"  What came in: {simulator.url}/__requests\n"
        "Name a model sim-WORD-WORD, send the header x-simulate, or give --script. The words:\n"
        f"{behaviours_help()}\n"
    )
    sys.stdout.flush()
    try:
        await asyncio.Event().wait()
    finally:
        await simulator.close()
