"""Reads and writes contents and their parts."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

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
from gateway.dialects import fields, signatures
from gateway.dialects.dropped_params import DroppedParams
from gateway.dialects.fitting import FIRST_WORDS
from gateway.dialects.foreign import GeneratedImage, message_images, opaque_text, refuse_stored_files
from gateway.dialects.gemini_generate.names import camel, inner

if TYPE_CHECKING:
    from collections.abc import Iterable

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
# The fields that a part of any type may have.
_COMMON_FIELDS = frozenset({"thought", "thoughtSignature"})


def read_system(system: object) -> list[Message]:
    """The system instruction as a message."""
    if system is None:
        return []
    if type(system) is str:
        return [Message("system", (Text(system),))]
    if type(system) is not dict:
        raise fields.wrong_type("systemInstruction", "a string or a content", system)
    reader = _Reader()
    parts = reader.parts(system, "systemInstruction")
    return [Message("system", tuple(parts))] if parts else []


def read_contents(items: list[Any]) -> list[Message]:
    """The conversation. A string is a user message."""
    reader = _Reader()
    messages = []
    for index, item in enumerate(items):
        where = f"contents[{index}]"
        if type(item) is str:
            messages.append(Message("user", (Text(item),)))
            continue
        if type(item) is not dict:
            raise fields.wrong_type(where, "an object", item)
        role = item.get("role")
        if type(role) not in (str, type(None)) or role not in _ROLES:
            raise InvalidRequest(f"'{where}.role' must be 'user' or 'model'", param=where + ".role")
        parts = reader.parts(item, where)
        extra = fields.rest(item, _CONTENT_FIELDS)
        messages.append(Message(_ROLES[role], tuple(parts), extra=extra))
    return messages


class _Reader:
    """Reads parts in order, and generates missing call ids so that responses can be matched to calls."""

    def __init__(self) -> None:
        self._generated_image = 0
        # Ids of calls without a response so far, oldest first, by function name.
        self._open: dict[str, list[str]] = {}
        self._names: dict[str, str] = {}

    def parts(self, content: dict[str, Any], where: str) -> list[Part]:
        items = content.get("parts")
        if items is None:
            return []
        if type(items) is dict:
            items = [items]
        if type(items) is not list:
            raise fields.wrong_type(where + ".parts", "an array", items)
        fields.check_count(items, where + ".parts")
        result: list[Part] = []
        for index, item in enumerate(items):
            at = f"{where}.parts[{index}]"
            if type(item) is str:
                result.append(Text(item))
                continue
            if type(item) is not dict:
                raise fields.wrong_type(at, "an object", item)
            part = self._part(camel(item), at + ".")
            if isinstance(part, Reasoning) and part.signed_by == "anthropic":
                part = _join_reasoning(result, part)
            result.append(part)
        return result

    def _part(self, item: dict[str, Any], where: str) -> Part:
        signature = fields.text(item, "thoughtSignature", where) or ""
        if item.get("thought") is True and item.get("text") is not None:
            text, extra = fields.text(item, "text", where) or "", fields.rest(item, _COMMON_FIELDS | {"text"})
            kind, signature = signatures.unseal(signature)
            if kind == "redacted":
                return Reasoning(redacted=signature, extra=extra, signed_by="anthropic")
            return Reasoning(text, signature, extra=extra, signed_by=kind)
        if item.get("text") is not None:
            extra = fields.rest(item, _COMMON_FIELDS | {"text"})
            return Text(fields.required_text(item, "text", where), extra, signature)
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
        # Google's SDK writes URL-safe base64, which other vendors don't accept.
        data = fields.required_text(blob, "data", where).replace("-", "+").replace("_", "/")
        extra = _rest_within(item, "inlineData", blob, _BLOB)
        kind = media_type.lower()
        if kind.startswith("image/"):
            return Image(data=data, media_type=media_type, extra=extra)
        if kind.startswith("audio/"):
            return Audio(data, media_type[len("audio/") :], extra)
        return Document(data=data, media_type=media_type, extra=extra)

    @staticmethod
    def _file(item: dict[str, Any], where: str) -> Part:
        file = inner(item, "fileData", where) or {}
        url = fields.required_text(file, "fileUri", where + "fileData.")
        media_type = fields.text(file, "mimeType", where + "fileData.") or ""
        extra = _rest_within(item, "fileData", file, _FILE)
        if media_type.lower().startswith("image/"):
            return Image(url=url, media_type=media_type, extra=extra)
        return Document(url=url, media_type=media_type, extra=extra)

    def _call(self, item: dict[str, Any], signature: str, where: str) -> Part:
        call = inner(item, "functionCall", where) or {}
        name = fields.required_text(call, "name", where + "functionCall.")
        call_id = fields.text(call, "id", where + "functionCall.")
        while not call_id:
            generated = f"call_{self._generated_image}"
            self._generated_image += 1
            call_id = "" if generated in self._names else generated
        self._names[call_id] = name
        self._open.setdefault(name, []).append(call_id)
        arguments = fields.obj(call, "args", where + "functionCall.")
        extra = _rest_within(item, "functionCall", call, _CALL, _COMMON_FIELDS)
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
        attachments = [
            self._read_attachment(camel(each), f"{where}parts[{index}].")
            for index, each in enumerate(
                fields.each_object(fields.array(response, "parts", where) or [], where + "parts")
            )
        ]
        return ToolResult(call_id, (Text(_read_result(value)), *attachments), name, is_error=failed, extra=extra)

    def _read_attachment(self, item: dict[str, Any], where: str) -> Image | Audio | Document | Opaque:
        """An image or a file in a tool's result."""
        if "inlineData" in item or "fileData" in item:
            part = self._blob(item, where) if "inlineData" in item else self._file(item, where)
            if isinstance(part, (Image, Audio, Document)):
                return part
        return Opaque("gemini", item)


