"""Reads and writes messages and their content blocks."""

from __future__ import annotations

from typing import Any

import msgspec

from contract import media
from contract.errors import InvalidRequest
from contract.messages import (
    Audio,
    Document,
    Image,
    Message,
    Opaque,
    Part,
    Reasoning,
    Refusal,
    Text,
    ToolCall,
    ToolResult,
)
from gateway.dialects import fields, google, signatures
from gateway.dialects.anthropic import cache_breakpoints
from gateway.dialects.anthropic.shape import shape
from gateway.dialects.dropped_params import DroppedParams
from gateway.dialects.foreign import opaque_text

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


def read_system(system: object) -> list[Message]:
    """The system prompt as a message."""
    if system is None or system == "":
        return []
    if type(system) is str:
        return [Message("system", (Text(system),))]
    if type(system) is not list:
        raise fields.wrong_type("system", "a string or an array of text blocks", system)
    parts = [_read_block(item, f"system[{i}].") for i, item in enumerate(fields.each_object(system, "system"))]
    return [Message("system", tuple(parts))] if parts else []


def read(item: object, where: str) -> Message:
    """Reads one message; `where` is its path."""
    if type(item) is not dict:
        raise fields.wrong_type(where, "an object", item)
    role = fields.required_text(item, "role", where + ".")
    if role not in ("user", "assistant", "system"):
        raise InvalidRequest(f"'{where}.role' must be 'user' or 'assistant'", param=where + ".role")
    content = item.get("content")
    extra = fields.rest(item, frozenset({"role", "content"}))
    if type(content) is str:
        return Message(role, (Text(content),), extra=extra)  # type: ignore[arg-type]
    if content is None:
        raise fields.missing(where + ".content")
    return Message(role, tuple(_read_blocks(content, where + ".content")), extra=extra)  # type: ignore[arg-type]


def _read_blocks(content: object, where: str) -> list[Part]:
    if type(content) is not list:
        raise fields.wrong_type(where, "a string or an array of blocks", content)
    return [_read_block(item, f"{where}[{i}].") for i, item in enumerate(fields.each_object(content, where))]


def _read_block(item: dict[str, Any], where: str) -> Part:
    kind = fields.required_text(item, "type", where)
    if kind == "text":
        return Text(fields.required_text(item, "text", where), fields.rest(item, frozenset({"type", "text"})))
    if kind == "image":
        return _read_image(item, where)
    if kind == "document":
        return _read_document(item, where)
    if kind == "tool_use":
        value = fields.obj(item, "input", where)
        signature, extra = google.pop_signature(fields.rest(item, frozenset({"type", "id", "name", "input"})))
        return ToolCall(
            fields.required_text(item, "id", where),
            fields.required_text(item, "name", where),
            _encode({} if value is None else value).decode(),
            signature,
            extra,
        )
    if kind == "tool_result":
        return _read_tool_result(item, where)
    if kind == "thinking":
        signed_by, signature = signatures.split_tag(fields.text(item, "signature", where) or "", "anthropic")
        return Reasoning(
            fields.text(item, "thinking", where) or "",
            signature,
            extra=fields.rest(item, frozenset({"type", "thinking", "signature"})),
            signed_by=signed_by,
        )
    if kind == "redacted_thinking":
        extra = fields.rest(item, frozenset({"type", "data"}))
        return Reasoning(redacted=fields.required_text(item, "data", where), extra=extra, signed_by="anthropic")
    return Opaque("anthropic", item)


def _read_image(item: dict[str, Any], where: str) -> Part:
    source = fields.obj(item, "source", where)
    if source is None:
        raise fields.missing(where + "source")
    where += "source."
    extra = _extra_fields(item, frozenset({"type", "source"}), source)
    kind = fields.required_text(source, "type", where)
    if kind == "base64":
        media_type = fields.required_text(source, "media_type", where)
        return Image(data=fields.required_text(source, "data", where), media_type=media_type, extra=extra)
    if kind == "url":
        return Image(url=fields.required_text(source, "url", where), extra=extra)
    # The contract has no image that is stored at the provider.
    return Opaque("anthropic", item)


_SOURCE = frozenset({"type", "media_type", "data", "url", "file_id"})


def _extra_fields(item: dict[str, Any], known: frozenset[str], source: dict[str, Any]) -> dict[str, Any] | None:
    """The unknown fields of a block and of its source."""
    extra, others = fields.rest(item, known), fields.rest(source, _SOURCE)
    return {**(extra or {}), "source": others} if others else extra


