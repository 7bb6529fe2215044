"""Writes Messages replies: event streams and buffered messages.

The vendor has a single choice, so only choice 0 is written. Unless the reply is forwarded raw, adjacent text blocks are
joined, except if citations are between them.
"""

from __future__ import annotations

from typing import Any

import msgspec

from contract.deltas import ChoiceDelta, Delta, FinishReason, ToolCallDelta, Usage
from contract.errors import GatehouseError
from contract.messages import ChatRequest, DroppedParam
from contract.prompt_tokens import prompt_tokens
from gateway.dialects import signatures
from gateway.dialects.anthropic import errors
from gateway.dialects.anthropic.sources import Sources, extra_call_fields, own_stop_reason, split_text_signature
from gateway.dialects.anthropic.turns import read_arguments
from gateway.dialects.foreign import OmittedParts, merge

_encode = msgspec.json.Encoder().encode
_FINISH: dict[FinishReason, str] = {
    "stop": "end_turn",
    "stop_sequence": "stop_sequence",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "content_filter": "refusal",
    "refusal": "refusal",
    "pause": "pause_turn",
    "context_window": "model_context_window_exceeded",
    "malformed": "max_tokens",
    "error": "max_tokens",
    "other": "max_tokens",
}
_STOP = b'event: message_stop\ndata: {"type":"message_stop"}\n\n'
_PING = b'event: ping\ndata: {"type": "ping"}\n\n'


def _frame(event: dict[str, Any]) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (event["type"].encode(), _encode(event))


class StreamWriter:
    """Writes named events, then `message_stop`."""

    content_type = "text/event-stream; charset=utf-8"
    __slots__ = ("_blocks", "_id", "_model", "_omitted", "_own", "_raw", "_request")

    def __init__(self, request: ChatRequest, reply_id: str, *, raw: bool) -> None:
        self._id = reply_id
        self._request = request
        self._model = request.model
        self._raw = raw
        self._own: dict[str, Any] = {}
        self._blocks: _Blocks | None = None
        self._omitted = OmittedParts()

    @property
    def losses(self) -> list[DroppedParam]:
        """See `ReplyWriter.losses`."""
        return self._omitted.losses

    def opening(self, delta: Delta) -> bytes:
        """See `ReplyWriter.opening`."""
        return _PING

    def feed(self, deltas: list[Delta]) -> bytes:
        """See `ReplyWriter.feed`."""
        if self._raw:
            return b"".join(
                [b"event: %b\ndata: %b\n\n" % (delta.event.encode(), delta.raw) for delta in deltas if delta.raw]
            )
        frames: list[bytes] = []
        for delta in deltas:
            blocks = self._blocks
            self._own = (delta.own or {}).get("anthropic") or {}
            if blocks is None:
                if not (delta.choices or delta.usage):
                    continue
                blocks = self._blocks = self._start_message(delta, frames)
            else:
                blocks.own_end = merge(blocks.own_end, self._own) if self._own else blocks.own_end
            if delta.usage is not None:
                blocks.usage = delta.usage
            for choice in delta.choices:
                if choice.index == 0:
                    blocks.add(choice, frames)
        return b"".join(frames)

    def _start_message(self, delta: Delta, frames: list[bytes]) -> _Blocks:
        """`message_start`, with the prompt's tokens: agents use them to see how full the context is.

        Other vendors report them only at the end; until then they are an estimate.
        """
        usage = delta.usage or Usage()
        if not usage.input:
            usage = msgspec.structs.replace(usage, input=prompt_tokens(self._request))
        message: dict[str, Any] = {
            "id": delta.id or self._id,
            "type": "message",
            "role": "assistant",
            "model": delta.model or self._model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": write_usage(usage),
        }
        frames.append(_frame({"type": "message_start", "message": merge(self._own, message)}))
        return _Blocks(self._omitted, usage)

    def finish(self) -> bytes:
        """See `ReplyWriter.finish`."""
        if self._raw:
            return _STOP
        frames: list[bytes] = []
        blocks = self._blocks or self._start_message(Delta(), frames)
        blocks.end(frames)
        return b"".join(frames) + _STOP

    def fail(self, error: GatehouseError, request_id: str) -> bytes:
        """See `ReplyWriter.fail`. No `message_stop` follows."""
        return b"event: error\ndata: " + errors.write(error, request_id) + b"\n\n"


