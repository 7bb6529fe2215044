"""Chat Completions replies, read: streams of chunks and whole completions.

The common chunk is decoded straight into structs, at about a microsecond. A delta with any field that they don't
know takes the general way, so that nothing of it is lost.
"""

from __future__ import annotations

from typing import Any

import msgspec

from contract.deltas import ChoiceDelta, Delta, FinishReason, ToolCallDelta, Usage
from contract.errors import IncompleteReply, MalformedReply, UpstreamError
from contract.service_tier import tier_name
from gateway.dialects import fields, google, signatures
from gateway.dialects.endings import finish_of
from gateway.dialects.failures import read_body, said, words_within
from gateway.dialects.openai_chat import errors
from gateway.dialects.openai_chat.annotations import quote_words, read_annotation
from gateway.dialects.openai_chat.calls import UNNUMBERED, CallNumbers, settle_calls
from gateway.dialects.openai_chat.counts import convert_usage, read_logprobs, read_usage
from gateway.dialects.openai_chat.parts import flatten, has_parts
from gateway.dialects.openai_chat.surrogates import SurrogateJoiner, read_with_halves, without_halves
from gateway.dialects.quotes import MOST_QUOTES
from gateway.dialects.sse import SseParser
from gateway.dialects.whole import WholeBody

# Not `Raw | None`: of such a union msgspec takes nothing but null.
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
    # Of Azure, vLLM, SGLang and OpenRouter, which say them often.
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
    obfuscation: Any = None  # padding, which nobody needs


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
        "_begun", "_calls", "_finished", "_letters", "_parser", "_quotes", "_said", "_seen", "_usage", "done",
    )  # fmt: skip

    def __init__(self) -> None:
        self._parser = SseParser()
        self._calls: dict[int, CallNumbers] = {}
        self._usage: Usage | None = None
        self._letters = SurrogateJoiner()
        # The words so far, by choice, which annotations point into.
        self._said: dict[int, list[str]] = {}
        self._quotes = 0
        self._begun = False
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
            raise IncompleteReply("The provider's answer stopped before its end")
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
            delta = read_completion(data if b"\n" not in data else data.replace(b"\n", b" "), begun=self._begun)
            self._begun = True
            delta = self._letters.join(delta)
            if delta.usage is not None:
                self._usage = delta.usage.after(self._usage)
                if self._usage != delta.usage:
                    delta = msgspec.structs.replace(delta, usage=self._usage)
            for choice in delta.choices:
                self._seen.add(choice.index)
                if choice.text:
                    self._said.setdefault(choice.index, []).append(choice.text)
                if choice.finish:
                    self._finished.add(choice.index)
                if choice.tool_calls:
                    delta = settle_calls(delta, self._calls, streams=True)
                if choice.citations and self._quotes < MOST_QUOTES:
                    self._quotes += len(choice.citations)
                    delta = quote_words(delta, self._said)
            deltas.append(delta)


class WholeReader(WholeBody):
    """Reads one JSON body."""

    __slots__ = ()

    def finish(self) -> list[Delta]:
        """The one delta."""
        delta = read_completion(self.body())
        if not delta.raw:
            delta = SurrogateJoiner().join(delta)
        if not delta.choices:
            raise MalformedReply("The provider's answer has no choices")
        if {each.index for each in delta.choices} != {each.index for each in delta.choices if each.finish}:
            raise IncompleteReply("The provider's answer has no finish reason")
        self.done = True
        if any(each.tool_calls for each in delta.choices):
            delta = settle_calls(delta, {})
        if any(each.citations for each in delta.choices):
            delta = quote_words(delta, {each.index: [each.text] for each in delta.choices if each.text})
        return [delta]