def _read_document(item: dict[str, Any], where: str) -> Part:
    source = fields.obj(item, "source", where)
    if source is None:
        raise fields.missing(where + "source")
    name = fields.text(item, "title", where) or ""
    extra = _extra_fields(item, frozenset({"type", "source", "title"}), source)
    where += "source."
    kind = fields.required_text(source, "type", where)
    if kind == "url":
        return Document(url=fields.required_text(source, "url", where), name=name, extra=extra)
    if kind == "file":
        return Document(file_id=fields.required_text(source, "file_id", where), name=name, extra=extra)
    if kind not in ("base64", "text"):
        return Opaque("anthropic", item)
    media_type = fields.text(source, "media_type", where) or ""
    data = fields.required_text(source, "data", where)
    if kind == "text":
        return Document(text=data, media_type=media_type, name=name, extra=extra)
    return Document(data=data, media_type=media_type, name=name, extra=extra)


def _read_tool_result(item: dict[str, Any], where: str) -> ToolResult:
    content = item.get("content")
    if content is None:
        parts: list[Part] = []
    elif type(content) is str:
        parts = [Text(content)]
    else:
        parts = _read_blocks(content, where + "content")
    return ToolResult(
        fields.required_text(item, "tool_use_id", where),
        tuple(parts),  # type: ignore[arg-type]
        is_error=fields.boolean(item, "is_error", where) or False,
        extra=fields.rest(item, frozenset({"type", "tool_use_id", "content", "is_error"})),
    )


