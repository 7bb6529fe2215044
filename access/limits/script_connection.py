"""The way to Redis: scripts that are called at the same time go together, one round trip after the other.

A burst of requests is one line of scripts on one connection, not a connection each; and a process that is busy is not
taken for a Redis that is gone.
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
AT_ONCE = 200
# How late the event loop must be for what has come to be still unread.
LATE_S = 0.02
MOST_WAITS = 4


class NotSent(Unreachable):
    """It was not even sent: nothing can have come of it."""


class _Call:
    __slots__ = ("answer", "keys", "numbers", "script")

    def __init__(self, script: str, keys: Sequence[str], numbers: Sequence[Any]) -> None:
        self.script = script
        self.keys = keys
        self.numbers = numbers
        self.answer: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()


class ScriptConnection:
    """One process's. After a failure nothing is asked for `pause_s`; `failed` hears of it."""

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
        """Whether it failed a moment ago."""
        return time.monotonic() < self._paused_until

    async def run(self, script: str, keys: Sequence[str], numbers: Sequence[Any]) -> list[Any]:
        """What the script says. Raises `Unreachable`."""
        if self.paused:
            raise NotSent("Redis failed a moment ago")
        call = _Call(script, keys, numbers)
        self._waiting.append(call)
        if self._sending is None:
            self._sending = asyncio.get_running_loop().create_task(self._send())
        return await call.answer

    async def ask(self, act: Callable[[], Awaitable[T]]) -> T:
        """The same for whatever else is asked."""
        if self.paused:
            raise NotSent("Redis failed a moment ago")
        try:
            answer = await self._patiently(act)
        except Exception as error:
            self._fail(error)
            raise Unreachable(type(error).__name__) from None
        if self._failing:
            self._failing = False
            structlog.get_logger().info("Redis can be asked again")
        return answer

    async def _send(self) -> None:
        try:
            while self._waiting:
                batch, self._waiting = self._waiting[:AT_ONCE], self._waiting[AT_ONCE:]
                try:
                    answers = await self.ask(lambda calls=batch: self._round(calls))  # type: ignore[misc]
                except Unreachable as error:
                    _tell(batch, error)
                    waiting, self._waiting = self._waiting, []
                    _tell(waiting, NotSent("Redis failed a moment ago"))
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

    async def _patiently(self, act: Callable[[], Awaitable[T]]) -> T:
        """Within the deadline, which begins anew while this process itself was too busy to hear."""
        loop = asyncio.get_running_loop()
        asking = asyncio.ensure_future(act())
        asking.add_done_callback(_heard)
        try:
            for _ in range(MOST_WAITS):
                until = loop.time() + self._deadline_s
                done, _pending = await asyncio.wait((asking,), timeout=self._deadline_s)
                if done:
                    return asking.result()
                if loop.time() < until + LATE_S:
                    break
            raise TimeoutError
        finally:
            asking.cancel()

    def _fail(self, error: BaseException) -> None:
        self._paused_until = time.monotonic() + self._pause_s
        self._failed()
        # Once, however often it is tried.
        if not self._failing:
            self._failing = True
            structlog.get_logger().warning("Redis does not count for now", problem=type(error).__name__)


def _heard(task: asyncio.Future[Any]) -> None:
    """Nobody waits any more for what was given up: its error is no news."""
    if not task.cancelled():
        task.exception()


def _tell(calls: Sequence[_Call], error: Unreachable) -> None:
    for call in calls:
        if not call.answer.done():
            call.answer.set_exception(error)


_SHAS: dict[str, str] = {}


def _sha(script: str) -> str:
    sha = _SHAS.get(script)
    if sha is None:
        sha = _SHAS[script] = hashlib.sha1(script.encode(), usedforsecurity=False).hexdigest()
    return sha
