"""Questions that replicas tell each other, through a stream in Redis: what one keeps, all find by meaning.

A process that starts reads what the stream still holds. While Redis is gone each goes on with what it knows.
"""

from __future__ import annotations

import asyncio
import secrets
from typing import TYPE_CHECKING, Any

import numpy as np
import structlog

from cache.tier import DEADLINE_S, PAUSE_S
from contract.tiers import CacheAddress

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from cache.semantic.lookup import SemanticLookup
    from cache.semantic.nearest import Nearest

_AT_ONCE = 200
_WAIT_MS = 1000
# Told at once, so that nobody who asks is held up.
_MOST_TELLING = 64


class SharedQuestions:
    """Of one cache. `begin` needs a running event loop."""

    def __init__(self, redis: Redis, cache: str, nearest: Nearest[Any], most: int) -> None:
        """`most` questions are held in the stream, about."""
        self._redis = redis
        self._stream = f"gatehouse:questions:{cache}"
        self._nearest = nearest
        self._most = most
        self._me = secrets.token_hex(6)
        self._following: asyncio.Task[None] | None = None
        self._telling: set[asyncio.Task[None]] = set()

    def begin(self) -> None:
        """Follows the stream from its beginning, if it is not followed yet."""
        if self._following is None:
            self._following = asyncio.create_task(self._follow(), name="follow-questions")

    def tell(self, look: SemanticLookup, place: CacheAddress) -> None:
        """Tells the others of a question whose answer lies at `place`. Returns at once."""
        if len(self._telling) < _MOST_TELLING:
            task = asyncio.create_task(self._tell(look, place))
            self._telling.add(task)
            task.add_done_callback(self._telling.discard)

    async def _tell(self, look: SemanticLookup, place: CacheAddress) -> None:
        told: dict[Any, Any] = {
            "by": self._me,
            "question": look.question.encode("utf-8", "replace"),
            "partition": look.partition,
            "version": look.version,
            "owner": place.owner.encode("utf-8", "replace"),
            "model": place.model.encode("utf-8", "replace"),
            "key": place.key,
            "vector": look.vector.astype(np.float16).tobytes(),
        }
        try:
            async with asyncio.timeout(20 * DEADLINE_S):
                await self._redis.xadd(self._stream, told, maxlen=self._most, approximate=True)
        except Exception as error:
            structlog.get_logger().warning("other replicas were not told of a question", problem=type(error).__name__)

    async def _follow(self) -> None:
        last: bytes | str = "0"
        while True:
            try:
                found: Any = await self._redis.xread({self._stream: last}, count=_AT_ONCE, block=_WAIT_MS)
            except Exception:
                await asyncio.sleep(PAUSE_S)
                continue
            for number, told in (entry for _, entries in found or () for entry in entries):
                last = number
                self._hear(told)
            # Whoever asks comes in between.
            await asyncio.sleep(0)

    def _hear(self, told: dict[bytes, bytes]) -> None:
        try:
            if told[b"by"].decode() == self._me:
                return
            place = CacheAddress(told[b"owner"].decode(), told[b"model"].decode(), told[b"key"])
            vector = np.frombuffer(told[b"vector"], dtype=np.float16).astype(np.float32)
            self._nearest.add(
                told[b"question"].decode(), vector, place, told[b"partition"].decode(), told[b"version"].decode()
            )
        except (KeyError, ValueError):
            # Of another version of ours.
            return

    async def close(self) -> None:
        """Follows no more."""
        tasks = [*self._telling, *([self._following] if self._following is not None else [])]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
