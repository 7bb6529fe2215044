"""The cost of one call to a provider by each transport: `python -m bench.transports`. CPU microseconds, best of five.

The upstream is a separate process, so that only the caller's time counts. Plain HTTP to 127.0.0.1, sequential calls on
one connection; TLS costs the same with every transport.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import time
from collections.abc import Awaitable, Callable
from multiprocessing.connection import Connection
from typing import cast

import httpx
import uvloop

from gateway.providers.http import ConnectionPool
from gateway.providers.proxied import ProxiedPool
from gateway.providers.transport import Transport

CALLS = 500
STREAMS = 20
EVENTS = 200
BODY = b'{"model": "m", "messages": [{"role": "user", "content": "hi"}]}' + b" " * 960
WHOLE = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 800\r\n\r\n" + b" " * 800
EVENT = b'data: {"choices": [{"index": 0, "delta": {"content": " word"}}]}\n\n'
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


class _Upstream(asyncio.Protocol):
    """Answers every request at `/whole` at once, every other one with a stream, an event at a time."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._data = b""
        self._tasks: set[asyncio.Task[None]] = set()

    def data_received(self, data: bytes) -> None:
        self._data += data
        head, end, body = self._data.partition(b"\r\n\r\n")
        if not end or len(body) < len(BODY):
            return
        self._data = b""
        if b"/whole " in head:
            self._transport.write(WHOLE)
        else:
            self._tasks = {asyncio.get_running_loop().create_task(self._stream())}

    async def _stream(self) -> None:
        self._transport.write(HEAD)
        for _ in range(EVENTS):
            self._transport.write(b"%x\r\n%b\r\n" % (len(EVENT), EVENT))
            await asyncio.sleep(0.0002)
        self._transport.write(b"0\r\n\r\n")


def _serve(told: Connection) -> None:
    async def main() -> None:
        server = await asyncio.get_running_loop().create_server(_Upstream, "127.0.0.1", 0)
        told.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    uvloop.run(main())


async def _cost_us(act: Callable[[], Awaitable[None]], times: int) -> float:
    await act()
    best = float("inf")
    for _ in range(5):
        started = time.process_time()
        for _ in range(times):
            await act()
        best = min(best, (time.process_time() - started) / times * 1e6)
    return best


async def _pool_costs(pool: Transport) -> tuple[float, float]:
    loop = asyncio.get_running_loop()

    async def call(path: str) -> None:
        head = pool.head(path, {"content-type": "application/json", "authorization": "Bearer key"})
        response = await pool.post(head, BODY, connect_s=5.0, deadline=loop.time() + 30)
        while await response.read() is not None:
            pass

    whole = await _cost_us(lambda: call("/whole"), CALLS)
    stream = await _cost_us(lambda: call("/stream"), STREAMS) / EVENTS
    await pool.close()
    return whole, stream


async def _client_costs(url: str) -> tuple[float, float]:
    async with httpx.AsyncClient(trust_env=False) as client:

        async def call(path: str) -> None:
            headers = {"content-type": "application/json", "authorization": "Bearer key"}
            async with client.stream("POST", url + path, headers=headers, content=BODY) as response:
                async for _ in response.aiter_raw():
                    pass

        whole = await _cost_us(lambda: call("/whole"), CALLS)
        stream = await _cost_us(lambda: call("/stream"), STREAMS) / EVENTS
    return whole, stream


async def _main(port: int) -> None:
    url = f"http://127.0.0.1:{port}"
    rows = [
        ("our pool", await _pool_costs(ConnectionPool(url))),
        ("through a proxy (httpcore)", await _pool_costs(ProxiedPool(url))),
        ("httpx.AsyncClient", await _client_costs(url)),
    ]
    print(f"{'':28}{'a call':>10}{'an event':>10}   us of CPU")
    for name, (whole, stream) in rows:
        print(f"{name:28}{whole:10.1f}{stream:10.1f}")


if __name__ == "__main__":
    ours, theirs = multiprocessing.Pipe()
    upstream = multiprocessing.get_context("spawn").Process(target=_serve, args=(theirs,), daemon=True)
    upstream.start()
    uvloop.run(_main(ours.recv()))
    upstream.terminate()
