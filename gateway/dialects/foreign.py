"""Response content that the caller's dialect can't represent: converted to text, or omitted and recorded."""

from __future__ import annotations

from typing import Any

import msgspec

from contract import media
from contract.messages import DroppedParam, Opaque
from gateway.dialects import google


def merge(own: dict[str, Any], written: dict[str, Any]) -> dict[str, Any]:
    """`written`, merged with the provider's other fields (`own`)."""
    merged = {**own, **written}
    for key, value in written.items():
        before = own.get(key)
        if isinstance(before, dict) and isinstance(value, dict):
            merged[key] = merge(before, value)
    return merged


def gemini_part_text(part: dict[str, Any]) -> str:
    """A Gemini part as Markdown; empty if it has no text form."""
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
    """A generated image: its media type, its base64 data, and Google's signature."""

    kind: str
    data: str
    signature: str = ""


def part_image(part: dict[str, Any]) -> GeneratedImage | None:
    """The image in a Gemini part, or None."""
    blob = part.get("inlineData")
    if not isinstance(blob, dict) or not isinstance(blob.get("data"), str):
        return None
    kind = str(blob.get("mimeType") or "")
    if not kind.startswith("image/"):
        return None
    signature = part.get("thoughtSignature")
    return GeneratedImage(kind, blob["data"], signature if isinstance(signature, str) else "")


def message_images(images: object) -> list[GeneratedImage]:
    """The images in the `images` field of a message, as OpenRouter and LiteLLM write it."""
    result = []
    for each in images if isinstance(images, list) else ():
        inner = each.get("image_url") if isinstance(each, dict) else None
        url = inner.get("url") if isinstance(inner, dict) else None
        kind, data = media.split_data_url(url) if isinstance(url, str) else ("", "")
        if data:
            result.append(GeneratedImage(kind, data, google.split_signature(each.get("extra_content"))[0]))
    return result


def part_kind(part: dict[str, Any]) -> str:
    """The type name of a vendor-specific part or block."""
    kind = part.get("type")
    if isinstance(kind, str):
        return kind
    return next((key for key in part if key not in ("thought", "thoughtSignature")), "part")


class OmittedParts:
    """Records the types of response content that could not be written, once each."""

    __slots__ = ("losses",)

    def __init__(self) -> None:
        self.losses: list[DroppedParam] = []

    def add(self, kind: str, reason: str) -> None:
        """`kind` is the type of the content, such as `server_tool_use`."""
        field = f"answer.{kind}"
        if all(each.field != field for each in self.losses):
            self.losses.append(DroppedParam(field, reason))


def omission_note(kinds: list[str]) -> str:
    """The text of a response that would be empty because all its content was omitted."""
    return f"[The response contains only content that this API can't express: {', '.join(dict.fromkeys(kinds))}]"


def opaque_text(part: Opaque) -> str:
    """The text of a dialect-specific part of a request; empty if it has none."""
    value = part.value
    if part.dialect == "gemini":
        return gemini_part_text(value).strip()
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
    texts = [each for each in (title, source, content) if isinstance(each, str) and each]
    return "\n".join(texts)


def refuse_stored_files(part: Opaque) -> None:
    """Raises `UnsupportedFeature` for an image that is stored at its vendor."""
    source = part.value.get("source")
    if isinstance(source, dict) and source.get("type") == "file":
        raise media.refuse_file("messages[].content[].source.file_id", "a file by its id")
