"""Reads generateContent replies: streams of responses and buffered ones.

The most common response, text only, is decoded directly into structs; others are decoded generically.
"""

from __future__ import annotations

from typing import Any

import msgspec

from contract.deltas import PART, ChoiceDelta, Delta, FinishReason, Own, TokenLogprob, ToolCallDelta, Usage
from contract.errors import ContentRefused, IncompleteReply, MalformedReply, UpstreamError
from contract.service_tier import tier_name
from gateway.dialects import fields, signatures
from gateway.dialects.buffered_body import BufferedBody
from gateway.dialects.endings import finish_of
from gateway.dialects.failures import find_message, read_body
from gateway.dialects.gemini_generate import errors
from gateway.dialects.gemini_generate.grounding import read_grounding
from gateway.dialects.gemini_generate.names import camel
from gateway.dialects.sse import SseParser

_FINISH: dict[str, FinishReason] = {
    "STOP": "stop",
    "MAX_TOKENS": "length",
    "SAFETY": "content_filter",
    "RECITATION": "content_filter",
    "BLOCKLIST": "content_filter",
    "PROHIBITED_CONTENT": "content_filter",
    "SPII": "content_filter",
    "IMAGE_SAFETY": "content_filter",
    "IMAGE_PROHIBITED_CONTENT": "content_filter",
    "IMAGE_RECITATION": "content_filter",
    "MODEL_ARMOR": "content_filter",
    # These mean that there is no response, without a reason. `finish_of` recognises `MALFORMED_...` and the like.
    "OTHER": "error",
    "LANGUAGE": "error",
    "FINISH_REASON_UNSPECIFIED": "error",
    "IMAGE_OTHER": "error",
    "NO_IMAGE": "error",
}


