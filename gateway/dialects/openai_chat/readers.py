"""Chat Completions replies, read: streams of chunks and whole completions.

The common chunk is decoded straight into structs, at about a microsecond. A delta with any field that they don't
know takes the general way, so that nothing of it is lost.
"""

from __future__ import annotations

from typing import Any

import msgspec

from gateway.contract.deltas import ChoiceDelta, Delta, FinishReason, TokenLogprob, ToolCallDelta, Usage
from gateway.contract.errors import CutShort, MalformedReply, UpstreamError
from gateway.contract.service_tier import tier_name
from gateway.dialects import fields
from gateway.dialects.endings import finish_of
from gateway.dialects.openai_chat import errors
from gateway.dialects.openai_chat.calls import UNNUMBERED, CallNumbers
from gateway.dialects.openai_chat.counts import WireUsage, read_usage
from gateway.dialects.openai_chat.letters import Letters, read_with_halves, without_halves
from gateway.dialects.sse import SseParser
from gateway.dialects.whole import WholeBody


class _Function(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    name: str | None = None
    arguments: str | None = None


class _Call(msgspec.Struct, forbid_unknown_fields=True):
    index: int = UNNUMBERED
    id: str | None = None
    type: str | None = None
    function: _Function | None = None


class _Message(msgspec.Struct, forbid_unknown_fields=True):
    role: str | None = None
    content: str | None = None
    refusal: str | None = None
    tool_calls: list[_Call] | None = None
    reasoning_content: str | None = None
    annotations: None = None
    audio: None = None
    function_call: None = None


class _Choice(msgspec.Struct):
    index: int = 0
    delta: _Message | None = None
    message: _Message | None = None
    finish_reason: str | None = None
    logprobs: dict[str, Any] | None = None
    usage: WireUsage | None = None  # where Moonshot's streams have it


class _Chunk(msgspec.Struct):
    id: str | None = None
    model: str | None = None
    choices: list[_Choice] | None = None
    usage: WireUsage | None = None
    error: msgspec.Raw | None = None
    service_tier: Any = None
    object: Any = None


_decode_chunk = msgspec.json.Decoder(_Chunk).decode
_FINISH: dict[str, FinishReason] = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
}


class StreamReader:
    """Reads `data:` events up to `[DONE]`."""

    __slots__ = ("_calls", "_finished", "_letters", "_parser", "_seen", "_usage", "done")

    def __init__(self) -> None:
        self._parser = SseParser()
        self._calls: dict[int, CallNumbers] = {}
        self._usage: Usage | None = None
        self._letters = Letters()
        self._seen: set[int] = set()
        self._finished: set[int] = set()
        self.done = False

    def feed(self, data: bytes) -> list[Delta]:
        """See `ReplyReader.feed`."""
        return self._read(self._parser.feed(data))

    def finish(self) -> list[Delta]:
        """See `ReplyReader.finish`. Some servers send no `[DONE]`: a finish reason for every choice ends it too."""
        deltas = self._read(self._parser.finish())
        if self._seen != self._finished or not (self.done or self._seen):
            raise CutShort("The provider's answer stopped before its end")
        return deltas

    def unread(self) -> str | None:
        """See `ReplyReader.unread`."""
        return None

    def _read(self, events: list[tuple[str, bytes]]) -> list[Delta]:
        deltas: list[Delta] = []
        try:
            self._read_into(deltas, events)
        except UpstreamError as error:
            error.before = deltas
            raise
        return deltas

    def _read_into(self, deltas: list[Delta], events: list[tuple[str, bytes]]) -> None:
        for name, data in events:
            if data == b"[DONE]":
                self.done = True
                break
            if self.done:
                break
            if name == "error":
                raise _error_event(data)
            # Data of several lines is JSON all the same, but a frame of ours has one line.
            delta = read_completion(data if b"\n" not in data else data.replace(b"\n", b" "))
            delta = self._letters.join(delta)
            if delta.usage is not None:
                self._usage = delta.usage.after(self._usage)
                if self._usage != delta.usage:
                    delta = msgspec.structs.replace(delta, usage=self._usage)
            for choice in delta.choices:
                self._seen.add(choice.index)
                if choice.finish:
                    self._finished.add(choice.index)
                if choice.tool_calls:
                    delta = settle_calls(delta, self._calls, streams=True)
            deltas.append(delta)