def read_completion(data: bytes, *, begun: bool = False) -> Delta:
    """A chunk or a completion as a delta. Raises the error that it holds, or `MalformedReply`.

    `begun`: others came before it, which have told what they all tell.
    """
    try:
        chunk = _decode_chunk(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        # Not of the common shape, or no JSON at all: validation may stop before the end of the bytes.
        return _read_unusual(data)
    if not chunk.choices and bytes(chunk.usage) == b"null":
        # Some servers have no field for their errors.
        return _read_unusual(data)
    try:
        return _read_chunk(chunk, data, begun=begun)
    except msgspec.ValidationError:
        return _read_unusual(data)
    except fields.WRONG_SHAPE:
        raise MalformedReply("The provider sent an event of the wrong shape") from None


def _read_chunk(chunk: _Chunk, data: bytes, *, begun: bool) -> Delta:
    choices = chunk.choices
    if not choices:
        read: tuple[ChoiceDelta, ...] = ()
    elif len(choices) == 1:
        read = (_read_choice(choices[0], None),)
    else:
        read = tuple([_read_choice(choice, None) for choice in choices])
    tier = tier_name(chunk.service_tier) if chunk.service_tier is not None else ""
    given: msgspec.Raw | None = chunk.usage
    if bytes(chunk.usage) == b"null":
        given = choices[0].usage if choices and bytes(choices[0].usage) != b"null" else None
    if begun and given is None:
        return Delta(read, None, chunk.id or "", chunk.model or "", data, "", tier)
    own = {name: value for name in _CHUNK_OWN if (value := getattr(chunk, name)) is not None}
    usage = None
    if given is not None:
        usage = read_usage(given)
        own["usage"] = _decode_any(given)
    return Delta(read, usage, chunk.id or "", chunk.model or "", data, "", tier, {"openai": own} if own else None)


def _error_event(data: bytes) -> Exception:
    """What an event says that is called an error, whatever shape it has: it need not be JSON."""
    value, _ = read_body(data)
    return _error_within(errors.within(value))


def _error_within(error: object) -> Exception:
    return errors.from_object(errors.status_of(error), {}, error)


def _flat_error(source: dict[str, Any]) -> object:
    """An error without `error` around it, as vLLM, DashScope, MiniMax, Cloudflare and FastAPI write them in a 200."""
    if source.get("choices") or source.get("usage"):
        return None
    base = source.get("base_resp")
    if isinstance(base, dict) and base.get("status_code"):
        return {"message": said(base.get("status_msg")), "type": said(base.get("status_code"))}
    listed = source.get("errors")
    if isinstance(listed, list) and listed:
        return listed[0]
    if source.get("object") == "error" or source.get("type") == "error" or source.get("success") is False:
        return source
    return source if source.keys() & _ERROR_FIELDS and words_within(source) else None


_ERROR_FIELDS = frozenset({"code", "detail", "status_code", "error_code"})


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
    if fields.says_something(source.get("error")):
        raise _error_within(errors.within(source))
    # One that says nothing is left out: a client might take it for an error.
    error = source.pop("error", None)
    if (flat := _flat_error(source)) is not None:
        raise _error_within(flat)
    reshaped = halves or error is not None
    if type(source.get("id")) is int:
        source["id"] = str(source["id"])
        reshaped = True
    choices = source.get("choices")
    read: list[ChoiceDelta] = []
    own = {key: value for key, value in source.items() if key not in _CHUNK_KNOWN or key in _CHUNK_OWN}
    try:
        for each in msgspec.convert(choices, list[Any] | None) or ():
            reshaped = has_parts(each) or reshaped
            if halves and isinstance(each, dict):
                each["logprobs"] = without_halves(each.get("logprobs"))
            if isinstance(each, dict) and isinstance(count := each.pop("usage", None), dict):
                source["usage"] = source.get("usage") or count
            aside = _set_aside(each) if isinstance(each, dict) else _Aside()
            reshaped = _reshape(each) or reshaped
            read += _read_unusual_choice(msgspec.convert(each, _Choice, strict=False), aside)
        usage = None
        beside = source.get("x_groq")
        if isinstance(beside, dict) and isinstance(beside.get("usage"), dict):
            # Groq's streams count there too, with or without `stream_options`.
            source["usage"] = source.get("usage") or beside["usage"]
        if isinstance(source.get("usage"), dict):
            own["usage"] = source["usage"]
            usage = convert_usage(source["usage"])
        name, model = fields.words(source.get("id")), fields.words(source.get("model"))
    except msgspec.ValidationError as error:
        raise MalformedReply(f"The provider sent an event of the wrong shape: {error}") from None
    except fields.WRONG_SHAPE:
        raise MalformedReply("The provider sent an event of the wrong shape") from None
    raw = b"" if reshaped else data
    tier = tier_name(source.get("service_tier"))
    return Delta(tuple(read), usage, name, model, raw, "", tier, {"openai": own} if own else None)


class _Aside(msgspec.Struct):
    """What of a choice the structs don't know: fields of its message, of itself, of its calls, and what we can read."""

    extra: dict[str, Any] = {}
    own: dict[str, Any] = {}
    calls: dict[int, dict[str, Any]] = {}
    signature: str = ""
    blocks: list[dict[str, Any]] = []
    annotations: list[Any] = []


def _set_aside(choice: dict[str, Any]) -> _Aside:
    """Takes out of a choice what the structs don't know."""
    aside = _Aside()
    for name in [name for name in choice if name not in _Choice.__struct_fields__]:
        aside.own[name] = choice.pop(name)
    for key in ("delta", "message"):
        message = choice.get(key)
        if not isinstance(message, dict):
            continue
        if isinstance(message.get("content"), list):
            references = flatten(message)
            if references:
                aside.extra["references"] = references
        if "reasoning" in message and not message.get("reasoning_content"):
            message["reasoning_content"] = message.get("reasoning")
            aside.own[THOUGHTS] = "reasoning"
        for name in list(message):
            if name not in _Message.__struct_fields__ or name in _NULL_FIELDS:
                value = message.pop(name)
                if value and name != "reasoning":
                    aside.extra[name] = value
        for number, call in enumerate(message.get("tool_calls") or ()):
            if isinstance(call, dict) and (rest := _trim_call(call)):
                aside.calls[number] = rest
    aside.signature, extra = google.take_beside(aside.extra)
    aside.extra = dict(extra or {})
    aside.blocks = _objects(aside.extra.pop("thinking_blocks", None))
    annotations = aside.extra.get("annotations")
    if isinstance(annotations, list) and all(isinstance(each, dict) for each in annotations):
        aside.annotations = aside.extra.pop("annotations")
    return aside


# The name of the message's field that the thoughts came in, where it is not `reasoning_content`.
THOUGHTS = "_thoughts"


def _objects(value: object) -> list[dict[str, Any]]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def _read_unusual_choice(choice: _Choice, aside: _Aside) -> list[ChoiceDelta]:
    """Thoughts that a vendor has signed before the words, and the words' own signature and sources behind them."""
    read = _read_choice(choice, aside.extra or None, aside.own)
    index = choice.index
    if aside.calls:
        calls = [
            _beside(call, aside.calls[number]) if number in aside.calls else call
            for number, call in enumerate(read.tool_calls)
        ]
        read = msgspec.structs.replace(read, tool_calls=tuple(calls))
    behind = []
    if aside.signature:
        behind.append(ChoiceDelta(index, signature=aside.signature, signed_by="gemini"))
    if aside.annotations:
        behind.append(ChoiceDelta(index, citations=tuple([read_annotation(each) for each in aside.annotations])))
    if not aside.blocks and not behind:
        return [read]
    before = [_signed(index, block) for block in aside.blocks]
    if before and any(each.reasoning for each in before):
        # They hold the thoughts as well.
        read = msgspec.structs.replace(read, reasoning="")
    if not (behind and read.finish):
        return [*before, read, *behind]
    last = ChoiceDelta(index, finish=read.finish, own=read.own)
    return [*before, msgspec.structs.replace(read, finish="", own=None), *behind, last]


def _signed(index: int, block: dict[str, Any]) -> ChoiceDelta:
    """One of the `thinking_blocks` that LiteLLM and we ourselves write."""
    if block.get("type") == "redacted_thinking":
        return ChoiceDelta(index, redacted=fields.words(block.get("data")))
    signed_by, signature = signatures.split(fields.words(block.get("signature")), "anthropic")
    return ChoiceDelta(index, reasoning=fields.words(block.get("thinking")), signature=signature, signed_by=signed_by)


def _beside(call: ToolCallDelta, rest: dict[str, Any]) -> ToolCallDelta:
    signature, left = google.take_beside(rest)
    return msgspec.structs.replace(call, signature=signature, own={"openai": left} if left else None)


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


_NULL_FIELDS = frozenset({"annotations", "audio", "function_call"})


def _trim_call(call: dict[str, Any]) -> dict[str, Any]:
    """Takes out of a call what the structs don't know."""
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
        whole = choice.message is not None
        calls = tuple(
            [_read_call(call, number if whole else call.index) for number, call in enumerate(message.tool_calls)]
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
