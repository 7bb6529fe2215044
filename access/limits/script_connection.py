"""Runs scripts in Redis: concurrent calls are sent in batches, one round trip after the other.

A burst of requests uses one connection instead of one each, and a busy process is not mistaken for an unreachable
Redis.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import structlog

from access.limits.counters import Unreachable

if TYPE_CHECKING:
    from redis.asyncio import Redis

T = TypeVar("T")
BATCH_SIZE = 200
# A delay of the event loop from which a response may have arrived unread.
LATE_S = 0.02
MOST_WAITS = 4


class NotSent(Unreachable):
    """The call was not sent, so it had no effect."""


class _Call:
    __slots__ = ("answer", "keys", "numbers", "script")

    def __init__(self, script: str, keys: Sequence[str], numbers: Sequence[Any]) -> None:
        self.script = script
        self.keys = keys
        self.numbers = numbers
        self.answer: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()


class ScriptConnection:
    """One process's connection. After a failure it calls `failed`, and sends nothing for `pause_s` seconds."""

    def __init__(self, redis: Redis, deadline_s: float, pause_s: float, failed: Callable[[], None]) -> None:
        self._redis = redis
        self._deadline_s = deadline_s
        self._pause_s = pause_s
        self._failed = failed
        self._paused_until = 0.0
        self._failing = False
        self._waiting: list[_Call] = []
        self._sending: asyncio.Task[None] | None = None

    @property
    def paused(self) -> bool:
        """Whether it pauses after a failure."""
        return time.monotonic() < self._paused_until

    async def run(self, script: str, keys: Sequence[str], numbers: Sequence[Any]) -> list[Any]:
        """Runs a script and returns its result. Raises `Unreachable`."""
        if self.paused:
            raise NotSent("Redis failed a moment ago")
        call = _Call(script, keys, numbers)
        self._waiting.append(call)
        if self._sending is None:
            self._sending = asyncio.get_running_loop().create_task(self._send())
        return await call.answer

    async def ask(self, act: Callable[[], Awaitable[T]]) -> T:
        """Runs any other call to Redis. Raises `Unreachable`."""
        if self.paused:
            raise NotSent("Redis failed a moment ago")
        try:
            answer = await self._with_deadline(act)
        except Exception as error:
            self._fail(error)
            raise Unreachable(type(error).__name__) from None
        if self._failing:
            self._failing = False
            structlog.get_logger().info("Redis is reachable again")
        return answer

    async def _send(self) -> None:
        try:
            while self._waiting:
                batch, self._waiting = self._waiting[:BATCH_SIZE], self._waiting[BATCH_SIZE:]
                try:
                    answers = await self.ask(lambda calls=batch: self._round(calls))  # type: ignore[misc]
                except Unreachable as error:
                    _fail_calls(batch, error)
                    waiting, self._waiting = self._waiting, []
                    _fail_calls(waiting, NotSent("Redis failed a moment ago"))
                    return
                for call, answer in zip(batch, answers, strict=True):
                    if not call.answer.done():
                        call.answer.set_result(answer)
        finally:
            self._sending = None

    async def _round(self, batch: Sequence[_Call]) -> list[list[Any]]:
        from redis.exceptions import NoScriptError

        answers = await self._pipeline(batch)
        unknown = [place for place, answer in enumerate(answers) if isinstance(answer, NoScriptError)]
        if unknown:
            for script in {batch[place].script for place in unknown}:
                await self._redis.script_load(script)
            again = await self._pipeline([batch[place] for place in unknown])
            for place, answer in zip(unknown, again, strict=True):
                answers[place] = answer
        wrong = next((answer for answer in answers if isinstance(answer, Exception)), None)
        if wrong is not None:
            raise wrong
        return answers

    async def _pipeline(self, batch: Sequence[_Call]) -> list[Any]:
        pipeline = self._redis.pipeline(transaction=False)
        for call in batch:
            pipeline.evalsha(_sha(call.script), len(call.keys), *call.keys, *call.numbers)
        answers: list[Any] = await pipeline.execute(raise_on_error=False)
        return answers

    async def _with_deadline(self, act: Callable[[], Awaitable[T]]) -> T:
        """Runs a call within the deadline, which restarts if this process was too busy to read the response."""
        loop = asyncio.get_running_loop()
        call = asyncio.ensure_future(act())
        call.add_done_callback(_ignore_error)
        try:
            for _ in range(MOST_WAITS):
                until = loop.time() + self._deadline_s
                done, _pending = await asyncio.wait((call,), timeout=self._deadline_s)
                if done:
                    return call.result()
                if loop.time() < until + LATE_S:
                    break
            raise TimeoutError
        finally:
            call.cancel()

    def _fail(self, error: BaseException) -> None:
        self._paused_until = time.monotonic() + self._pause_s
        self._failed()
        # Logged once per outage.
        if not self._failing:
            self._failing = True
            structlog.get_logger().warning("Redis is unreachable", problem=type(error).__name__)


def _ignore_error(task: asyncio.Future[Any]) -> None:
    """Retrieves the error of an abandoned call, so that asyncio does not log it."""
    if not task.cancelled():
        task.exception()


def _fail_calls(calls: Sequence[_Call], error: Unreachable) -> None:
    for call in calls:
        if not call.answer.done():
            call.answer.set_exception(error)


_SHAS: dict[str, str] = {}


def _sha(script: str) -> str:
    sha = _SHAS.get(script)
    if sha is None:
        sha = _SHAS[script] = hashlib.sha1(script.encode(), usedforsecurity=False).hexdigest()
    return sha