class _Blocks:
    """Sequential content blocks, as the vendor requires: one is closed before the next starts.

    Other dialects may interleave the deltas of tool calls, and a call is known to be complete only at the end. So the
    first call is streamed, and content that arrives during or after it is held back until the end.
    """

    __slots__ = (
        "_call", "_cited", "_index", "_kind", "_pending", "_sources", "finish", "own", "own_end", "stop_reason",
        "stop_sequence", "usage",
    )  # fmt: skip

    def __init__(self, omitted: OmittedParts, usage: Usage) -> None:
        self._sources = Sources(omitted)
        self._index = -1
        self._kind = ""
        self._cited = False
        self._call = -1
        self._pending = _Content(self._sources)
        self.own: dict[str, Any] = {}
        # The provider's vendor-specific fields at the end.
        self.own_end: dict[str, Any] = {}
        self.finish: FinishReason = ""
        self.stop_reason = ""
        self.stop_sequence = ""
        self.usage = usage

    def add(self, choice: ChoiceDelta, frames: list[bytes]) -> None:
        for delta in split_text_signature(choice):
            self._add(delta, frames)

    def _add(self, choice: ChoiceDelta, frames: list[bytes]) -> None:
        self.finish = choice.finish or self.finish
        self.stop_sequence = choice.stop_sequence or self.stop_sequence
        self.stop_reason = own_stop_reason(choice) or self.stop_reason
        if self._kind == "tool_use":
            self._add_during_call(choice, frames)
            return
        if choice.begins and self._kind == "text":
            self._close(frames)
        if choice.reasoning or choice.signature:
            self._open({"type": "thinking", "thinking": "", "signature": ""}, frames)
        if choice.reasoning:
            self._write_delta({"type": "thinking_delta", "thinking": choice.reasoning}, frames)
        if choice.signature:
            signature = signatures.tag(choice.signature, choice.signed_by, "anthropic")
            self._write_delta({"type": "signature_delta", "signature": signature}, frames)
            self._close(frames)
        if choice.redacted:
            self._write_block({"type": "redacted_thinking", "data": choice.redacted}, frames)
        for text in (choice.text, choice.refusal, self._sources.foreign_text(choice.extra)):
            if text:
                self._write_text(text, frames)
        if choice.extra or choice.citations:
            self._add_extra(choice, frames)
        if choice.tool_calls:
            self._start_call(choice.tool_calls[0], frames)
            self._add_during_call(ChoiceDelta(tool_calls=choice.tool_calls), frames)

    def _write_text(self, text: str, frames: list[bytes]) -> None:
        if self._cited:
            # Citations end the text block that they belong to.
            self._close(frames)
        self._open({"type": "text", "text": ""}, frames)
        self._write_delta({"type": "text_delta", "text": text}, frames)

    def _add_extra(self, choice: ChoiceDelta, frames: list[bytes]) -> None:
        extra = choice.extra or {}
        self.own |= _own(extra)
        for citation in [*_objects(extra.get("citations")), *self._sources.citations(choice.citations)]:
            self._open({"type": "text", "text": ""}, frames)
            self._write_delta({"type": "citations_delta", "citation": citation}, frames)
            self._cited = True
        for block in _objects(extra.get("content_blocks")):
            self._write_block(block, frames)

    def _start_call(self, call: ToolCallDelta, frames: list[bytes]) -> None:
        self._call = call.index
        block = {"type": "tool_use", "id": call.id or f"toolu_{call.index}", "name": call.name, "input": {}}
        self._open({**block, **extra_call_fields(call)}, frames)

    def _add_during_call(self, choice: ChoiceDelta, frames: list[bytes]) -> None:
        others = []
        for call in choice.tool_calls:
            if call.index != self._call:
                others.append(call)
            elif call.arguments:
                self._write_delta({"type": "input_json_delta", "partial_json": call.arguments}, frames)
        self._pending.add(msgspec.structs.replace(choice, tool_calls=tuple(others)))

    def _open(self, block: dict[str, Any], frames: list[bytes]) -> None:
        if self._kind == block["type"] != "tool_use":
            return
        self._close(frames)
        self._index += 1
        self._kind = block["type"]
        frames.append(_frame({"type": "content_block_start", "index": self._index, "content_block": block}))

    def _write_delta(self, delta: dict[str, Any], frames: list[bytes]) -> None:
        frames.append(_frame({"type": "content_block_delta", "index": self._index, "delta": delta}))

    def _write_block(self, block: dict[str, Any], frames: list[bytes]) -> None:
        """Writes a complete block. Parts that the vendor streams as deltas are written as one delta."""
        kind = block.get("type")
        empty = dict(block)
        pieces: list[dict[str, Any]] = []
        if kind == "text":
            empty["text"] = ""
            pieces = [{"type": "text_delta", "text": block["text"]}]
            pieces += [{"type": "citations_delta", "citation": each} for each in empty.pop("citations", ())]
        elif kind == "thinking":
            empty.update(thinking="", signature="")
            pieces = [{"type": "thinking_delta", "thinking": block["thinking"]}]
            if block["signature"]:
                pieces.append({"type": "signature_delta", "signature": block["signature"]})
        elif isinstance(block.get("input"), dict):
            empty["input"] = {}
            pieces = [{"type": "input_json_delta", "partial_json": _encode(block["input"]).decode()}]
        self._close(frames)
        self._open(empty, frames)
        for piece in pieces:
            self._write_delta(piece, frames)
        self._close(frames)

    def _close(self, frames: list[bytes]) -> None:
        if self._kind:
            self._kind = ""
            self._cited = False
            frames.append(_frame({"type": "content_block_stop", "index": self._index}))

    def end(self, frames: list[bytes]) -> None:
        self._close(frames)
        for block in self._pending.blocks():
            self._write_block(block, frames)
        if text := self._sources.empty_note(empty=self._index < 0):
            self._write_block({"type": "text", "text": text}, frames)
        reason = self.stop_reason or _FINISH.get(self.finish, "end_turn")
        delta = {"stop_reason": reason, "stop_sequence": self.stop_sequence or None}
        usage = merge(self.own_end.pop("usage", {}), write_usage(self.usage))
        beside = {key: self.own_end.pop(key) for key in _BESIDE_END if key in self.own_end}
        event = {"type": "message_delta", "delta": {**self.own_end, **delta}, "usage": usage, **beside}
        frames.append(_frame({**event, **self.own, **self._pending.own}))


