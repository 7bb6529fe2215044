"""Shares stored questions between replicas through a Redis stream, so that all find them in the semantic cache.

A new process reads the complete stream. While Redis is unavailable, each replica uses the questions it has.
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

_BATCH = 200
_WAIT_MS = 1000
# Concurrent publications; further questions are not published, so that requests are not delayed.
_MAX_PUBLISHING = 64


class SharedQuestions:
    """The shared questions of one cache. `begin` needs a running event loop."""

    def __init__(self, redis: Redis, cache: str, nearest: Nearest[Any], max_questions: int) -> None:
        """`max_questions` is the approximate maximum length of the stream."""
        self._redis = redis
        self._stream = f"gatehouse:questions:{cache}"
        self._nearest = nearest
        self._max_questions = max_questions
        self._me = secrets.token_hex(6)
        self._following: asyncio.Task[None] | None = None
        self._publishing: set[asyncio.Task[None]] = set()

    def begin(self) -> None:
        """Starts to follow the stream from its start, once."""
        if self._following is None:
            self._following = asyncio.create_task(self._follow(), name="follow-questions")

    def publish(self, look: SemanticLookup, place: CacheAddress) -> None:
        """Publishes a question whose answer is stored at `place`. Returns at once."""
        if len(self._publishing) < _MAX_PUBLISHING:
            task = asyncio.create_task(self._publish(look, place))
            self._publishing.add(task)
            task.add_done_callback(self._publishing.discard)

    async def _publish(self, look: SemanticLookup, place: CacheAddress) -> None:
        fields: dict[Any, Any] = {
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
                await self._redis.xadd(self._stream, fields, maxlen=self._max_questions, approximate=True)
        except Exception as error:
            structlog.get_logger().warning("question not shared with other replicas", problem=type(error).__name__)

    async def _follow(self) -> None:
        last: bytes | str = "0"
        while True:
            try:
                streams: Any = await self._redis.xread({self._stream: last}, count=_BATCH, block=_WAIT_MS)
            except Exception:
                await asyncio.sleep(PAUSE_S)
                continue
            for number, fields in (entry for _, entries in streams or () for entry in entries):
                last = number
                self._receive(fields)
            # Let requests run in between.
            await asyncio.sleep(0)

    def _receive(self, fields: dict[bytes, bytes]) -> None:
        try:
            if fields[b"by"].decode() == self._me:
                return
            place = CacheAddress(fields[b"owner"].decode(), fields[b"model"].decode(), fields[b"key"])
            vector = np.frombuffer(fields[b"vector"], dtype=np.float16).astype(np.float32)
            self._nearest.add(
                fields[b"question"].decode(),
                vector,
                place,
                fields[b"partition"].decode(),
                fields[b"version"].decode(),
            )
        except (KeyError, ValueError):
            # Written by another version of the gateway.
            return

    async def close(self) -> None:
        """Stops following the stream."""
        tasks = [*self._publishing, *([self._following] if self._following is not None else [])]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
