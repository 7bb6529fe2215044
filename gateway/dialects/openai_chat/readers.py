"""Reads Chat Completions replies: streams of chunks and buffered completions.

The most common chunk is decoded directly into structs, in about a microsecond. A delta with an unknown field is decoded
generically, so that no field is lost.
"""

from __future__ import annotations

from typing import Any

import msgspec

from contract.deltas import ChoiceDelta, Delta, FinishReason, ToolCallDelta, Usage
from contract.errors import IncompleteReply, MalformedReply, UpstreamError
from contract.service_tier import tier_name
from gateway.dialects import fields, google, signatures
from gateway.dialects.buffered_body import BufferedBody
from gateway.dialects.endings import finish_of
from gateway.dialects.failures import as_text, find_message, read_body
from gateway.dialects.openai_chat import errors
from gateway.dialects.openai_chat.annotations import add_quotes, read_annotation
from gateway.dialects.openai_chat.calls import UNNUMBERED, CallNumbers, number_tool_calls
from gateway.dialects.openai_chat.counts import convert_usage, read_logprobs, read_usage
from gateway.dialects.openai_chat.parts import flatten, has_parts
from gateway.dialects.openai_chat.surrogates import SurrogateJoiner, read_with_surrogates, replace_surrogates
from gateway.dialects.quotes import MAX_QUOTES
from gateway.dialects.sse import SseParser

# Not `Raw | None`: msgspec accepts only null for such a union.
_NULL = msgspec.Raw(b"null")