# The fields of `message_delta` besides its `delta`.
_BESIDE_END = ("context_management",)


class BufferedWriter:
    """Writes one buffered message."""

    content_type = "application/json"
    __slots__ = ("_deltas", "_id", "_model", "_omitted", "_raw")

    def __init__(self, request: ChatRequest, reply_id: str, *, raw: bool) -> None:
        self._id = reply_id
        self._model = request.model
        self._raw = raw
        self._deltas: list[Delta] = []
        self._omitted = OmittedParts()

    @property
    def losses(self) -> list[DroppedParam]:
        """See `ReplyWriter.losses`."""
        return self._omitted.losses

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
        sources = Sources(self._omitted)
        content = _Content(sources)
        own: dict[str, Any] = {}
        for delta in deltas:
            own = merge(own, (delta.own or {}).get("anthropic") or {})
            for choice in delta.choices:
                if choice.index == 0:
                    content.add(choice)
        usage = write_usage(next((delta.usage for delta in reversed(deltas) if delta.usage), Usage()))
        blocks = content.blocks()
        if text := sources.empty_note(empty=not blocks):
            blocks.append({"type": "text", "text": text})
        return _encode(
            {
                **own,
                "id": next((delta.id for delta in deltas if delta.id), self._id),
                "type": "message",
                "role": "assistant",
                "model": next((delta.model for delta in deltas if delta.model), self._model),
                "content": blocks,
                "stop_reason": content.stop_reason or _FINISH.get(content.finish, "end_turn"),
                "stop_sequence": content.stop_sequence or None,
                "usage": merge(own.get("usage", {}), usage),
                **content.own,
            }
        )

    def fail(self, error: GatehouseError, request_id: str) -> bytes:
        """The error body of a buffered response."""
        return errors.write(error, request_id)


