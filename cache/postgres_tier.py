"""The tier kind `postgres`: answers in PostgreSQL, for deployments without Redis."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from cache.entry import made_of
from config.caches import TierConfig, TierParts
from config.document import Path
from config.secret import Secret
from config.sources import postgres_address
from contract.tiers import CacheAddress, Purge

_SCHEMA = """
CREATE TABLE IF NOT EXISTS gatehouse_answers (
    cache text NOT NULL, owner text NOT NULL, model text NOT NULL, key bytea NOT NULL,
    made double precision NOT NULL, until double precision NOT NULL, value bytea NOT NULL,
    PRIMARY KEY (cache, owner, model, key)
);
CREATE INDEX IF NOT EXISTS gatehouse_answers_until ON gatehouse_answers (until);
"""
_PUT = """
INSERT INTO gatehouse_answers VALUES ($1, $2, $3, $4, $5, $6, $7)
ON CONFLICT (cache, owner, model, key) DO UPDATE SET made = $5, until = $6, value = $7
"""
_PURGE = """
DELETE FROM gatehouse_answers WHERE cache = $1 AND owner = $2 AND ($3 = '' OR model = $3)
AND ($4::double precision IS NULL OR made < $4) AND ($5 = ''::bytea OR key = $5)
"""
# Serialises concurrent creation of the table, which would fail otherwise.
_LOCK = "SELECT pg_advisory_xact_lock(hashtext('gatehouse_answers'))"
_CLEAN_EVERY_S = 60.0


class PostgresTierConfig(TierConfig):
    """Answers in PostgreSQL."""

    kind: Literal["postgres"] = Field(description="In PostgreSQL, for all replicas.")
    url: Annotated[Secret, BeforeValidator(postgres_address)] = Field(
        description="The database URL.", examples=["${DATABASE_URL}"]
    )

    @classmethod
    def needed_extras(cls, values: Mapping[str, Any]) -> Iterator[tuple[Path, str]]:
        """The database driver."""
        yield (), "postgres"

    def open(self, cache: str, parts: TierParts) -> PostgresTier:
        """See `TierConfig.open`."""
        return PostgresTier(self.url.reveal(), cache)


class PostgresTier:
    """Implements `contract.tiers.Tier`. Connects on first use."""

    name = "postgres"

    def __init__(self, url: str, cache: str) -> None:
        self._url = url
        self._cache = cache
        self._pool: Any = None
        self._opening: asyncio.Task[Any] | None = None
        self._cleaned = 0.0

    async def _ready(self) -> Any:
        if self._pool is None:
            if self._opening is None or self._opening.done():
                self._opening = asyncio.create_task(self._open())
            # Shielded from the caller's short timeout, so that a later caller finds the connection open.
            self._pool = await asyncio.shield(self._opening)
        return self._pool

    async def _open(self) -> Any:
        import asyncpg  # type: ignore[import-untyped]

        pool = await asyncpg.create_pool(self._url, min_size=1, max_size=8, command_timeout=5, timeout=5)
        async with pool.acquire() as connection, connection.transaction():
            await connection.execute(_LOCK)
            await connection.execute(_SCHEMA)
        return pool

    async def get(self, place: CacheAddress) -> bytes | None:
        """See `Tier.get`."""
        pool = await self._ready()
        query = (
            "SELECT value FROM gatehouse_answers "
            "WHERE cache = $1 AND owner = $2 AND model = $3 AND key = $4 AND until > $5"
        )
        value: bytes | None = await pool.fetchval(
            query, self._cache, _clean(place.owner), _clean(place.model), place.key, time.time()
        )
        return value

    async def put(self, place: CacheAddress, value: bytes, ttl_s: float) -> None:
        """See `Tier.put`. Also removes expired answers from time to time."""
        pool = await self._ready()
        now = time.time()
        owner, model = _clean(place.owner), _clean(place.model)
        await pool.execute(_PUT, self._cache, owner, model, place.key, made_of(value), now + ttl_s, value)
        if now - self._cleaned > _CLEAN_EVERY_S:
            self._cleaned = now
            await pool.execute("DELETE FROM gatehouse_answers WHERE until < $1", now)

    async def purge(self, what: Purge) -> int:
        """See `Tier.purge`."""
        pool = await self._ready()
        done: str = await pool.execute(
            _PURGE, self._cache, _clean(what.owner), _clean(what.model), what.before, what.key
        )
        return int(done.rpartition(" ")[2])

    async def close(self) -> None:
        """See `Tier.close`."""
        if self._opening is not None:
            await asyncio.wait([self._opening])
        if self._pool is not None:
            await self._pool.close()


def _clean(text: str) -> str:
    """Removes NUL, which PostgreSQL rejects."""
    return text.replace("\x00", "")
