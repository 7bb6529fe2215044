"""Visits and replaces every text in a request.

Deliberately excluded: the names of tools and of their fields, and the bytes of images, audio and files, which
`unread_parts` counts.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from typing import Any, Literal, TypeAlias

import msgspec

from contract.media import media_type
from contract.messages import (
    Audio,
    ChatRequest,
    Document,
    Image,
    Message,
    Opaque,
    Part,
    Reasoning,
    Refusal,
    Text,
    Tool,
    ToolCall,
    ToolResult,
)

# Who wrote a text: the developer (system, or the definition of a tool or an answer's format), the user, the model
# (assistant, or call for the arguments of a tool call), a tool, or none of them (label: an id, metadata).
Author: TypeAlias = Literal["system", "definition", "user", "assistant", "call", "tool", "label"]
Change: TypeAlias = Callable[[str, Author], str]
_AUTHORS: dict[str, Author] = {
    "system": "system", "developer": "system", "user": "user", "assistant": "assistant", "tool": "tool",
}  # fmt: skip
# Media types whose bytes are text.
_TEXTUAL = re.compile(r"(?i)text/|application/(?:[\w.+-]*\+)?(?:json|xml|yaml|csv|x-ndjson|javascript)\b")
_SCHEMA_TEXT_KEYS = frozenset({"description", "title", "enum", "const", "default", "examples", "example"})
# Fields of dialects that hold bytes, ids or signatures, not text.
_NON_TEXT_FIELDS = frozenset(
    {
        "data", "url", "signature", "thoughtSignature", "thought_signature", "id", "type", "file_id", "cache_control",
        "encrypted_content", "encrypted_index", "encrypted_stdout", "redacted",
    }
)  # fmt: skip


def map_text(request: ChatRequest, change: Change) -> ChatRequest:
    """Applies `change` to every text of the request; returns the same object if nothing changed."""
    changes: dict[str, Any] = {}
    messages = tuple([map_message(message, change) for message in request.messages])
    if any(new is not old for new, old in zip(messages, request.messages, strict=True)):
        changes["messages"] = messages
    if request.user and (user := change(request.user, "label")) != request.user:
        changes["user"] = user
    if (
        request.stop
        and (stop := tuple([change(each, "system") if each else each for each in request.stop])) != request.stop
    ):
        changes["stop"] = stop
    tools = tuple([_map_tool(tool, change) for tool in request.tools])
    if any(new is not old for new, old in zip(tools, request.tools, strict=True)):
        changes["tools"] = tools
    if request.response_format is not None and request.response_format.schema:
        schema = _map_schema(request.response_format.schema, change)
        if schema is not request.response_format.schema:
            changes["response_format"] = msgspec.structs.replace(request.response_format, schema=schema)
    for field in ("metadata", "extra"):
        value = getattr(request, field)
        if value and (new := map_json(value, change, "label")) is not value:
            changes[field] = new
    return msgspec.structs.replace(request, **changes) if changes else request


def _map_tool(tool: Tool | Opaque, change: Change) -> Tool | Opaque:
    if isinstance(tool, Opaque):
        value = _map_schema(tool.value, change)
        return tool if value is tool.value else msgspec.structs.replace(tool, value=value)
    description = change(tool.description, "definition") if tool.description else ""
    parameters = _map_schema(tool.parameters, change) if tool.parameters else tool.parameters
    if description == tool.description and parameters is tool.parameters:
        return tool
    return msgspec.structs.replace(tool, description=description, parameters=parameters)


def _map_schema(schema: Any, change: Change) -> Any:
    """Applies `change` to the descriptions and values of a JSON schema, not to field names."""
    if isinstance(schema, list):
        items = [_map_schema(each, change) for each in schema]
        return schema if all(new is old for new, old in zip(items, schema, strict=True)) else items
    if not isinstance(schema, dict):
        return schema
    fields = {
        key: map_json(value, change, "definition")
        if key in _SCHEMA_TEXT_KEYS and not isinstance(value, dict)
        else _map_schema(value, change)
        for key, value in schema.items()
    }
    return schema if all(fields[key] is schema[key] for key in schema) else fields


def map_message(message: Message, change: Change) -> Message:
    """Applies `change` to every text of a message; returns the same object if nothing changed."""
    author = _AUTHORS[message.role]
    parts = tuple([map_part(part, change, author) for part in message.parts])
    name = change(message.name, "label") if message.name else ""
    extra = map_json(message.extra, change, author) if message.extra else message.extra
    if (
        name == message.name
        and extra is message.extra
        and all(new is old for new, old in zip(parts, message.parts, strict=True))
    ):
        return message
    return msgspec.structs.replace(message, parts=parts, name=name, extra=extra)


def map_part(part: Part, change: Change, author: Author) -> Part:
    """Applies `change` to every text of a part; returns the same object if nothing changed."""
    changes: dict[str, Any] = {}
    if isinstance(part, (Text, Refusal, Reasoning, Document)):
        if part.text and (text := change(part.text, author)) != part.text:
            changes["text"] = text
        if isinstance(part, Document):
            changes |= _map_document(part, change, author)
    elif isinstance(part, ToolCall):
        if (arguments := map_arguments(part.arguments, change)) != part.arguments:
            changes["arguments"] = arguments
    elif isinstance(part, ToolResult):
        parts = tuple([map_part(each, change, "tool") for each in part.parts])
        if any(new is not old for new, old in zip(parts, part.parts, strict=True)):
            changes["parts"] = parts
    elif isinstance(part, Opaque) and (value := map_json(part.value, change, author)) is not part.value:
        changes["value"] = value
    extra = getattr(part, "extra", None)
    if extra and (new_extra := map_json(extra, change, author)) is not extra:
        changes["extra"] = new_extra
    return msgspec.structs.replace(part, **changes) if changes else part


def map_arguments(arguments: str, change: Change) -> str:
    """Applies `change` to the strings in a tool's JSON arguments, or to the text if it is not valid JSON."""
    try:
        value = msgspec.json.decode(arguments)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        return change(arguments, "call")
    new = map_json(value, change, "call")
    return arguments if new is value else msgspec.json.encode(new).decode()


