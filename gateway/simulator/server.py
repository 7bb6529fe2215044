"""The simulator's HTTP server. It uses asyncio protocols and httptools, to control every byte that is sent."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import itertools
import json
import logging
import re
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

import httptools
import msgspec

from gateway.simulator.behaviours import Script, behaviours_help
from gateway.simulator.bills import BillingRecord
from gateway.simulator.play import Playback
from gateway.simulator.routes import Request, ScriptedReply, answer_request
from gateway.simulator.wire import dump

MAX_REQUESTS = 1000
MAX_BODY_BYTES = 64 * 1024
MAX_CALLERS = 1000
_KEY_HEADERS = ("authorization", "x-api-key", "x-goog-api-key", "api-key")
_BAD = b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


class Simulator:
    """One upstream on one port.

    `requests` holds the last 1000 requests, oldest first. `stats` counts requests, streams, open connections, and
    clients that disconnected early; its `served` counts requests and tokens of complete responses by `...KEY4 MODEL`.
    `books` holds the bill of each call.
    """

    def __init__(
        self,
        script: Mapping[str, str | Sequence[str]] | None = None,
        require_key: bool = False,
        says: Mapping[str, str] | None = None,
    ) -> None:
        """Raises `ValueError` for an unknown behaviour. `require_key`: reject requests without a key.

        `says` maps a model to the text of its responses.
        """
        self.script = Script(script, says)
        self.require_key = require_key
        self.requests: deque[dict[str, Any]] = deque(maxlen=MAX_REQUESTS)
        self.stats: dict[str, Any] = {}
        self.books = BillingRecord()
        self.url = ""
        self._server: asyncio.Server | None = None
        self._connections: set[_Connection] = set()
        self._serials = itertools.count(1)
        self.reset()

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> int:
        """Listens, and returns the port. Raises `OSError` if it is in use."""
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
        """Counts an opened connection."""
        self._connections.add(connection)
        self.stats["open"] += 1

    def remove(self, connection: _Connection) -> None:
        """Counts a closed connection."""
        self._connections.discard(connection)
        self.stats["open"] -= 1

    def reset(self) -> None:
        """Clears requests, bills and statistics, but not the script."""
        self.requests.clear()
        self.books.clear()
        self.stats.update(requests=0, streams=0, open=len(self._connections), client_left=0, served={})

    def take(self, request: Request) -> tuple[ScriptedReply, dict[str, Any]]:
        """Returns the reply to a model request, and the request's record."""
        request.serial = str(next(self._serials))
        record = _record(request)
        self.requests.append(record)
        self.stats["requests"] += 1
        reply = answer_request(request, self.script, self.require_key)
        record["behaviour"] = sorted(reply.behaviour.words)
        record["status"] = reply.status
        if reply.frames is not None:
            self.stats["streams"] += 1
        return reply, record

    def settle(self, request: Request, record: dict[str, Any], reply: ScriptedReply, play: Playback) -> None:
        """Records a reply that has ended, completely or because the client disconnected."""
        self.books.add(request, reply, play, left=bool(record["client_left"]))
        record["events"] = play.frames_sent
        if play.complete and reply.count is not None:
            self._count(record["key"], reply)
        if "left" not in record:
            record["ended"] = time.monotonic()

    def _count(self, key: str, reply: ScriptedReply) -> None:
        served, caller = self.stats["served"], f"{key} {reply.model}"
        if caller not in served and len(served) >= MAX_CALLERS:
            return
        count = served.setdefault(caller, {"requests": 0, "input": 0, "output": 0})
        assert reply.count is not None
        count["requests"] += 1
        count["input"] += reply.count.prompt
        count["output"] += reply.count.completion


class _Connection(asyncio.Protocol):
    """Reads one request at a time; a `Playback` in a separate task sends the reply."""

    def __init__(self, simulator: Simulator, loop: asyncio.AbstractEventLoop) -> None:
        self._simulator = simulator
        self._loop = loop
        self._parser: Any = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport | None = None
        self._url = b""
        self._headers: dict[str, str] = {}
        self._body: list[bytes] = []
        self._pending: deque[Request] = deque()
        self._playing: asyncio.Task[None] | None = None
        self._record: dict[str, Any] | None = None
        self._writable = asyncio.Event()
        self._writable.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._simulator.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._simulator.remove(self)
        if self._record is not None:
            self._record_disconnect(self._record)
        if self._playing is not None:
            self._playing.cancel()

    def _record_disconnect(self, record: dict[str, Any]) -> None:
        """Records that the client disconnected before the reply's end."""
        record["left"] = time.monotonic()
        record["left_after_ms"] = round((record["left"] - record["started"]) * 1000, 1)
        record["client_left"] = True  # set last, because other threads wait for it and then read the times
        self._simulator.stats["client_left"] += 1

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def abort(self) -> None:
        if self._playing is not None:
            self._playing.cancel()
        if self._transport is not None:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self.abort()
        except httptools.HttpParserError:
            if self._transport is not None:
                self._transport.write(_BAD)
                self._transport.close()

    # httptools callbacks

    def on_message_begin(self) -> None:
        self._url, self._headers, self._body = b"", {}, []

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        expected = self._headers.get("expect", "").lower() == "100-continue"
        if expected and self._record is None and self._transport is not None:
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        method, alive = self._parser.get_method().decode(), self._parser.should_keep_alive()
        path, _, query = self._url.decode("latin-1").partition("?")
        self._pending.append(Request(method, path, query, self._headers, b"".join(self._body), alive))
        self._body = []
        self._next()

    def _next(self) -> None:
        if self._pending and (self._playing is None or self._playing.done()):
            self._playing = self._loop.create_task(self._serve(self._pending.popleft()))

    async def _serve(self, request: Request) -> None:
        assert self._transport is not None
        try:
            controlled = answer_control(self._simulator, request)
            if controlled is not None:
                await Playback(self._transport, controlled, self._writable, request.keep_alive).run()
            else:
                await self._answer(self._transport, request)
        except Exception:
            # An internal error: it must not look like a simulated stall.
            logging.getLogger(__name__).exception("the simulator failed")
            self._transport.abort()
        self._loop.call_soon(self._next)

    async def _answer(self, transport: asyncio.Transport, request: Request) -> None:
        reply, record = self._simulator.take(request)
        self._record = record
        play = Playback(transport, reply, self._writable, request.keep_alive)
        try:
            await play.run()
        finally:
            self._simulator.settle(request, record, reply, play)
            self._record = None


