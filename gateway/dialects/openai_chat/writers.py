"""Writes Chat Completions replies: streams of chunks and buffered completions."""

from __future__ import annotations

import time
from typing import Any

import msgspec

from contract.deltas import ChoiceDelta, Delta, FinishReason, Own, TokenLogprob, ToolCallDelta, Usage
from contract.errors import GatehouseError
from contract.messages import ChatRequest, DroppedParam
from gateway.dialects import google
from gateway.dialects.collect import CollectedCall, CollectedChoice, Collector
from gateway.dialects.foreign import OmittedParts, merge
from gateway.dialects.openai_chat import errors
from gateway.dialects.openai_chat.choice_progress import ChoiceProgress

_encode = msgspec.json.Encoder().encode
_FINISH: dict[FinishReason, str] = {
    "stop": "stop",
    "stop_sequence": "stop",
    "length": "length",
    "context_window": "length",
    "tool_calls": "tool_calls",
    "content_filter": "content_filter",
    "refusal": "content_filter",
    "pause": "stop",
    "malformed": "length",
    "error": "length",
    "other": "length",
}


class StreamWriter:
    """Writes `data:` frames, then `[DONE]`."""

    content_type = "text/event-stream; charset=utf-8"
    __slots__ = (
        "_created", "_id", "_include_usage", "_model", "_omitted", "_opened", "_own", "_progress", "_raw", "_started",
        "_usage",
    )  # fmt: skip

    def __init__(self, request: ChatRequest, reply_id: str, *, raw: bool, opened: bool = False) -> None:
        self._id = reply_id
        self._model = request.model
        self._include_usage = request.include_usage
        self._raw = raw
        self._created = int(time.time())
        # The choices whose role has been sent: the SDKs concatenate roles like text.
        self._started: set[int] = {0} if opened else set()
        self._opened = opened
        self._usage: Usage | None = None
        self._own: dict[str, Any] = {}
        self._progress: dict[int, ChoiceProgress] = {}
        self._omitted = OmittedParts()

    @property
    def losses(self) -> list[DroppedParam]:
        """See `ReplyWriter.losses`."""
        return self._omitted.losses

    def opening(self, delta: Delta) -> bytes:
        """See `ReplyWriter.opening`: the role, as in every OpenAI stream."""
        return self._write_chunks(Delta((ChoiceDelta(),), id=delta.id, model=delta.model))

    def feed(self, deltas: list[Delta]) -> bytes:
        """See `ReplyWriter.feed`. A chunk with only usage is sent only if the caller requested usage."""
        if not self._raw:
            return b"".join([self._write_chunks(delta) for delta in deltas])
        if self._opened:
            deltas = self._without_role(deltas)
        include_usage = self._include_usage
        return b"".join(
            [
                b"data: %b\n\n" % delta.raw if delta.raw else self._write_chunks(delta)
                for delta in deltas
                if delta.choices or include_usage or delta.usage is None
            ]
        )

    def finish(self) -> bytes:
        """See `ReplyWriter.finish`."""
        if self._usage is not None and self._include_usage and not self._raw:
            return self._frame([], write_usage(self._usage)) + b"data: [DONE]\n\n"
        return b"data: [DONE]\n\n"

    def fail(self, error: GatehouseError, request_id: str) -> bytes:
        """See `ReplyWriter.fail`: the SDKs raise on an `error` field. No `[DONE]` follows."""
        return b"data: " + errors.write(error) + b"\n\n"

    def _without_role(self, deltas: list[Delta]) -> list[Delta]:
        """Up to the first content of choice 0: drops deltas that only repeat the opening, and removes the role."""
        remaining = []
        for delta in deltas:
            first_choice = [choice for choice in delta.choices if choice.index == 0]
            if not self._opened or not first_choice:
                remaining.append(delta)
            elif first_choice[0].has_content or first_choice[0].finish:
                self._opened = False
                remaining.append(msgspec.structs.replace(delta, raw=b"") if b'"role"' in delta.raw else delta)
            elif len(delta.choices) > 1:
                remaining.append(delta)
        return remaining

    def _write_chunks(self, delta: Delta) -> bytes:
        if delta.usage is not None:
            self._usage = delta.usage
        if delta.id:
            self._id = delta.id
        if delta.model:
            self._model = delta.model
        if delta.own:
            self._own |= delta.own.get("openai") or {}
        return b"".join([self._frame([self._choice(choice)], None) for choice in delta.choices])

    def _choice(self, choice: ChoiceDelta) -> dict[str, Any]:
        progress = self._progress.get(choice.index)
        if progress is None:
            progress = self._progress[choice.index] = ChoiceProgress(self._omitted)
        extra_fields = progress.add(choice)
        text = progress.text
        wire: dict[str, Any] = {}
        if choice.index not in self._started:
            self._started.add(choice.index)
            wire["role"] = "assistant"
        if text or ("role" in wire and not choice.finish and not choice.tool_calls):
            wire["content"] = text
        if choice.reasoning:
            wire[progress.reasoning_field] = choice.reasoning
        if choice.refusal:
            wire["refusal"] = choice.refusal
        if choice.tool_calls:
            wire["tool_calls"] = [
                _write_call_delta(call, custom=call.index in progress.custom) for call in choice.tool_calls
            ]
        wire.update(extra_fields)
        return {
            "index": choice.index,
            "delta": wire,
            "logprobs": write_logprobs(choice.logprobs),
            "finish_reason": _FINISH.get(choice.finish),
            **progress.choice_fields(choice),
        }

    def _frame(self, choices: list[dict[str, Any]], usage: dict[str, Any] | None) -> bytes:
        chunk: dict[str, Any] = {
            "id": self._id,
            "object": "chat.completion.chunk",
            "created": self._created,
            "model": self._model,
            "choices": choices,
        }
        if self._own:
            chunk |= {key: value for key, value in self._own.items() if key != "usage"}
        if self._include_usage:
            chunk["usage"] = usage if usage is None else merge(self._own.get("usage", {}), usage)
        return b"data: " + _encode(chunk) + b"\n\n"


