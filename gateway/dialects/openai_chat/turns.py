"""Messages and their parts, read and written."""

from __future__ import annotations

from typing import Any, cast, get_args

from gateway.contract.errors import InvalidRequest, UnsupportedFeature
from gateway.contract.messages import (
    Audio,
    Document,
    Image,
    Message,
    Opaque,
    Part,
    Reasoning,
    Refusal,
    Role,
    Text,
    ToolCall,
    ToolResult,
)
from gateway.dialects import fields
from gateway.dialects.losses import Losses

_ROLES = frozenset(get_args(Role))
_KNOWN = frozenset({"role", "content", "name", "tool_calls", "tool_call_id", "refusal", "reasoning_content"})
_PLAIN = frozenset({"role", "content"})
_TEXT_FIELDS = frozenset({"type", "text"})


def read(item: object, where: str) -> Message:
    """One message; `where` is its path. Raises `InvalidRequest` naming the field."""
    if type(item) is not dict:
        raise fields.wrong(where, "an object", item)
    role = _read_role(item, where)
    content = item.get("content")
    if type(content) is str and item.keys() <= _PLAIN and role != "tool":
        return Message(role, (Text(content),))
    dot = where + "."
    name = fields.text(item, "name", dot) or ""
    extra = fields.rest(item, _KNOWN)
    if role == "tool":
        result = ToolResult(
            fields.required_text(item, "tool_call_id", dot),
            tuple(_read_content(content, dot + "content")),  # type: ignore[arg-type]
            name=name,
        )
        return Message("tool", (result,), extra=extra)
    parts = _read_thoughts(item, dot)
    parts += _read_content(content, dot + "content")
    refusal = fields.text(item, "refusal", dot)
    if refusal:
        parts.append(Refusal(refusal))
    calls = fields.array(item, "tool_calls", dot)
    if calls:
        parts += _read_tool_calls(calls, dot + "tool_calls")
    return Message(role, tuple(parts), name, extra)


def _read_role(item: dict[str, Any], where: str) -> Role:
    role = item.get("role")
    if type(role) is str and role in _ROLES:
        return cast("Role", role)
    raise _wrong_role(role, where)


def _wrong_role(role: object, where: str) -> InvalidRequest:
    path = where + ".role"
    if role is None:
        return fields.missing(path)
    if role == "function":
        return InvalidRequest(f"'{path}': 'function' is retired, send 'tool' with 'tool_call_id'", param=path)
    return InvalidRequest(f"'{path}' must be one of {', '.join(sorted(_ROLES))}", param=path)


def _read_thoughts(item: dict[str, Any], dot: str) -> list[Part]:
    thoughts = fields.text(item, "reasoning_content", dot)
    return [Reasoning(thoughts)] if thoughts else []


def _read_content(content: object, where: str) -> list[Part]:
    if content is None:
        return []
    if type(content) is str:
        return [Text(content)]
    if type(content) is not list:
        raise fields.wrong(where, "a string or an array of parts", content)
    return [_read_part(item, f"{where}[{index}].") for index, item in enumerate(fields.each_object(content, where))]


def _read_part(item: dict[str, Any], where: str) -> Part:
    kind = fields.required_text(item, "type", where)
    if kind == "text":
        return Text(fields.required_text(item, "text", where), fields.rest(item, _TEXT_FIELDS))
    if kind == "image_url":
        return _read_image(item, where)
    if kind == "input_audio":
        audio = fields.obj(item, "input_audio", where) or {}
        return Audio(
            fields.required_text(audio, "data", where + "input_audio."),
            fields.text(audio, "format", where + "input_audio.") or "",
            fields.rest(item, frozenset({"type", "input_audio"})),
        )
    if kind == "file":
        return _read_file(item, where)
    if kind == "refusal":
        return Refusal(fields.required_text(item, "refusal", where))
    return Opaque("openai", item)


def _read_image(item: dict[str, Any], where: str) -> Image:
    image = fields.obj(item, "image_url", where)
    if image is None:
        raise fields.missing(where + "image_url")
    url = fields.required_text(image, "url", where + "image_url.")
    detail = fields.text(image, "detail", where + "image_url.") or ""
    extra = fields.rest(item, frozenset({"type", "image_url"}))
    media_type, data = split_data_url(url)
    if data:
        return Image(data=data, media_type=media_type, detail=detail, extra=extra)
    return Image(url=url, detail=detail, extra=extra)


def _read_file(item: dict[str, Any], where: str) -> Document:
    file = fields.obj(item, "file", where) or {}
    where += "file."
    media_type, data = split_data_url(fields.text(file, "file_data", where) or "")
    return Document(
        data=data,
        media_type=media_type,
        file_id=fields.text(file, "file_id", where) or "",
        name=fields.text(file, "filename", where) or "",
        extra=fields.rest(item, frozenset({"type", "file"})),
    )


def split_data_url(url: str) -> tuple[str, str]:
    """(media type, base64 data) of `data:TYPE;base64,DATA`; two empty strings for any other URL."""
    if not url.startswith("data:"):
        return "", ""
    head, comma, data = url.partition(",")
    if not comma or not head.endswith(";base64"):
        return "", ""
    return head[5:-7], data


def _read_tool_calls(calls: list[Any], where: str) -> list[Part]:
    parts: list[Part] = []
    for index, call in enumerate(fields.each_object(calls, where)):
        at = f"{where}[{index}]."
        function = fields.obj(call, "function", at)
        if function is None:
            if call.get("type", "function") == "function":
                raise fields.missing(at + "function")
            parts.append(Opaque("openai.tool_call", call))
            continue
        parts.append(
            ToolCall(
                fields.required_text(call, "id", at),
                fields.required_text(function, "name", at + "function."),
                fields.text(function, "arguments", at + "function.") or "",
                extra=fields.rest(call, frozenset({"id", "type", "function"})),
            )
        )
    return parts


