"""generateContent replies, written: streams of responses and whole ones."""

from __future__ import annotations

from typing import Any

import msgspec

from gateway.contract.deltas import ChoiceDelta, Delta, FinishReason, TokenLogprob, Usage
from gateway.contract.errors import GatehouseError
from gateway.contract.messages import ChatRequest
from gateway.dialects.collect import CollectedCall
from gateway.dialects.gemini_generate import errors
from gateway.dialects.gemini_generate.turns import read_arguments

_encode = msgspec.json.Encoder().encode
_FINISH: dict[FinishReason, str] = {
    "stop": "STOP",
    "stop_sequence": "STOP",
    "tool_calls": "STOP",
    "length": "MAX_TOKENS",
    "context_window": "MAX_TOKENS",
    "content_filter": "SAFETY",
    "refusal": "SAFETY",
    "pause": "OTHER",
    "malformed": "MALFORMED_FUNCTION_CALL",
    "other": "OTHER",
}


class _Parts:
    """One candidate: its pieces as parts, in their order. Tool calls come whole, so they wait for their end."""

    __slots__ = ("_calls", "finish")

    def __init__(self) -> None:
        self._calls: dict[int, CollectedCall] = {}
        self.finish: FinishReason = ""

    def take(self, choice: ChoiceDelta) -> list[dict[str, Any]]:
        """The parts that are complete with this piece."""
        parts: list[dict[str, Any]] = []
        if choice.reasoning:
            thought: dict[str, Any] = {"text": choice.reasoning, "thought": True}
            parts.append({**thought, "thoughtSignature": choice.signature} if choice.signature else thought)
        parts += [{"text": text} for text in (choice.text, choice.refusal) if text]
        parts += (choice.extra or {}).get("parts", ())
        for call in choice.tool_calls:
            self._calls.setdefault(call.index, CollectedCall(call.index)).take(call)
        self.finish = choice.finish or self.finish
        return parts

    def calls(self) -> list[dict[str, Any]]:
        """The tool calls, at the end."""
        parts: list[dict[str, Any]] = []
        for index in sorted(self._calls):
            call = self._calls[index]
            wire = {"id": call.id or f"call_{index}", "name": call.name, "args": read_arguments(call.arguments)}
            part: dict[str, Any] = {"functionCall": wire}
            parts.append({**part, "thoughtSignature": call.signature} if call.signature else part)
        self._calls = {}
        return parts


class StreamWriter:
    """`data:` frames; nothing marks the end but the finish reasons."""

    content_type = "text/event-stream"
    __slots__ = ("_candidates", "_id", "_model", "_raw", "_usage")

    def __init__(self, request: ChatRequest, reply_id: str, *, raw: bool) -> None:
        self._id = reply_id
        self._model = request.model
        self._raw = raw
        self._candidates: dict[int, _Parts] = {}
        self._usage: Usage | None = None

    def opening(self, delta: Delta) -> bytes:
        """The SDK takes every frame for a response, so there is none that says nothing."""
        return b""

    def feed(self, deltas: list[Delta]) -> bytes:
        """See `ReplyWriter.feed`."""
        if self._raw:
            return b"".join([b"data: %b\r\n\r\n" % delta.raw for delta in deltas if delta.raw])
        return b"".join([b"data: %b\r\n\r\n" % _encode(each) for each in self.responses(deltas)])

    def responses(self, deltas: list[Delta]) -> list[dict[str, Any]]:
        """What can be said now. Finish reasons wait for the end, where usage and whole tool calls are known."""
        found = []
        for delta in deltas:
            self._id = delta.id or self._id
            self._model = delta.model or self._model
            self._usage = delta.usage or self._usage
            for choice in delta.choices:
                parts = self._candidates.setdefault(choice.index, _Parts()).take(choice)
                candidate = _candidate(choice.index, parts)
                _add_metadata(candidate, choice)
                if len(candidate) > 2 or parts:
                    found.append(self._response([candidate]))
        return found

    def last(self) -> list[dict[str, Any]]:
        """The finish reasons, with the tool calls and the usage."""
        candidates = []
        for index in sorted(self._candidates):
            parts = self._candidates[index]
            # The SDK's chats take a response without parts for an invalid one.
            candidate = _candidate(index, parts.calls() or [{"text": ""}])
            candidate["finishReason"] = _FINISH.get(parts.finish, "STOP")
            candidates.append(candidate)
        response = self._response(candidates)
        if self._usage is not None:
            response["usageMetadata"] = write_usage(self._usage)
        return [response]

    def _response(self, candidates: list[dict[str, Any]]) -> dict[str, Any]:
        return {"candidates": candidates, "modelVersion": self._model, "responseId": self._id}

    def finish(self) -> bytes:
        """See `ReplyWriter.finish`."""
        if self._raw:
            return b""
        return b"".join([b"data: %b\r\n\r\n" % _encode(each) for each in self.last()])

    def fail(self, error: GatehouseError, request_id: str) -> bytes:
        """See `ReplyWriter.fail`: the SDK raises on an `error` field."""
        return b"data: %b\r\n\r\n" % errors.write(error)


