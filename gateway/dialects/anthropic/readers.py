"""Reads Messages replies: event streams and buffered messages.

The most common event, a text delta, is decoded directly into structs; others are decoded generically.
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
from gateway.dialects.buffered_body import BufferedBody
from gateway.dialects.endings import finish_of
from gateway.dialects.failures import find_message, read_body
from gateway.dialects.sse import SseParser

_FINISH: dict[str, FinishReason] = {
    "end_turn": "stop",
    "stop_sequence": "stop_sequence",
    "max_tokens": "length",
    "tool_use": "tool_calls",
    "refusal": "refusal",
    "pause_turn": "pause",
    "model_context_window_exceeded": "context_window",
}


# The types are fields because msgspec does not require the tag of a struct outside a union.
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

    Vendor-specific blocks are passed on in `ChoiceDelta.extra["content_blocks"]` once they are complete. Citations are
    passed on at the end of their block, after its text.
    """

    __slots__ = (
        "_blocks",
        "_calls",
        "_citations",
        "_parser",
        "_stopped",
        "_usage",
        "_vendor_blocks",
        "_without_arguments",
        "done",
    )

    def __init__(self) -> None:
        self._parser = SseParser()
        self._usage: dict[str, Any] = {}
        # The tool call number of each open block, by block index.
        self._blocks: dict[int, int] = {}
        # The indexes of tool calls without arguments so far.
        self._without_arguments: set[int] = set()
        self._calls = 0
        # The open vendor-specific blocks, with the parts of their input.
        self._vendor_blocks: dict[int, tuple[dict[str, Any], list[str]]] = {}
        # The citations of open text blocks: the vendor may send them before the text.
        self._citations: dict[int, list[Citation]] = {}
        # Whether a stop reason has arrived.
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
            # An incomplete event.
            if not self._stopped:
                raise IncompleteReply("The provider's response ended within an event") from None
            deltas = []
        if not self._stopped:
            raise IncompleteReply("The provider's response ended early")
        # Some servers omit `message_stop`: no content follows the stop reason.
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
                    # Another event or invalid JSON: msgspec's errors and UnicodeDecodeError are both ValueErrors.
                    pass
                else:
                    deltas.append(Delta((ChoiceDelta(0, event.delta.text),), raw=raw, event="content_block_delta"))
                    continue
            if name == "error":
                value, _ = read_body(raw)
                inner = value.get("error") if isinstance(value, dict) else None
                raise errors.read_embedded(inner or value)
            delta = self._read_event(raw)
            if delta is not None:
                deltas.append(delta)

    def _read_event(self, raw: bytes) -> Delta | None:
        event = fields.read_reply_json(raw, "An event from the provider")
        if not isinstance(event, dict):
            raise MalformedReply("The provider sent an event that is not an object")
        kind = event.get("type")
        error = event.pop("error", None)
        if kind == "error" or fields.is_error(error):
            raise errors.read_embedded(error or event)
        if error is not None:
            # An empty `error` is removed, because a client might treat it as an error.
            raw = _encode(event)
        if not isinstance(kind, str):
            raise MalformedReply("The provider sent an event without a type")
        if kind == "message_stop":
            if not self._stopped:
                raise IncompleteReply("The provider's response has no stop reason")
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
                fields.reply_text(message.get("id")),
                fields.reply_text(message.get("model")),
                raw,
                kind,
                _read_tier(message.get("usage")),
                _own(fields.rest(message, _MESSAGE), message.get("usage")),
            )
        if kind == "content_block_start":
            return Delta((self._read_start(int(event["index"]), event["content_block"]),), raw=raw, event=kind)
        if kind == "content_block_delta":
            return Delta((self._read_delta(int(event["index"]), event["delta"]),), raw=raw, event=kind)
        if kind == "message_delta":
            # Some servers write 0 here for counts that they sent at the start.
            self._usage.update({key: count for key, count in _numbers(event.get("usage")).items() if count})
            delta = event["delta"]
            reason = delta.get("stop_reason")
            self._stopped = self._stopped or bool(reason)
            choice = _read_end(reason, delta.get("stop_sequence"))
            tier = _read_tier(event.get("usage"))
            rest = {**(fields.rest(delta, _END) or {}), **(fields.rest(event, _MESSAGE_DELTA) or {})}
            own = _own(rest, event.get("usage"))
            return Delta((choice,), _read_usage(self._usage), raw=raw, event=kind, tier=tier, own=own)
        if kind == "content_block_stop" and (self._vendor_blocks or self._without_arguments or self._citations):
            return Delta(self._read_stop(int(event["index"])), raw=raw, event=kind)
        return Delta(raw=raw, event=kind)

    def _read_start(self, index: int, block: dict[str, Any]) -> ChoiceDelta:
        kind = block["type"]
        if kind == "tool_use":
            call = self._blocks[index] = self._calls
            self._calls += 1
            tool_input = block.get("input")
            if not tool_input:
                self._without_arguments.add(index)
            arguments = _encode(tool_input).decode() if tool_input else ""
            return ChoiceDelta(tool_calls=(_read_call(block, call, arguments),))
        if kind in ("text", "thinking", "redacted_thinking"):
            return _read_block(block, 0)
        self._vendor_blocks[index] = (block, [])
        return ChoiceDelta()

    def _read_delta(self, index: int, delta: dict[str, Any]) -> ChoiceDelta:
        kind = delta["type"]
        if kind == "text_delta":
            return ChoiceDelta(text=fields.reply_text(delta["text"]))
        if kind == "thinking_delta":
            return ChoiceDelta(reasoning=fields.reply_text(delta["thinking"]))
        if kind == "signature_delta":
            return _read_signature(fields.reply_text(delta["signature"]))
        if kind == "citations_delta":
            self._citations.setdefault(index, []).append(_read_citation(delta["citation"]))
            return ChoiceDelta()
        if kind == "input_json_delta":
            piece = fields.reply_text(delta["partial_json"])
            if not piece:
                return ChoiceDelta()
            self._without_arguments.discard(index)
            if index in self._blocks:
                return ChoiceDelta(tool_calls=(ToolCallDelta(self._blocks[index], arguments=piece),))
            if index in self._vendor_blocks:
                self._vendor_blocks[index][1].append(piece)
        return ChoiceDelta()

    def _read_stop(self, index: int) -> tuple[ChoiceDelta, ...]:
        """The end of a block: a vendor-specific block, citations, or an empty object for a call without arguments.

        The input of a vendor-specific block may be truncated if the token limit was reached.
        """
        if index in self._without_arguments:
            self._without_arguments.remove(index)
            return (ChoiceDelta(tool_calls=(ToolCallDelta(self._blocks[index], arguments="{}"),)),)
        cited = self._citations.pop(index, None)
        if cited:
            return (ChoiceDelta(citations=tuple(cited)),)
        block, pieces = self._vendor_blocks.pop(index, (None, []))
        if block is None:
            return ()
        text = "".join(pieces)
        if text:
            block = {**block, "input": read_arguments(text)}
        return (ChoiceDelta(extra={"content_blocks": [block]}),)