def settle_calls(delta: Delta, numbers: dict[int, CallNumbers], *, streams: bool = False) -> Delta:
    """The delta with its tool calls numbered; without its raw bytes if they say otherwise."""
    for choice in delta.choices:
        if choice.index not in numbers:
            numbers[choice.index] = CallNumbers(streams=streams)
    choices = tuple([numbers[choice.index].settle(choice) for choice in delta.choices])
    return delta if choices == delta.choices else msgspec.structs.replace(delta, choices=choices, raw=b"")


class WholeReader(WholeBody):
    """Reads one JSON body."""

    __slots__ = ()

    def finish(self) -> list[Delta]:
        """The one delta."""
        delta = Letters().join(read_completion(self.body()))
        if not delta.choices:
            raise MalformedReply("The provider's answer has no choices")
        for choice in delta.choices:
            if not choice.finish:
                raise CutShort("The provider's answer has no finish reason")
        self.done = True
        return [settle_calls(delta, {})]


def read_completion(data: bytes) -> Delta:
    """A chunk or a completion as a delta. Raises the error that it holds, or `MalformedReply`."""
    try:
        chunk = _decode_chunk(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        # Not of the common shape, or no JSON at all: validation may stop before the end of the bytes.
        return _read_unusual(data)
    if chunk.error is not None and bytes(chunk.error) != b"null":
        # One that says nothing is left out: a client might take it for an error.
        return _read_unusual(data)
    if chunk.object == "error" and not chunk.choices:
        # As older vLLM writes an error: all of its fields at the top.
        raise _error_within(fields.read_reply_json(data, "The provider's error"))
    try:
        return _read_chunk(chunk, data)
    except fields.WRONG_SHAPE:
        raise MalformedReply("The provider sent an event of the wrong shape") from None


def _read_chunk(chunk: _Chunk, data: bytes) -> Delta:
    choices = chunk.choices
    if not choices:
        read: tuple[ChoiceDelta, ...] = ()
    elif len(choices) == 1:
        read = (_read_choice(choices[0], None),)
    else:
        read = tuple([_read_choice(choice, None) for choice in choices])
    tier = tier_name(chunk.service_tier) if chunk.service_tier is not None else ""
    return Delta(read, _usage_of(chunk), chunk.id or "", chunk.model or "", data, "", tier)


def _usage_of(chunk: _Chunk) -> Usage | None:
    if chunk.usage is not None:
        return read_usage(chunk.usage)
    if chunk.choices and chunk.choices[0].usage is not None:
        return read_usage(chunk.choices[0].usage)
    return None


def _error_event(data: bytes) -> Exception:
    """What an event says that is called an error, whatever shape it has."""
    value = fields.read_reply_json(data, "The provider's error event")
    inner = value.get("error") if isinstance(value, dict) else None
    return _error_within(inner if fields.says_something(inner) else value)


def _error_within(error: object) -> Exception:
    return errors.from_object(errors.status_of(error), {}, error)


def _read_unusual(data: bytes) -> Delta:
    """The general way: the fields we know, checked, and all others of each message kept in `extra`."""
    halves = False
    try:
        source = fields.read_reply_json(data, "The provider's answer, or an event of it,")
    except MalformedReply:
        source = read_with_halves(data)
        halves = source is not None
        if not halves:
            raise
    if not isinstance(source, dict):
        raise MalformedReply("The provider sent an event that is not an object")
    error = source.pop("error", None)
    if fields.says_something(error):
        raise _error_within(error)
    reshaped = halves or error is not None
    if type(source.get("id")) is int:
        source["id"] = str(source["id"])
        reshaped = True
    choices = source.get("choices")
    extras: list[dict[str, Any] | None] = []
    try:
        for each in choices if type(choices) is list else ():
            reshaped = _has_parts(each) or reshaped
            if halves and isinstance(each, dict):
                each["logprobs"] = without_halves(each.get("logprobs"))
            extras.append(_set_aside(each) if isinstance(each, dict) else None)
            reshaped = _reshape(each) or reshaped
        chunk = msgspec.convert(source, _Chunk, strict=False)
        read = tuple([_read_choice(choice, extra) for choice, extra in zip(chunk.choices or (), extras, strict=True)])
        usage = _usage_of(chunk)
    except msgspec.ValidationError as error:
        raise MalformedReply(f"The provider sent an event of the wrong shape: {error}") from None
    except fields.WRONG_SHAPE:
        raise MalformedReply("The provider sent an event of the wrong shape") from None
    raw = b"" if reshaped else data
    return Delta(read, usage, chunk.id or "", chunk.model or "", raw, "", tier_name(chunk.service_tier))


def _set_aside(choice: dict[str, Any]) -> dict[str, Any] | None:
    """Takes out of a choice's message what the structs don't know."""
    extra: dict[str, Any] = {}
    for key in ("delta", "message"):
        message = choice.get(key)
        if not isinstance(message, dict):
            continue
        if isinstance(message.get("content"), list):
            references = _flatten(message)
            if references:
                extra["references"] = references
        if "reasoning" in message and not message.get("reasoning_content"):
            message["reasoning_content"] = message.get("reasoning")
        for name in list(message):
            if name not in _Message.__struct_fields__ or name in _NULL_FIELDS:
                value = message.pop(name)
                if value and name != "reasoning":
                    extra[name] = value
        for call in message.get("tool_calls") or ():
            if isinstance(call, dict):
                _trim_call(call)
    return extra or None


def _has_parts(choice: object) -> bool:
    messages = [choice.get(key) for key in ("delta", "message")] if isinstance(choice, dict) else ()
    return any(isinstance(each, dict) and isinstance(each.get("content"), list) for each in messages)


def _reshape(choice: object) -> bool:
    """Puts right what some servers write in a shape of their own, and says whether there was any."""
    reshaped = False
    for key in ("delta", "message"):
        message = choice.get(key) if isinstance(choice, dict) else None
        if not isinstance(message, dict):
            continue
        for call in message.get("tool_calls") or ():
            function = call.get("function") if isinstance(call, dict) else None
            if isinstance(call, dict) and type(call.get("id")) is int:
                call["id"] = str(call["id"])
                reshaped = True
            if isinstance(function, dict) and isinstance(function.get("arguments"), dict):
                function["arguments"] = msgspec.json.encode(function["arguments"]).decode()
                reshaped = True
    return reshaped


def _flatten(message: dict[str, Any]) -> list[dict[str, Any]]:
    """Content in parts, as Mistral writes it: words, thoughts in parts of their own, and references (returned).

    Raises `TypeError` for any other part.
    """
    words: list[str] = []
    thoughts: list[str] = []
    references: list[dict[str, Any]] = []
    for part in message["content"]:
        kind = part.get("type") if isinstance(part, dict) else None
        if kind == "text":
            words.append(str(part.get("text") or ""))
        elif kind == "thinking":
            inner = part.get("thinking") or ()
            thoughts += [inner] if isinstance(inner, str) else [str(each.get("text") or "") for each in inner]
        elif kind in ("reference", "tool_reference"):
            references.append(part)
        else:
            raise TypeError("a part of the content that we can't tell")
    message["content"] = "".join(words)
    message["reasoning_content"] = (message.get("reasoning_content") or "") + "".join(thoughts)
    return references


_NULL_FIELDS = frozenset({"annotations", "audio", "function_call"})


def _trim_call(call: dict[str, Any]) -> None:
    for name in list(call):
        if name not in _Call.__struct_fields__ or (name == "index" and call[name] is None):
            del call[name]
    function = call.get("function")
    if isinstance(function, dict):
        for name in list(function):
            if name not in _Function.__struct_fields__:
                del function[name]


def _read_choice(choice: _Choice, extra: dict[str, Any] | None) -> ChoiceDelta:
    message = choice.delta or choice.message or _NOTHING
    calls: tuple[ToolCallDelta, ...] = ()
    if message.tool_calls:
        whole = choice.message is not None
        calls = tuple(
            [_read_call(call, number if whole else call.index) for number, call in enumerate(message.tool_calls)]
        )
    reason = choice.finish_reason
    return ChoiceDelta(
        choice.index,
        message.content or "",
        message.reasoning_content or "",
        "",
        "",
        message.refusal or "",
        calls,
        finish_of(reason, _FINISH) if reason else "",
        "",
        _read_logprobs(choice.logprobs) if choice.logprobs else (),
        extra,
    )


_NOTHING = _Message()


def _read_call(call: _Call, index: int) -> ToolCallDelta:
    function = call.function
    if function is None:
        return ToolCallDelta(index, call.id or "")
    return ToolCallDelta(index, call.id or "", function.name or "", function.arguments or "")


def _read_logprobs(logprobs: dict[str, Any]) -> tuple[TokenLogprob, ...]:
    tokens = logprobs.get("content")
    if not isinstance(tokens, list):
        return ()
    return tuple([_read_token(token) for token in tokens if isinstance(token, dict)])


def _read_token(token: dict[str, Any]) -> TokenLogprob:
    top = token.get("top_logprobs") or ()
    return TokenLogprob(
        str(token.get("token", "")),
        float(token.get("logprob") or 0.0),
        tuple([TokenLogprob(str(other.get("token", "")), float(other.get("logprob") or 0.0)) for other in top]),
    )
