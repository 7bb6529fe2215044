"""Load generators: wrk for requests, or our own loop if wrk is missing; our own loop for streams."""

from __future__ import annotations

import asyncio
import json
import statistics
import time
from typing import Any, cast

import uvloop

WORDS = "The quick brown fox jumps over the lazy dog while the gateway counts its microseconds; nobody reads this. "


def body(model: str, *, stream: bool = False, size: int = 1000) -> bytes:
    """A chat request of about `size` bytes."""
    request: dict[str, Any] = {
        "model": model,
        "messages": [{"role": "system", "content": "You are a helpful assistant."}, {"role": "user", "content": ""}],
        "temperature": 0.2,
        "max_tokens": 256,
        "user": "bench-user",
    }
    if stream:
        request["stream"] = True
    room = max(10, size - len(json.dumps(request)))
    request["messages"][1]["content"] = (WORDS * (room // len(WORDS) + 1))[:room]
    return json.dumps(request).encode()


def raw_request(port: int, key: str, data: bytes) -> bytes:
    """The bytes of one HTTP request."""
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\ncontent-type: application/json\r\n"
        f"authorization: Bearer {key}\r\nx-portkey-provider: openai\r\ncontent-length: {len(data)}\r\n\r\n"
    )
    return head.encode() + data


class Load:
    """`connections` clients, each sending the same request `times` times in a row, for at most `limit_s`."""

    def __init__(self, port: int, request: bytes, connections: int, times: int, limit_s: float) -> None:
        self.port = port
        self.request = request
        self.connections = connections
        self.times = times
        self.limit_s = limit_s
        self.done = 0
        self.failed = 0
        self.events = 0
        self.first_byte_ms: list[float] = []

    def run(self, ramp_s: float = 0.0) -> dict[str, Any]:
        """Counts and first-byte quantiles."""
        started = time.perf_counter()
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(self._run(ramp_s))
        first = sorted(self.first_byte_ms)
        return {
            "done": self.done,
            "failed": self.failed,
            "events": self.events,
            "seconds": round(time.perf_counter() - started, 2),
            "first_byte_p50_ms": round(statistics.median(first), 2) if first else None,
            "first_byte_p99_ms": round(first[min(len(first) - 1, int(len(first) * 0.99))], 2) if first else None,
        }

    async def _run(self, ramp_s: float) -> None:
        loop = asyncio.get_running_loop()
        clients = []
        for number in range(self.connections):
            finished = loop.create_future()
            await loop.create_connection(lambda finished=finished: _Client(self, finished), "127.0.0.1", self.port)  # type: ignore[misc]
            clients.append(finished)
            if ramp_s and number % 10 == 9:
                await asyncio.sleep(ramp_s / self.connections * 10)
        await asyncio.wait(clients, timeout=self.limit_s)
        self.failed += sum(not finished.done() for finished in clients)


class _Client(asyncio.Protocol):
    def __init__(self, load: Load, finished: asyncio.Future[None]) -> None:
        self._load = load
        self._finished = finished
        self._left = load.times
        self._tail = b""
        self._length = 0
        self._got = 0
        self._sent = 0.0
        self._first = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._send()

    def _send(self) -> None:
        if self._left == 0:
            self._transport.close()
            return
        self._left -= 1
        self._tail, self._length, self._got, self._first = b"", -1, 0, True
        self._sent = time.perf_counter()
        self._transport.write(self._load.request)

    def data_received(self, data: bytes) -> None:
        load = self._load
        if self._length == -1:
            self._tail += data
            end = self._tail.find(b"\r\n\r\n")
            if end < 0:
                return
            head, data = self._tail[:end].lower(), self._tail[end + 4 :]
            self._tail = b""
            if b" 200 " not in head.split(b"\r\n", 1)[0]:
                load.failed += 1
            place = head.find(b"content-length:")
            self._length = int(head[place + 15 :].split(b"\r\n")[0]) if place >= 0 else -2
        if not data:
            return
        if self._first and (self._length >= 0 or b"data:" in data):
            self._first = False
            load.first_byte_ms.append((time.perf_counter() - self._sent) * 1000)
        if self._length >= 0:
            self._got += len(data)
            if self._got >= self._length:
                self._complete()
            return
        seen = self._tail + data
        load.events += seen.count(b"data:") - self._tail.count(b"data:")
        self._tail = seen[-64:]
        if seen.endswith(b"0\r\n\r\n"):
            self._complete()

    def _complete(self) -> None:
        self._load.done += 1
        self._send()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._finished.done():
            self._finished.set_result(None)