class BufferedReader(BufferedBody):
    """Reads one buffered message."""

    __slots__ = ()

    def finish(self) -> list[Delta]:
        """Returns the one delta."""
        body = self.body()
        message = fields.read_reply_json(body, "The provider's response")
        if not isinstance(message, dict):
            raise MalformedReply("The provider's response is not an object")
        error = message.pop("error", None)
        if message.get("type") == "error" or fields.is_error(error):
            raise errors.read_embedded(error or message)
        if "content" not in message and find_message(message):
            # A proxy's error without an `error` field.
            raise errors.read_embedded(message)
        try:
            # An empty `error` is removed, because a client might treat it as an error.
            delta = _read_message(message, body if error is None else b"")
        except fields.WRONG_SHAPE:
            raise MalformedReply("The provider's response is not a message") from None
        self.done = True
        return [delta]


def _read_message(message: dict[str, Any], body: bytes) -> Delta:
    reason = message["stop_reason"]
    if not reason:
        raise IncompleteReply("The provider's response has no stop reason")
    choices = []
    calls = 0
    for block in message["content"]:
        choices.append(_read_block(block, calls))
        calls += block["type"] == "tool_use"
    choices.append(_read_end(reason, message.get("stop_sequence")))
    counts = message.get("usage")
    usage, tier = _read_usage(_numbers(counts)), _read_tier(counts)
    name, model = fields.reply_text(message.get("id")), fields.reply_text(message.get("model"))
    return Delta(tuple(choices), usage, name, model, body, tier=tier, own=_own(fields.rest(message, _MESSAGE), counts))


