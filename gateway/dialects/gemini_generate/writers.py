"""generateContent replies, written: streams of responses and whole ones."""

from __future__ import annotations

from typing import Any

import msgspec

from contract.deltas import PART, ChoiceDelta, Citation, Delta, FinishReason, TokenLogprob, ToolCallDelta, Usage
from contract.errors import GatehouseError
from contract.messages import ChatRequest, DroppedParam
from gateway.dialects import signatures
from gateway.dialects.collect import CollectedCall
from gateway.dialects.foreign import OmittedParts, kind_of, merge, note_for, pictures_of
from gateway.dialects.gemini_generate import errors
from gateway.dialects.gemini_generate.grounding import settle, write_grounding
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
    """One candidate: its pieces as parts, in their order. Tool calls come whole, so they wait for their end."""

    __slots__ = ("_block", "_calls", "_cited", "_left_out", "_length", "_said", "_sent", "_silent", "_unsaid", "finish",
                 "own")  # fmt: skip

    def __init__(self, unsaid: OmittedParts) -> None:
        self._unsaid = unsaid
        self._calls: dict[int, CollectedCall] = {}
        self._sent: set[int] = set()
        # The words so far, and where their last block begins.
        self._said: list[str] = []
        self._length = 0
        self._block = 0
        self._cited: list[tuple[Citation, int]] = []
        self._left_out: list[str] = []
        self._silent = True
        self.finish: FinishReason = ""
        self.own: dict[str, Any] = {}

    def take(self, choice: ChoiceDelta) -> list[dict[str, Any]]:
        """The parts that are complete with this piece."""
        parts: list[dict[str, Any]] = []
        beside: dict[str, Any] = {}
        if choice.own:
            beside = choice.own.get(PART) or {}
            self.own |= choice.own.get("gemini") or {}
        if choice.begins:
            self._block = self._length
        ours = choice.signed_by in ("", "gemini")
        signature = (
            choice.signature if ours or not choice.signature else signatures.seal(choice.signature, choice.signed_by)
        )
        # Gemini signs words too: a signature without thoughts is theirs.
        of_words = bool(signature) and choice.signed_by == "gemini" and not choice.reasoning
        if choice.reasoning or (signature and not of_words):
            parts.append({**beside, **_signed({"text": choice.reasoning, "thought": True}, signature)})
        if choice.redacted:
            parts.append(_signed({"text": "", "thought": True}, signatures.seal(choice.redacted, "redacted")))
        if choice.text or of_words:
            self._say(choice.text)
            parts.append({**beside, **_signed({"text": choice.text}, signature if of_words else "")})
        if choice.refusal:
            self._say(choice.refusal)
            parts.append({"text": choice.refusal})
        if choice.extra:
            parts += self._parts_of(choice.extra)
        self._cited += [
            (each, self._block) for each in choice.citations if each.dialect != "gemini" and each.url + each.title
        ]
        for piece in choice.tool_calls:
            parts += self._take_call(piece)
        self.finish = choice.finish or self.finish
        if parts or self._calls:
            self._silent = False
        return parts

    def _take_call(self, piece: ToolCallDelta) -> list[dict[str, Any]]:
        if piece.index in self._sent:
            # It was complete, so this holds nothing but blanks.
            return []
        parts: list[dict[str, Any]] = []
        call = self._calls.get(piece.index)
        if call is None:
            parts = self._complete_calls()
            call = self._calls[piece.index] = CollectedCall(piece.index)
        call.take(piece)
        return parts

    def _say(self, text: str) -> None:
        self._said.append(text)
        self._length += len(text)

    def _parts_of(self, extra: dict[str, Any]) -> list[dict[str, Any]]:
        """Google's own parts, pictures of OpenAI's compatible servers, and what others can't be told."""
        parts = list(extra.get("parts") or ())
        parts += [
            _signed({"inlineData": {"mimeType": each.kind, "data": each.data}}, each.signature)
            for each in pictures_of(extra.get("images"))
        ]
        audio = extra.get("audio")
        if isinstance(audio, dict) and audio.get("transcript"):
            self._unsaid.add("audio", "the sound has no media type")
            parts.append({"text": str(audio["transcript"])})
        blocks = extra.get("content_blocks")
        for block in blocks if isinstance(blocks, list) else ():
            self._left_out.append(kind_of(block))
            self._unsaid.add(kind_of(block), "Gemini's answers have no such part")
        return parts

    def metadata(self, choice: ChoiceDelta) -> dict[str, Any]:
        """What stands beside the content: Google's own metadata, with the places that its words have now."""
        extra = choice.extra or {}
        found = {key: value for key, value in extra.items() if key.endswith("Metadata") or key == "gatehouse"}
        if isinstance(found.get("groundingMetadata"), dict):
            found["groundingMetadata"] = settle(found["groundingMetadata"], "".join(self._said))
        if choice.logprobs:
            found["logprobsResult"] = _write_logprobs(choice.logprobs)
        return found

    def last(self) -> dict[str, Any]:
        """What stands beside the content at the end: the reason, other vendors' sources, and fields of Google's own."""
        found: dict[str, Any] = {"finishReason": _FINISH.get(self.finish, "STOP"), **self.own}
        if self._cited:
            found["groundingMetadata"] = write_grounding(self._cited, "".join(self._said))
        return found

    def rest(self) -> list[dict[str, Any]]:
        """The tool calls that are left at the end; words in the place of an answer that would hold nothing."""
        parts = [_write_call(self._calls[index]) for index in sorted(self._calls)]
        self._calls = {}
        if self._silent and self._left_out and not parts:
            parts = [{"text": note_for(self._left_out)}]
        return parts

    def _complete_calls(self) -> list[dict[str, Any]]:
        """The first calls, by index, whose arguments are an object's whole JSON: nothing can follow them. The pieces of
        several calls may come interleaved, so that another call's beginning alone says nothing.
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
    """`data:` frames; nothing marks the end but the finish reasons."""

    content_type = "text/event-stream"
    __slots__ = ("_candidates", "_ended", "_held", "_id", "_model", "_own", "_raw", "_unsaid", "_usage")

    def __init__(self, request: ChatRequest, reply_id: str, *, raw: bool) -> None:
        self._id = reply_id
        self._model = request.model
        self._raw = raw
        self._candidates: dict[int, _Candidate] = {}
        self._usage: Usage | None = None
        self._own: dict[str, Any] = {}
        self._unsaid = OmittedParts()
        # Raw responses with a finish reason, and what follows them: the reply may still break off.
        self._held: list[bytes] = []
        self._ended: set[int] = set()

    @property
    def losses(self) -> list[DroppedParam]:
        """See `ReplyWriter.losses`."""
        return self._unsaid.losses

    def opening(self, delta: Delta) -> bytes:
        """The SDK takes every frame for a response, so there is none that says nothing."""
        return b""

    def feed(self, deltas: list[Delta]) -> bytes:
        """See `ReplyWriter.feed`."""
        return b"".join([b"data: %b\r\n\r\n" % element for element in self.elements(deltas)])

    def elements(self, deltas: list[Delta]) -> list[bytes]:
        """The responses that can be sent now, each as JSON. A delta without its raw bytes was changed on its way."""
        if not self._raw:
            return [_encode(each) for each in self.responses(deltas)]
        found: list[bytes] = []
        for delta in deltas:
            if not delta.raw:
                found += [_encode(each) for each in self.responses([delta])]
            elif self._ends(delta):
                self._held.append(delta.raw)
            else:
                found.append(delta.raw)
        return found

    def _ends(self, delta: Delta) -> bool:
        """Whether it holds a finish reason, or belongs behind one."""
        for choice in delta.choices:
            if choice.finish:
                self._ended.add(choice.index)
        if not self._ended:
            return False
        return not delta.choices or any(choice.index in self._ended for choice in delta.choices)

    def responses(self, deltas: list[Delta]) -> list[dict[str, Any]]:
        """What can be said now. Finish reasons wait for the end, where the usage and the last tool calls are known."""
        found = []
        for delta in deltas:
            self._id = delta.id or self._id
            self._model = delta.model or self._model
            self._usage = delta.usage or self._usage
            if delta.own:
                self._own |= delta.own.get("gemini") or {}
            for choice in delta.choices:
                candidate = self._candidates.get(choice.index)
                if candidate is None:
                    candidate = self._candidates[choice.index] = _Candidate(self._unsaid)
                wire = _write_candidate(choice.index, candidate.take(choice))
                wire |= candidate.metadata(choice)
                if len(wire) > 2 or wire["content"]["parts"]:
                    found.append(self._response([wire]))
        return found

    def last_elements(self) -> list[bytes]:
        """The end, as `elements`: the provider's own, and what was changed on its way."""
        if not self._raw:
            return [_encode(self.last())]
        ended = any(candidate.finish for candidate in self._candidates.values())
        return [*self._held, *([_encode(self.last())] if ended else [])]

    def last(self) -> dict[str, Any]:
        """The finish reasons, with the tool calls that are left and the usage."""
        wires = []
        for index in sorted(self._candidates):
            candidate = self._candidates[index]
            # The SDK's chats take a response without parts for an invalid one.
            wires.append(_write_candidate(index, candidate.rest() or [_NO_WORDS]) | candidate.last())
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
    """The same responses as a JSON array, one element as each comes."""

    content_type = "application/json"
    __slots__ = ("_begun", "_writer")

    def __init__(self, writer: StreamWriter) -> None:
        self._writer = writer
        self._begun = False

    @property
    def losses(self) -> list[DroppedParam]:
        """See `ReplyWriter.losses`."""
        return self._writer.losses

    def opening(self, delta: Delta) -> bytes:
        """There is no element that says nothing either."""
        return b""

    def feed(self, deltas: list[Delta]) -> bytes:
        """See `ReplyWriter.feed`."""
        return self._elements(self._writer.elements(deltas))

    def finish(self) -> bytes:
        """See `ReplyWriter.finish`."""
        return self._elements(self._writer.last_elements()) + (b"]" if self._begun else b"[]")

    def fail(self, error: GatehouseError, request_id: str) -> bytes:
        """The error as the last element; the array is closed, for else it could not be read."""
        return self._elements([errors.write(error)]) + b"]"

    def _elements(self, elements: list[bytes]) -> bytes:
        written = b""
        for element in elements:
            written += (b",\r\n" if self._begun else b"[") + element
            self._begun = True
        return written


