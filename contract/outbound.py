"""HTTP calls off the hot path: tools, rerankers, web pages, webhooks, identity providers.

They use httpx, which is imported with the first call because it loads slowly. Each call ends at its deadline, however
slowly the server sends. Response bodies are bounded, compressed or not. No redirects are followed, no cookies stored.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import msgspec

from contract.egress import DIRECT, CallFailed, Egress, Proxy
from contract.packing import ExpansionTooLarge, Unpacker, read_codings
from contract.work import Turns

if TYPE_CHECKING:
    import httpx

# Limits for reading the rest of a response so that its connection can be reused.
_DRAIN_BYTES = 64 * 1024
_DRAIN_S = 1.0


class Call(msgspec.Struct, frozen=True):
    """A GET, or a POST of `body`. `timeout_s` bounds the complete call, from connecting to the last byte.

    `private`: whether the host may have a private address.
    """

    url: str
    timeout_s: float
    headers: Mapping[str, str] = {}
    body: bytes | None = None
    private: bool = False
    egress: Egress = DIRECT


class Answer:
    """A response: status and headers; the body is still to be read."""

    def __init__(self, response: httpx.Response) -> None:
        self._response = response
        self.status = response.status_code
        self.headers: Mapping[str, str] = response.headers

    @property
    def media_type(self) -> str:
        """Lower case, without parameters; `text/plain` if missing."""
        media_type = self.headers.get("content-type", "").partition(";")[0].strip().lower()
        return media_type if media_type.count("/") == 1 else "text/plain"

    async def read(self, most: int) -> bytes:
        """Returns the decompressed body.

        Raises `ExpansionTooLarge` above `most` bytes, `CorruptBody`, `UnknownCoding`, `CallFailed`.
        """
        codings = read_codings(self.headers.get("content-encoding", ""))
        unpacker = Unpacker(codings) if codings else None
        data = bytearray()
        async for part in self._response.aiter_raw():
            if unpacker is None:
                data += part
            else:
                unpacker.give(part)
                while len(data) <= most and (piece := unpacker.take()):
                    data += piece
                    # A small input may expand a lot: let other tasks run between pieces.
                    await asyncio.sleep(0)
            if len(data) > most:
                raise ExpansionTooLarge(f"more than {most} bytes")
        if unpacker is not None:
            unpacker.finish()
        return bytes(data)

    async def drain(self) -> None:
        """Reads the rest of a short, fast response, so that the connection can be reused."""
        with contextlib.suppress(OSError):
            async with asyncio.timeout(_DRAIN_S):
                size = 0
                async for part in self._response.aiter_raw():
                    size += len(part)
                    if size > _DRAIN_BYTES:
                        return


class Outbound:
    """Calls of one kind, at most `most` at a time, shared fairly between callers. Belongs to one event loop."""

    def __init__(self, name: str, most: int = 8) -> None:
        self._turns = Turns(name, most)
        self._clients: dict[tuple[Proxy | None, bool, bool], httpx.AsyncClient] = {}
        self._opening = asyncio.Lock()

    @contextlib.asynccontextmanager
    async def open(self, call: Call, turn: str = "") -> AsyncIterator[Answer]:
        """Sends the call and yields the response, whatever its status. `turn`: the queue of the call.

        Raises `TimeoutError`, `CallFailed`, `ProxyRefused` (all are `OSError`), `TooManyRequests`.
        """
        async with self._turns.turn(turn):
            # The first call loads httpx and the certificates; this does not count towards the timeout.
            client = await self._client(call)
            async with asyncio.timeout(call.timeout_s):
                response = await client.send(_request_of(client, call), stream=True)
                try:
                    yield Answer(response)
                finally:
                    await response.aclose()

    async def _client(self, call: Call) -> httpx.AsyncClient:
        try:
            proxy = call.egress.proxy_for(call.url)
        except ValueError as error:
            raise CallFailed(f"the URL is invalid ({type(error).__name__})") from None
        key = (proxy, urlsplit(call.url).scheme == "https", call.private)
        async with self._opening:
            if (client := self._clients.get(key)) is None:
                client = self._clients[key] = await asyncio.to_thread(_open, *key)
        return client

    async def close(self, grace_s: float = 0.0) -> None:
        """Closes all connections: cancels waiting calls, and gives running ones `grace_s` seconds to finish."""
        self._turns.close()
        if grace_s:
            await self._turns.finished(grace_s)
        clients = list(self._clients.values())
        self._clients.clear()
        for client in clients:
            await client.aclose()


def _open(proxy: Proxy | None, secure: bool, private: bool) -> httpx.AsyncClient:
    from contract.checked_transport import open_client

    return open_client(proxy, secure=secure, private=private)


def _request_of(client: httpx.AsyncClient, call: Call) -> httpx.Request:
    from contract.checked_transport import request_of

    return request_of(client, call.url, call.headers, call.body)
