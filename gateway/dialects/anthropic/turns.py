"""Messages and their content blocks, read and written."""

from __future__ import annotations

import base64
import binascii
from typing import Any

import msgspec

from gateway.contract.errors import InvalidRequest
from gateway.contract.messages import (
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
from gateway.dialects import fields
from gateway.dialects.anthropic.shape import shape
from gateway.dialects.losses import Losses

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


def read_system(system: object) -> list[Message]:
    """The system prompt as a message of its own, before all others."""
    if system is None or system == "":
        return []
    if type(system) is str:
        return [Message("system", (Text(system),))]
    if type(system) is not list:
        raise fields.wrong("system", "a string or an array of text blocks", system)
    parts = [_read_block(item, f"system[{i}].") for i, item in enumerate(fields.each_object(system, "system"))]
    return [Message("system", tuple(parts))] if parts else []


def read(item: object, where: str) -> Message:
    """One message; `where` is its path."""
    if type(item) is not dict:
        raise fields.wrong(where, "an object", item)
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
        raise fields.wrong(where, "a string or an array of blocks", content)
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
        return ToolCall(
            fields.required_text(item, "id", where),
            fields.required_text(item, "name", where),
            _encode({} if value is None else value).decode(),
            extra=fields.rest(item, frozenset({"type", "id", "name", "input"})),
        )
    if kind == "tool_result":
        return _read_tool_result(item, where)
    if kind == "thinking":
        return Reasoning(
            fields.text(item, "thinking", where) or "",
            fields.text(item, "signature", where) or "",
            extra=fields.rest(item, frozenset({"type", "thinking", "signature"})),
        )
    if kind == "redacted_thinking":
        extra = fields.rest(item, frozenset({"type", "data"}))
        return Reasoning(redacted=fields.required_text(item, "data", where), extra=extra)
    return Opaque("anthropic", item)


def _read_image(item: dict[str, Any], where: str) -> Part:
    source = fields.obj(item, "source", where)
    if source is None:
        raise fields.missing(where + "source")
    where += "source."
    extra = fields.rest(item, frozenset({"type", "source"}))
    kind = fields.required_text(source, "type", where)
    if kind == "base64":
        media_type = fields.required_text(source, "media_type", where)
        return Image(data=fields.required_text(source, "data", where), media_type=media_type, extra=extra)
    if kind == "url":
        return Image(url=fields.required_text(source, "url", where), extra=extra)
    # A file that the provider holds has no word here.
    return Opaque("anthropic", item)


def _read_document(item: dict[str, Any], where: str) -> Part:
    source = fields.obj(item, "source", where)
    if source is None:
        raise fields.missing(where + "source")
    name = fields.text(item, "title", where) or ""
    extra = fields.rest(item, frozenset({"type", "source", "title"}))
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
    messages: tuple[Message, ...], losses: Losses, *, same: bool
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The system blocks and the messages. Of other dialects, neighbours of one role become one turn.

    A later system message stays in its place in this dialect's own requests; of others it is moved to the front.
    """
    system: list[dict[str, Any]] = []
    wires: list[dict[str, Any]] = []
    for index, message in enumerate(messages):
        if message.name:
            losses.add_soft("messages[].name", "Anthropic's messages have no names")
        if message.extra and not same:
            losses.add_extras(message.extra, "messages[].")
        blocks = _write_blocks(message.parts, losses, same=same)
        role = message.role if message.role in ("system", "assistant") else "user"
        if message.role == "developer" or (role == "system" and not (same and wires)):
            if wires:
                losses.add_soft(f"messages[{index}]", "a system message within the conversation was moved to its front")
            system += blocks
        elif wires and wires[-1]["role"] == role and not same:
            wires[-1]["content"] += blocks
        elif blocks or (same and not message.parts):
            wires.append({"role": role, "content": blocks, **(message.extra or {} if same else {})})
    if not same:
        system, wires = shape(system, wires, losses)
    for wire in wires:
        _settle(wire)
    return system, wires


def _settle(wire: dict[str, Any]) -> None:
    """Tool results come first in a turn, and a turn of nothing but words is written plainly."""
    blocks = wire["content"]
    if any(block.get("type") == "tool_result" for block in blocks[1:]):
        blocks.sort(key=lambda block: block.get("type") != "tool_result")
    if len(blocks) == 1 and blocks[0].keys() == {"type", "text"}:
        wire["content"] = blocks[0]["text"]


def _write_blocks(parts: tuple[Part, ...], losses: Losses, *, same: bool) -> list[dict[str, Any]]:
    blocks: list[dict[str, Any]] = []
    for part in parts:
        block = _write_block(part, losses, same=same)
        if block is None:
            continue
        extra = getattr(part, "extra", None)
        if extra:
            if same:
                block.update(extra)
            else:
                losses.add_extras(extra, "messages[].content[].")
        blocks.append(block)
    return blocks


def _write_block(part: Part, losses: Losses, *, same: bool) -> dict[str, Any] | None:
    if isinstance(part, Text):
        # "text content blocks must contain non-whitespace text"
        return {"type": "text", "text": part.text} if same or part.text.strip() else None
    if isinstance(part, Refusal):
        return {"type": "text", "text": part.text} if part.text.strip() else None
    if isinstance(part, Image):
        if part.detail and part.detail != "auto":
            losses.add_soft("messages[].content[].detail", "Anthropic chooses the detail of a picture itself")
        return {"type": "image", "source": _image_source(part)}
    if isinstance(part, Document):
        return _write_document(part, losses, same=same)
    if isinstance(part, ToolCall):
        return {"type": "tool_use", "id": part.id, "name": part.name, "input": read_arguments(part.arguments, losses)}
    if isinstance(part, ToolResult):
        return _write_tool_result(part, losses, same=same)
    if isinstance(part, Reasoning):
        return _write_reasoning(part, losses)
    if isinstance(part, Audio):
        losses.add("messages[].content[].audio", "Anthropic takes no sound")
        return None
    if part.dialect == "anthropic":
        return dict(part.value)
    losses.add("messages[].content[]", f"a part of {part.dialect}'s own")
    return None


def _image_source(image: Image) -> dict[str, Any]:
    if image.data:
        return {"type": "base64", "media_type": image.media_type, "data": image.data}
    return {"type": "url", "url": image.url}


def _write_document(part: Document, losses: Losses, *, same: bool) -> dict[str, Any] | None:
    source: dict[str, Any]
    media_type = part.media_type
    if part.url:
        source = {"type": "url", "url": part.url}
    elif part.data and (same or media_type in ("", "application/pdf")):
        source = {"type": "base64", "media_type": media_type or "application/pdf", "data": part.data}
    elif part.data:
        text = _decoded(part) if media_type.startswith("text/") else None
        if text is None:
            losses.add("messages[].content[].file", f"Anthropic reads PDFs and plain text, not {media_type[:60]}")
            return None
        source = {"type": "text", "media_type": "text/plain", "data": text}
    elif part.file_id:
        if not same:
            losses.add("messages[].content[].file_id", "a file that only its provider has")
            return None
        source = {"type": "file", "file_id": part.file_id}
    else:
        source = {"type": "text", "media_type": media_type or "text/plain", "data": part.text}
    return {"type": "document", "source": source, **({"title": part.name} if part.name else {})}


def _decoded(part: Document) -> str | None:
    try:
        return base64.b64decode(part.data, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return None


def _write_tool_result(part: ToolResult, losses: Losses, *, same: bool) -> dict[str, Any]:
    block: dict[str, Any] = {"type": "tool_result", "tool_use_id": part.call_id}
    inner = _write_blocks(part.parts, losses, same=same)
    if inner:
        plain = len(inner) == 1 and inner[0].keys() == {"type", "text"}
        block["content"] = inner[0]["text"] if plain else inner
    if part.is_error:
        block["is_error"] = True
    return block


def _write_reasoning(part: Reasoning, losses: Losses) -> dict[str, Any] | None:
    if part.redacted:
        return {"type": "redacted_thinking", "data": part.redacted}
    if not part.signature:
        losses.add_soft("messages[].reasoning", "Anthropic takes back only the thoughts that it signed")
        return None
    return {"type": "thinking", "thinking": part.text, "signature": part.signature}


def read_arguments(arguments: str, losses: Losses | None = None) -> dict[str, Any]:
    """The arguments' JSON text as the object that Anthropic wants; what is no object stands under `_arguments`."""
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
