"""Writes generateContent replies: streams of responses and buffered ones."""

from __future__ import annotations

from typing import Any

import msgspec

from contract.deltas import PART, ChoiceDelta, Citation, Delta, FinishReason, TokenLogprob, ToolCallDelta, Usage
from contract.errors import GatehouseError
from contract.messages import ChatRequest, DroppedParam
from gateway.dialects import signatures
from gateway.dialects.collect import CollectedCall
from gateway.dialects.foreign import OmittedParts, merge, message_images, omission_note, part_kind
from gateway.dialects.gemini_generate import errors
from gateway.dialects.gemini_generate.grounding import update_positions, write_grounding
from gateway.dialects.gemini_generate.turns import is_object, read_arguments

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
    "error": "OTHER",
    "other": "OTHER",
}


class _Candidate:
    """Writes one candidate's deltas as parts, in order. A tool call is one part, so it is held back until its end."""

    __slots__ = (
        "_block", "_calls", "_citations", "_is_empty", "_length", "_omitted", "_omitted_kinds", "_sent",
        "_texts", "finish", "own",
    )  # fmt: skip

    def __init__(self, omitted: OmittedParts) -> None:
        self._omitted = omitted
        self._calls: dict[int, CollectedCall] = {}
        self._sent: set[int] = set()
        # The text so far, its length, and the start of its last block.
        self._texts: list[str] = []
        self._length = 0
        self._block = 0
        self._citations: list[tuple[Citation, int]] = []
        self._omitted_kinds: list[str] = []
        self._is_empty = True
        self.finish: FinishReason = ""
        self.own: dict[str, Any] = {}

    def add(self, choice: ChoiceDelta) -> list[dict[str, Any]]:
        """The parts that this delta completes."""
        parts: list[dict[str, Any]] = []
        part_fields: dict[str, Any] = {}
        if choice.own:
            part_fields = choice.own.get(PART) or {}
            self.own |= choice.own.get("gemini") or {}
        if choice.begins:
            self._block = self._length
        is_own = choice.signed_by in ("", "gemini")
        signature = (
            choice.signature if is_own or not choice.signature else signatures.seal(choice.signature, choice.signed_by)
        )
        # Gemini also signs text: a signature without reasoning belongs to the text.
        signs_text = bool(signature) and choice.signed_by == "gemini" and not choice.reasoning
        if choice.reasoning or (signature and not signs_text):
            parts.append({**part_fields, **_signed({"text": choice.reasoning, "thought": True}, signature)})
        if choice.redacted:
            parts.append(_signed({"text": "", "thought": True}, signatures.seal(choice.redacted, "redacted")))
        if choice.text or signs_text:
            self._add_text(choice.text)
            parts.append({**part_fields, **_signed({"text": choice.text}, signature if signs_text else "")})
        if choice.refusal:
            self._add_text(choice.refusal)
            parts.append({"text": choice.refusal})
        if choice.extra:
            parts += self._parts_of(choice.extra)
        self._citations += [
            (each, self._block) for each in choice.citations if each.dialect != "gemini" and each.url + each.title
        ]
        for call in choice.tool_calls:
            parts += self._add_call(call)
        self.finish = choice.finish or self.finish
        if parts or self._calls:
            self._is_empty = False
        return parts

    def _add_call(self, delta: ToolCallDelta) -> list[dict[str, Any]]:
        if delta.index in self._sent:
            # The call was complete, so this is only whitespace.
            return []
        parts: list[dict[str, Any]] = []
        call = self._calls.get(delta.index)
        if call is None:
            parts = self._complete_calls()
            call = self._calls[delta.index] = CollectedCall(delta.index)
        call.add(delta)
        return parts

    def _add_text(self, text: str) -> None:
        self._texts.append(text)
        self._length += len(text)

    def _parts_of(self, extra: dict[str, Any]) -> list[dict[str, Any]]:
        """Google's own parts and images from OpenAI-compatible servers; other content is omitted and recorded."""
        parts = list(extra.get("parts") or ())
        parts += [
            _signed({"inlineData": {"mimeType": each.kind, "data": each.data}}, each.signature)
            for each in message_images(extra.get("images"))
        ]
        audio = extra.get("audio")
        if isinstance(audio, dict) and audio.get("transcript"):
            self._omitted.add("audio", "the audio has no media type")
            parts.append({"text": str(audio["transcript"])})
        blocks = extra.get("content_blocks")
        for block in blocks if isinstance(blocks, list) else ():
            self._omitted_kinds.append(part_kind(block))
            self._omitted.add(part_kind(block), "Gemini has no such part")
        return parts

    def metadata(self, choice: ChoiceDelta) -> dict[str, Any]:
        """The fields besides the content: Google's own metadata, with the current positions of its segments."""
        extra = choice.extra or {}
        fields = {key: value for key, value in extra.items() if key.endswith("Metadata") or key == "gatehouse"}
        if isinstance(fields.get("groundingMetadata"), dict):
            fields["groundingMetadata"] = update_positions(fields["groundingMetadata"], "".join(self._texts))
        if choice.logprobs:
            fields["logprobsResult"] = _write_logprobs(choice.logprobs)
        return fields

    def last(self) -> dict[str, Any]:
        """The fields besides the content at the end: finish reason, other vendors' citations, Google's own fields."""
        fields: dict[str, Any] = {"finishReason": _FINISH.get(self.finish, "STOP"), **self.own}
        if self._citations:
            fields["groundingMetadata"] = write_grounding(self._citations, "".join(self._texts))
        return fields

    def rest(self) -> list[dict[str, Any]]:
        """The remaining tool calls at the end; or a note, if the response would be empty."""
        parts = [_write_call(self._calls[index]) for index in sorted(self._calls)]
        self._calls = {}
        if self._is_empty and self._omitted_kinds and not parts:
            parts = [{"text": omission_note(self._omitted_kinds)}]
        return parts

    def _complete_calls(self) -> list[dict[str, Any]]:
        """The first calls, by index, whose arguments are complete JSON objects.

        Deltas of several calls may be interleaved, so the start of another call does not mean that a call is complete.
        """
        parts: list[dict[str, Any]] = []
        for index in sorted(self._calls):
            if not is_object(self._calls[index].arguments):
                break
            parts.append(_write_call(self._calls.pop(index)))
            self._sent.add(index)
        return parts