def write_all(messages: tuple[Message, ...], losses: Losses, *, same: bool) -> list[dict[str, Any]]:
    """The wire messages. Raises `UnsupportedFeature` where another dialect's hold nothing to say."""
    wires = [wire for message in messages for wire in write(message, losses, same=same)]
    if same:
        return wires
    # Null and an empty list are refused, except beside calls.
    wires = [wire for wire in wires if wire["content"] or wire.keys() - {"role", "name", "content"} or _is_said(wire)]
    for wire in wires:
        if wire["content"] is None and "tool_calls" not in wire and "refusal" not in wire:
            wire["content"] = ""
    if not wires:
        raise UnsupportedFeature("'messages' hold nothing that OpenAI takes", param="messages")
    return wires


def _is_said(wire: dict[str, Any]) -> bool:
    return isinstance(wire["content"], str) and wire["role"] != "assistant"


def write(message: Message, losses: Losses, *, same: bool) -> list[dict[str, Any]]:
    """The wire messages for one of ours: tool results become messages of their own, before what else it holds."""
    parts = message.parts
    if len(parts) == 1 and type(parts[0]) is Text and not message.name and message.extra is None and not parts[0].extra:
        return [{"role": message.role, "content": parts[0].text}]
    wires: list[dict[str, Any]] = []
    content: list[dict[str, Any]] = []
    wire: dict[str, Any] = {"role": "user" if message.role == "tool" else message.role, "content": None}
    if message.name:
        wire["name"] = message.name
    for part in parts:
        if isinstance(part, ToolResult):
            wires.append(_write_tool_result(part, losses, same=same))
        else:
            _write_part(part, wire, content, losses, same=same)
    if content:
        plain = len(content) == 1 and content[0].keys() == _TEXT_FIELDS
        wire["content"] = content[0]["text"] if plain else content
    if content or "tool_calls" in wire or not wires:
        wires.append(wire)
    if message.extra:
        if same:
            wires[-1].update(message.extra)
        else:
            losses.add_extras(message.extra, "messages[].")
    return wires


def _write_tool_result(result: ToolResult, losses: Losses, *, same: bool) -> dict[str, Any]:
    content: list[dict[str, Any]] = []
    wire: dict[str, Any] = {"role": "tool", "tool_call_id": result.call_id}
    for part in result.parts:
        _write_part(part, wire, content, losses, same=same)
    if all(part.keys() == _TEXT_FIELDS for part in content):
        wire["content"] = "".join(part["text"] for part in content)
    else:
        wire["content"] = content
    if result.is_error:
        losses.add_soft("tool_result.is_error", "OpenAI has no mark for a failed tool; its text says so")
    return wire


def _write_part(part: Part, wire: dict[str, Any], content: list[dict[str, Any]], losses: Losses, *, same: bool) -> None:
    """Puts a part where OpenAI keeps it: in `content`, or in a field of the message `wire` itself."""
    if isinstance(part, Text):
        content.append(_with_extra({"type": "text", "text": part.text}, part.extra, losses, same=same))
    elif isinstance(part, Image):
        image: dict[str, Any] = {"url": f"data:{part.media_type};base64,{part.data}" if part.data else part.url}
        if part.detail:
            image["detail"] = part.detail
        content.append(_with_extra({"type": "image_url", "image_url": image}, part.extra, losses, same=same))
    elif isinstance(part, ToolCall):
        call = {"id": part.id, "type": "function", "function": {"name": part.name, "arguments": part.arguments}}
        wire.setdefault("tool_calls", []).append(_with_extra(call, part.extra, losses, same=same))
    elif isinstance(part, Audio):
        audio = {"type": "input_audio", "input_audio": {"data": part.data, "format": part.format}}
        content.append(_with_extra(audio, part.extra, losses, same=same))
    elif isinstance(part, Document):
        _write_document(part, content, losses, same=same)
    elif isinstance(part, Reasoning):
        if part.text:
            wire["reasoning_content"] = wire.get("reasoning_content", "") + part.text
        if part.signature or part.redacted:
            losses.add_soft("reasoning.signature", "OpenAI Chat Completions does not carry signed reasoning")
    elif isinstance(part, Refusal):
        wire["refusal"] = part.text
    elif isinstance(part, Opaque):
        if part.dialect == "openai":
            content.append(part.value)
        elif part.dialect == "openai.tool_call":
            wire.setdefault("tool_calls", []).append(part.value)
        else:
            losses.add("messages[].content[]", f"a part of {part.dialect}'s own")


def _write_document(part: Document, content: list[dict[str, Any]], losses: Losses, *, same: bool) -> None:
    if part.text:
        content.append({"type": "text", "text": part.text})
        return
    if part.url:
        losses.add("messages[].content[].document", "OpenAI Chat Completions takes no documents by URL")
        return
    file: dict[str, Any] = {}
    if part.data:
        file["file_data"] = f"data:{part.media_type};base64,{part.data}"
    if part.file_id:
        file["file_id"] = part.file_id
    if part.name:
        file["filename"] = part.name
    content.append(_with_extra({"type": "file", "file": file}, part.extra, losses, same=same))


def _with_extra(wire: dict[str, Any], extra: dict[str, Any] | None, losses: Losses, *, same: bool) -> dict[str, Any]:
    if extra:
        if same:
            wire.update(extra)
        else:
            losses.add_extras(extra, "messages[].content[].")
    return wire
