"""What tests of HTTP/2 to a provider share: a server's certificate, a pool that calls it, and calls."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from contract.attempt import Attempt
from gateway.providers.http2 import Http2Pool
from gateway.providers.response import Response
from tests.reports.proxies import certificate
from tests.unit.providers.http2_server import Http2Upstream, Play, offering


class Place:
    """A certificate, and the contexts of both sides."""

    def __init__(self, folder: Path) -> None:
        self.path, self.server = certificate(folder, "api.vendor.test")
        offering(self.server, "h2", "http/1.1")

    def client(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.path))


@asynccontextmanager
async def serving(
    place: Place,
    play: Play,
    settings: dict[int, int] | None = None,
    max_connections: int = 1000,
    max_answer: int = 1 << 26,
) -> AsyncIterator[tuple[Http2Upstream, Http2Pool]]:
    async with Http2Upstream(play, place.server, settings) as upstream:
        pool = Http2Pool(upstream.url + "/v1", max_connections, max_answer, tls=place.client())
        try:
            yield upstream, pool
        finally:
            await pool.close()


async def call(pool: Http2Pool, wait_s: float = 5.0, body: bytes = b"{}", attempt: Attempt | None = None) -> Response:
    head = pool.head("/x", {"content-type": "application/json", "X-Team": "red"})
    deadline = asyncio.get_running_loop().time() + wait_s
    return await pool.post(head, body, connect_s=2.0, deadline=deadline, attempt=attempt)


async def read(response: Response) -> bytes:
    parts = []
    while (data := await response.read()) is not None:
        parts.append(data)
    return b"".join(parts)


def run(main: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(20):
            await main()

    asyncio.run(bounded())
