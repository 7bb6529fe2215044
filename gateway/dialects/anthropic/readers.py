"""Messages replies, read: streams of events and whole messages.

The common event, a piece of text, is decoded straight into structs; any other takes the general way.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from contract.deltas import ChoiceDelta, Citation, Delta, FinishReason, Own, ToolCallDelta, Usage
from contract.errors import IncompleteReply, MalformedReply, UpstreamError
from contract.service_tier import tier_name
from gateway.dialects import fields, google, signatures
from gateway.dialects.anthropic import errors
from gateway.dialects.anthropic.turns import read_arguments
from gateway.dialects.endings import finish_of
from gateway.dialects.failures import read_body, words_within
from gateway.dialects.sse import SseParser
from gateway.dialects.whole import WholeBody

_FINISH: dict[str, FinishReason] = {
    "end_turn": "stop",
    "stop_sequence": "stop_sequence",
    "max_tokens": "length",
    "tool_use": "tool_calls",
    "refusal": "refusal",
    "pause_turn": "pause",
    "model_context_window_exceeded": "context_window",
}


# The types are fields, for msgspec does not insist on the tag of a struct that stands alone.
class _TextDelta(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    type: Literal["text_delta"]
    text: str


class _TextEvent(msgspec.Struct, forbid_unknown_fields=True):
    type: Literal["content_block_delta"]
    delta: _TextDelta
    index: int = 0


_decode_text = msgspec.json.Decoder(_TextEvent).decode
_encode = msgspec.json.Encoder().encode


class StreamReader:
    """Reads events up to `message_stop`.

    Blocks of a kind with no word in the contract come whole, in `ChoiceDelta.extra["content_blocks"]`, once they are
    complete; citations come at the end of their block, after the words that they belong to.
    """

    __slots__ = ("_bare", "_blocks", "_calls", "_cited", "_parser", "_stopped", "_strange", "_usage", "done")

    def __init__(self) -> None:
        self._parser = SseParser()
        self._usage: dict[str, Any] = {}
        # The tool call that each open block is, by the block's index.
        self._blocks: dict[int, int] = {}
        # Those of them that have no arguments yet.
        self._bare: set[int] = set()
        self._calls = 0
        # The open blocks of other kinds, with the pieces of their input.
        self._strange: dict[int, tuple[dict[str, Any], list[str]]] = {}
        # The citations of open blocks of text: the vendor may send them before the words.
        self._cited: dict[int, list[Citation]] = {}
        # Whether it has been said why the answer ends.
        self._stopped = False
        self.done = False

    def feed(self, data: bytes) -> list[Delta]:
        """See `ReplyReader.feed`."""
        return self._read(self._parser.feed(data))

    def finish(self) -> list[Delta]:
        """See `ReplyReader.finish`."""
        try:
            deltas = self._read(self._parser.finish())
        except MalformedReply:
            # Half an event.
            if not self._stopped:
                raise IncompleteReply("The provider's answer stopped within an event") from None
            deltas = []
        if not self._stopped:
            raise IncompleteReply("The provider's answer stopped before its end")
        # Some servers leave `message_stop` out: nothing of an answer follows its stop reason.
        self.done = True
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
            if self.done:
                break
            raw = data if b"\n" not in data else data.replace(b"\n", b" ")
            if name == "content_block_delta" or not name:
                try:
                    event = _decode_text(raw)
                except ValueError:
                    # Another event, or none: msgspec's errors and UnicodeDecodeError are both of this class.
                    pass
                else:
                    deltas.append(Delta((ChoiceDelta(0, event.delta.text),), raw=raw, event="content_block_delta"))
                    continue
            if name == "error":
                value, _ = read_body(raw)
                inner = value.get("error") if isinstance(value, dict) else None
                raise errors.within(inner or value)
            delta = self._read_event(raw)
            if delta is not None:
                deltas.append(delta)

    def _read_event(self, raw: bytes) -> Delta | None:
        event = fields.read_reply_json(raw, "An event of the provider's")
        if not isinstance(event, dict):
            raise MalformedReply("The provider sent an event that is not an object")
        kind = event.get("type")
        told = event.pop("error", None)
        if kind == "error" or fields.says_something(told):
            raise errors.within(told or event)
        if told is not None:
            # One that says nothing is left out: a client might take it for an error.
            raw = _encode(event)
        if not isinstance(kind, str):
            raise MalformedReply("The provider sent an event without a type")
        if kind == "message_stop":
            if not self._stopped:
                raise IncompleteReply("The provider's answer has no stop reason")
            self.done = True
            return None
        try:
            return self._read_kind(kind, event, raw)
        except fields.WRONG_SHAPE:
            raise MalformedReply(f"The provider sent a {kind[:40]} of the wrong shape") from None

    def _read_kind(self, kind: str, event: dict[str, Any], raw: bytes) -> Delta:
        if kind == "message_start":
            message = event["message"]
            self._usage.update(_numbers(message.get("usage")))
            return Delta(
                (),
                _read_usage(self._usage),
                fields.words(message.get("id")),
                fields.words(message.get("model")),
                raw,
                kind,
                _read_tier(message.get("usage")),
                _own(fields.rest(message, _MESSAGE), message.get("usage")),
            )
        if kind == "content_block_start":
            return Delta((self._read_start(int(event["index"]), event["content_block"]),), raw=raw, event=kind)
        if kind == "content_block_delta":
            return Delta((self._read_piece(int(event["index"]), event["delta"]),), raw=raw, event=kind)
        if kind == "message_delta":
            # Some servers write 0 for what they have counted at the beginning.
            self._usage.update({key: count for key, count in _numbers(event.get("usage")).items() if count})
            delta = event["delta"]
            reason = delta.get("stop_reason")
            self._stopped = self._stopped or bool(reason)
            choice = _read_end(reason, delta.get("stop_sequence"))
            tier = _read_tier(event.get("usage"))
            rest = {**(fields.rest(delta, _END) or {}), **(fields.rest(event, _MESSAGE_DELTA) or {})}
            own = _own(rest, event.get("usage"))
            return Delta((choice,), _read_usage(self._usage), raw=raw, event=kind, tier=tier, own=own)
        if kind == "content_block_stop" and (self._strange or self._bare or self._cited):
            return Delta(self._read_stop(int(event["index"])), raw=raw, event=kind)
        return Delta(raw=raw, event=kind)

    def _read_start(self, index: int, block: dict[str, Any]) -> ChoiceDelta:
        kind = block["type"]
        if kind == "tool_use":
            call = self._blocks[index] = self._calls
            self._calls += 1
            given = block.get("input")
            if not given:
                self._bare.add(index)
            return ChoiceDelta(tool_calls=(_read_call(block, call, _encode(given).decode() if given else ""),))
        if kind in ("text", "thinking", "redacted_thinking"):
            return _read_block(block, 0)
        self._strange[index] = (block, [])
        return ChoiceDelta()

    def _read_piece(self, index: int, delta: dict[str, Any]) -> ChoiceDelta:
        kind = delta["type"]
        if kind == "text_delta":
            return ChoiceDelta(text=fields.words(delta["text"]))
        if kind == "thinking_delta":
            return ChoiceDelta(reasoning=fields.words(delta["thinking"]))
        if kind == "signature_delta":
            return _read_signature(fields.words(delta["signature"]))
        if kind == "citations_delta":
            self._cited.setdefault(index, []).append(_read_citation(delta["citation"]))
            return ChoiceDelta()
        if kind == "input_json_delta":
            piece = fields.words(delta["partial_json"])
            if not piece:
                return ChoiceDelta()
            self._bare.discard(index)
            if index in self._blocks:
                return ChoiceDelta(tool_calls=(ToolCallDelta(self._blocks[index], arguments=piece),))
            if index in self._strange:
                self._strange[index][1].append(piece)
        return ChoiceDelta()

    def _read_stop(self, index: int) -> tuple[ChoiceDelta, ...]:
        """The block, if it is of another kind. Its input may be cut off, as any tool's, where tokens ran out.

        Of a tool call without arguments the empty object, which the vendor does not stream.
        """
        if index in self._bare:
            self._bare.remove(index)
            return (ChoiceDelta(tool_calls=(ToolCallDelta(self._blocks[index], arguments="{}"),)),)
        cited = self._cited.pop(index, None)
        if cited:
            return (ChoiceDelta(citations=tuple(cited)),)
        block, pieces = self._strange.pop(index, (None, []))
        if block is None:
            return ()
        text = "".join(pieces)
        if text:
            block = {**block, "input": read_arguments(text)}
        return (ChoiceDelta(extra={"content_blocks": [block]}),)


class WholeReader(WholeBody):
    """Reads one message."""

    __slots__ = ()

    def finish(self) -> list[Delta]:
        """The one delta."""
        body = self.body()
        message = fields.read_reply_json(body, "The provider's answer")
        if not isinstance(message, dict):
            raise MalformedReply("The provider's answer is not an object")
        said = message.pop("error", None)
        if message.get("type") == "error" or fields.says_something(said):
            raise errors.within(said or message)
        if "content" not in message and words_within(message):
            # A proxy's error, without a field for it.
            raise errors.within(message)
        try:
            # An error that says nothing is left out: a client might take it for one.
            delta = _read_message(message, body if said is None else b"")
        except fields.WRONG_SHAPE:
            raise MalformedReply("The provider's answer is not a message") from None
        self.done = True
        return [delta]


def _read_message(message: dict[str, Any], body: bytes) -> Delta:
    reason = message["stop_reason"]
    if not reason:
        raise IncompleteReply("The provider's answer has no stop reason")
    choices = []
    calls = 0
    for block in message["content"]:
        choices.append(_read_block(block, calls))
        calls += block["type"] == "tool_use"
    choices.append(_read_end(reason, message.get("stop_sequence")))
    said = message.get("usage")
    usage, tier = _read_usage(_numbers(said)), _read_tier(said)
    name, model = fields.words(message.get("id")), fields.words(message.get("model"))
    return Delta(tuple(choices), usage, name, model, body, tier=tier, own=_own(fields.rest(message, _MESSAGE), said))


def _read_block(block: dict[str, Any], call: int) -> ChoiceDelta:
    kind = block["type"]
    if kind == "text":
        cited = tuple([_read_citation(each) for each in block.get("citations") or ()])
        return ChoiceDelta(text=fields.words(block["text"]), citations=cited, begins=True)
    if kind == "thinking":
        signed = _read_signature(fields.words(block.get("signature")))
        return msgspec.structs.replace(signed, reasoning=fields.words(block["thinking"]))
    if kind == "redacted_thinking":
        return ChoiceDelta(redacted=fields.words(block["data"]))
    if kind == "tool_use":
        return ChoiceDelta(tool_calls=(_read_call(block, call, _encode(block.get("input") or {}).decode()),))
    return ChoiceDelta(extra={"content_blocks": [block]})


def _read_signature(text: str) -> ChoiceDelta:
    signed_by, signature = signatures.split(text, "anthropic")
    return ChoiceDelta(signature=signature, signed_by=signed_by)


def _read_call(block: dict[str, Any], call: int, arguments: str) -> ToolCallDelta:
    signature, rest = google.take_beside(fields.rest(block, _TOOL_USE))
    own = {"anthropic": rest} if rest else None
    return ToolCallDelta(call, fields.words(block["id"]), fields.words(block["name"]), arguments, signature, own=own)


def _read_citation(citation: dict[str, Any]) -> Citation:
    """One source of a block's words: of the web, of a search result, or of a document of the request."""
    return Citation(
        "anthropic",
        citation,
        fields.words(citation.get("url") or citation.get("source")),
        fields.words(citation.get("title") or citation.get("document_title")),
        fields.words(citation.get("cited_text")),
    )


