"""What an answer holds that the caller's dialect has no place for: said in words, or left out with a loss."""

from __future__ import annotations

from typing import Any

import msgspec

from contract import media
from contract.messages import DroppedParam, Opaque
from gateway.dialects import google


def merge(own: dict[str, Any], written: dict[str, Any]) -> dict[str, Any]:
    """`written` with what else the provider said at the same places."""
    merged = {**own, **written}
    for key, value in written.items():
        before = own.get(key)
        if isinstance(before, dict) and isinstance(value, dict):
            merged[key] = merge(before, value)
    return merged


def words_instead(part: dict[str, Any]) -> str:
    """One of Gemini's own parts in Markdown; empty for what has no words."""
    code = part.get("executableCode")
    if isinstance(code, dict):
        language = str(code.get("language") or "").lower()
        return f"\n```{language}\n{code.get('code') or ''}\n```\n"
    result = part.get("codeExecutionResult")
    if isinstance(result, dict):
        return f"\n```\n{result.get('output') or result.get('outcome') or ''}\n```\n"
    file = part.get("fileData")
    return f"\n{file.get('fileUri') or ''}\n" if isinstance(file, dict) else ""


class GeneratedImage(msgspec.Struct, frozen=True):
    """One that a model has made: its media type, its base64, and what Google has signed it with."""

    kind: str
    data: str
    signature: str = ""


def picture_of(part: dict[str, Any]) -> GeneratedImage | None:
    """A picture among Gemini's parts."""
    blob = part.get("inlineData")
    if not isinstance(blob, dict) or not isinstance(blob.get("data"), str):
        return None
    kind = str(blob.get("mimeType") or "")
    if not kind.startswith("image/"):
        return None
    signature = part.get("thoughtSignature")
    return GeneratedImage(kind, blob["data"], signature if isinstance(signature, str) else "")


def pictures_of(images: object) -> list[GeneratedImage]:
    """The `images` of a message, where OpenRouter and LiteLLM keep them."""
    found = []
    for each in images if isinstance(images, list) else ():
        inner = each.get("image_url") if isinstance(each, dict) else None
        url = inner.get("url") if isinstance(inner, dict) else None
        kind, data = media.split_data_url(url) if isinstance(url, str) else ("", "")
        if data:
            found.append(GeneratedImage(kind, data, google.take(each.get("extra_content"))[0]))
    return found


def kind_of(part: dict[str, Any]) -> str:
    """The name of what a part or block of a vendor's own holds."""
    kind = part.get("type")
    if isinstance(kind, str):
        return kind
    return next((key for key in part if key not in ("thought", "thoughtSignature")), "part")


class OmittedParts:
    """What of an answer could not be written: once each."""

    __slots__ = ("losses",)

    def __init__(self) -> None:
        self.losses: list[DroppedParam] = []

    def add(self, kind: str, reason: str) -> None:
        """`kind` is what it was, such as `server_tool_use`."""
        field = f"answer.{kind}"
        if all(each.field != field for each in self.losses):
            self.losses.append(DroppedParam(field, reason))


def note_for(kinds: list[str]) -> str:
    """Stands for an answer that would be empty without what could not be written."""
    return f"[The answer holds only what this API can't express: {', '.join(dict.fromkeys(kinds))}]"


def plain_words(part: Opaque) -> str:
    """The words of a request's part that only its own dialect has; empty where it has none."""
    value = part.value
    if part.dialect == "gemini":
        return words_instead(value).strip()
    if part.dialect != "anthropic":
        return ""
    kind, source = value.get("type"), value.get("source")
    content = value.get("content")
    if kind == "document" and isinstance(source, dict) and source.get("type") == "content":
        content = source.get("content")
    elif kind != "search_result":
        return ""
    title = value.get("title")
    if isinstance(content, list):
        content = "\n".join(str(each.get("text") or "") for each in content if isinstance(each, dict))
    words = [each for each in (title, source, content) if isinstance(each, str) and each]
    return "\n".join(words)


def refuse_files(part: Opaque) -> None:
    """Raises `UnsupportedFeature` for a picture that only its vendor keeps."""
    source = part.value.get("source")
    if isinstance(source, dict) and source.get("type") == "file":
        raise media.refuse_file("messages[].content[].source.file_id", "a file by its id")