def _read_block(block: dict[str, Any], call: int) -> ChoiceDelta:
    kind = block["type"]
    if kind == "text":
        cited = tuple([_read_citation(each) for each in block.get("citations") or ()])
        return ChoiceDelta(text=fields.reply_text(block["text"]), citations=cited, begins=True)
    if kind == "thinking":
        signed = _read_signature(fields.reply_text(block.get("signature")))
        return msgspec.structs.replace(signed, reasoning=fields.reply_text(block["thinking"]))
    if kind == "redacted_thinking":
        return ChoiceDelta(redacted=fields.reply_text(block["data"]))
    if kind == "tool_use":
        return ChoiceDelta(tool_calls=(_read_call(block, call, _encode(block.get("input") or {}).decode()),))
    return ChoiceDelta(extra={"content_blocks": [block]})


def _read_signature(text: str) -> ChoiceDelta:
    signed_by, signature = signatures.split_tag(text, "anthropic")
    return ChoiceDelta(signature=signature, signed_by=signed_by)


def _read_call(block: dict[str, Any], call: int, arguments: str) -> ToolCallDelta:
    signature, rest = google.pop_signature(fields.rest(block, _TOOL_USE))
    own = {"anthropic": rest} if rest else None
    return ToolCallDelta(
        call, fields.reply_text(block["id"]), fields.reply_text(block["name"]), arguments, signature, own=own
    )


def _read_citation(citation: dict[str, Any]) -> Citation:
    """One citation of a block: a web page, a search result, or a document of the request."""
    return Citation(
        "anthropic",
        citation,
        fields.reply_text(citation.get("url") or citation.get("source")),
        fields.reply_text(citation.get("title") or citation.get("document_title")),
        fields.reply_text(citation.get("cited_text")),
    )


def _read_end(reason: object, stop_sequence: object) -> ChoiceDelta:
    finish = finish_of(fields.reply_text(reason), _FINISH) if reason else ""
    own: Own = {"anthropic": {"stop_reason": reason}} if reason and reason not in _FINISH else None
    return ChoiceDelta(finish=finish, stop_sequence=fields.reply_text(stop_sequence), own=own)


_MESSAGE = frozenset({"id", "type", "role", "model", "content", "stop_reason", "stop_sequence", "usage"})
_MESSAGE_DELTA = frozenset({"type", "delta", "usage"})
_END = frozenset({"stop_reason", "stop_sequence"})
_TOOL_USE = frozenset({"type", "id", "name", "input"})


def _own(rest: dict[str, Any] | None, usage: object) -> Own:
    """The vendor-specific fields of a message, with its original usage."""
    own = {**(rest or {}), **({"usage": usage} if isinstance(usage, dict) and usage else {})}
    return {"anthropic": own} if own else None


def _read_tier(usage: object) -> str:
    if not isinstance(usage, dict):
        return ""
    return "fast" if usage.get("speed") == "fast" else tier_name(usage.get("service_tier"))


def _numbers(usage: object) -> dict[str, Any]:
    """The counts in `usage`, without nulls: a later event repeats only some of them."""
    if not isinstance(usage, dict):
        return {}
    return {key: value for key, value in usage.items() if isinstance(value, int | dict) or key == "iterations"}


def _read_usage(usage: dict[str, Any]) -> Usage | None:
    """The usage; None if it is missing, which differs from zero."""
    if not usage:
        return None
    details = usage.get("output_tokens_details")
    reasoning = _count_of(details, "thinking_tokens") or _count_of(details, "reasoning_tokens")
    counted = [usage, *_extra_iterations(usage.get("iterations"))]
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


def _extra_iterations(iterations: object) -> list[dict[str, Any]]:
    """The iterations whose tokens are billed but are not part of the other counts.

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