def _write_call_delta(call: ToolCallDelta, *, custom: bool) -> dict[str, Any]:
    wire: dict[str, Any] = {"index": call.index}
    function: dict[str, Any] = {}
    if call.id:
        wire["id"] = call.id
        wire["type"] = "custom" if custom else "function"
    if call.name:
        function["name"] = call.name
    if call.arguments or call.name:
        function["input" if custom else "arguments"] = call.arguments
    wire["custom" if custom else "function"] = function
    return _with_own(wire, call.own, call.signature)


def _with_own(wire: dict[str, Any], own: Own, signature: str) -> dict[str, Any]:
    """A call with its provider's extra fields and Google's signature."""
    if own and "openai" in own:
        wire = merge(own["openai"], wire)
    if signature:
        wire["extra_content"] = google.add_signature(signature, wire.get("extra_content"))
    return wire


class BufferedWriter:
    """Writes one buffered completion."""

    content_type = "application/json"
    __slots__ = ("_deltas", "_id", "_model", "_omitted", "_raw")

    def __init__(self, request: ChatRequest, reply_id: str, *, raw: bool) -> None:
        self._id = reply_id
        self._model = request.model
        self._raw = raw
        self._deltas: list[Delta] = []
        self._omitted: OmittedParts | None = None

    @property
    def losses(self) -> list[DroppedParam]:
        """See `ReplyWriter.losses`."""
        return self._omitted.losses if self._omitted is not None else []

    def opening(self, delta: Delta) -> bytes:
        """A buffered response has no opening."""
        return b""

    def feed(self, deltas: list[Delta]) -> bytes:
        """Collects without output."""
        self._deltas += deltas
        return b""

    def finish(self) -> bytes:
        """The body; the provider's bytes if nothing changed them."""
        deltas = self._deltas
        if self._raw and len(deltas) == 1 and deltas[0].raw:
            return deltas[0].raw
        omitted = self._omitted = OmittedParts()
        collector = Collector()
        collector.feed(deltas)
        progress: dict[int, _BufferedChoice] = {}
        own: dict[str, Any] = {}
        for delta in deltas:
            own |= (delta.own or {}).get("openai") or {}
            for delta_choice in delta.choices:
                progress.setdefault(delta_choice.index, _BufferedChoice(omitted)).add(delta_choice)
        usage = own.pop("usage", {})
        completion: dict[str, Any] = {
            "id": collector.id or self._id,
            "object": "chat.completion",
            "created": int(time.time()),
            "model": collector.model or self._model,
            **own,
            "choices": [_write_choice(choice, progress[choice.index]) for choice in collector.choices()],
        }
        if collector.usage is not None:
            completion["usage"] = merge(usage, write_usage(collector.usage))
        return _encode(completion)

    def fail(self, error: GatehouseError, request_id: str) -> bytes:
        """The error body of a buffered response."""
        return errors.write(error)