def _write_call(call: CollectedCall) -> dict[str, Any]:
    wire = {"id": call.id or f"call_{call.index}", "name": call.name, "args": read_arguments(call.arguments)}
    own = (call.own or {}).get("gemini") or {}
    return _signed(merge(own, {"functionCall": wire}), call.signature)


def _signed(part: dict[str, Any], signature: str) -> dict[str, Any]:
    return {**part, "thoughtSignature": signature} if signature else part


class StreamWriter:
    """Writes `data:` frames; only finish reasons mark the end."""

    content_type = "text/event-stream"
    __slots__ = ("_candidates", "_ended", "_held", "_id", "_model", "_omitted", "_own", "_raw", "_usage")

    def __init__(self, request: ChatRequest, reply_id: str, *, raw: bool) -> None:
        self._id = reply_id
        self._model = request.model
        self._raw = raw
        self._candidates: dict[int, _Candidate] = {}
        self._usage: Usage | None = None
        self._own: dict[str, Any] = {}
        self._omitted = OmittedParts()
        # Raw responses with a finish reason, and later ones: held back, because the reply may still fail.
        self._held: list[bytes] = []
        self._ended: set[int] = set()

    @property
    def losses(self) -> list[DroppedParam]:
        """See `ReplyWriter.losses`."""
        return self._omitted.losses

    def opening(self, delta: Delta) -> bytes:
        """Empty: the SDK treats every frame as a response."""
        return b""

    def feed(self, deltas: list[Delta]) -> bytes:
        """See `ReplyWriter.feed`."""
        return b"".join([b"data: %b\r\n\r\n" % element for element in self.elements(deltas)])

    def elements(self, deltas: list[Delta]) -> list[bytes]:
        """The responses that can be sent now, each as JSON. A delta without raw bytes was changed by the gateway."""
        if not self._raw:
            return [_encode(each) for each in self.responses(deltas)]
        encoded: list[bytes] = []
        for delta in deltas:
            if not delta.raw:
                encoded += [_encode(each) for each in self.responses([delta])]
            elif self._ends(delta):
                self._held.append(delta.raw)
            else:
                encoded.append(delta.raw)
        return encoded

    def _ends(self, delta: Delta) -> bool:
        """Whether the delta has a finish reason, or comes after one."""
        for choice in delta.choices:
            if choice.finish:
                self._ended.add(choice.index)
        if not self._ended:
            return False
        return not delta.choices or any(choice.index in self._ended for choice in delta.choices)

    def responses(self, deltas: list[Delta]) -> list[dict[str, Any]]:
        """The responses for these deltas. Finish reasons are held back until usage and all tool calls are known."""
        responses = []
        for delta in deltas:
            self._id = delta.id or self._id
            self._model = delta.model or self._model
            self._usage = delta.usage or self._usage
            if delta.own:
                self._own |= delta.own.get("gemini") or {}
            for choice in delta.choices:
                candidate = self._candidates.get(choice.index)
                if candidate is None:
                    candidate = self._candidates[choice.index] = _Candidate(self._omitted)
                wire = _write_candidate(choice.index, candidate.add(choice))
                wire |= candidate.metadata(choice)
                if len(wire) > 2 or wire["content"]["parts"]:
                    responses.append(self._response([wire]))
        return responses

    def last_elements(self) -> list[bytes]:
        """The end, as in `elements`: the provider's raw responses, and a generated one if deltas were changed."""
        if not self._raw:
            return [_encode(self.last())]
        ended = any(candidate.finish for candidate in self._candidates.values())
        return [*self._held, *([_encode(self.last())] if ended else [])]

    def last(self) -> dict[str, Any]:
        """The last response: finish reasons, remaining tool calls, and usage."""
        wires = []
        for index in sorted(self._candidates):
            candidate = self._candidates[index]
            # The SDK's chats treat a response without parts as invalid.
            wires.append(_write_candidate(index, candidate.rest() or [_EMPTY_PART]) | candidate.last())
        counts = self._own.pop("usage", {})
        response = {**self._own, **self._response(wires)}
        if self._usage is not None:
            response["usageMetadata"] = merge(counts, write_usage(self._usage))
        return response

    def _response(self, candidates: list[dict[str, Any]]) -> dict[str, Any]:
        return {"candidates": candidates, "modelVersion": self._model, "responseId": self._id}

    def finish(self) -> bytes:
        """See `ReplyWriter.finish`."""
        return b"".join([b"data: %b\r\n\r\n" % element for element in self.last_elements()])

    def fail(self, error: GatehouseError, request_id: str) -> bytes:
        """See `ReplyWriter.fail`: the SDK raises on a response that begins with an `error` field."""
        return b"data: %b\r\n\r\n" % errors.write(error)


