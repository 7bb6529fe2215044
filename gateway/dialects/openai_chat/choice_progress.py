"""What a message of OpenAI's says beside its words: signed thoughts, sources, pictures, and others' own parts."""

from __future__ import annotations

from typing import Any

import msgspec

from contract.deltas import ChoiceDelta
from gateway.dialects import google, signatures
from gateway.dialects.foreign import OmittedParts, kind_of, note_for, picture_of, words_instead
from gateway.dialects.openai_chat.annotations import write_annotation
from gateway.dialects.quotes import MOST_QUOTES

# Where the other dialects keep what only they can say.
_OTHERS = frozenset(
    {"content_blocks", "citations", "parts", "groundingMetadata", "citationMetadata", "urlContextMetadata"}
)
# The field of a choice that says how its thoughts were called: see `readers.THOUGHTS`.
_THOUGHTS = "_thoughts"


class ChoiceProgress:
    """One choice under way. `text` is what the last piece adds to its words."""

    __slots__ = (
        "_annotations", "_block", "_blocks", "_left_out", "_length", "_pictures", "_said", "_silent", "_thoughts",
        "_unsaid", "custom", "text", "thoughts_name",
    )  # fmt: skip

    def __init__(self, unsaid: OmittedParts) -> None:
        self._unsaid = unsaid
        self._said: list[str] = []
        self._length = 0
        # Where the last block of text begins.
        self._block = 0
        # The thoughts that have no signature yet.
        self._thoughts: list[str] = []
        self._blocks = 0
        self._annotations: list[dict[str, Any]] = []
        self._pictures = 0
        self._left_out: list[str] = []
        self._silent = True
        # The calls of custom tools: what filters hold back comes without that word.
        self.custom: set[int] = set()
        self.text = ""
        self.thoughts_name = "reasoning_content"

    def take(self, choice: ChoiceDelta) -> dict[str, Any]:
        """The fields of the message that this piece adds."""
        if choice.begins:
            self._block = self._length
        self.text = choice.text
        if choice.tool_calls:
            self.custom |= {call.index for call in choice.tool_calls if call.custom}
        if choice.reasoning:
            self._thoughts.append(choice.reasoning)
        if choice.own is not None and "openai" in choice.own:
            self.thoughts_name = choice.own["openai"].get(_THOUGHTS, self.thoughts_name)
        if choice.text or choice.tool_calls or choice.refusal:
            self._silent = False
        plain = not (choice.extra or choice.signature or choice.redacted or choice.citations)
        told = {} if plain else self._take_special(choice)
        if choice.finish and self._annotations:
            # All at once: OpenAI's own helper for streams can't join lists of them.
            told["annotations"], self._annotations = self._annotations, []
        if choice.finish and self._silent and self._left_out:
            self.text += note_for(self._left_out)
        if self.text:
            self._said.append(self.text)
            self._length += len(self.text)
        return told

    def beside(self, choice: ChoiceDelta) -> dict[str, Any]:
        """The fields of the choice itself."""
        own = (choice.own or {}).get("openai")
        return {key: value for key, value in own.items() if key != _THOUGHTS} if own else {}

    def _take_special(self, choice: ChoiceDelta) -> dict[str, Any]:
        told: dict[str, Any] = {}
        if choice.extra:
            told |= {key: value for key, value in choice.extra.items() if key not in _OTHERS}
            annotations = told.pop("annotations", None)
            if isinstance(annotations, list):
                self._annotations += annotations
            self._take_parts(choice.extra, told)
            blocks = choice.extra.get("content_blocks")
            for block in blocks if isinstance(blocks, list) else ():
                self._leave_out(kind_of(block))
        if choice.redacted:
            self._add_block(told, {"type": "redacted_thinking", "data": choice.redacted})
        if choice.signature:
            self._take_signature(choice, told)
        if choice.citations:
            self._cite(choice)
        return told

    def _cite(self, choice: ChoiceDelta) -> None:
        said = "".join([*self._said, self.text])
        self._said = [said[: self._length]]
        for each in choice.citations:
            if len(self._annotations) >= MOST_QUOTES:
                each = msgspec.structs.replace(each, quote="")
            if each.url or each.title or each.dialect == "openai":
                self._annotations.append(write_annotation(each, said, self._block))

    def _take_signature(self, choice: ChoiceDelta, told: dict[str, Any]) -> None:
        thoughts, self._thoughts = "".join(self._thoughts), []
        if choice.signed_by == "gemini" and not (choice.reasoning or (thoughts and self._silent)):
            told["extra_content"] = google.give(choice.signature, told.get("extra_content"))
            return
        signature = signatures.mark(choice.signature, choice.signed_by, "anthropic")
        self._add_block(told, {"type": "thinking", "thinking": thoughts, "signature": signature})

    def _add_block(self, told: dict[str, Any], block: dict[str, Any]) -> None:
        """Whole: OpenAI's own helper for streams joins the items of a list by their `index`."""
        told.setdefault("thinking_blocks", []).append({"index": self._blocks, **block})
        self._blocks += 1

    def _take_parts(self, extra: dict[str, Any], told: dict[str, Any]) -> None:
        parts = extra.get("parts")
        for part in parts if isinstance(parts, list) else ():
            picture = picture_of(part)
            if picture is not None:
                # As OpenRouter and LiteLLM do (https://docs.litellm.ai/docs/completion/image_generation_chat).
                image: dict[str, Any] = {"type": "image_url", "index": self._pictures}
                image["image_url"] = {"url": f"data:{picture.kind};base64,{picture.data}"}
                if picture.signature:
                    image["extra_content"] = google.give(picture.signature)
                told.setdefault("images", []).append(image)
                self._pictures += 1
                self._silent = False
            elif words := words_instead(part):
                self.text += words
                self._silent = False
            else:
                self._leave_out(kind_of(part))

    def _leave_out(self, kind: str) -> None:
        self._left_out.append(kind)
        self._unsaid.add(kind, "OpenAI's answers have no such part")