def _join_reasoning(parts: list[Part], part: Reasoning) -> Reasoning:
    """Joins streamed reasoning before an Anthropic signature, which covers the complete block."""
    texts = [part.text]
    while part.signature and parts and isinstance(parts[-1], Reasoning):
        before = parts[-1]
        if before.signature or before.redacted or before.extra:
            break
        texts.append(before.text)
        del parts[-1]
    return msgspec.structs.replace(part, text="".join(reversed(texts))) if len(texts) > 1 else part


_BLOB = frozenset({"mimeType", "data"})
_FILE = frozenset({"mimeType", "fileUri"})
_CALL = frozenset({"id", "name", "args"})
_RESPONSE = frozenset({"id", "name", "response", "parts"})


def _rest_within(
    item: dict[str, Any], key: str, inside: dict[str, Any], known: frozenset[str], beside: frozenset[str] = frozenset()
) -> dict[str, Any] | None:
    """The unknown fields of a part, and at `key` the unknown fields of its object at `key`."""
    extra = fields.rest(item, beside | {key})
    others = fields.rest(inside, known)
    return {**(extra or {}), key: others} if others else extra


def _add_extra(wire: dict[str, Any], extra: dict[str, Any]) -> None:
    """Adds unknown fields; the inverse of `_rest_within`."""
    for key, value in extra.items():
        within = wire.get(key)
        wire[key] = {**value, **within} if isinstance(within, dict) and isinstance(value, dict) else value


def _read_result(value: dict[str, Any]) -> str:
    """The text of a tool result: Gemini requires an object, so text is wrapped, for example as `{"output": text}`."""
    if len(value) == 1:
        (key,) = value
        if key in ("output", "error") and type(value[key]) is str:
            return str(value[key])
    return _encode(value).decode()


