"""Writes the parts of an OpenAI message besides its text: signed reasoning, citations, images, and foreign content."""

from __future__ import annotations

from typing import Any

import msgspec

from contract.deltas import ChoiceDelta
from gateway.dialects import google, signatures
from gateway.dialects.foreign import OmittedParts, gemini_part_text, omission_note, part_image, part_kind
from gateway.dialects.openai_chat.annotations import write_annotation
from gateway.dialects.openai_chat.readers import REASONING_FIELD
from gateway.dialects.quotes import MAX_QUOTES

# Fields with content of other dialects.
_OTHERS = frozenset(
    {"content_blocks", "citations", "parts", "groundingMetadata", "citationMetadata", "urlContextMetadata"}
)


class ChoiceProgress:
    """The state of one choice while it is written. `text` is the text that the last delta adds."""

    __slots__ = (
        "_annotations", "_block", "_blocks", "_image_count", "_is_empty", "_length",
        "_omitted", "_omitted_kinds", "_reasoning", "_texts", "custom", "reasoning_field", "text",
    )  # fmt: skip

    def __init__(self, omitted: OmittedParts) -> None:
        self._omitted = omitted
        self._texts: list[str] = []
        self._length = 0
        # The start of the last text block.
        self._block = 0
        # Reasoning without a signature so far.
        self._reasoning: list[str] = []
        self._blocks = 0
        self._annotations: list[dict[str, Any]] = []
        self._image_count = 0
        self._omitted_kinds: list[str] = []
        self._is_empty = True
        # The calls of custom tools: deltas that filters held back lack that mark.
        self.custom: set[int] = set()
        self.text = ""
        self.reasoning_field = "reasoning_content"

    def add(self, choice: ChoiceDelta) -> dict[str, Any]:
        """The message fields that this delta adds."""
        if choice.begins:
            self._block = self._length
        self.text = choice.text
        if choice.tool_calls:
            self.custom |= {call.index for call in choice.tool_calls if call.custom}
        if choice.reasoning:
            self._reasoning.append(choice.reasoning)
        if choice.own is not None and "openai" in choice.own:
            self.reasoning_field = choice.own["openai"].get(REASONING_FIELD, self.reasoning_field)
        if choice.text or choice.tool_calls or choice.refusal:
            self._is_empty = False
        plain = not (choice.extra or choice.signature or choice.redacted or choice.citations)
        message = {} if plain else self._add_special(choice)
        if choice.finish and self._annotations:
            # Sent together, because OpenAI's stream helper can't join lists of annotations.
            message["annotations"], self._annotations = self._annotations, []
        if choice.finish and self._is_empty and self._omitted_kinds:
            self.text += omission_note(self._omitted_kinds)
        if self.text:
            self._texts.append(self.text)
            self._length += len(self.text)
        return message

    def choice_fields(self, choice: ChoiceDelta) -> dict[str, Any]:
        """The fields of the choice besides its message."""
        own = (choice.own or {}).get("openai")
        return {key: value for key, value in own.items() if key != REASONING_FIELD} if own else {}

    def _add_special(self, choice: ChoiceDelta) -> dict[str, Any]:
        message: dict[str, Any] = {}
        if choice.extra:
            message |= {key: value for key, value in choice.extra.items() if key not in _OTHERS}
            annotations = message.pop("annotations", None)
            if isinstance(annotations, list):
                self._annotations += annotations
            self._add_parts(choice.extra, message)
            blocks = choice.extra.get("content_blocks")
            for block in blocks if isinstance(blocks, list) else ():
                self._omit(part_kind(block))
        if choice.redacted:
            self._add_block(message, {"type": "redacted_thinking", "data": choice.redacted})
        if choice.signature:
            self._add_signature(choice, message)
        if choice.citations:
            self._cite(choice)
        return message

    def _cite(self, choice: ChoiceDelta) -> None:
        text = "".join([*self._texts, self.text])
        self._texts = [text[: self._length]]
        for each in choice.citations:
            if len(self._annotations) >= MAX_QUOTES:
                each = msgspec.structs.replace(each, quote="")
            if each.url or each.title or each.dialect == "openai":
                self._annotations.append(write_annotation(each, text, self._block))

    def _add_signature(self, choice: ChoiceDelta, message: dict[str, Any]) -> None:
        reasoning, self._reasoning = "".join(self._reasoning), []
        if choice.signed_by == "gemini" and not (choice.reasoning or (reasoning and self._is_empty)):
            message["extra_content"] = google.add_signature(choice.signature, message.get("extra_content"))
            return
        signature = signatures.tag(choice.signature, choice.signed_by, "anthropic")
        self._add_block(message, {"type": "thinking", "thinking": reasoning, "signature": signature})

    def _add_block(self, message: dict[str, Any], block: dict[str, Any]) -> None:
        """Adds a complete block. OpenAI's stream helper joins list items by their `index`."""
        message.setdefault("thinking_blocks", []).append({"index": self._blocks, **block})
        self._blocks += 1

    def _add_parts(self, extra: dict[str, Any], message: dict[str, Any]) -> None:
        parts = extra.get("parts")
        for part in parts if isinstance(parts, list) else ():
            generated = part_image(part)
            if generated is not None:
                # As OpenRouter and LiteLLM do (https://docs.litellm.ai/docs/completion/image_generation_chat).
                image: dict[str, Any] = {"type": "image_url", "index": self._image_count}
                image["image_url"] = {"url": f"data:{generated.kind};base64,{generated.data}"}
                if generated.signature:
                    image["extra_content"] = google.add_signature(generated.signature)
                message.setdefault("images", []).append(image)
                self._image_count += 1
                self._is_empty = False
            elif text := gemini_part_text(part):
                self.text += text
                self._is_empty = False
            else:
                self._omit(part_kind(part))

    def _omit(self, kind: str) -> None:
        self._omitted_kinds.append(kind)
        self._omitted.add(kind, "OpenAI has no such part")
