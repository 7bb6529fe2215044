"""The parts of a `Content`, read."""

from __future__ import annotations

from typing import Any

import msgspec

from gateway.contract.messages import Audio, Document, Image, Opaque, Part, Reasoning, Text, ToolCall, ToolResult
from gateway.dialects import fields
from gateway.dialects.gemini.calls import CallBook, arguments_text, read_name
from gateway.dialects.gemini.naming import camel

_TEXT_FIELDS = frozenset({"text", "thought"})
_THOUGHT_FIELDS = frozenset({"text", "thought", "thoughtSignature"})
_BLOB_FIELDS = frozenset({"mimeType", "data"})
_FILE_FIELDS = frozenset({"mimeType", "fileUri"})
_CALL_FIELDS = frozenset({"id", "name", "args"})
_RESULT_FIELDS = frozenset({"id", "name", "response", "parts"})
_OUTPUT_KEYS = frozenset({"output", "result"})
# What one vendor calls mp3 another calls mpeg.
_AUDIO_FORMATS = {"mpeg": "mp3", "x-wav": "wav", "wave": "wav", "vnd.wave": "wav", "x-mp3": "mp3"}
_TO_STANDARD = str.maketrans("-_", "+/")


def read(item: dict[str, Any], where: str, calls: CallBook) -> Part:
    """One part; `where` is its path with a trailing dot. A kind that only Google knows stays as it came."""
    if len(item) == 1 and type(item.get("text")) is str:
        return Text(item["text"])
    item = camel(item)
    if item.get("text") is not None:
        return _read_text(item, where)
    for key, read_kind in (("inlineData", read_blob), ("fileData", read_file)):
        if item.get(key) is not None:
            return read_kind(item, where)
    if item.get("functionCall") is not None:
        return _read_call(item, where, calls)
    if item.get("functionResponse") is not None:
        return _read_result(item, where, calls)
    return Opaque("gemini", item)


def _read_text(item: dict[str, Any], where: str) -> Text | Reasoning:
    text = fields.required_text(item, "text", where)
    if fields.boolean(item, "thought", where):
        signature = fields.text(item, "thoughtSignature", where) or ""
        return Reasoning(text, signature, extra=fields.rest(item, _THOUGHT_FIELDS))
    return Text(text, fields.rest(item, _TEXT_FIELDS))


def read_blob(item: dict[str, Any], where: str) -> Image | Audio | Document:
    """`inlineData`: a picture, a sound, or else a document."""
    blob = camel(fields.obj(item, "inlineData", where) or {})
    where += "inlineData."
    data = standard_base64(fields.required_text(blob, "data", where))
    mime = fields.text(blob, "mimeType", where) or ""
    kind, _, subtype = mime.partition("/")
    if kind == "audio":
        return Audio(data, _AUDIO_FORMATS.get(subtype, subtype), _rest(item, "inlineData", blob, _BLOB_FIELDS))
    if kind == "image":
        return Image(data=data, media_type=mime, extra=_rest(item, "inlineData", blob, _BLOB_FIELDS))
    name = fields.text(blob, "displayName", where) or ""
    known = _BLOB_FIELDS | {"displayName"}
    return Document(data=data, media_type=mime, name=name, extra=_rest(item, "inlineData", blob, known))


def read_file(item: dict[str, Any], where: str) -> Image | Document:
    """`fileData`: a picture or a document at a URL."""
    file = camel(fields.obj(item, "fileData", where) or {})
    where += "fileData."
    url = fields.required_text(file, "fileUri", where)
    mime = fields.text(file, "mimeType", where) or ""
    if mime.startswith("image/"):
        return Image(url=url, media_type=mime, extra=_rest(item, "fileData", file, _FILE_FIELDS))
    name = fields.text(file, "displayName", where) or ""
    known = _FILE_FIELDS | {"displayName"}
    return Document(url=url, media_type=mime, name=name, extra=_rest(item, "fileData", file, known))


def _read_call(item: dict[str, Any], where: str, calls: CallBook) -> ToolCall:
    call = camel(fields.obj(item, "functionCall", where) or {})
    at = where + "functionCall."
    name = read_name(call, at)
    arguments = arguments_text(fields.obj(call, "args", at))
    signature = fields.text(item, "thoughtSignature", where) or ""
    call_id = calls.call(fields.text(call, "id", at) or "", name)
    extra = _rest(item, "functionCall", call, _CALL_FIELDS, "thoughtSignature")
    return ToolCall(call_id, name, arguments, signature, extra)


def _read_result(item: dict[str, Any], where: str, calls: CallBook) -> ToolResult:
    result = camel(fields.obj(item, "functionResponse", where) or {})
    at = where + "functionResponse."
    given = fields.text(result, "name", at) or ""
    call_id, name = calls.result(fields.text(result, "id", at) or "", given)
    if not name:
        raise fields.missing(at + "name")
    text, is_error = _read_response(fields.obj(result, "response", at) or {})
    parts: list[Text | Image | Audio | Document | Opaque] = [] if text is None else [Text(text)]
    media = fields.array(result, "parts", at) or []
    for index, source in enumerate(fields.each_object(media, at + "parts")):
        parts.append(_read_media(camel(source), f"{at}parts[{index}]."))
    extra = _rest(item, "functionResponse", result, _RESULT_FIELDS)
    return ToolResult(call_id, tuple(parts), name, is_error, extra)


def _read_response(response: dict[str, Any]) -> tuple[str | None, bool]:
    """A tool's words and whether they tell of a failure.

    Google reads `output` and `error` apart and takes any other object whole; its SDK writes `result` for plain values.
    """
    if not response:
        return None, False
    if len(response) == 1:
        key, value = next(iter(response.items()))
        if key in _OUTPUT_KEYS and type(value) is str:
            return value, False
        if key == "error" and type(value) is str:
            return value, True
        if key == "error" and type(value) is dict:
            return msgspec.json.encode(value).decode(), True
    return msgspec.json.encode(response).decode(), False


def _read_media(item: dict[str, Any], where: str) -> Image | Audio | Document | Opaque:
    if item.get("inlineData") is not None:
        return read_blob(item, where)
    if item.get("fileData") is not None:
        return read_file(item, where)
    return Opaque("gemini", item)


def _rest(
    item: dict[str, Any], key: str, inner: dict[str, Any], known: frozenset[str], also: str = ""
) -> dict[str, Any] | None:
    """What neither the part nor the object at `key` in it has a word for; the latter under `key` again."""
    extra = fields.rest(item, frozenset({key, also}))
    left = fields.rest(inner, known)
    return {**(extra or {}), key: left} if left else extra


def standard_base64(data: str) -> str:
    """Google's SDK sends the URL-safe alphabet, which no other vendor takes."""
    if "-" in data or "_" in data:
        data = data.translate(_TO_STANDARD)
    return data + "=" * (-len(data) % 4)
