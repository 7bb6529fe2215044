"""What a message of Anthropic's says beside its words: sources, more of a call, and what only others can say."""

from __future__ import annotations

from typing import Any

import msgspec

from contract.deltas import ChoiceDelta, Citation, ToolCallDelta
from gateway.dialects import google
from gateway.dialects.foreign import OmittedParts, kind_of, note_for, picture_of, pictures_of, words_instead


class Sources:
    """The sources that one answer names, by their numbers, and what of it has no place here."""

    __slots__ = ("_left_out", "_numbers", "_unsaid")

    def __init__(self, unsaid: OmittedParts) -> None:
        self._unsaid = unsaid
        self._numbers: dict[tuple[str, str], int] = {}
        self._left_out: list[str] = []

    def citations(self, citations: tuple[Citation, ...]) -> list[dict[str, Any]]:
        """The vendor's own as they are; of others each source once, in the form that has a place for any."""
        found = []
        for each in citations:
            if each.dialect == "anthropic":
                found.append(each.value)
                continue
            source = (each.url, each.title)
            if source in self._numbers or not (each.url or each.title):
                continue
            number = self._numbers[source] = len(self._numbers)
            found.append(
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
        return found

    def words(self, extra: dict[str, Any] | None) -> str:
        """Parts of other dialects in words; of pictures and the like at least that they are not there."""
        if not extra or not extra.keys() & _HELD:
            return ""
        said = []
        parts = extra.get("parts")
        for part in parts if isinstance(parts, list) else ():
            if picture := picture_of(part):
                said.append(self._picture(picture.kind))
            elif words := words_instead(part):
                said.append(words)
            else:
                self._leave_out(kind_of(part))
        said += [self._picture(each.kind) for each in pictures_of(extra.get("images"))]
        audio = extra.get("audio")
        if isinstance(audio, dict):
            self._unsaid.add("audio", "Anthropic's answers hold no sound")
            said.append(str(audio.get("transcript") or ""))
        return "".join(said)

    def last_words(self, *, empty: bool) -> str:
        """What stands in the place of an answer that would hold nothing."""
        return note_for(self._left_out) if empty and self._left_out else ""

    def _picture(self, kind: str) -> str:
        self._unsaid.add("image", "Anthropic's answers hold no pictures")
        return f"\n[A picture ({kind[:60]}) that this API can't hold]\n"

    def _leave_out(self, kind: str) -> None:
        self._left_out.append(kind)
        self._unsaid.add(kind, "Anthropic's answers have no such block")


_HELD = frozenset({"parts", "images", "audio"})


def beside_call(call: ToolCallDelta) -> dict[str, Any]:
    """What else a block of a call holds: the vendor's own fields, and Google's signature as at OpenAI's calls."""
    beside = dict((call.own or {}).get("anthropic") or {})
    if call.signature:
        beside["extra_content"] = google.give(call.signature, beside.get("extra_content"))
    return beside


def own_reason(choice: ChoiceDelta) -> str:
    """A stop reason of the vendor's that has no word here."""
    reason = ((choice.own or {}).get("anthropic") or {}).get("stop_reason")
    return reason if isinstance(reason, str) else ""


def words_first(choice: ChoiceDelta) -> tuple[ChoiceDelta, ...]:
    """Words before their signature: Gemini signs words too, which is a block of thoughts without any here."""
    if not (choice.signature and choice.text) or choice.reasoning:
        return (choice,)
    signed = ChoiceDelta(choice.index, signature=choice.signature, signed_by=choice.signed_by)
    return msgspec.structs.replace(choice, signature="", signed_by=""), signed