def _read_end(reason: object, stop_sequence: object) -> ChoiceDelta:
    finish = finish_of(fields.words(reason), _FINISH) if reason else ""
    own: Own = {"anthropic": {"stop_reason": reason}} if reason and reason not in _FINISH else None
    return ChoiceDelta(finish=finish, stop_sequence=fields.words(stop_sequence), own=own)


_MESSAGE = frozenset({"id", "type", "role", "model", "content", "stop_reason", "stop_sequence", "usage"})
_MESSAGE_DELTA = frozenset({"type", "delta", "usage"})
_END = frozenset({"stop_reason", "stop_sequence"})
_TOOL_USE = frozenset({"type", "id", "name", "input"})


def _own(rest: dict[str, Any] | None, usage: object) -> Own:
    """What a message says that has no word here, with its counts as they came."""
    found = {**(rest or {}), **({"usage": usage} if isinstance(usage, dict) and usage else {})}
    return {"anthropic": found} if found else None


def _read_tier(usage: object) -> str:
    if not isinstance(usage, dict):
        return ""
    return "fast" if usage.get("speed") == "fast" else tier_name(usage.get("service_tier"))


def _numbers(usage: object) -> dict[str, Any]:
    """The counts that are given: a later event repeats only some, and nulls say nothing."""
    if not isinstance(usage, dict):
        return {}
    return {key: value for key, value in usage.items() if isinstance(value, int | dict) or key == "iterations"}