class _BufferedChoice:
    """The message fields besides text of a buffered choice, collected from its deltas."""

    def __init__(self, omitted: OmittedParts) -> None:
        self._progress = ChoiceProgress(omitted)
        self.texts: list[str] = []
        self.message: dict[str, Any] = {}
        self.choice_fields: dict[str, Any] = {}

    @property
    def reasoning_field(self) -> str:
        return self._progress.reasoning_field

    def add(self, delta_choice: ChoiceDelta) -> None:
        for key, value in self._progress.add(delta_choice).items():
            before = self.message.get(key)
            self.message[key] = before + value if isinstance(before, list) and isinstance(value, list) else value
        self.texts.append(self._progress.text)
        self.choice_fields |= self._progress.choice_fields(delta_choice)


def _write_choice(choice: CollectedChoice, progress: _BufferedChoice) -> dict[str, Any]:
    text = "".join(progress.texts)
    message: dict[str, Any] = {"role": "assistant", "content": text or None, "refusal": choice.refusal or None}
    if choice.reasoning:
        message[progress.reasoning_field] = choice.reasoning
    if choice.tool_calls:
        message["tool_calls"] = [_write_call(call) for call in choice.tool_calls]
    if message["content"] is None and not choice.tool_calls and not choice.refusal:
        message["content"] = ""
    message.update(progress.message)
    return {
        "index": choice.index,
        "message": message,
        "logprobs": write_logprobs(tuple(choice.logprobs)),
        "finish_reason": _FINISH.get(choice.finish, "stop"),
        **progress.choice_fields,
    }


def _write_call(call: CollectedCall) -> dict[str, Any]:
    wire: dict[str, Any] = {"id": call.id, "type": "function"}
    if call.custom:
        wire |= {"type": "custom", "custom": {"name": call.name, "input": call.arguments}}
    else:
        wire["function"] = {"name": call.name, "arguments": call.arguments}
    return _with_own(wire, call.own, call.signature)


def write_logprobs(tokens: tuple[TokenLogprob, ...]) -> dict[str, Any] | None:
    """Writes the `logprobs` of a choice."""
    if not tokens:
        return None
    content = [
        {**_write_token(token), "top_logprobs": [_write_token(other) for other in token.top]} for token in tokens
    ]
    return {"content": content, "refusal": None}


def _write_token(token: TokenLogprob) -> dict[str, Any]:
    data = token.token.encode("utf-8", "replace") if token.data is None else token.data
    return {"token": token.token, "logprob": token.logprob, "bytes": list(data)}


def write_usage(usage: Usage) -> dict[str, Any]:
    """Writes the `usage` object."""
    counts: dict[str, Any] = {
        "prompt_tokens": usage.input,
        "completion_tokens": usage.output,
        "total_tokens": usage.input + usage.output,
        "prompt_tokens_details": {
            "cached_tokens": usage.cache_read,
            "cache_write_tokens": usage.cache_write,
            "audio_tokens": usage.audio_input,
        },
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning, "audio_tokens": usage.audio_output},
    }
    if usage.cost:
        counts["cost_usd"] = usage.cost
    return counts