class _Content:
    """Collects deltas into content blocks in order; adjacent ones of one kind are one block."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources
        self._blocks: list[dict[str, Any]] = []
        self._calls: dict[int, tuple[dict[str, Any], list[str]]] = {}
        self.own: dict[str, Any] = {}
        self.finish: FinishReason = ""
        self.stop_reason = ""
        self.stop_sequence = ""
        # Whether the next text starts a new block.
        self._starts_block = False

    def add(self, choice: ChoiceDelta) -> None:
        for delta in split_text_signature(choice):
            self._add(delta)

    def _add(self, choice: ChoiceDelta) -> None:
        if choice.reasoning or choice.signature:
            block = self._last("thinking", {"thinking": "", "signature": ""})
            block["thinking"] += choice.reasoning
            block["signature"] += signatures.tag(choice.signature, choice.signed_by, "anthropic")
        if choice.redacted:
            self._blocks.append({"type": "redacted_thinking", "data": choice.redacted})
        if choice.begins:
            self._starts_block = True
        for text in (choice.text, choice.refusal, self._sources.foreign_text(choice.extra)):
            if text:
                self._last("text", {"text": ""}, new_block=self._starts_block)["text"] += text
                self._starts_block = False
        if choice.extra or choice.citations:
            self._add_extra(choice)
        for call in choice.tool_calls:
            self._add_call(call)
        self.stop_reason = own_stop_reason(choice) or self.stop_reason
        self.finish = choice.finish or self.finish
        self.stop_sequence = choice.stop_sequence or self.stop_sequence

    def _add_extra(self, choice: ChoiceDelta) -> None:
        extra = choice.extra or {}
        self.own |= _own(extra)
        citations = [*_objects(extra.get("citations")), *self._sources.citations(choice.citations)]
        if citations:
            last = self._blocks[-1] if self._blocks else {}
            if last.get("type") != "text":
                last = self._last("text", {"text": ""})
            last["citations"] = [*last.get("citations", ()), *citations]
        self._blocks += _objects(extra.get("content_blocks"))

    def _add_call(self, call: ToolCallDelta) -> None:
        if call.index not in self._calls:
            block: dict[str, Any] = {"type": "tool_use", "id": "", "name": "", "input": {}}
            self._blocks.append(block)
            self._calls[call.index] = (block, [])
        block, pieces = self._calls[call.index]
        block["id"] = block["id"] or call.id
        block["name"] = block["name"] or call.name
        block |= extra_call_fields(call)
        pieces.append(call.arguments)

    def _last(self, kind: str, empty: dict[str, Any], *, new_block: bool = False) -> dict[str, Any]:
        """The last block if it may be extended, else a new one: a signature or citations end a block."""
        last = self._blocks[-1] if self._blocks else None
        if new_block or last is None or last.get("type") != kind or last.get("signature") or last.get("citations"):
            last = {"type": kind, **empty}
            self._blocks.append(last)
        return last

    def blocks(self) -> list[dict[str, Any]]:
        for index, (block, pieces) in self._calls.items():
            block["id"] = block["id"] or f"toolu_{index}"
            block["input"] = read_arguments("".join(pieces))
        return self._blocks


def _own(extra: dict[str, Any]) -> dict[str, Any]:
    """The gateway's own field of a response."""
    return {"gatehouse": extra["gatehouse"]} if "gatehouse" in extra else {}


def _objects(items: object) -> list[dict[str, Any]]:
    """The items that are objects with a type: other dialects may use the same field differently."""
    if not isinstance(items, list):
        return []
    return [item for item in items if isinstance(item, dict) and isinstance(item.get("type"), str)]


def write_usage(usage: Usage) -> dict[str, Any]:
    """The `usage` object; here `input_tokens` excludes tokens read from or written to the cache."""
    counts: dict[str, Any] = {
        "input_tokens": max(0, usage.input - usage.cache_read - usage.cache_write),
        "cache_creation_input_tokens": usage.cache_write,
        "cache_read_input_tokens": usage.cache_read,
        "output_tokens": usage.output,
    }
    if usage.cache_write_1h:
        short = max(0, usage.cache_write - usage.cache_write_1h)
        counts["cache_creation"] = {
            "ephemeral_5m_input_tokens": short,
            "ephemeral_1h_input_tokens": usage.cache_write_1h,
        }
    if usage.searches:
        counts["server_tool_use"] = {"web_search_requests": usage.searches}
    if usage.reasoning:
        counts["output_tokens_details"] = {"thinking_tokens": usage.reasoning}
    if usage.cost:
        counts["cost_usd"] = usage.cost
    return counts