class _Part(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    text: str
    thought: bool = False


class _Content(msgspec.Struct, forbid_unknown_fields=True):
    parts: list[_Part]
    role: str = ""


class _Candidate(msgspec.Struct, forbid_unknown_fields=True):
    content: _Content
    index: int = 0


class _Modality(msgspec.Struct, gc=False):
    modality: str | None = None
    tokenCount: int | None = None  # noqa: N815


class _Count(msgspec.Struct, gc=False):
    """The counts in `usageMetadata`."""

    promptTokenCount: int | None = None  # noqa: N815 - the wire's names
    totalTokenCount: int | None = None  # noqa: N815
    candidatesTokenCount: int | None = None  # noqa: N815
    thoughtsTokenCount: int | None = None  # noqa: N815
    cachedContentTokenCount: int | None = None  # noqa: N815
    toolUsePromptTokenCount: int | None = None  # noqa: N815
    promptTokensDetails: list[_Modality] | None = None  # noqa: N815
    candidatesTokensDetails: list[_Modality] | None = None  # noqa: N815
    trafficType: str | None = None  # noqa: N815
    serviceTier: str | None = None  # noqa: N815


class _Plain(msgspec.Struct):
    candidates: list[_Candidate]
    usageMetadata: _Count | None = None  # noqa: N815
    modelVersion: str | None = None  # noqa: N815
    responseId: str | None = None  # noqa: N815
    error: None = None


_COUNTS = _Count.__struct_fields__
_decode_plain = msgspec.json.Decoder(_Plain).decode
_decode_array = msgspec.json.Decoder(list[msgspec.Raw]).decode
_encode = msgspec.json.Encoder().encode


def _decode_any(raw: bytes) -> object:
    return fields.read_reply_json(raw, "A response from the provider")


class _Reader:
    """The base of both readers: numbers tool calls, and tracks finished candidates."""

    __slots__ = ("_calls", "_count", "_finished", "_reply", "_seen", "done")

    def __init__(self) -> None:
        self._calls: dict[int, int] = {}
        self._count: _Count | None = None
        # A part of generated call ids, so that they differ between turns.
        self._reply = ""
        self._seen: set[int] = set()
        self._finished: set[int] = set()
        self.done = False

    def _read_response(self, raw: bytes) -> Delta:
        try:
            plain = _decode_plain(raw)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            # Another shape, or invalid JSON: validation may stop before the end of the bytes.
            return self._read_object(_decode_any(raw), raw)
        if not plain.candidates:
            # The prompt may have been blocked, which only the generic decoder detects.
            return self._read_object(_decode_any(raw), raw)
        choices: list[ChoiceDelta] = []
        for candidate in plain.candidates:
            index = candidate.index
            self._seen.add(index)
            choices += [
                ChoiceDelta(index, "", part.text) if part.thought else ChoiceDelta(index, part.text)
                for part in candidate.content.parts
            ]
        usage = self._read_count(plain.usageMetadata)
        tier = _read_tier(plain.usageMetadata)
        return Delta(tuple(choices), usage, plain.responseId or "", plain.modelVersion or "", raw, "", tier)

    def _read_object(self, response: object, raw: bytes) -> Delta:
        """Decodes any response."""
        if not isinstance(response, dict):
            raise MalformedReply("The provider sent a response that is not an object")
        error = response.pop("error", None)
        if fields.is_error(error):
            raise errors.read_embedded(error)
        source = camel(response)
        if not source.keys() & _REPLY_FIELDS and find_message(response):
            # A proxy's error without an `error` field.
            raise errors.read_embedded(response)
        self._reply = self._reply or str(source.get("responseId") or "")
        try:
            choices: list[ChoiceDelta] = []
            for position, candidate in enumerate(source.get("candidates") or ()):
                choices += self._read_candidate(camel(candidate), position)
            feedback = camel(source.get("promptFeedback") or {})
            if feedback.get("blockReason") and not choices:
                raise ContentRefused(f"The provider's content policy declined the request ({feedback['blockReason']})")
            counts = source.get("usageMetadata")
            count = msgspec.convert(camel(counts), _Count) if counts else None
        except fields.WRONG_SHAPE:
            raise MalformedReply("The provider sent a response of the wrong shape") from None
        usage = self._read_count(count)
        name, model = str(source.get("responseId") or ""), str(source.get("modelVersion") or "")
        rest = fields.rest(source, _RESPONSE) or {}
        if counts:
            rest["usage"] = counts
        own: Own = {"gemini": rest} if rest else None
        # An empty `error` is removed, because a client might treat it as an error.
        raw = raw if error is None else b""
        return Delta(tuple(choices), usage, name, model, raw, "", _read_tier(count), own)

    def _read_count(self, count: _Count | None) -> Usage | None:
        """The usage so far: a response may omit counts of an earlier one, such as the cached part of the prompt."""
        if count is None:
            return None
        before = self._count
        if before is not None:
            for name in _COUNTS:
                if not getattr(count, name):
                    setattr(count, name, getattr(before, name))
        self._count = count
        return _read_usage(count)

    def _read_candidate(self, candidate: dict[str, Any], position: int) -> list[ChoiceDelta]:
        index = candidate.get("index", position) or 0
        if type(index) is not int:
            raise TypeError
        self._seen.add(index)
        content = candidate.get("content") or {}
        choices: list[ChoiceDelta] = []
        for part in content.get("parts") or ():
            choices += self._read_part(camel(part), index)
        extra = {key: candidate[key] for key in _METADATA if candidate.get(key)}
        rest = fields.rest(candidate, _CANDIDATE) or {}
        logprobs = candidate.get("logprobsResult")
        reason = candidate.get("finishReason")
        if reason:
            self._finished.add(index)
        if reason or extra or logprobs or rest:
            finish: FinishReason = finish_of(fields.reply_text(reason), _FINISH) if reason else ""
            if reason and reason not in _FINISH:
                rest["finishReason"] = reason
            grounds = candidate.get("groundingMetadata")
            if finish == "stop" and self._calls.get(index):
                finish = "tool_calls"
            choices.append(
                ChoiceDelta(
                    index,
                    finish=finish,
                    logprobs=_read_logprobs(camel(logprobs)) if logprobs else (),
                    extra=extra or None,
                    citations=read_grounding(camel(grounds)) if grounds else (),
                    own={"gemini": rest} if rest else None,
                )
            )
        return choices or [ChoiceDelta(index)]

    def _read_part(self, part: dict[str, Any], index: int) -> list[ChoiceDelta]:
        signature = fields.reply_text(part.get("thoughtSignature"))
        if part.get("text") is not None:
            text = fields.reply_text(part["text"])
            rest = fields.rest(part, _TEXT_PART)
            own: Own = {PART: rest} if rest else None
            signed_by = "gemini" if signature else ""
            if part.get("thought"):
                kind, signature = signatures.unseal(signature)
                if kind == "redacted":
                    return [ChoiceDelta(index, redacted=signature)]
                return [ChoiceDelta(index, reasoning=text, signature=signature, signed_by=kind, own=own)]
            return [ChoiceDelta(index, text, signature=signature, signed_by=signed_by, own=own)]
        if "functionCall" in part:
            call = part["functionCall"]
            number = self._calls.get(index, 0)
            self._calls[index] = number + 1
            arguments = _encode(call.get("args") or {}).decode()
            call_id = fields.reply_text(call.get("id")) or f"call_{self._reply}_{index}_{number}"
            others = fields.rest(part, _CALL_PART) or {}
            if inner := fields.rest(call, _CALL):
                others["functionCall"] = inner
            mine: Own = {"gemini": others} if others else None
            piece = ToolCallDelta(number, call_id, fields.reply_text(call["name"]), arguments, signature, own=mine)
            return [ChoiceDelta(index, tool_calls=(piece,))]
        return [ChoiceDelta(index, extra={"parts": [part]})]

    def _check_end(self) -> None:
        if not self._seen or self._seen != self._finished:
            raise IncompleteReply("The provider's response ended early")


_REPLY_FIELDS = frozenset({"candidates", "promptFeedback", "usageMetadata", "responseId", "modelVersion"})
_RESPONSE = frozenset({"candidates", "usageMetadata", "modelVersion", "responseId", "error"})
_CANDIDATE = frozenset(
    {
        "content",
        "index",
        "finishReason",
        "logprobsResult",
        "groundingMetadata",
        "citationMetadata",
        "urlContextMetadata",
    }
)
_TEXT_PART = frozenset({"text", "thought", "thoughtSignature"})
_CALL_PART = frozenset({"functionCall", "thoughtSignature", "thought"})
_CALL = frozenset({"id", "name", "args"})
_METADATA = ("groundingMetadata", "citationMetadata", "urlContextMetadata")


class StreamReader(_Reader):
    """Reads events to the end of the bytes. There is no end marker, so every candidate must have a finish reason."""

    __slots__ = ("_parser",)

    def __init__(self) -> None:
        super().__init__()
        self._parser = SseParser()

    def feed(self, data: bytes) -> list[Delta]:
        """See `ReplyReader.feed`."""
        return self._read(self._parser.feed(data))

    def finish(self) -> list[Delta]:
        """See `ReplyReader.finish`."""
        deltas = self._read(self._parser.finish())
        self._check_end()
        return deltas

    def unread(self) -> str | None:
        """See `ReplyReader.unread`."""
        return None

    def _read(self, events: list[tuple[str, bytes]]) -> list[Delta]:
        deltas: list[Delta] = []
        try:
            for name, data in events:
                if name == "error":
                    value, _ = read_body(data)
                    inner = value.get("error") if isinstance(value, dict) else None
                    raise errors.read_embedded(inner or value)
                if data != b"[DONE]":
                    deltas.append(self._read_response(data if b"\n" not in data else data.replace(b"\n", b" ")))
        except UpstreamError as error:
            error.before = deltas
            raise
        return deltas


class BufferedReader(_Reader):
    """Reads one response, or an array of responses (a stream without events)."""

    __slots__ = ("_body",)

    def __init__(self) -> None:
        super().__init__()
        self._body = BufferedBody()

    def feed(self, data: bytes) -> list[Delta]:
        """Collects without output."""
        return self._body.feed(data)

    def unread(self) -> str | None:
        """See `ReplyReader.unread`."""
        return None if self.done else self._body.unread()

    def finish(self) -> list[Delta]:
        """Returns one delta, or one for each response of an array."""
        body = self._body.body()
        deltas = self._read_array(body) if body.lstrip()[:1] == b"[" else [self._read_response(body)]
        if not self._seen:
            raise MalformedReply("The provider's response has no candidates")
        self._check_end()
        self.done = True
        return deltas

    def _read_array(self, body: bytes) -> list[Delta]:
        try:
            responses = _decode_array(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise MalformedReply("The provider's response is not a JSON array") from None
        return [self._read_response(bytes(response)) for response in responses]


def _read_usage(count: _Count) -> Usage:
    reasoning = count.thoughtsTokenCount or 0
    prompt = (count.promptTokenCount or 0) + (count.toolUsePromptTokenCount or 0)
    output = (count.candidatesTokenCount or 0) + reasoning
    if not count.candidatesTokenCount and count.totalTokenCount:
        # The output count is missing without text, and some servers omit the reasoning count.
        output = max(output, count.totalTokenCount - prompt)
    return Usage(
        input=prompt,
        output=output,
        cache_read=count.cachedContentTokenCount or 0,
        reasoning=reasoning,
        audio_input=_count_of(count.promptTokensDetails, "AUDIO"),
        audio_output=_count_of(count.candidatesTokensDetails, "AUDIO"),
        image_input=_count_of(count.promptTokensDetails, "IMAGE"),
        image_output=_count_of(count.candidatesTokensDetails, "IMAGE"),
    )


def _read_tier(count: _Count | None) -> str:
    return tier_name(count.serviceTier or count.trafficType) if count is not None else ""


def _count_of(details: list[_Modality] | None, modality: str) -> int:
    return sum(each.tokenCount or 0 for each in details if each.modality == modality) if details else 0


def _read_logprobs(result: dict[str, Any]) -> tuple[TokenLogprob, ...]:
    tops = result.get("topCandidates") or []
    tokens = []
    for place, chosen in enumerate(result.get("chosenCandidates") or ()):
        top = tops[place].get("candidates") or () if place < len(tops) else ()
        tokens.append(TokenLogprob(*_token(chosen), tuple([TokenLogprob(*_token(each)) for each in top])))
    return tuple(tokens)


def _token(candidate: dict[str, Any]) -> tuple[str, float]:
    return str(candidate.get("token", "")), float(candidate.get("logProbability") or 0.0)
