"""Runs the gateway's own tools: executes the model's calls of them, so that the caller gets a single response.

Text is streamed as it arrives. A call of a gateway tool is held back and executed, and its result is sent to the model.
Calls of the caller's own tools are passed to the caller. After the last step the tools are no longer offered, so that
the model must respond.
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
    """A call of a gateway tool, while it is streamed."""

    def __init__(self, call_id: str, name: str) -> None:
        self.id = call_id
        self.name = name
        self.signature = ""
        self.arguments: list[str] = []


class ToolReply:
    """Combines the replies of all steps into one. Implements `contract.reply.Reply`."""

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
        """`request` is the request sent, `names` its gateway tools. `ask` sends a request to the same model."""
        self.dialect = OWN_DIALECT
        self.streamed = reply.streamed
        self._reply = reply
        self._request = request
        self._names = names
        self._tools = tools
        self._steps = 0
        self._text: list[str] = []
        # Reasoning with a vendor's signature, and reasoning whose signature has not arrived.
        self._signed_reasoning: list[Reasoning] = []
        self._unsigned_reasoning: list[str] = []
        self._calls: dict[int, _Call] = {}
        self._has_caller_calls = False
        self._needs_step = False
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
                if not self._needs_step:
                    return None
                await self._run_step()
                continue
            passed = [new for delta in deltas if (new := self._filter_delta(delta)) is not None]
            if passed:
                return passed

    async def close(self) -> None:
        """See `Reply.close`."""
        await self._reply.close()

    def _filter_delta(self, delta: Delta) -> Delta | None:
        pieces = [new for choice in delta.choices if (new := self._filter_choice(choice)) is not None]
        usage = delta.usage
        if usage is not None:
            self._step_usage = usage
            usage = _sum(self._usage, usage)
        if not pieces and usage is None and not delta.id:
            return None
        return msgspec.structs.replace(delta, choices=tuple(pieces), usage=usage, raw=b"")

    def _filter_choice(self, choice: ChoiceDelta) -> ChoiceDelta | None:
        if choice.index:
            return choice
        self._text.append(choice.text)
        self._collect_reasoning(choice)
        others = []
        for call in choice.tool_calls:
            if call.index not in self._calls and call.name in self._names:
                self._calls[call.index] = _Call(call.id or f"call_{len(self._calls)}", call.name)
            if call.index in self._calls:
                known = self._calls[call.index]
                known.arguments.append(call.arguments)
                known.signature = known.signature or call.signature
            else:
                self._has_caller_calls = True
                others.append(call)
        finish = choice.finish
        if finish and self._calls and not self._has_caller_calls:
            # The response continues with the tools' results.
            self._needs_step, finish = True, ""
        new = msgspec.structs.replace(choice, tool_calls=tuple(others), finish=finish)
        return new if new.must_be_forwarded else None

    def _collect_reasoning(self, choice: ChoiceDelta) -> None:
        if choice.reasoning:
            self._unsigned_reasoning.append(choice.reasoning)
        if choice.signature:
            self._signed_reasoning.append(
                Reasoning("".join(self._unsigned_reasoning), choice.signature, signed_by=choice.signed_by)
            )
            self._unsigned_reasoning = []
        if choice.redacted:
            self._signed_reasoning.append(Reasoning(redacted=choice.redacted, signed_by="anthropic"))

    async def _run_step(self) -> None:
        """Executes the calls and sends their results to the model."""
        calls = list(self._calls.values())
        text = "".join(self._text)
        results = await asyncio.gather(*[self._call_tool(call) for call in calls])
        parts = [Text(text)] if text else []
        tool_calls = [ToolCall(call.id, call.name, "".join(call.arguments) or "{}", call.signature) for call in calls]
        # Anthropic and Google reject tool calls without the signed reasoning that preceded them.
        turn = Message("assistant", (*self._signed_reasoning, *parts, *tool_calls))
        result_messages = tuple(
            Message("tool", (ToolResult(call.id, (Text(result),), name=call.name),))
            for call, result in zip(calls, results, strict=True)
        )
        request = msgspec.structs.replace(self._request, messages=(*self._request.messages, turn, *result_messages))
        self._steps += 1
        if self._steps >= self._tools.steps:
            # The last step: only the caller's own tools remain.
            left = tuple(tool for tool in request.tools if not (isinstance(tool, Tool) and tool.name in self._names))
            choice = request.tool_choice
            if choice is not None and (not left or choice.name in self._names):
                # A tool that is no longer offered can't be forced.
                choice = None
            request = msgspec.structs.replace(request, tools=left, tool_choice=choice)
            self._names = frozenset()
        self._request = await self._guarded.recheck(request)
        if self._step_usage is not None:
            self._usage = _sum(self._usage, self._step_usage)
        self._text, self._calls, self._step_usage, self._needs_step = [], {}, None, False
        self._signed_reasoning, self._unsigned_reasoning = [], []
        before = self._reply
        self._reply = await self._ask(self._request)
        await before.close()

    async def _call_tool(self, call: _Call) -> str:
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
