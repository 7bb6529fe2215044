"""Contents and their parts, read and written."""

from __future__ import annotations

from typing import Any

import msgspec

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
from gateway.dialects.fitting import FIRST_WORDS
from gateway.dialects.gemini_generate.names import camel, inner
from gateway.dialects.losses import Losses

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode
_ROLES: dict[str | None, Role] = {
    "user": "user",
    "model": "assistant",
    "function": "user",
    "tool": "user",
    None: "user",
    "": "user",
}
_CONTENT_FIELDS = frozenset({"role", "parts"})
# What may stand beside the one thing that a part is.
_BESIDE = frozenset({"thought", "thoughtSignature"})


def read_system(system: object) -> list[Message]:
    """The system instruction as a message of its own, before all others."""
    if system is None:
        return []
    if type(system) is str:
        return [Message("system", (Text(system),))]
    if type(system) is not dict:
        raise fields.wrong("systemInstruction", "a string or a content", system)
    reader = _Reader()
    parts = reader.parts(system, "systemInstruction")
    return [Message("system", tuple(parts))] if parts else []


def read_contents(items: list[Any]) -> list[Message]:
    """The conversation. Strings stand for a user's words."""
    reader = _Reader()
    messages = []
    for index, item in enumerate(items):
        where = f"contents[{index}]"
        if type(item) is str:
            messages.append(Message("user", (Text(item),)))
            continue
        if type(item) is not dict:
            raise fields.wrong(where, "an object", item)
        role = item.get("role")
        if type(role) not in (str, type(None)) or role not in _ROLES:
            raise InvalidRequest(f"'{where}.role' must be 'user' or 'model'", param=where + ".role")
        parts = reader.parts(item, where)
        extra = fields.rest(item, _CONTENT_FIELDS)
        messages.append(Message(_ROLES[role], tuple(parts), extra=extra))
    return messages


class _Reader:
    """Reads parts in order, and gives calls without an id one that their responses can be matched by."""

    def __init__(self) -> None:
        self._made = 0
        # Ids of calls that have had no response yet, oldest first, by the function's name.
        self._open: dict[str, list[str]] = {}
        self._names: dict[str, str] = {}

    def parts(self, content: dict[str, Any], where: str) -> list[Part]:
        items = content.get("parts")
        if items is None:
            return []
        if type(items) is dict:
            items = [items]
        if type(items) is not list:
            raise fields.wrong(where + ".parts", "an array", items)
        fields.few(items, where + ".parts")
        found: list[Part] = []
        for index, item in enumerate(items):
            at = f"{where}.parts[{index}]"
            if type(item) is str:
                found.append(Text(item))
                continue
            if type(item) is not dict:
                raise fields.wrong(at, "an object", item)
            found.append(self._part(camel(item), at + "."))
        return found

    def _part(self, item: dict[str, Any], where: str) -> Part:
        signature = fields.text(item, "thoughtSignature", where) or ""
        if item.get("thought") is True and item.get("text") is not None:
            text = fields.text(item, "text", where) or ""
            return Reasoning(text, signature, extra=fields.rest(item, _BESIDE | {"text"}))
        if item.get("text") is not None:
            extra = fields.rest(item, frozenset({"text", "thought"}))
            return Text(fields.required_text(item, "text", where), extra)
        if "inlineData" in item:
            return self._blob(item, where)
        if "fileData" in item:
            return self._file(item, where)
        if "functionCall" in item:
            return self._call(item, signature, where)
        if "functionResponse" in item:
            return self._response(item, where)
        return Opaque("gemini", item)

    @staticmethod
    def _blob(item: dict[str, Any], where: str) -> Part:
        blob = inner(item, "inlineData", where) or {}
        where += "inlineData."
        media_type = fields.required_text(blob, "mimeType", where)
        # Google's SDK writes the alphabet for URLs, which the other vendors don't read.
        data = fields.required_text(blob, "data", where).replace("-", "+").replace("_", "/")
        extra = _rest_within(item, "inlineData", blob, _BLOB)
        if media_type.startswith("image/"):
            return Image(data=data, media_type=media_type, extra=extra)
        if media_type.startswith("audio/"):
            return Audio(data, media_type.removeprefix("audio/"), extra)
        return Document(data=data, media_type=media_type, extra=extra)

    @staticmethod
    def _file(item: dict[str, Any], where: str) -> Part:
        file = inner(item, "fileData", where) or {}
        url = fields.required_text(file, "fileUri", where + "fileData.")
        media_type = fields.text(file, "mimeType", where + "fileData.") or ""
        extra = _rest_within(item, "fileData", file, _FILE)
        if media_type.startswith("image/"):
            return Image(url=url, media_type=media_type, extra=extra)
        return Document(url=url, media_type=media_type, extra=extra)

    def _call(self, item: dict[str, Any], signature: str, where: str) -> Part:
        call = inner(item, "functionCall", where) or {}
        name = fields.required_text(call, "name", where + "functionCall.")
        call_id = fields.text(call, "id", where + "functionCall.")
        while not call_id:
            made = f"call_{self._made}"
            self._made += 1
            call_id = "" if made in self._names else made
        self._names[call_id] = name
        self._open.setdefault(name, []).append(call_id)
        arguments = fields.obj(call, "args", where + "functionCall.")
        extra = _rest_within(item, "functionCall", call, _CALL, _BESIDE)
        return ToolCall(call_id, name, _encode(arguments or {}).decode(), signature, extra)

    def _response(self, item: dict[str, Any], where: str) -> Part:
        response = inner(item, "functionResponse", where) or {}
        where += "functionResponse."
        call_id = fields.text(response, "id", where)
        name = fields.text(response, "name", where) or self._names.get(call_id or "")
        if not name:
            raise fields.missing(where + "name")
        waiting = self._open.get(name, [])
        if not call_id:
            call_id = waiting[0] if waiting else f"call_{name}"
        if call_id in waiting:
            waiting.remove(call_id)
        value = fields.obj(response, "response", where) or {}
        failed = value.keys() == {"error"} and type(value["error"]) is str
        extra = _rest_within(item, "functionResponse", response, _RESPONSE)
        return ToolResult(call_id, (Text(_read_result(value)),), name, is_error=failed, extra=extra)


