"""Stores the masked values of conversations across requests, encrypted with AES-GCM, for a limited time.

A caller that names its conversation in `x-gatehouse-conversation` need not send earlier turns: any replica that shares
the store restores their tags in later answers. The store holds encrypted values under hashed names; the key is only in
the config, so the store alone reveals nothing.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import os
import time
from collections import OrderedDict
from collections.abc import Awaitable, Mapping
from typing import TYPE_CHECKING, Any, Protocol, cast

if TYPE_CHECKING:
    from redis.asyncio import Redis

_NONCE_BYTES = 12
MAX_CONVERSATIONS = 10_000
MAX_BYTES = 64_000_000
REDIS_TIMEOUT_S = 0.05
_PREFIX = "gatehouse:masked:"


class RowStore(Protocol):
    """Stores rows of named bytes for a limited time."""

    async def get(self, row: str) -> Mapping[str, bytes]:
        """Returns the entries of a row; empty if it is unknown or expired. Raises the server's errors."""
        ...

    async def add(self, row: str, entries: Mapping[str, bytes], ttl_s: float) -> None:
        """Adds entries to a row and sets the lifetime of the row to `ttl_s` from now."""
        ...


class Conversations:
    """Loads and saves the values of conversations."""

    def __init__(self, rows: RowStore, secret: bytes, ttl_s: float) -> None:
        """`secret` encrypts the values."""
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        self._rows = rows
        self._row_key = hmac.digest(secret, b"rows of conversations", hashlib.sha256)
        self._sealer = AESGCM(hmac.digest(secret, b"seal of conversations", hashlib.sha256))
        self._ttl_s = ttl_s

    async def load(self, scope: str) -> dict[str, str]:
        """Returns values by tag name. Raises the store's errors, and `InvalidTag` for values of another key."""
        row = self._row(scope)
        return {name: self._open(row, name, sealed) for name, sealed in (await self._rows.get(row)).items()}

    async def save(self, scope: str, values: Mapping[str, str]) -> None:
        """Adds values by tag name. Raises the store's errors."""
        row = self._row(scope)
        await self._rows.add(row, {name: self._seal(row, name, value) for name, value in values.items()}, self._ttl_s)

    def _row(self, scope: str) -> str:
        return hmac.new(self._row_key, scope.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()

    def _seal(self, row: str, name: str, value: str) -> bytes:
        nonce = os.urandom(_NONCE_BYTES)
        # Bind the value to its row and name, so that it can't be decrypted in another conversation.
        return nonce + self._sealer.encrypt(nonce, value.encode("utf-8", "surrogatepass"), f"{row}/{name}".encode())

    def _open(self, row: str, name: str, sealed: bytes) -> str:
        nonce, box = sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:]
        return self._sealer.decrypt(nonce, box, f"{row}/{name}".encode()).decode("utf-8", "surrogatepass")


class MemoryRows:
    """Implements `RowStore` in memory, with limits; evicts the least recently used rows first."""

    def __init__(self, max_rows: int = MAX_CONVERSATIONS, max_bytes: int = MAX_BYTES) -> None:
        self._rows: OrderedDict[str, tuple[float, dict[str, bytes]]] = OrderedDict()
        self._max_rows = max_rows
        self._max_bytes = max_bytes
        self._bytes = 0

    async def get(self, row: str) -> Mapping[str, bytes]:
        """See `RowStore.get`."""
        stored = self._rows.get(row)
        if stored is None:
            return {}
        if stored[0] < time.monotonic():
            self._drop(row)
            return {}
        self._rows.move_to_end(row)
        return dict(stored[1])

    async def add(self, row: str, entries: Mapping[str, bytes], ttl_s: float) -> None:
        """See `RowStore.add`."""
        merged = dict(await self.get(row))
        if row in self._rows:
            self._drop(row)
        merged.update(entries)
        self._rows[row] = (time.monotonic() + ttl_s, merged)
        self._bytes += _size(merged)
        while self._rows and (len(self._rows) > self._max_rows or self._bytes > self._max_bytes):
            self._drop(next(iter(self._rows)))

    def _drop(self, row: str) -> None:
        self._bytes -= _size(self._rows.pop(row)[1])


def _size(entries: Mapping[str, bytes]) -> int:
    return sum(len(name) + len(value) + 100 for name, value in entries.items())


class RedisRows:
    """Implements `RowStore` in Redis, one hash per row, so that concurrent additions of replicas do not conflict."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def get(self, row: str) -> Mapping[str, bytes]:
        """See `RowStore.get`. Raises `TimeoutError` after 50 ms, and the client's errors."""
        async with asyncio.timeout(REDIS_TIMEOUT_S):
            stored = await cast("Awaitable[dict[bytes, bytes]]", self._redis.hgetall(_PREFIX + row))
        return {name.decode(): value for name, value in stored.items()}

    async def add(self, row: str, entries: Mapping[str, bytes], ttl_s: float) -> None:
        """See `RowStore.add`. Raises as `get` does."""
        mapping: dict[Any, Any] = dict(entries)
        async with asyncio.timeout(REDIS_TIMEOUT_S), self._redis.pipeline(transaction=True) as pipe:
            pipe.hset(_PREFIX + row, mapping=mapping)
            pipe.pexpire(_PREFIX + row, int(ttl_s * 1000))
            await pipe.execute()