class ArrayWriter:
    """The same responses as a JSON array, one element as each comes."""

    content_type = "application/json"
    __slots__ = ("_begun", "_writer")

    def __init__(self, writer: StreamWriter) -> None:
        self._writer = writer
        self._begun = False

    def opening(self, delta: Delta) -> bytes:
        """The array's bracket."""
        return b""

    def feed(self, deltas: list[Delta]) -> bytes:
        """See `ReplyWriter.feed`."""
        return self._elements(_frames(self._writer.feed(deltas)))

    def finish(self) -> bytes:
        """See `ReplyWriter.finish`."""
        return self._elements(_frames(self._writer.finish())) + (b"]" if self._begun else b"[]")

    def fail(self, error: GatehouseError, request_id: str) -> bytes:
        """The error as the last element; the array is closed, for else it could not be read."""
        return self._elements([errors.write(error)]) + b"]"

    def _elements(self, elements: list[bytes]) -> bytes:
        written = b""
        for element in elements:
            written += (b",\r\n" if self._begun else b"[") + element
            self._begun = True
        return written


def _frames(data: bytes) -> list[bytes]:
    """The data of each frame that a StreamWriter wrote."""
    return [frame[6:] for frame in data.split(b"\r\n\r\n") if frame]


class WholeWriter:
    """One response."""

    content_type = "application/json; charset=UTF-8"
    __slots__ = ("_deltas", "_raw", "_stream")

    def __init__(self, request: ChatRequest, reply_id: str, *, raw: bool) -> None:
        self._stream = StreamWriter(request, reply_id, raw=False)
        self._raw = raw
        self._deltas: list[Delta] = []

    def opening(self, delta: Delta) -> bytes:
        """A whole answer has none."""
        return b""

    def feed(self, deltas: list[Delta]) -> bytes:
        """Collects."""
        self._deltas += deltas
        return b""

    def finish(self) -> bytes:
        """The body: the provider's own if nothing touched it."""
        deltas = self._deltas
        if self._raw and len(deltas) == 1 and deltas[0].raw:
            return deltas[0].raw
        pieces = self._stream.responses(deltas)
        (response,) = self._stream.last()
        by_index = {candidate["index"]: candidate for candidate in response["candidates"]}
        for piece in reversed(pieces):
            for candidate in piece["candidates"]:
                _join(by_index[candidate["index"]], candidate)
        return _encode(response)

    def fail(self, error: GatehouseError, request_id: str) -> bytes:
        """A whole answer that fails is an error body."""
        return errors.write(error)


def _join(later: dict[str, Any], earlier: dict[str, Any]) -> None:
    """Puts the parts of `earlier` before those of `later`; neighbours of plain text or of thoughts become one."""
    parts = later["content"]["parts"]
    for part in reversed(earlier["content"]["parts"]):
        first = parts[0] if parts else None
        if first is not None and part.keys() == first.keys() and "text" in part and "thoughtSignature" not in part:
            parts[0] = {**part, "text": part["text"] + first["text"]}
        else:
            parts.insert(0, part)
    for key, value in earlier.items():
        if key == "logprobsResult" and key in later:
            later[key] = {name: value[name] + later[key][name] for name in value}
        elif key not in later:
            later[key] = value


def _candidate(index: int, parts: list[dict[str, Any]]) -> dict[str, Any]:
    return {"content": {"role": "model", "parts": parts}, "index": index}


def _add_metadata(candidate: dict[str, Any], choice: ChoiceDelta) -> None:
    candidate.update({key: value for key, value in (choice.extra or {}).items() if key.endswith("Metadata")})
    if choice.logprobs:
        candidate["logprobsResult"] = _write_logprobs(choice.logprobs)


def _write_logprobs(tokens: tuple[TokenLogprob, ...]) -> dict[str, Any]:
    return {
        "chosenCandidates": [_write_token(token) for token in tokens],
        "topCandidates": [{"candidates": [_write_token(other) for other in token.top]} for token in tokens],
    }


def _write_token(token: TokenLogprob) -> dict[str, Any]:
    return {"token": token.token, "logProbability": token.logprob}


def write_usage(usage: Usage) -> dict[str, Any]:
    """`usageMetadata`: here the thoughts are counted beside the answer."""
    found = {
        "promptTokenCount": usage.input,
        "candidatesTokenCount": usage.output - usage.reasoning,
        "totalTokenCount": usage.input + usage.output,
    }
    if usage.reasoning:
        found["thoughtsTokenCount"] = usage.reasoning
    if usage.cache_read:
        found["cachedContentTokenCount"] = usage.cache_read
    return found