def _record(request: Request) -> dict[str, Any]:
    """A request in the format of `/__requests`.

    `started` is in seconds of the monotonic clock, as are the later fields `ended`, or `left` after a disconnect.
    """
    headers = {name: _last4(value) if name in _KEY_HEADERS else value for name, value in request.headers.items()}
    try:
        body = json.loads(request.body) if 0 < len(request.body) <= MAX_BODY_BYTES else None
    except (ValueError, RecursionError):
        body = None
    return {
        "method": request.method,
        "path": request.path,
        "query": re.sub(r"(^|&)key=[^&]*?([^&]{0,4})(?=&|$)", r"\1key=...\2", request.query),
        "headers": headers,
        "key": next((headers[name] for name in _KEY_HEADERS if name in headers), ""),
        "body": body,
        "body_bytes": len(request.body),
        "at": datetime.datetime.now(datetime.UTC).isoformat(),
        "started": time.monotonic(),
        "client_left": False,
    }


def _last4(secret: str) -> str:
    """The last four characters of a key; a short key is hidden completely."""
    return f"...{secret[-4:]}" if len(secret.split()[-1] if secret.split() else "") >= 8 else "..."


def answer_control(simulator: Simulator, request: Request) -> ScriptedReply | None:
    """The reply of a control endpoint of the simulator; None for a model request."""
    if request.path == "/__requests":
        return ScriptedReply(200, dump(list(simulator.requests)))
    if request.path == "/__stats":
        return ScriptedReply(200, dump(simulator.stats))
    if request.path == "/__bills":
        return ScriptedReply(
            200, msgspec.json.encode({"totals": simulator.books.totals, "bills": list(simulator.books.bills)})
        )
    if request.path == "/__reset":
        simulator.reset()
        return ScriptedReply(200, b"{}")
    if request.path == "/__script":
        try:
            simulator.script = Script(read_script(request.body.decode()))
        except (ValueError, AttributeError, TypeError) as error:
            return ScriptedReply(400, dump({"error": str(error)}))
        return ScriptedReply(200, b"{}")
    return None


@contextlib.contextmanager
def running(script: Mapping[str, str | Sequence[str]] | None = None, require_key: bool = False) -> Iterator[Simulator]:
    """Runs a simulator in a separate thread, for synchronous code."""
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
    """Serves until it is interrupted. `script` is JSON, or `model=behaviour,model=behaviour`.

    Raises `SystemExit` 2 for an invalid script, 1 for a port in use.
    """
    try:
        simulator = Simulator(read_script(script))
    except (ValueError, AttributeError, TypeError) as error:
        sys.stderr.write(f"{error}\n")
        raise SystemExit(2) from None
    try:
        asyncio.run(_serve_forever(simulator, host, port))
    except OSError as error:
        sys.stderr.write(f"can't listen on {host}:{port}: {error.strerror}\n")
        raise SystemExit(1) from None
    except KeyboardInterrupt:
        return


def read_script(script: str | None) -> dict[str, str | list[str]]:
    """Reads a script; a behaviour without a model applies to all models. Raises `ValueError`."""
    if not script:
        return {}
    if script.lstrip().startswith("{"):
        value = json.loads(script)
        return {str(model): behaviour for model, behaviour in value.items()}
    script_by_model: dict[str, str | list[str]] = {}
    for part in script.split(","):
        model, equals, behaviour = part.partition("=")
        script_by_model[model.strip() if equals else "*"] = (behaviour if equals else model).strip()
    return script_by_model


async def _serve_forever(simulator: Simulator, host: str, port: int) -> None:
    await simulator.start(host, port)
    sys.stdout.write(
        f"The simulated upstream listens at {simulator.url}\n"
        f"  base_url for OpenAI's dialect: {simulator.url}/v1, for Anthropic's and Gemini's: {simulator.url}\n"
        f"  Received requests: {simulator.url}/__requests\n"
        "To set a behaviour, use a model name sim-WORD-WORD, the header x-simulate, or --script. The words:\n"
        f"{behaviours_help()}\n"
    )
    sys.stdout.flush()
    try:
        await asyncio.Event().wait()
    finally:
        await simulator.close()