def write_all(
    messages: tuple[Message, ...], losses: DroppedParams, *, same: bool
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The system blocks and the messages. For other dialects, adjacent messages of one role become one turn.

    Later system messages keep their position in this dialect's requests; those of others are moved to the front.
    """
    system: list[dict[str, Any]] = []
    wires: list[dict[str, Any]] = []
    for index, message in enumerate(messages):
        if message.name:
            losses.add_soft("messages[].name", "Anthropic's messages have no names")
        blocks = _write_blocks(message.parts, losses, same=same)
        if message.extra and not same:
            losses.add_extras(cache_breakpoints.move_breakpoint(message.extra, blocks), "messages[].")
        role = message.role if message.role in ("system", "assistant") else "user"
        if message.role == "developer" or (role == "system" and not (same and wires)):
            if wires:
                losses.add_soft(f"messages[{index}]", "a system message within the conversation was moved to its start")
            system += blocks
        elif wires and wires[-1]["role"] == role and not same:
            wires[-1]["content"] += blocks
        elif blocks or (same and not message.parts):
            wires.append({"role": role, "content": blocks, **(message.extra or {} if same else {})})
    if not same:
        system, wires = shape(system, wires, losses)
    for wire in wires:
        _normalize(wire)
    return system, wires


def _normalize(wire: dict[str, Any]) -> None:
    """Moves tool results to the start of a turn, and writes a turn with only text as a string."""
    blocks = wire["content"]
    if any(block.get("type") == "tool_result" for block in blocks[1:]):
        blocks.sort(key=lambda block: block.get("type") != "tool_result")
    if len(blocks) == 1 and blocks[0].keys() == {"type", "text"}:
        wire["content"] = blocks[0]["text"]


def _write_blocks(parts: tuple[Part, ...], losses: DroppedParams, *, same: bool) -> list[dict[str, Any]]:
    blocks: list[dict[str, Any]] = []
    for part in parts:
        block = _write_block(part, losses, same=same)
        if block is None:
            continue
        extra = getattr(part, "extra", None)
        if extra:
            if same:
                _add_extra(block, extra)
            else:
                losses.add_extras(cache_breakpoints.move_breakpoint(extra, [block]), "messages[].content[].")
        blocks.append(block)
    return blocks


def _add_extra(block: dict[str, Any], extra: dict[str, Any]) -> None:
    """Further fields of a block, and of its source."""
    for key, value in extra.items():
        within = block.get(key)
        block[key] = {**value, **within} if isinstance(within, dict) and isinstance(value, dict) else value


def _write_block(part: Part, losses: DroppedParams, *, same: bool) -> dict[str, Any] | None:
    if isinstance(part, Text):
        if part.signature:
            losses.add_soft("messages[].thought_signature", "only Google reads its signatures")
        # "text content blocks must contain non-whitespace text"
        return {"type": "text", "text": part.text} if same or part.text.strip() else None
    if isinstance(part, Refusal):
        return {"type": "text", "text": part.text} if part.text.strip() else None
    if isinstance(part, Image):
        if part.detail and part.detail != "auto":
            losses.add_soft("messages[].content[].detail", "Anthropic chooses the detail of an image itself")
        return _write_image(part, losses, same=same)
    if isinstance(part, Document):
        return _write_document(part, losses, same=same)
    if isinstance(part, ToolCall):
        if part.signature:
            losses.add_soft("tool_calls[].thought_signature", "only Google reads its signatures")
        return {"type": "tool_use", "id": part.id, "name": part.name, "input": read_arguments(part.arguments, losses)}
    if isinstance(part, ToolResult):
        return _write_tool_result(part, losses, same=same)
    if isinstance(part, Reasoning):
        return _write_reasoning(part, losses)
    if isinstance(part, Audio):
        losses.add("messages[].content[].audio", "Anthropic does not accept audio")
        return None
    if part.dialect == "anthropic":
        return dict(part.value)
    if text := opaque_text(part):
        losses.add_soft("messages[].content[]", f"a part that only {part.dialect} has was converted to text")
        return {"type": "text", "text": text}
    losses.add("messages[].content[]", f"only {part.dialect} has this type of part")
    return None


# https://docs.anthropic.com/en/docs/build-with-claude/vision
_IMAGE_TYPES = frozenset({"image/jpeg", "image/png", "image/gif", "image/webp"})


def _write_image(image: Image, losses: DroppedParams, *, same: bool) -> dict[str, Any] | None:
    if not image.data:
        if not same:
            media.check_url(image.url, "messages[].content[].image")
        return {"type": "image", "source": {"type": "url", "url": image.url}}
    kind = image.media_type
    if not same:
        kind = media.media_type(kind, image.data)
        if kind not in _IMAGE_TYPES:
            losses.add("messages[].content[].image", f"Anthropic accepts JPEG, PNG, GIF and WebP, not '{kind[:60]}'")
            return None
    return {"type": "image", "source": {"type": "base64", "media_type": kind, "data": image.data}}


def _write_document(part: Document, losses: DroppedParams, *, same: bool) -> dict[str, Any] | None:
    source = _own_source(part) if same else _foreign_source(part, losses)
    if source is None:
        return None
    if not same and media.media_type(part.media_type, part.data, part.name or part.url) in _IMAGE_TYPES:
        return {"type": "image", "source": source}
    return {"type": "document", "source": source, **({"title": part.name} if part.name else {})}


def _own_source(part: Document) -> dict[str, Any]:
    if part.url:
        return {"type": "url", "url": part.url}
    if part.data:
        return {"type": "base64", "media_type": part.media_type or "application/pdf", "data": part.data}
    if part.file_id:
        return {"type": "file", "file_id": part.file_id}
    return {"type": "text", "media_type": part.media_type or "text/plain", "data": part.text}


def _foreign_source(part: Document, losses: DroppedParams) -> dict[str, Any] | None:
    """The source of a document of another dialect."""
    where = "messages[].content[].file"
    if part.file_id:
        raise media.refuse_file(where, "a file by its id")
    if part.text:
        return {"type": "text", "media_type": "text/plain", "data": part.text}
    if part.url:
        media.check_url(part.url, where)
        return {"type": "url", "url": part.url}
    if not part.data:
        losses.add(where, "the file is empty")
        return None
    kind = media.media_type(part.media_type, part.data, part.name)
    if kind == "application/pdf" or kind in _IMAGE_TYPES:
        return {"type": "base64", "media_type": kind, "data": part.data}
    text = media.text_of(part.data) if media.is_textual(kind) or not kind else None
    if text is None:
        losses.add(where, f"Anthropic accepts PDFs, images and plain text, not '{kind[:60]}'")
        return None
    return {"type": "text", "media_type": "text/plain", "data": text}


def _write_tool_result(part: ToolResult, losses: DroppedParams, *, same: bool) -> dict[str, Any]:
    block: dict[str, Any] = {"type": "tool_result", "tool_use_id": part.call_id}
    inner = _write_blocks(part.parts, losses, same=same)
    if inner:
        plain = len(inner) == 1 and inner[0].keys() == {"type", "text"}
        block["content"] = inner[0]["text"] if plain else inner
    if part.is_error:
        block["is_error"] = True
    return block


def _write_reasoning(part: Reasoning, losses: DroppedParams) -> dict[str, Any] | None:
    if part.redacted:
        return {"type": "redacted_thinking", "data": part.redacted}
    if not part.signature or part.signed_by == "gemini":
        losses.add_soft("messages[].reasoning", "Anthropic accepts only reasoning that it signed")
        return None
    return {"type": "thinking", "thinking": part.text, "signature": part.signature}


def read_arguments(arguments: str, losses: DroppedParams | None = None) -> dict[str, Any]:
    """The arguments as the object that Anthropic requires. Text that is not a JSON object is put under `_arguments`."""
    if not arguments.strip():
        return {}
    try:
        value = _decode(arguments)
    except (msgspec.DecodeError, RecursionError):
        value = None
    if isinstance(value, dict):
        return value
    if losses is not None:
        losses.add_soft("tool_calls[].arguments", "not a JSON object")
    return {"_arguments": arguments}