def write_all(
    messages: tuple[Message, ...], losses: DroppedParams, *, same: bool, model: str = ""
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The system instruction's parts and the contents. Adjacent contents of one role are joined. `model`: the id."""
    system: list[dict[str, Any]] = []
    contents: list[dict[str, Any]] = []
    writer = _Writer(losses, same=same)
    for index, message in enumerate(messages):
        if message.name:
            losses.add_soft("messages[].name", "Gemini's contents have no names")
        parts = writer.parts(message)
        if message.extra and not same:
            generated = message_images(message.extra.get("images"))
            parts += [_generated_image(each) for each in generated]
            unknown = {k: v for k, v in message.extra.items() if not (generated and k == "images")}
            losses.add_extras(unknown, "messages[].")
        if not parts and message.parts:
            continue
        if message.role in ("system", "developer"):
            if contents:
                losses.add_soft(f"messages[{index}]", "a system message within the conversation was moved to its start")
            system += parts
            continue
        role = "model" if message.role == "assistant" else "user"
        if contents and contents[-1]["role"] == role and not same:
            contents[-1]["parts"] += parts
        elif parts or same:
            extra = message.extra if same and message.extra else {}
            contents.append({"role": role, "parts": parts, **extra})
    if same:
        return system, contents
    _normalize(contents, losses, signed=_OLD_MODELS.search(model) is None)
    return _shape(system, contents, losses)


def _shape(
    system: list[dict[str, Any]], contents: list[dict[str, Any]], losses: DroppedParams
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Makes another dialect's conversation start with the user. Raises `UnsupportedFeature` if it is empty."""
    if not contents and system:
        losses.add_soft("messages", "the system prompt was the only message, so it was sent as a user message")
        return [], [{"role": "user", "parts": system}]
    if not contents:
        raise UnsupportedFeature("'messages' contains nothing that Gemini accepts: no text", param="messages")
    if contents[0]["role"] == "model":
        losses.add_soft("messages[0]", "a user message was inserted before the first message, which is the assistant's")
        contents.insert(0, {"role": "user", "parts": [{"text": FIRST_WORDS}]})
    return system, contents


def _generated_image(picture: GeneratedImage) -> dict[str, Any]:
    """An image that the model generated in an earlier turn, with its signature."""
    return _signed({"inlineData": {"mimeType": picture.kind, "data": picture.data}}, picture.signature)


# Google's placeholder for calls whose signature is lost or that another model made: since Gemini 3 a call of the
# current turn is rejected without a signature (https://ai.google.dev/gemini-api/docs/thought-signatures).
NO_SIGNATURE = "skip_thought_signature_validator"
_OLD_MODELS = re.compile(r"gemini-[12]\b")


def _normalize(contents: list[dict[str, Any]], losses: DroppedParams, *, signed: bool) -> None:
    """Moves tool results to the start of a turn, and signs the first call of each step of the current turn."""
    in_current_turn = signed
    for content in reversed(contents):
        parts = content["parts"]
        if content["role"] == "user":
            results = [part for part in parts if "functionResponse" in part]
            if results and "functionResponse" not in parts[0]:
                parts.sort(key=lambda part: "functionResponse" not in part)
            # A turn starts with a user message without tool results.
            in_current_turn = in_current_turn and bool(results)
        elif in_current_turn:
            first = next((part for part in parts if "functionCall" in part), None)
            if first is not None and "thoughtSignature" not in first:
                first["thoughtSignature"] = NO_SIGNATURE
                losses.add_soft(
                    "tool_calls[].thought_signature", "the signature is unknown: Google was told to skip validation"
                )


class _Writer:
    """Writes parts. Tracks the names of called functions, because Gemini requires the name in a result."""

    def __init__(self, losses: DroppedParams, *, same: bool) -> None:
        self._losses = losses
        self._same = same
        # Updated in order, because a later turn may reuse an id.
        self._names: dict[str, str] = {}
        # Images and files of tool results, to be sent after all results.
        self._attachments: list[dict[str, Any]] = []

    def parts(self, message: Message) -> list[dict[str, Any]]:
        result = self._parts(message.parts)
        if self._attachments:
            results = max(place for place, part in enumerate(result) if "functionResponse" in part) + 1
            result[results:results] = self._attachments
            self._attachments = []
        return result

    def _parts(self, parts: Iterable[Part]) -> list[dict[str, Any]]:
        wires = []
        for part in parts:
            wire = self._part(part)
            if wire is None:
                continue
            extra = getattr(part, "extra", None)
            if extra:
                if self._same:
                    _add_extra(wire, extra)
                else:
                    self._losses.add_extras(extra, "messages[].content[].")
            wires.append(wire)
        return wires

    def _part(self, part: Part) -> dict[str, Any] | None:
        if isinstance(part, Text):
            # "it has an empty text parameter"
            keep = part.text or part.signature or self._same
            return _signed({"text": part.text}, part.signature) if keep else None
        if isinstance(part, Refusal):
            return {"text": part.text} if part.text or self._same else None
        if isinstance(part, Image):
            return self._media(part.data, part.media_type, part.url, "image")
        if isinstance(part, Audio):
            return self._media(part.data, f"audio/{part.format or 'wav'}", "", "audio")
        if isinstance(part, Document):
            return self._document(part)
        if isinstance(part, ToolCall):
            self._names[part.id] = part.name
            call = {"functionCall": {"id": part.id, "name": part.name, "args": read_arguments(part.arguments)}}
            return _signed(call, part.signature)
        if isinstance(part, ToolResult):
            return self._result(part)
        if isinstance(part, Reasoning):
            return self._thought(part)
        if part.dialect == "gemini":
            return dict(part.value)
        if text := opaque_text(part):
            self._losses.add_soft("messages[].content[]", f"a part that only {part.dialect} has was converted to text")
            return {"text": text}
        refuse_stored_files(part)
        self._losses.add("messages[].content[]", f"only {part.dialect} has this type of part")
        return None

    def _document(self, part: Document) -> dict[str, Any] | None:
        if part.text:
            return {"text": part.text}
        if part.file_id:
            raise media.refuse_file("messages[].content[].file_id", "a file by its id")
        if not (part.data or part.url):
            self._losses.add("messages[].content[].file", "the file is empty")
            return None
        return self._media(part.data, part.media_type, part.url, "file", part.name)

    def _media(self, data: str, kind: str, url: str, what: str, name: str = "") -> dict[str, Any] | None:
        """Data or a URL. An unknown media type is omitted rather than guessed."""
        if not self._same:
            kind = media.media_type(kind, data, name or url)
        if not kind and what == "image" and data:
            kind = "image/png"
        if url and not data:
            return {"fileData": {"mimeType": kind, "fileUri": url} if kind else {"fileUri": url}}
        if not kind and media.text_of(data) is not None:
            kind = "text/plain"
        if not kind:
            self._losses.add(f"messages[].content[].{what}", "the file's media type is unknown")
            return None
        return {"inlineData": {"mimeType": kind, "data": data}}

    def _thought(self, part: Reasoning) -> dict[str, Any] | None:
        if part.signed_by == "gemini" or (self._same and not part.signed_by):
            if not part.text and not self._same:
                # The signature of the text before it.
                return _signed({"text": ""}, part.signature)
            return _signed({"text": part.text, "thought": True}, part.signature)
        self._losses.add_soft("messages[].reasoning", "Gemini accepts only its own reasoning")
        return None

    def _result(self, part: ToolResult) -> dict[str, Any]:
        text = "".join(each.text for each in part.parts if isinstance(each, Text))
        attachments = self._parts([each for each in part.parts if not isinstance(each, Text)])
        response: dict[str, Any] = {"id": part.call_id, "name": part.name or self._names.get(part.call_id, "unknown")}
        response["response"] = {"error": text} if part.is_error else _as_object(text)
        if attachments and self._same:
            response["parts"] = attachments
        elif attachments:
            # Next to the results, where all of Google's models see them.
            self._losses.add_soft("tool_result.content[]", "images and files of a tool result were sent after it")
            self._attachments += attachments
        return {"functionResponse": response}


def _signed(part: dict[str, Any], signature: str) -> dict[str, Any]:
    return {**part, "thoughtSignature": signature} if signature else part


def _as_object(text: str) -> dict[str, Any]:
    value = _read_object(text)
    return {"output": text} if value is None else value


def _read_object(text: str) -> dict[str, Any] | None:
    """The object in the JSON `text`; None for anything else."""
    if not text.lstrip().startswith("{"):
        return None
    try:
        value = _decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def is_object(text: str) -> bool:
    """Whether `text` is the complete JSON of an object."""
    return text.endswith("}") and _read_object(text) is not None


def read_arguments(arguments: str) -> dict[str, Any]:
    """The arguments as the object that Gemini requires. Text that is not a JSON object is put under `_arguments`."""
    if not arguments.strip():
        return {}
    value = _read_object(arguments)
    return {"_arguments": arguments} if value is None else value
