"""Writes the parts of an Anthropic message besides its text: citations, extra call fields, and foreign content."""

from __future__ import annotations

from typing import Any

import msgspec

from contract.deltas import ChoiceDelta, Citation, ToolCallDelta
from gateway.dialects import google
from gateway.dialects.foreign import (
    OmittedParts,
    gemini_part_text,
    message_images,
    omission_note,
    part_image,
    part_kind,
)


class Sources:
    """The numbered sources of one response, and its content that this API can't represent."""

    __slots__ = ("_numbers", "_omitted", "_omitted_kinds")

    def __init__(self, omitted: OmittedParts) -> None:
        self._omitted = omitted
        self._numbers: dict[tuple[str, str], int] = {}
        self._omitted_kinds: list[str] = []

    def citations(self, citations: tuple[Citation, ...]) -> list[dict[str, Any]]:
        """Citations of this dialect unchanged; of others each source once, as a search result location."""
        written = []
        for each in citations:
            if each.dialect == "anthropic":
                written.append(each.value)
                continue
            source = (each.url, each.title)
            if source in self._numbers or not (each.url or each.title):
                continue
            number = self._numbers[source] = len(self._numbers)
            written.append(
                {
                    "type": "search_result_location",
                    "cited_text": each.cited or each.quote,
                    "source": each.url,
                    "title": each.title or None,
                    "search_result_index": number,
                    "start_block_index": 0,
                    "end_block_index": 1,
                }
            )
        return written

    def foreign_text(self, extra: dict[str, Any] | None) -> str:
        """Parts of other dialects as text; a note for images."""
        if not extra or not extra.keys() & _CONTENT_FIELDS:
            return ""
        texts = []
        parts = extra.get("parts")
        for part in parts if isinstance(parts, list) else ():
            if image := part_image(part):
                texts.append(self._image_note(image.kind))
            elif text := gemini_part_text(part):
                texts.append(text)
            else:
                self._omit(part_kind(part))
        texts += [self._image_note(each.kind) for each in message_images(extra.get("images"))]
        audio = extra.get("audio")
        if isinstance(audio, dict):
            self._omitted.add("audio", "Anthropic's responses can't contain audio")
            texts.append(str(audio.get("transcript") or ""))
        return "".join(texts)

    def empty_note(self, *, empty: bool) -> str:
        """A note for a response that would otherwise be empty."""
        return omission_note(self._omitted_kinds) if empty and self._omitted_kinds else ""

    def _image_note(self, kind: str) -> str:
        self._omitted.add("image", "Anthropic's responses can't contain images")
        return f"\n[An image ({kind[:60]}) that this API can't represent]\n"

    def _omit(self, kind: str) -> None:
        self._omitted_kinds.append(kind)
        self._omitted.add(kind, "Anthropic has no such block")


_CONTENT_FIELDS = frozenset({"parts", "images", "audio"})


def extra_call_fields(call: ToolCallDelta) -> dict[str, Any]:
    """Extra fields of a call's block: vendor-specific ones, and Google's signature as in OpenAI's dialect."""
    beside = dict((call.own or {}).get("anthropic") or {})
    if call.signature:
        beside["extra_content"] = google.add_signature(call.signature, beside.get("extra_content"))
    return beside


def own_stop_reason(choice: ChoiceDelta) -> str:
    """The vendor's stop reason if the contract has no equivalent."""
    reason = ((choice.own or {}).get("anthropic") or {}).get("stop_reason")
    return reason if isinstance(reason, str) else ""


def split_text_signature(choice: ChoiceDelta) -> tuple[ChoiceDelta, ...]:
    """Splits text from its signature: Gemini also signs text, which becomes an empty thinking block here."""
    if not (choice.signature and choice.text) or choice.reasoning:
        return (choice,)
    signed = ChoiceDelta(choice.index, signature=choice.signature, signed_by=choice.signed_by)
    return msgspec.structs.replace(choice, signature="", signed_by=""), signed
