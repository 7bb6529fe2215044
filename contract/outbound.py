"""Calls over HTTP beside the path of a model's answer: tools, rerankers, web pages, webhooks, identity providers.

httpx sends them, once there is one: importing it takes a while. Each call ends at its deadline, however slowly the
other side sends; its body is bounded, packed or not; no redirect is followed and no cookie is kept.
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

# Of an answer that is read only so that its connection can be used again.
_DRAIN_BYTES = 64 * 1024
_DRAIN_S = 1.0


class Call(msgspec.Struct, frozen=True):
    """A GET, or a POST of `body`. `timeout_s` is for the whole of it, from the connection to the last byte.

    `private`: whether the host may have an address of one's own network.
    """

    url: str
    timeout_s: float
    headers: Mapping[str, str] = {}
    body: bytes | None = None
    private: bool = False
    egress: Egress = DIRECT


class Answer:
    """Status and headers, and a body that is still to come."""

    def __init__(self, response: httpx.Response) -> None:
        self._response = response
        self.status = response.status_code
        self.headers: Mapping[str, str] = response.headers

    @property
    def media_type(self) -> str:
        """Lower case, without parameters; `text/plain` when unsaid."""
        said = self.headers.get("content-type", "").partition(";")[0].strip().lower()
        return said if said.count("/") == 1 else "text/plain"

    async def read(self, most: int) -> bytes:
        """The body, unpacked.

        Raises `ExpansionTooLarge` past `most` bytes of it, `CorruptBody`, `UnknownCoding`, `CallFailed`.
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
                    # A little may hold a lot: others come between its pieces.
                    await asyncio.sleep(0)
            if len(data) > most:
                raise ExpansionTooLarge(f"more than {most} bytes")
        if unpacker is not None:
            unpacker.finish()
        return bytes(data)

    async def drain(self) -> None:
        """Reads what is left, if that is little and comes soon: the connection can be used again then."""
        with contextlib.suppress(OSError):
            async with asyncio.timeout(_DRAIN_S):
                size = 0
                async for part in self._response.aiter_raw():
                    size += len(part)
                    if size > _DRAIN_BYTES:
                        return


class Outbound:
    """Calls of one kind, so many at a time, shared fairly between callers. Belongs to one event loop."""

    def __init__(self, name: str, most: int = 8) -> None:
        self._turns = Turns(name, most)
        self._clients: dict[tuple[Proxy | None, bool, bool], httpx.AsyncClient] = {}
        self._opening = asyncio.Lock()

    @contextlib.asynccontextmanager
    async def open(self, call: Call, turn: str = "") -> AsyncIterator[Answer]:
        """The answer, whatever its status. `turn`: whose turn the call takes.

        Raises `TimeoutError`, `CallFailed`, `ProxyRefused` (all are `OSError`), `TooManyRequests`.
        """
        async with self._turns.turn(turn):
            # The first call loads httpx and the certificates, which is not the other side's time.
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
            raise CallFailed(f"its address can't be sent ({type(error).__name__})") from None
        key = (proxy, urlsplit(call.url).scheme == "https", call.private)
        async with self._opening:
            if (client := self._clients.get(key)) is None:
                client = self._clients[key] = await asyncio.to_thread(_open, *key)
        return client

    async def close(self, grace_s: float = 0.0) -> None:
        """Closes all connections; what waits is cancelled, what has begun has `grace_s` to end."""
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
