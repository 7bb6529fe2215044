"""Reads and writes messages and their parts."""

from __future__ import annotations

from typing import Any, cast, get_args

import msgspec

from contract import media
from contract.errors import InvalidRequest, UnsupportedFeature
from contract.messages import (
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
from gateway.dialects import fields, google, signatures
from gateway.dialects.dropped_params import DroppedParams
from gateway.dialects.foreign import opaque_text, refuse_stored_files

_ROLES = frozenset(get_args(Role))
_KNOWN = frozenset(
    {"role", "content", "name", "tool_calls", "tool_call_id", "refusal", "reasoning_content", "thinking_blocks"}
)
_PLAIN = frozenset({"role", "content"})
_TEXT_FIELDS = frozenset({"type", "text"})


def read(item: object, where: str) -> Message:
    """Reads one message; `where` is its path. Raises `InvalidRequest` that names the field."""
    if type(item) is not dict:
        raise fields.wrong_type(where, "an object", item)
    role = _read_role(item, where)
    content = item.get("content")
    if type(content) is str and item.keys() <= _PLAIN and role != "tool":
        return Message(role, (Text(content),))
    dot = where + "."
    name = fields.text(item, "name", dot) or ""
    signature, extra = google.pop_signature(fields.rest(item, _KNOWN))
    if role == "tool":
        tool_result = ToolResult(
            fields.required_text(item, "tool_call_id", dot),
            tuple(_read_content(content, dot + "content")),  # type: ignore[arg-type]
            name=name,
        )
        return Message("tool", (tool_result,), extra=extra)
    parts = _read_reasoning(item, dot)
    parts += _read_content(content, dot + "content")
    if signature:
        parts = _sign_text(parts, signature)
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
        return InvalidRequest(f"'{path}': 'function' is deprecated: use 'tool' with 'tool_call_id'", param=path)
    return InvalidRequest(f"'{path}' must be one of {', '.join(sorted(_ROLES))}", param=path)


def _read_reasoning(item: dict[str, Any], dot: str) -> list[Part]:
    reasoning = fields.text(item, "reasoning_content", dot)
    parts: list[Part] = [Reasoning(reasoning)] if reasoning else []
    where = dot + "thinking_blocks"
    blocks = fields.array(item, "thinking_blocks", dot)
    if blocks:
        parts += [_read_block(each, f"{where}[{i}].") for i, each in enumerate(fields.each_object(blocks, where))]
    return parts


def _read_block(block: dict[str, Any], where: str) -> Reasoning:
    """Anthropic's signed reasoning in LiteLLM's format (https://docs.litellm.ai/docs/reasoning_content)."""
    if block.get("type") == "redacted_thinking":
        extra = fields.rest(block, frozenset({"type", "data", "index"}))
        return Reasoning(redacted=fields.text(block, "data", where) or "", extra=extra, signed_by="anthropic")
    signed_by, signature = signatures.split_tag(fields.text(block, "signature", where) or "", "anthropic")
    extra = fields.rest(block, frozenset({"type", "thinking", "signature", "index"}))
    return Reasoning(
        fields.text(block, "thinking", where) or "", signature, extra=extra, signed_by=signed_by or "anthropic"
    )


def _sign_text(parts: list[Part], signature: str) -> list[Part]:
    """Adds Google's signature to the last text part."""
    for place in range(len(parts) - 1, -1, -1):
        part = parts[place]
        if isinstance(part, Text):
            return [*parts[:place], msgspec.structs.replace(part, signature=signature), *parts[place + 1 :]]
    return [*parts, Text("", signature=signature)]


def _read_content(content: object, where: str) -> list[Part]:
    if content is None:
        return []
    if type(content) is str:
        return [Text(content)]
    if type(content) is not list:
        raise fields.wrong_type(where, "a string or an array of parts", content)
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
    media_type, data = media.split_data_url(url)
    if data:
        return Image(data=data, media_type=media_type, detail=detail, extra=extra)
    return Image(url=url, detail=detail, extra=extra)


def _read_file(item: dict[str, Any], where: str) -> Document:
    file = fields.obj(item, "file", where) or {}
    file_data = fields.text(file, "file_data", where + "file.") or ""
    media_type, data = media.split_data_url(file_data)
    others = fields.rest(file, _FILE)
    extra = fields.rest(item, frozenset({"type", "file"}))
    return Document(
        url=fields.text(file, "file_url", where + "file.") or "",
        # Some clients send base64 without the `data:` prefix.
        data=data or file_data,
        media_type=media_type,
        file_id=fields.text(file, "file_id", where + "file.") or "",
        name=fields.text(file, "filename", where + "file.") or "",
        extra={**(extra or {}), "file": others} if others else extra,
    )


_FILE = frozenset({"file_data", "file_id", "filename", "file_url"})


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
        signature, extra = google.pop_signature(fields.rest(call, frozenset({"id", "type", "function"})))
        parts.append(
            ToolCall(
                fields.required_text(call, "id", at),
                fields.required_text(function, "name", at + "function."),
                fields.text(function, "arguments", at + "function.") or "",
                signature,
                extra,
            )
        )
    return parts


def write_all(
    messages: tuple[Message, ...], losses: DroppedParams, *, same: bool, native: bool
) -> list[dict[str, Any]]:
    """The wire messages. `native`: for the vendor's own server, which rejects other vendors' fields.

    Tool messages can only contain text. So, for other dialects' requests, images and files of tool results follow in a
    user message, after all results of the same calls: nothing may come between a call and its results.
    """
    writer = _Writer(losses, same=same, native=native)
    wires: list[dict[str, Any]] = []
    for message in messages:
        for wire in writer.write(message):
            if writer.attachments and wire["role"] != "tool":
                wires += writer.take_attachments()
            wires.append(wire)
    wires += writer.take_attachments()
    return wires if same else _shape(wires)


def _shape(wires: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Drops empty messages of another dialect's conversation. Raises `UnsupportedFeature` if none is left."""
    # Null and an empty list are rejected, except in a message with calls.
    wires = [
        wire for wire in wires if wire["content"] or wire.keys() - {"role", "name", "content"} or _is_sendable(wire)
    ]
    for wire in wires:
        if wire["content"] is None and "tool_calls" not in wire and "refusal" not in wire:
            wire["content"] = ""
    if not wires:
        raise UnsupportedFeature("'messages' contains nothing that OpenAI accepts", param="messages")
    return wires


def _is_sendable(wire: dict[str, Any]) -> bool:
    return isinstance(wire["content"], str) and wire["role"] != "assistant"


class _Writer:
    """Writes one request's messages."""

    def __init__(self, losses: DroppedParams, *, same: bool, native: bool) -> None:
        self._losses = losses
        self._same = same
        self._native = native
        # Images and files of tool results, with their call's name, until they may be sent.
        self.attachments: list[dict[str, Any]] = []

    def take_attachments(self) -> list[dict[str, Any]]:
        """The user message with images and files of tool results, if there are any."""
        attachments, self.attachments = self.attachments, []
        return [{"role": "user", "content": attachments}] if attachments else []

    def write(self, message: Message) -> list[dict[str, Any]]:
        """The wire messages for one message: tool results become separate messages, before its other parts."""
        parts = message.parts
        if len(parts) == 1 and type(parts[0]) is Text and not message.name and message.extra is None:
            only = parts[0]
            if not only.extra and not only.signature:
                return [{"role": message.role, "content": only.text}]
        wires: list[dict[str, Any]] = []
        content: list[dict[str, Any]] = []
        wire: dict[str, Any] = {"role": "user" if message.role == "tool" else message.role, "content": None}
        if message.name:
            wire["name"] = message.name
        for part in parts:
            if isinstance(part, ToolResult):
                wires.append(self._result(part))
            else:
                self._part(part, wire, content)
        if content:
            plain = len(content) == 1 and content[0].keys() == _TEXT_FIELDS
            wire["content"] = content[0]["text"] if plain else content
        if content or "tool_calls" in wire or not wires:
            wires.append(wire)
        if message.extra:
            if self._same:
                wires[-1].update({key: value for key, value in message.extra.items() if key not in wires[-1]})
            else:
                self._losses.add_extras(message.extra, "messages[].")
        return wires

    def _result(self, tool_result: ToolResult) -> dict[str, Any]:
        content: list[dict[str, Any]] = []
        wire: dict[str, Any] = {"role": "tool", "tool_call_id": tool_result.call_id}
        for part in tool_result.parts:
            self._part(part, wire, content)
        if not self._same:
            self._move_attachments(tool_result, content)
        if all(part.keys() == _TEXT_FIELDS for part in content):
            wire["content"] = "".join(part["text"] for part in content)
        else:
            wire["content"] = content
        if tool_result.is_error:
            self._losses.add_soft("tool_result.is_error", "OpenAI can't mark a tool result as an error")
        if tool_result.extra and not self._same:
            self._losses.add_extras(tool_result.extra, "messages[].content[].")
        return wire

    def _move_attachments(self, tool_result: ToolResult, content: list[dict[str, Any]]) -> None:
        """Moves everything but text out of a tool's result."""
        attachments = [part for part in content if part.get("type") != "text"]
        if not attachments:
            return
        self._losses.add_soft("tool_result.content[]", "images and files of a tool result follow in a user message")
        content[:] = [part for part in content if part.get("type") == "text"]
        if not content:
            content.append({"type": "text", "text": "The result follows in the next message."})
        name = f"{tool_result.name} ({tool_result.call_id})" if tool_result.name else tool_result.call_id
        self.attachments += [{"type": "text", "text": f"Images and files from the tool call {name}:"}, *attachments]

    def _part(self, part: Part, wire: dict[str, Any], content: list[dict[str, Any]]) -> None:
        """Writes a part: into `content`, or into a field of the message `wire`."""
        if isinstance(part, Text):
            if part.signature:
                self._sign(wire, part.signature)
            if part.text or not part.signature:
                content.append(self._with_extra({"type": "text", "text": part.text}, part.extra))
        elif isinstance(part, Image):
            content.append(self._with_extra(self._image(part), part.extra))
        elif isinstance(part, ToolCall):
            call = {"id": part.id, "type": "function", "function": {"name": part.name, "arguments": part.arguments}}
            call = self._with_extra(call, part.extra)
            if part.signature:
                self._sign(call, part.signature)
            wire.setdefault("tool_calls", []).append(call)
        elif isinstance(part, Audio):
            self._audio(part, content)
        elif isinstance(part, Document):
            self._document(part, content)
        elif isinstance(part, Reasoning):
            self._reasoning(part, wire)
        elif isinstance(part, Refusal):
            wire["refusal"] = part.text
        elif isinstance(part, Opaque):
            if part.dialect == "openai":
                content.append(part.value)
            elif part.dialect == "openai.tool_call":
                wire.setdefault("tool_calls", []).append(part.value)
            elif words := opaque_text(part):
                self._losses.add_soft(
                    "messages[].content[]", f"a part that only {part.dialect} has was converted to text"
                )
                content.append({"type": "text", "text": words})
            else:
                refuse_stored_files(part)
                self._losses.add("messages[].content[]", f"only {part.dialect} has this type of part")

    def _sign(self, wire: dict[str, Any], signature: str) -> None:
        if self._native:
            self._losses.add_soft("extra_content", "only Google reads its signatures")
        else:
            wire["extra_content"] = google.add_signature(signature, wire.get("extra_content"))

    def _reasoning(self, part: Reasoning, wire: dict[str, Any]) -> None:
        if not part.signed_by:
            if part.text:
                wire["reasoning_content"] = wire.get("reasoning_content", "") + part.text
            return
        if self._same and not self._native:
            signature = signatures.tag(part.signature, part.signed_by, "anthropic")
            block: dict[str, Any] = {"type": "thinking", "thinking": part.text, "signature": signature}
            if part.redacted:
                block = {"type": "redacted_thinking", "data": part.redacted}
            wire.setdefault("thinking_blocks", []).append({**block, **(part.extra or {})})
            return
        if part.text and not self._same:
            wire["reasoning_content"] = wire.get("reasoning_content", "") + part.text
        if part.signature or part.redacted:
            self._losses.add_soft("reasoning.signature", "OpenAI Chat Completions does not carry signed reasoning")

    def _image(self, part: Image) -> dict[str, Any]:
        image: dict[str, Any] = {"url": part.url}
        if part.data:
            kind = part.media_type if self._same else media.media_type(part.media_type, part.data) or "image/png"
            image["url"] = f"data:{kind};base64,{part.data}"
        elif not self._same:
            media.check_url(part.url, "messages[].content[].image")
        if part.detail:
            image["detail"] = part.detail
        return {"type": "image_url", "image_url": image}

    def _audio(self, part: Audio, content: list[dict[str, Any]]) -> None:
        audio_format = part.format
        if not self._same:
            audio_format = _AUDIO_FORMATS.get(audio_format.partition(";")[0].strip().lower(), "")
            if not audio_format:
                self._losses.add("messages[].content[].audio", f"OpenAI accepts wav and mp3, not {part.format[:60]}")
                return
        audio = {"type": "input_audio", "input_audio": {"data": part.data, "format": audio_format}}
        content.append(self._with_extra(audio, part.extra))

    def _document(self, part: Document, content: list[dict[str, Any]]) -> None:
        if part.text:
            content.append(self._with_extra({"type": "text", "text": part.text}, part.extra))
            return
        if not self._same:
            self._foreign_document(part, content)
            return
        file: dict[str, Any] = {}
        if part.data:
            # Base64 without the `data:` prefix is passed on without it.
            file["file_data"] = f"data:{part.media_type};base64,{part.data}" if part.media_type else part.data
        if part.file_id:
            file["file_id"] = part.file_id
        if part.name:
            file["filename"] = part.name
        if part.url:
            file["file_url"] = part.url
        extra = dict(part.extra or {})
        file |= extra.pop("file", {})
        content.append({"type": "file", "file": file, **extra})

    def _foreign_document(self, part: Document, content: list[dict[str, Any]]) -> None:
        where = "messages[].content[].document"
        if part.file_id:
            raise media.refuse_file(where, "a file by its id")
        kind = media.media_type(part.media_type, part.data, part.name or part.url)
        if part.url:
            media.check_url(part.url, where)
            if kind.startswith("image/"):
                content.append({"type": "image_url", "image_url": {"url": part.url}})
                return
            self._losses.add(where, "OpenAI Chat Completions does not accept documents by URL")
            return
        if not part.data:
            self._losses.add(where, "the file is empty")
            return
        if kind.startswith("image/"):
            content.append({"type": "image_url", "image_url": {"url": f"data:{kind};base64,{part.data}"}})
            return
        text = media.text_of(part.data) if media.is_textual(kind) or not kind else None
        if text is not None:
            # The vendor's file parts are PDFs (https://platform.openai.com/docs/guides/pdf-files).
            content.append(self._with_extra({"type": "text", "text": text}, part.extra))
            return
        if not kind:
            self._losses.add(where, "the file's media type is unknown")
            return
        name = part.name or ("document.pdf" if kind == "application/pdf" else "document")
        file = {"file_data": f"data:{kind};base64,{part.data}", "filename": name}
        content.append(self._with_extra({"type": "file", "file": file}, part.extra))

    def _with_extra(self, wire: dict[str, Any], extra: dict[str, Any] | None) -> dict[str, Any]:
        if extra:
            if self._same:
                wire.update(extra)
            else:
                self._losses.add_extras(extra, "messages[].content[].")
        return wire


_AUDIO_FORMATS = {
    "wav": "wav", "x-wav": "wav", "wave": "wav", "vnd.wave": "wav", "mp3": "mp3", "mpeg": "mp3", "mpeg3": "mp3",
}  # fmt: skip