class _Function(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    name: str | None = None
    arguments: str | None = None


class _Custom(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    name: str | None = None
    input: str | None = None


class _Call(msgspec.Struct, forbid_unknown_fields=True):
    index: int = UNNUMBERED
    id: str | None = None
    type: str | None = None
    function: _Function | None = None
    custom: _Custom | None = None


class _Message(msgspec.Struct, forbid_unknown_fields=True):
    role: str | None = None
    content: str | None = None
    refusal: str | None = None
    tool_calls: list[_Call] | None = None
    reasoning_content: str | None = None
    annotations: tuple[()] | None = None
    audio: None = None
    function_call: None = None


class _Choice(msgspec.Struct, forbid_unknown_fields=True):
    index: int = 0
    delta: _Message | None = None
    message: _Message | None = None
    finish_reason: str | None = None
    logprobs: dict[str, Any] | None = None
    usage: msgspec.Raw = _NULL  # where Moonshot's streams have it
    # Frequent fields of Azure, vLLM, SGLang and OpenRouter.
    content_filter_results: Any = None
    stop_reason: Any = None
    matched_stop: Any = None
    native_finish_reason: Any = None


class _Chunk(msgspec.Struct, forbid_unknown_fields=True):
    id: str | None = None
    object: Any = None
    created: Any = None
    model: str | None = None
    choices: list[_Choice] | None = None
    usage: msgspec.Raw = _NULL
    error: None = None
    service_tier: Any = None
    system_fingerprint: Any = None
    provider: Any = None
    obfuscation: Any = None  # padding, which is dropped


_decode_chunk = msgspec.json.Decoder(_Chunk).decode
_decode_any = msgspec.json.Decoder().decode
_CHUNK_OWN = ("created", "service_tier", "system_fingerprint", "provider")
_CHOICE_OWN = ("content_filter_results", "stop_reason", "matched_stop", "native_finish_reason")
_CHUNK_KNOWN = frozenset(_Chunk.__struct_fields__)
_FINISH: dict[str, FinishReason] = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
}


class StreamReader:
    """Reads `data:` events up to `[DONE]`."""

    __slots__ = (
        "_calls", "_finished", "_parser", "_quotes", "_seen", "_started", "_surrogates", "_texts", "_usage", "done",
    )  # fmt: skip

    def __init__(self) -> None:
        self._parser = SseParser()
        self._calls: dict[int, CallNumbers] = {}
        self._usage: Usage | None = None
        self._surrogates = SurrogateJoiner()
        # The text so far, by choice, which annotations refer to.
        self._texts: dict[int, list[str]] = {}
        self._quotes = 0
        self._started = False
        self._seen: set[int] = set()
        self._finished: set[int] = set()
        self.done = False

    def feed(self, data: bytes) -> list[Delta]:
        """See `ReplyReader.feed`."""
        return self._read(self._parser.feed(data))

    def finish(self) -> list[Delta]:
        """See `ReplyReader.finish`. Without `[DONE]`, finish reasons for all choices also end the stream."""
        deltas = self._read(self._parser.finish())
        if self._seen != self._finished or not (self.done or self._seen):
            raise IncompleteReply("The provider's response ended early")
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
            # Multi-line data is valid JSON, but the gateway's frames have a single line.
            delta = read_completion(data if b"\n" not in data else data.replace(b"\n", b" "), started=self._started)
            self._started = True
            delta = self._surrogates.join(delta)
            if delta.usage is not None:
                self._usage = delta.usage.after(self._usage)
                if self._usage != delta.usage:
                    delta = msgspec.structs.replace(delta, usage=self._usage)
            for choice in delta.choices:
                self._seen.add(choice.index)
                if choice.text:
                    self._texts.setdefault(choice.index, []).append(choice.text)
                if choice.finish:
                    self._finished.add(choice.index)
                if choice.tool_calls:
                    delta = number_tool_calls(delta, self._calls, streams=True)
                if choice.citations and self._quotes < MAX_QUOTES:
                    self._quotes += len(choice.citations)
                    delta = add_quotes(delta, self._texts)
            deltas.append(delta)


class BufferedReader(BufferedBody):
    """Reads one buffered completion."""

    __slots__ = ()

    def finish(self) -> list[Delta]:
        """Returns the one delta."""
        delta = read_completion(self.body())
        if not delta.raw:
            delta = SurrogateJoiner().join(delta)
        if not delta.choices:
            raise MalformedReply("The provider's response has no choices")
        if {each.index for each in delta.choices} != {each.index for each in delta.choices if each.finish}:
            raise IncompleteReply("The provider's response has no finish reason")
        self.done = True
        if any(each.tool_calls for each in delta.choices):
            delta = number_tool_calls(delta, {})
        if any(each.citations for each in delta.choices):
            delta = add_quotes(delta, {each.index: [each.text] for each in delta.choices if each.text})
        return [delta]


def read_completion(data: bytes, *, started: bool = False) -> Delta:
    """A chunk or a completion as a delta. Raises the error that it contains, or `MalformedReply`.

    `started`: an earlier chunk has reported the fields that all chunks repeat.
    """
    try:
        chunk = _decode_chunk(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        # Another shape, or invalid JSON: validation may stop before the end of the bytes.
        return _read_any(data)
    if not chunk.choices and bytes(chunk.usage) == b"null":
        # It may be an error: some servers have no `error` field.
        return _read_any(data)
    try:
        return _read_chunk(chunk, data, started=started)
    except msgspec.ValidationError:
        return _read_any(data)
    except fields.WRONG_SHAPE:
        raise MalformedReply("The provider sent an event of the wrong shape") from None


def _read_chunk(chunk: _Chunk, data: bytes, *, started: bool) -> Delta:
    choices = chunk.choices
    if not choices:
        read: tuple[ChoiceDelta, ...] = ()
    elif len(choices) == 1:
        read = (_read_choice(choices[0], None),)
    else:
        read = tuple([_read_choice(choice, None) for choice in choices])
    tier = tier_name(chunk.service_tier) if chunk.service_tier is not None else ""
    usage_json: msgspec.Raw | None = chunk.usage
    if bytes(chunk.usage) == b"null":
        usage_json = choices[0].usage if choices and bytes(choices[0].usage) != b"null" else None
    if started and usage_json is None:
        return Delta(read, None, chunk.id or "", chunk.model or "", data, "", tier)
    own = {name: value for name in _CHUNK_OWN if (value := getattr(chunk, name)) is not None}
    usage = None
    if usage_json is not None:
        usage = read_usage(usage_json)
        own["usage"] = _decode_any(usage_json)
    return Delta(read, usage, chunk.id or "", chunk.model or "", data, "", tier, {"openai": own} if own else None)


def _error_event(data: bytes) -> Exception:
    """The error of an `error` event, in any format: it may not be JSON."""
    value, _ = read_body(data)
    return _error_within(errors.error_object(value))


def _error_within(error: object) -> Exception:
    return errors.from_object(errors.status_of(error), {}, error)


def _flat_error(source: dict[str, Any]) -> object:
    """An error without an `error` field, as vLLM, DashScope, MiniMax, Cloudflare and FastAPI send it with a 200."""
    if source.get("choices") or source.get("usage"):
        return None
    base = source.get("base_resp")
    if isinstance(base, dict) and base.get("status_code"):
        return {"message": as_text(base.get("status_msg")), "type": as_text(base.get("status_code"))}
    listed = source.get("errors")
    if isinstance(listed, list) and listed:
        return listed[0]
    if source.get("object") == "error" or source.get("type") == "error" or source.get("success") is False:
        return source
    return source if source.keys() & _ERROR_FIELDS and find_message(source) else None


_ERROR_FIELDS = frozenset({"code", "detail", "status_code", "error_code"})


def _read_any(data: bytes) -> Delta:
    """Decodes any chunk: validates known fields, and puts unknown fields of each message into `extra`."""
    has_surrogates = False
    try:
        source = fields.read_reply_json(data, "The provider's response, or one of its events,")
    except MalformedReply:
        source = read_with_surrogates(data)
        has_surrogates = source is not None
        if not has_surrogates:
            raise
    if not isinstance(source, dict):
        raise MalformedReply("The provider sent an event that is not an object")
    if fields.is_error(source.get("error")):
        raise _error_within(errors.error_object(source))
    # An empty `error` is removed, because a client might treat it as an error.
    error = source.pop("error", None)
    if (flat := _flat_error(source)) is not None:
        raise _error_within(flat)
    reshaped = has_surrogates or error is not None
    if type(source.get("id")) is int:
        source["id"] = str(source["id"])
        reshaped = True
    choices = source.get("choices")
    read: list[ChoiceDelta] = []
    own = {key: value for key, value in source.items() if key not in _CHUNK_KNOWN or key in _CHUNK_OWN}
    try:
        for each in msgspec.convert(choices, list[Any] | None) or ():
            reshaped = has_parts(each) or reshaped
            if has_surrogates and isinstance(each, dict):
                each["logprobs"] = replace_surrogates(each.get("logprobs"))
            if isinstance(each, dict) and isinstance(count := each.pop("usage", None), dict):
                source["usage"] = source.get("usage") or count
            unknown = _split_unknown(each) if isinstance(each, dict) else _UnknownFields()
            reshaped = _reshape(each) or reshaped
            read += _read_any_choice(msgspec.convert(each, _Choice, strict=False), unknown)
        usage = None
        groq_fields = source.get("x_groq")
        if isinstance(groq_fields, dict) and isinstance(groq_fields.get("usage"), dict):
            # Groq's streams report usage here too, with or without `stream_options`.
            source["usage"] = source.get("usage") or groq_fields["usage"]
        if isinstance(source.get("usage"), dict):
            own["usage"] = source["usage"]
            usage = convert_usage(source["usage"])
        name, model = fields.reply_text(source.get("id")), fields.reply_text(source.get("model"))
    except msgspec.ValidationError as error:
        raise MalformedReply(f"The provider sent an event of the wrong shape: {error}") from None
    except fields.WRONG_SHAPE:
        raise MalformedReply("The provider sent an event of the wrong shape") from None
    raw = b"" if reshaped else data
    tier = tier_name(source.get("service_tier"))
    return Delta(tuple(read), usage, name, model, raw, "", tier, {"openai": own} if own else None)


class _UnknownFields(msgspec.Struct):
    """The unknown fields of a choice, its message and its calls, and those that are read separately."""

    extra: dict[str, Any] = {}
    own: dict[str, Any] = {}
    calls: dict[int, dict[str, Any]] = {}
    signature: str = ""
    blocks: list[dict[str, Any]] = []
    annotations: list[Any] = []


def _split_unknown(choice: dict[str, Any]) -> _UnknownFields:
    """Removes and returns the fields of a choice that the structs don't have."""
    unknown = _UnknownFields()
    for name in [name for name in choice if name not in _Choice.__struct_fields__]:
        unknown.own[name] = choice.pop(name)
    for key in ("delta", "message"):
        message = choice.get(key)
        if not isinstance(message, dict):
            continue
        if isinstance(message.get("content"), list):
            references = flatten(message)
            if references:
                unknown.extra["references"] = references
        if "reasoning" in message and not message.get("reasoning_content"):
            message["reasoning_content"] = message.get("reasoning")
            unknown.own[REASONING_FIELD] = "reasoning"
        for name in list(message):
            if name not in _Message.__struct_fields__ or name in _NULL_FIELDS:
                value = message.pop(name)
                if value and name != "reasoning":
                    unknown.extra[name] = value
        for number, call in enumerate(message.get("tool_calls") or ()):
            if isinstance(call, dict) and (rest := _trim_call(call)):
                unknown.calls[number] = rest
    unknown.signature, extra = google.pop_signature(unknown.extra)
    unknown.extra = dict(extra or {})
    unknown.blocks = _objects(unknown.extra.pop("thinking_blocks", None))
    annotations = unknown.extra.get("annotations")
    if isinstance(annotations, list) and all(isinstance(each, dict) for each in annotations):
        unknown.annotations = unknown.extra.pop("annotations")
    return unknown


# The key for the name of the message's reasoning field, if it is not `reasoning_content`.
REASONING_FIELD = "_thoughts"


def _objects(value: object) -> list[dict[str, Any]]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def _read_any_choice(choice: _Choice, unknown: _UnknownFields) -> list[ChoiceDelta]:
    """The deltas of a choice: signed reasoning, then text, then the text's signature and citations."""
    read = _read_choice(choice, unknown.extra or None, unknown.own)
    index = choice.index
    if unknown.calls:
        calls = [
            _with_fields(call, unknown.calls[number]) if number in unknown.calls else call
            for number, call in enumerate(read.tool_calls)
        ]
        read = msgspec.structs.replace(read, tool_calls=tuple(calls))
    after = []
    if unknown.signature:
        after.append(ChoiceDelta(index, signature=unknown.signature, signed_by="gemini"))
    if unknown.annotations:
        after.append(ChoiceDelta(index, citations=tuple([read_annotation(each) for each in unknown.annotations])))
    if not unknown.blocks and not after:
        return [read]
    before = [_read_thinking_block(index, block) for block in unknown.blocks]
    if before and any(each.reasoning for each in before):
        # The blocks contain the reasoning as well.
        read = msgspec.structs.replace(read, reasoning="")
    if not (after and read.finish):
        return [*before, read, *after]
    last = ChoiceDelta(index, finish=read.finish, own=read.own)
    return [*before, msgspec.structs.replace(read, finish="", own=None), *after, last]


def _read_thinking_block(index: int, block: dict[str, Any]) -> ChoiceDelta:
    """Reads one of the `thinking_blocks` that LiteLLM and the gateway write."""
    if block.get("type") == "redacted_thinking":
        return ChoiceDelta(index, redacted=fields.reply_text(block.get("data")))
    signed_by, signature = signatures.split_tag(fields.reply_text(block.get("signature")), "anthropic")
    return ChoiceDelta(
        index, reasoning=fields.reply_text(block.get("thinking")), signature=signature, signed_by=signed_by
    )


def _with_fields(call: ToolCallDelta, rest: dict[str, Any]) -> ToolCallDelta:
    signature, left = google.pop_signature(rest)
    return msgspec.structs.replace(call, signature=signature, own={"openai": left} if left else None)


def _reshape(choice: object) -> bool:
    """Fixes non-standard fields of some servers in place. Returns whether anything changed."""
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


_NULL_FIELDS = frozenset({"annotations", "audio", "function_call"})


def _trim_call(call: dict[str, Any]) -> dict[str, Any]:
    """Removes and returns the fields of a call that the structs don't have."""
    rest = {}
    for name in list(call):
        if name not in _Call.__struct_fields__:
            rest[name] = call.pop(name)
        elif name == "index" and call[name] is None:
            del call[name]
    function = call.get("function")
    if isinstance(function, dict):
        inner = {name: function.pop(name) for name in list(function) if name not in _Function.__struct_fields__}
        if inner:
            rest["function"] = inner
    return rest


def _read_choice(choice: _Choice, extra: dict[str, Any] | None, own: dict[str, Any] | None = None) -> ChoiceDelta:
    message = choice.delta or choice.message or _NOTHING
    calls: tuple[ToolCallDelta, ...] = ()
    if message.tool_calls:
        buffered = choice.message is not None
        calls = tuple(
            [_read_call(call, number if buffered else call.index) for number, call in enumerate(message.tool_calls)]
        )
    reason = choice.finish_reason
    finish: FinishReason = ""
    if reason:
        finish = _FINISH.get(reason) or finish_of(reason, _FINISH)
        if reason not in _FINISH:
            own = {**(own or {}), "finish_reason": reason}
    if choice.content_filter_results or choice.stop_reason or choice.matched_stop or choice.native_finish_reason:
        own = {**(own or {}), **{name: value for name in _CHOICE_OWN if (value := getattr(choice, name)) is not None}}
    return ChoiceDelta(
        choice.index,
        message.content or "",
        message.reasoning_content or "",
        "",
        "",
        message.refusal or "",
        calls,
        finish,
        "",
        read_logprobs(choice.logprobs) if choice.logprobs else (),
        extra,
        own={"openai": own} if own else None,
    )


_NOTHING = _Message()


def _read_call(call: _Call, index: int) -> ToolCallDelta:
    function = call.function
    if call.custom is not None:
        return ToolCallDelta(index, call.id or "", call.custom.name or "", call.custom.input or "", custom=True)
    if function is None:
        return ToolCallDelta(index, call.id or "")
    return ToolCallDelta(index, call.id or "", function.name or "", function.arguments or "")