def _read_usage(usage: dict[str, Any]) -> Usage | None:
    """None where nothing is said of it: that is not the same as nothing."""
    if not usage:
        return None
    details = usage.get("output_tokens_details")
    reasoning = _count_of(details, "thinking_tokens") or _count_of(details, "reasoning_tokens")
    counted = [usage, *_beside(usage.get("iterations"))]
    read = sum(_count_of(each, "cache_read_input_tokens") for each in counted)
    written = sum(_count_of(each, "cache_creation_input_tokens") for each in counted)
    return Usage(
        input=sum(_count_of(each, "input_tokens") for each in counted) + read + written,
        output=sum(_count_of(each, "output_tokens") for each in counted),
        cache_read=read,
        cache_write=written,
        reasoning=reasoning,
        cache_write_1h=sum(_count_of(each.get("cache_creation"), "ephemeral_1h_input_tokens") for each in counted),
        searches=_count_of(usage.get("server_tool_use"), "web_search_requests"),
    )


def _beside(iterations: object) -> list[dict[str, Any]]:
    """Of the samplings behind one answer those whose tokens are billed and stand in no other count.

    "The top-level input_tokens and output_tokens do not include compaction iteration usage", nor an advisor's.
    """
    if not isinstance(iterations, list):
        return []
    return [
        each for each in iterations if isinstance(each, dict) and each.get("type") in ("compaction", "advisor_message")
    ]


def _count_of(details: object, name: str) -> int:
    count = details.get(name) if isinstance(details, dict) else None
    return max(0, count) if isinstance(count, int) else 0