def map_json(value: Any, change: Change, author: Author) -> Any:
    """Applies `change` to the strings and long numbers of a JSON value; returns the same object if nothing changed."""
    if isinstance(value, str):
        new = change(value, author) if value else value
        return value if new == value else new
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 10_000_000:
        digits = str(value)
        new = change(digits, author)
        return value if new == digits else new
    if isinstance(value, list):
        items = [map_json(each, change, author) for each in value]
        return value if all(new is old for new, old in zip(items, value, strict=True)) else items
    if isinstance(value, dict):
        fields = {
            # Identifiers are field names, not text; other keys may be text.
            key if key.isidentifier() or not key else change(key, author): each
            if key in _NON_TEXT_FIELDS and isinstance(each, str)
            else map_json(each, change, author)
            for key, each in value.items()
        }
        same = all(new is old for new, old in zip(fields.values(), value.values(), strict=False))
        return value if same and list(fields) == list(value) else fields
    return value


def _map_document(document: Document, change: Change, author: Author) -> dict[str, str]:
    """The changed fields of a document: its name, and its bytes if they are text."""
    changes: dict[str, str] = {}
    if document.name and (name := change(document.name, "label")) != document.name:
        changes["name"] = name
    text = _text_of(document)
    if text is not None and (new := change(text, author)) != text:
        changes["data"] = base64.b64encode(new.encode("utf-8", "surrogatepass")).decode()
    return changes


def _text_of(document: Document) -> str | None:
    """The text of a document that was sent as bytes; None if it is not text."""
    if not document.data or not _TEXTUAL.match(media_type(document.media_type, name=document.name)):
        return None
    try:
        return base64.b64decode(document.data, validate=True).decode()
    except ValueError:
        return None


def unread_parts(request: ChatRequest) -> int:
    """The number of images, audio parts and files whose content was not read."""
    return sum(
        isinstance(each, (Image, Audio)) or (isinstance(each, Document) and not each.text and _text_of(each) is None)
        for message in request.messages
        for part in message.parts
        for each in (part.parts if isinstance(part, ToolResult) else (part,))
    )