_BLOB = frozenset({"mimeType", "data"})
_FILE = frozenset({"mimeType", "fileUri"})
_CALL = frozenset({"id", "name", "args"})
_RESPONSE = frozenset({"id", "name", "response"})


def _rest_within(
    item: dict[str, Any], key: str, inside: dict[str, Any], known: frozenset[str], beside: frozenset[str] = frozenset()
) -> dict[str, Any] | None:
    """What a part holds beside the object at `key`, and, again at `key`, what of that object is not known."""
    extra = fields.rest(item, beside | {key})
    others = fields.rest(inside, known)
    return {**(extra or {}), key: others} if others else extra


def _add_extra(wire: dict[str, Any], extra: dict[str, Any]) -> None:
    """The inverse of `_rest_within`."""
    for key, value in extra.items():
        within = wire.get(key)
        wire[key] = {**value, **within} if isinstance(within, dict) and isinstance(value, dict) else value


def _read_result(value: dict[str, Any]) -> str:
    """`{"output": text}` and its like are how words are put into the object that Gemini wants."""
    if len(value) == 1:
        (key,) = value
        if key in ("output", "error") and type(value[key]) is str:
            return str(value[key])
    return _encode(value).decode()


def write_all(
    messages: tuple[Message, ...], losses: Losses, *, same: bool
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The system instruction's parts and the contents. Neighbours of one role become one."""
    system: list[dict[str, Any]] = []
    contents: list[dict[str, Any]] = []
    writer = _Writer(losses, same=same)
    for index, message in enumerate(messages):
        if message.name:
            losses.add_soft("messages[].name", "Gemini's contents have no names")
        if message.extra and not same:
            losses.add_extras(message.extra, "messages[].")
        parts = writer.parts(message)
        if not parts and message.parts:
            continue
        if message.role in ("system", "developer"):
            if contents:
                losses.add_soft(f"messages[{index}]", "a system message within the conversation was moved to its front")
            system += parts
            continue
        role = "model" if message.role == "assistant" else "user"
        if contents and contents[-1]["role"] == role and not same:
            contents[-1]["parts"] += parts
        elif parts or same:
            extra = message.extra if same and message.extra else {}
            contents.append({"role": role, "parts": parts, **extra})
    return (system, contents) if same else _shape(system, contents, losses)


def _shape(
    system: list[dict[str, Any]], contents: list[dict[str, Any]], losses: Losses
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Of another dialect's conversation: something is said, and the user begins. Raises `UnsupportedFeature`."""
    if not contents and system:
        losses.add_soft("messages", "the system prompt, which stood alone, was sent as the user's message")
        return [], [{"role": "user", "parts": system}]
    if not contents:
        raise UnsupportedFeature("'messages' hold nothing that Gemini takes: no text", param="messages")
    if contents[0]["role"] == "model":
        losses.add_soft("messages[0]", "a turn of the user's was put before the first, which is the assistant's")
        contents.insert(0, {"role": "user", "parts": [{"text": FIRST_WORDS}]})
    return system, contents


class _Writer:
    """Writes parts; knows the names of the functions that were called, which Gemini wants with their results."""

    def __init__(self, losses: Losses, *, same: bool) -> None:
        self._losses = losses
        self._same = same
        # As the conversation goes on: an id may come again in a later turn.
        self._names: dict[str, str] = {}

    def parts(self, message: Message) -> list[dict[str, Any]]:
        found = []
        for part in message.parts:
            wire = self._part(part)
            if wire is None:
                continue
            extra = getattr(part, "extra", None)
            if extra:
                if self._same:
                    _add_extra(wire, extra)
                else:
                    self._losses.add_extras(extra, "messages[].content[].")
            found.append(wire)
        return found

    def _part(self, part: Part) -> dict[str, Any] | None:
        if isinstance(part, (Text, Refusal)):
            # "it has an empty text parameter"
            return {"text": part.text} if part.text or self._same else None
        if isinstance(part, Image):
            return _media(part.data, part.media_type or "image/png", part.url)
        if isinstance(part, Audio):
            return _media(part.data, f"audio/{part.format or 'wav'}", "")
        if isinstance(part, Document):
            return self._document(part)
        if isinstance(part, ToolCall):
            self._names[part.id] = part.name
            call = {"functionCall": {"id": part.id, "name": part.name, "args": read_arguments(part.arguments)}}
            return {**call, "thoughtSignature": part.signature} if part.signature and self._same else call
        if isinstance(part, ToolResult):
            return self._result(part)
        if isinstance(part, Reasoning):
            return self._thought(part)
        if part.dialect == "gemini":
            return dict(part.value)
        self._losses.add("messages[].content[]", f"a part of {part.dialect}'s own")
        return None

    def _document(self, part: Document) -> dict[str, Any] | None:
        if part.text:
            return {"text": part.text}
        if not (part.data or part.url):
            self._losses.add("messages[].content[].file_id", "a file that only its provider has")
            return None
        return _media(part.data, part.media_type or "application/pdf", part.url)

    def _thought(self, part: Reasoning) -> dict[str, Any] | None:
        if not self._same:
            self._losses.add_soft("messages[].reasoning", "Gemini takes back only its own thoughts")
            return None
        wire: dict[str, Any] = {"text": part.text, "thought": True}
        if part.signature:
            wire["thoughtSignature"] = part.signature
        return wire

    def _result(self, part: ToolResult) -> dict[str, Any]:
        text = "".join(each.text for each in part.parts if isinstance(each, Text))
        if any(not isinstance(each, Text) for each in part.parts):
            self._losses.add("messages[].tool_result", "Gemini's function responses hold JSON only")
        response: dict[str, Any] = {"id": part.call_id, "name": part.name or self._names.get(part.call_id, "unknown")}
        response["response"] = {"error": text} if part.is_error else _as_object(text)
        return {"functionResponse": response}


def _media(data: str, media_type: str, url: str) -> dict[str, Any]:
    if data:
        return {"inlineData": {"mimeType": media_type, "data": data}}
    return {"fileData": {"mimeType": media_type, "fileUri": url}}


def _as_object(text: str) -> dict[str, Any]:
    value = _read_object(text)
    return {"output": text} if value is None else value


def _read_object(text: str) -> dict[str, Any] | None:
    """The object whose JSON `text` is; None when it is anything else."""
    if not text.lstrip().startswith("{"):
        return None
    try:
        value = _decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def is_object(text: str) -> bool:
    """Whether `text` is the whole JSON of an object."""
    return text.endswith("}") and _read_object(text) is not None


def read_arguments(arguments: str) -> dict[str, Any]:
    """The arguments' JSON text as the object that Gemini wants; what is no object stands under `_arguments`."""
    if not arguments.strip():
        return {}
    value = _read_object(arguments)
    return {"_arguments": arguments} if value is None else value
