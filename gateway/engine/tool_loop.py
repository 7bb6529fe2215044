"""The way between a model and the gateway's own tools: its calls are answered here, and the caller reads one answer.

Words go on as they come. A call of a tool of ours is held back, answered, and the model asked again; calls of the
caller's own tools are the caller's. After the last step the tools are no longer offered, so that the model answers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import msgspec

from contract.deltas import ChoiceDelta, Delta, Usage
from contract.messages import ChatRequest, Message, Reasoning, Text, Tool, ToolCall, ToolResult
from contract.stock import OWN_DIALECT

if TYPE_CHECKING:
    from contract.exchange import Exchange
    from contract.phases import GatewayTools, GuardedCalls
    from contract.reply import Reply


Ask = Callable[[ChatRequest], Awaitable["Reply"]]


class _Call:
    """One call of ours under way."""

    def __init__(self, call_id: str, name: str) -> None:
        self.id = call_id
        self.name = name
        self.signature = ""
        self.arguments: list[str] = []


class ToolReply:
    """Implements `contract.reply.Reply` over as many replies as it takes."""

    def __init__(
        self,
        reply: Reply,
        request: ChatRequest,
        names: frozenset[str],
        tools: GatewayTools,
        exchange: Exchange,
        ask: Ask,
        guarded: GuardedCalls,
    ) -> None:
        """`request` as it was asked, `names` the tools of ours in it; `ask` asks the same model again."""
        self.dialect = OWN_DIALECT
        self.streamed = reply.streamed
        self._reply = reply
        self._request = request
        self._names = names
        self._tools = tools
        self._steps = 0
        self._said: list[str] = []
        # The thoughts that their vendor has signed, and those whose signature has not come.
        self._thoughts: list[Reasoning] = []
        self._thinking: list[str] = []
        self._calls: dict[int, _Call] = {}
        self._foreign = False
        self._again = False
        self._usage = Usage()
        self._step_usage: Usage | None = None
        self._exchange = exchange
        self._ask = ask
        self._guarded = guarded

    async def next(self) -> list[Delta] | None:
        """See `Reply.next`."""
        while True:
            deltas = await self._reply.next()
            if deltas is None:
                if not self._again:
                    return None
                await self._go_on()
                continue
            passed = [new for delta in deltas if (new := self._delta(delta)) is not None]
            if passed:
                return passed

    async def close(self) -> None:
        """See `Reply.close`."""
        await self._reply.close()

    def _delta(self, delta: Delta) -> Delta | None:
        pieces = [new for piece in delta.choices if (new := self._piece(piece)) is not None]
        usage = delta.usage
        if usage is not None:
            self._step_usage = usage
            usage = _sum(self._usage, usage)
        if not pieces and usage is None and not delta.id:
            return None
        return msgspec.structs.replace(delta, choices=tuple(pieces), usage=usage, raw=b"")

    def _piece(self, piece: ChoiceDelta) -> ChoiceDelta | None:
        if piece.index:
            return piece
        self._said.append(piece.text)
        self._think(piece)
        others = []
        for call in piece.tool_calls:
            if call.index not in self._calls and call.name in self._names:
                self._calls[call.index] = _Call(call.id or f"call_{len(self._calls)}", call.name)
            if call.index in self._calls:
                known = self._calls[call.index]
                known.arguments.append(call.arguments)
                known.signature = known.signature or call.signature
            else:
                self._foreign = True
                others.append(call)
        finish = piece.finish
        if finish and self._calls and not self._foreign:
            # The answer goes on with what the tools say.
            self._again, finish = True, ""
        new = msgspec.structs.replace(piece, tool_calls=tuple(others), finish=finish)
        return new if new.says_something else None

    def _think(self, piece: ChoiceDelta) -> None:
        if piece.reasoning:
            self._thinking.append(piece.reasoning)
        if piece.signature:
            self._thoughts.append(Reasoning("".join(self._thinking), piece.signature, signed_by=piece.signed_by))
            self._thinking = []
        if piece.redacted:
            self._thoughts.append(Reasoning(redacted=piece.redacted, signed_by="anthropic"))

    async def _go_on(self) -> None:
        """Answers the calls and asks again."""
        calls = list(self._calls.values())
        said = "".join(self._said)
        results = await asyncio.gather(*[self._answer(call) for call in calls])
        parts = [Text(said)] if said else []
        asked = [ToolCall(call.id, call.name, "".join(call.arguments) or "{}", call.signature) for call in calls]
        # Anthropic and Google refuse calls without the signed thoughts that they came with.
        turn = Message("assistant", (*self._thoughts, *parts, *asked))
        told = tuple(
            Message("tool", (ToolResult(call.id, (Text(result),), name=call.name),))
            for call, result in zip(calls, results, strict=True)
        )
        request = msgspec.structs.replace(self._request, messages=(*self._request.messages, turn, *told))
        self._steps += 1
        if self._steps >= self._tools.steps:
            # Enough: what the caller has of its own stays.
            left = tuple(tool for tool in request.tools if not (isinstance(tool, Tool) and tool.name in self._names))
            choice = request.tool_choice
            if choice is not None and (not left or choice.name in self._names):
                # A call of what is not there any more can't be forced.
                choice = None
            request = msgspec.structs.replace(request, tools=left, tool_choice=choice)
            self._names = frozenset()
        self._request = await self._guarded.recheck(request)
        if self._step_usage is not None:
            self._usage = _sum(self._usage, self._step_usage)
        self._said, self._calls, self._step_usage, self._again = [], {}, None, False
        self._thoughts, self._thinking = [], []
        before = self._reply
        self._reply = await self._ask(self._request)
        await before.close()

    async def _answer(self, call: _Call) -> str:
        arguments = self._guarded.reveal_arguments(call.name, "".join(call.arguments))
        return await self._tools.call(call.name, arguments, self._exchange)


def _sum(one: Usage, other: Usage) -> Usage:
    return Usage(
        one.input + other.input,
        one.output + other.output,
        one.cache_read + other.cache_read,
        one.cache_write + other.cache_write,
        one.reasoning + other.reasoning,
        one.audio_input + other.audio_input,
        one.audio_output + other.audio_output,
        one.image_input + other.image_input,
        one.image_output + other.image_output,
        one.cache_write_1h + other.cache_write_1h,
        one.searches + other.searches,
    )