class WholeWriter:
    """One response."""

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
        response = self._stream.last()
        joined = {wire["index"]: _Joined() for wire in response["candidates"]}
        for piece in [*pieces, response]:
            for wire in piece["candidates"]:
                joined[wire["index"]].take(wire)
        response["candidates"] = [each.whole() for each in joined.values()]
        return _encode(response)

    def fail(self, error: GatehouseError, request_id: str) -> bytes:
        """A whole answer that fails is an error body."""
        return errors.write(error)


class _Joined:
    """One candidate put together from its pieces: neighbours of plain text, or of thoughts, become one part."""

    __slots__ = ("_kind", "_parts", "_texts", "_wire")

    def __init__(self) -> None:
        self._parts: list[dict[str, Any]] = []
        self._texts: list[str] = []
        self._kind: tuple[str, ...] = ()
        self._wire: dict[str, Any] = {}

    def take(self, wire: dict[str, Any]) -> None:
        """Adds a piece. Log probabilities are joined, other values replaced."""
        for part in wire["content"]["parts"]:
            self._take_part(part)
        before = self._wire.get("logprobsResult")
        self._wire |= wire
        if before and "logprobsResult" in wire:
            self._wire["logprobsResult"] = {key: before[key] + value for key, value in wire["logprobsResult"].items()}
        self._wire["content"] = {"role": "model", "parts": self._parts}

    def whole(self) -> dict[str, Any]:
        """The candidate."""
        self._join_texts()
        return self._wire

    def _take_part(self, part: dict[str, Any]) -> None:
        if part == _NO_WORDS and self._parts:
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


_NO_WORDS = {"text": ""}
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
    """`usageMetadata`: here the thoughts are counted beside the answer."""
    found: dict[str, Any] = {
        "promptTokenCount": usage.input,
        "candidatesTokenCount": max(0, usage.output - usage.reasoning),
        "totalTokenCount": usage.input + usage.output,
    }
    if usage.reasoning:
        found["thoughtsTokenCount"] = usage.reasoning
    if usage.cache_read:
        found["cachedContentTokenCount"] = usage.cache_read
    if usage.cost:
        found["costUsd"] = usage.cost
    return found