class ArrayWriter:
    """Writes the responses as a JSON array, element by element."""

    content_type = "application/json"
    __slots__ = ("_started", "_writer")

    def __init__(self, writer: StreamWriter) -> None:
        self._writer = writer
        self._started = False

    @property
    def losses(self) -> list[DroppedParam]:
        """See `ReplyWriter.losses`."""
        return self._writer.losses

    def opening(self, delta: Delta) -> bytes:
        """Empty, as in `StreamWriter`."""
        return b""

    def feed(self, deltas: list[Delta]) -> bytes:
        """See `ReplyWriter.feed`."""
        return self._elements(self._writer.elements(deltas))

    def finish(self) -> bytes:
        """See `ReplyWriter.finish`."""
        return self._elements(self._writer.last_elements()) + (b"]" if self._started else b"[]")

    def fail(self, error: GatehouseError, request_id: str) -> bytes:
        """The error as the last element; the array is closed so that it can be parsed."""
        return self._elements([errors.write(error)]) + b"]"

    def _elements(self, elements: list[bytes]) -> bytes:
        written = b""
        for element in elements:
            written += (b",\r\n" if self._started else b"[") + element
            self._started = True
        return written


class BufferedWriter:
    """Writes one buffered response."""

    content_type = "application/json; charset=UTF-8"
    __slots__ = ("_deltas", "_raw", "_stream")

    def __init__(self, request: ChatRequest, reply_id: str, *, raw: bool) -> None:
        self._stream = StreamWriter(request, reply_id, raw=False)
        self._raw = raw
        self._deltas: list[Delta] = []

    @property
    def losses(self) -> list[DroppedParam]:
        """See `ReplyWriter.losses`."""
        return self._stream.losses

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
        responses = self._stream.responses(deltas)
        response = self._stream.last()
        joined = {wire["index"]: _Joined() for wire in response["candidates"]}
        for each in [*responses, response]:
            for wire in each["candidates"]:
                joined[wire["index"]].add(wire)
        response["candidates"] = [candidate.candidate() for candidate in joined.values()]
        return _encode(response)

    def fail(self, error: GatehouseError, request_id: str) -> bytes:
        """The error body of a buffered response."""
        return errors.write(error)


