"""A provider that acts out a script, and an event loop whose time passes at once."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from random import Random
from typing import Any, TypeVar

import msgspec

from contract.deltas import ChoiceDelta, Delta, FinishReason, Usage
from contract.errors import GatehouseError
from contract.exchange import Exchange
from contract.messages import ChatRequest, EmbeddingRequest, Embeddings, Message, Text
from contract.provider import Provider, UpstreamCall
from contract.reply import Reply
from contract.unsettled import Unsettled
from router.dispatch import Dispatcher
from router.health import HealthBook
from router.policy import RoutePolicy, TargetPolicy

T = TypeVar("T")
REQUEST = ChatRequest(dialect="openai", model="quick", messages=(Message("user", (Text("hello"),)),), stream=True)
EMBEDDING = EmbeddingRequest(dialect="openai", model="quick", texts=("a", "b"))


class _NoWaiting(selectors.SelectSelector):
    """Moves the loop's time forward instead of waiting."""

    loop: VirtualLoop

    def select(self, timeout: float | None = None) -> list[Any]:
        if timeout is None:
            raise RuntimeError("every task waits and no timer is set")
        self.loop.now += max(0.0, timeout)
        return super().select(0)


class VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        selector = _NoWaiting()
        selector.loop = self
        self.now = 1000.0
        super().__init__(selector)

    def time(self) -> float:
        return self.now


def play(coroutine: Coroutine[Any, Any, T]) -> T:
    """Runs in virtual time; fails if a task is left."""

    async def alone() -> T:
        try:
            return await coroutine
        finally:
            left = asyncio.all_tasks() - {asyncio.current_task()}
            assert not left, left

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(alone())


class Outcome(msgspec.Struct):
    """What one call does: opens after `open_s` (or raises `error`), then the steps: deltas, seconds, or an error."""

    steps: list[list[Delta] | float | Exception] = []
    error: Exception | None = None
    open_s: float = 0.0


def says(*words: str, after_s: float = 0.0) -> Outcome:
    steps: list[list[Delta] | float | Exception] = [after_s, [Delta(id="r1", choices=(ChoiceDelta(),))]]
    steps += [[Delta(choices=(ChoiceDelta(text=word),))] for word in words]
    steps.append([Delta(choices=(ChoiceDelta(finish="stop"),), usage=Usage(3, len(words)))])
    return Outcome(steps)


def ends(finish: FinishReason) -> Outcome:
    """Nothing but an end."""
    return Outcome([[Delta(choices=(ChoiceDelta(),))], [Delta(choices=(ChoiceDelta(finish=finish),), usage=Usage(3))]])


def fails(error: Exception, after_s: float = 0.0) -> Outcome:
    return Outcome(error=error, open_s=after_s)


def breaks(error: Exception, *words: str) -> Outcome:
    """Opens, says `words`, then raises."""
    return Outcome([*([Delta(choices=(ChoiceDelta(text=word),))] for word in words), error])


class ScriptedReply:
    dialect = "openai"
    streamed = True

    def __init__(self, steps: list[list[Delta] | float | Exception], stage: Stage) -> None:
        self._steps = list(steps)
        self._stage = stage
        stage.open.add(self)

    async def next(self) -> list[Delta] | None:
        await asyncio.sleep(0)
        while self._steps:
            step = self._steps.pop(0)
            if isinstance(step, Exception):
                raise step
            if isinstance(step, list):
                return step
            await asyncio.sleep(step)
        return None

    async def close(self) -> None:
        self._stage.open.discard(self)
        await asyncio.sleep(0)


class ScriptedProvider:
    dialect = "openai"
    trusted = False

    def __init__(self, name: str, stage: Stage) -> None:
        self.name = name
        self._stage = stage

    async def open(self, request: ChatRequest, call: UpstreamCall) -> Reply:
        outcome = await self._begin(call)
        return ScriptedReply(outcome.steps, self._stage)

    async def embed(self, request: EmbeddingRequest, call: UpstreamCall) -> Embeddings:
        await self._begin(call)
        return Embeddings([[1.0]] * len(request.texts), call.model)

    async def close(self) -> None:
        return None

    async def _begin(self, call: UpstreamCall) -> Outcome:
        self._stage.calls.append(call)
        self._stage.running += 1
        self._stage.most_running = max(self._stage.most_running, self._stage.running)
        script = self._stage.scripts.get(call.attempt.target, [])
        outcome = script.pop(0) if script else says("ok")
        try:
            await asyncio.sleep(outcome.open_s)
        finally:
            self._stage.running -= 1
        if outcome.error is not None:
            raise outcome.error
        return outcome


class Stage:
    """Targets `a/m`, `b/m`, ... with a script each, and a dispatcher over them."""

    def __init__(self, scripts: dict[str, list[Outcome]], seed: int = 1) -> None:
        self.scripts = {f"{name}/m": list(outcomes) for name, outcomes in scripts.items()}
        self.calls: list[UpstreamCall] = []
        self.open: set[ScriptedReply] = set()
        self.running = self.most_running = 0
        self.book = HealthBook(self.clock)
        self.providers: dict[str, Provider] = {name: ScriptedProvider(name, self) for name in scripts}
        self.dispatcher = Dispatcher(self.providers, self.book, self.clock, asyncio.sleep, Random(seed))
        self.exchange = Exchange("openai")

    @staticmethod
    def clock() -> float:
        return asyncio.get_running_loop().time()

    def policy(self, **changes: Any) -> RoutePolicy:
        targets = tuple(TargetPolicy(name, "m") for name in self.providers)
        return msgspec.structs.replace(RoutePolicy("quick", targets), **changes)

    async def ask(self, policy: RoutePolicy, prompt_tokens: int | None = None) -> str:
        """The whole answer's words, or the class of the error in angle brackets, after what came before it."""
        words = ""
        try:
            reply = await self.dispatcher.dispatch(
                REQUEST, policy, self.exchange, Unsettled(), prompt_tokens=prompt_tokens
            )
            try:
                while (batch := await reply.next()) is not None:
                    words += "".join(choice.text for delta in batch for choice in delta.choices)
            finally:
                await reply.close()
        except GatehouseError as error:
            self.error = error
            words += f"<{type(error).__name__}>"
        return words

    def told(self) -> list[str]:
        """The attempts in short: target, reason, error or `ok`."""
        return [f"{attempt.target[0]} {attempt.reason} {attempt.error or 'ok'}" for attempt in self.exchange.attempts]

    def steps(self) -> list[tuple[str, str]]:
        return [(step.name, str((step.attributes or {}).get("reason"))) for step in self.exchange.steps]

    def assert_clean(self) -> None:
        """No reply open, no permit out, no attempt without an end."""
        assert not self.open
        assert self.running == 0
        for name in self.scripts:
            health = self.book.target(name)
            assert health.in_flight == 0
            assert health.probe is None
        assert all(attempt.ended for attempt in self.exchange.attempts)
        assert len(self.exchange.attempts) == len(self.calls)
