"""The tier kind `redis`: answers under `gatehouse:cache:<cache>:<owner>:<model>:<key>`, with names as digests."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal, cast

from pydantic import Field

from cache.entry import made_of
from config.caches import TierConfig, TierParts
from config.document import Path
from config.raw import OptionConflict, RawConfig
from contract.tiers import CacheAddress, Purge

if TYPE_CHECKING:
    from redis.asyncio import Redis

_BATCH = 500
_HEAD_BYTES = 8


class RedisTierConfig(TierConfig):
    """Answers in the Redis of `server.redis`."""

    in_redis: ClassVar[bool] = True

    kind: Literal["redis"] = Field(description="In the Redis of `server.redis`, for all replicas.")

    @classmethod
    def conflicts(cls, path: Path, values: Mapping[str, Any], beside: RawConfig) -> Iterator[OptionConflict]:
        """The tier needs `server.redis`."""
        if "redis" not in beside.section("server"):
            yield OptionConflict((*path, "kind"), "there is no Redis", "set its URL as server: {redis: ...}")

    def open(self, cache: str, parts: TierParts) -> RedisTier:
        """See `TierConfig.open`."""
        if parts.redis is None:
            raise ValueError(f"the cache {cache} has a tier in Redis, but server.redis is empty: set it")
        return RedisTier(parts.redis, cache)


class RedisTier:
    """Implements `contract.tiers.Tier`."""

    name = "redis"

    def __init__(self, redis: Redis, cache: str) -> None:
        """The caller closes the client."""
        self._redis = redis
        self._prefix = f"gatehouse:cache:{_short(cache)}:"

    def _key(self, place: CacheAddress) -> str:
        return f"{self._prefix}{_short(place.owner)}:{_short(place.model)}:{place.key.hex()}"

    async def get(self, place: CacheAddress) -> bytes | None:
        """See `Tier.get`."""
        return cast("bytes | None", await self._redis.get(self._key(place)))

    async def put(self, place: CacheAddress, value: bytes, ttl_s: float) -> None:
        """See `Tier.put`."""
        await self._redis.set(self._key(place), value, px=max(1, int(ttl_s * 1000)))

    async def purge(self, what: Purge) -> int:
        """See `Tier.purge`."""
        model = _short(what.model) if what.model else "*"
        pattern = f"{self._prefix}{_short(what.owner)}:{model}:{what.key.hex() or '*'}"
        removed = 0
        batch: list[bytes] = []
        async for key in self._redis.scan_iter(pattern, count=_BATCH):
            batch.append(key)
            if len(batch) >= _BATCH:
                removed += await self._remove(batch, what.before)
                batch = []
        return removed + (await self._remove(batch, what.before) if batch else 0)

    async def _remove(self, keys: list[bytes], before: float | None) -> int:
        if before is not None:
            async with self._redis.pipeline(transaction=False) as pipe:
                for key in keys:
                    pipe.getrange(key, 0, _HEAD_BYTES - 1)
                heads = await pipe.execute()
            keys = [
                key
                for key, head in zip(keys, heads, strict=True)
                if len(head) == _HEAD_BYTES and made_of(head) < before
            ]
        return int(await self._redis.delete(*keys)) if keys else 0

    async def close(self) -> None:
        """See `Tier.close`."""


def _short(name: str) -> str:
    return hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=6).hexdigest()