class _Joined:
    """Joins the responses of one candidate: adjacent text, or adjacent reasoning, becomes one part."""

    __slots__ = ("_kind", "_parts", "_texts", "_wire")

    def __init__(self) -> None:
        self._parts: list[dict[str, Any]] = []
        self._texts: list[str] = []
        self._kind: tuple[str, ...] = ()
        self._wire: dict[str, Any] = {}

    def add(self, wire: dict[str, Any]) -> None:
        """Adds a response's candidate. Log probabilities are joined, other values replaced."""
        for part in wire["content"]["parts"]:
            self._add_part(part)
        before = self._wire.get("logprobsResult")
        self._wire |= wire
        if before and "logprobsResult" in wire:
            self._wire["logprobsResult"] = {key: before[key] + value for key, value in wire["logprobsResult"].items()}
        self._wire["content"] = {"role": "model", "parts": self._parts}

    def candidate(self) -> dict[str, Any]:
        """The joined candidate."""
        self._join_texts()
        return self._wire

    def _add_part(self, part: dict[str, Any]) -> None:
        if part == _EMPTY_PART and self._parts:
            return
        kind = tuple(part)
        if kind in _JOINABLE and kind == self._kind:
            self._texts.append(part["text"])
            return
        self._join_texts()
        self._parts.append(dict(part))
        self._kind = kind
        self._texts = [part["text"]] if kind in _JOINABLE else []

    def _join_texts(self) -> None:
        if self._texts:
            self._parts[-1]["text"] = "".join(self._texts)


_EMPTY_PART = {"text": ""}
_JOINABLE = (("text",), ("text", "thought"))


def _write_candidate(index: int, parts: list[dict[str, Any]]) -> dict[str, Any]:
    return {"content": {"role": "model", "parts": parts}, "index": index}


def _write_logprobs(tokens: tuple[TokenLogprob, ...]) -> dict[str, Any]:
    return {
        "chosenCandidates": [_write_token(token) for token in tokens],
        "topCandidates": [{"candidates": [_write_token(other) for other in token.top]} for token in tokens],
    }


def _write_token(token: TokenLogprob) -> dict[str, Any]:
    return {"token": token.token, "logProbability": token.logprob}


def write_usage(usage: Usage) -> dict[str, Any]:
    """`usageMetadata`; here reasoning tokens are counted separately from output tokens."""
    counts: dict[str, Any] = {
        "promptTokenCount": usage.input,
        "candidatesTokenCount": max(0, usage.output - usage.reasoning),
        "totalTokenCount": usage.input + usage.output,
    }
    if usage.reasoning:
        counts["thoughtsTokenCount"] = usage.reasoning
    if usage.cache_read:
        counts["cachedContentTokenCount"] = usage.cache_read
    if usage.cost:
        counts["costUsd"] = usage.cost
    return counts
