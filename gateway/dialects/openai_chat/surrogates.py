"""Joins surrogate pairs that a server splits between two events: `\\ud83d` in one and `\\ude00` in the next.

Such an event is not valid JSON for strict parsers. The first half is held back until the second; a half without the
other becomes U+FFFD.
"""

from __future__ import annotations

import json
import re
from typing import Any

import msgspec

from contract.deltas import ChoiceDelta, Delta, ToolCallDelta
from gateway.dialects.fields import too_deep

_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


def read_with_surrogates(data: bytes) -> Any:
    """Decodes JSON whose strings may contain lone surrogates; None for any other error."""
    if not _SURROGATE.search(data):
        return None
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return None if too_deep(value, data.count(b"[") + data.count(b"{")) else value


def replace_surrogates(value: Any) -> Any:
    """The value with U+FFFD in place of each lone surrogate in its strings."""
    if isinstance(value, str):
        return _replace_lone(value)
    if isinstance(value, dict):
        return {_replace_lone(key): replace_surrogates(each) for key, each in value.items()}
    return [replace_surrogates(each) for each in value] if isinstance(value, list) else value


def _replace_lone(text: str) -> str:
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


class SurrogateJoiner:
    """Joins the surrogate pairs of one stream."""

    __slots__ = ("_waiting",)

    def __init__(self) -> None:
        self._waiting: dict[tuple[int, str, int], str] = {}

    def join(self, delta: Delta) -> Delta:
        """The delta with joined pairs; without its raw bytes if they may contain a half, or if a half precedes it.

        A half at the end of a response is dropped.
        """
        if delta.raw and not self._waiting:
            return delta
        choices = tuple([self._choice(choice) for choice in delta.choices])
        name, model = _replace_lone(delta.id), _replace_lone(delta.model)
        return msgspec.structs.replace(delta, choices=choices, id=name, model=model, raw=b"")

    def _choice(self, choice: ChoiceDelta) -> ChoiceDelta:
        text = self._join_text((choice.index, "text", 0), choice.text)
        reasoning = self._join_text((choice.index, "reasoning", 0), choice.reasoning)
        calls = tuple([self._call(choice.index, call) for call in choice.tool_calls])
        return msgspec.structs.replace(
            choice,
            text=text,
            reasoning=reasoning,
            refusal=_replace_lone(choice.refusal),
            tool_calls=calls,
            extra=replace_surrogates(choice.extra),
        )

    def _call(self, index: int, call: ToolCallDelta) -> ToolCallDelta:
        arguments = self._join_text((index, "call", call.index), call.arguments)
        return msgspec.structs.replace(call, name=_replace_lone(call.name), arguments=arguments)

    def _join_text(self, place: tuple[int, str, int], piece: str) -> str:
        if not piece:
            return piece
        text = self._waiting.pop(place, "") + piece
        if "\ud800" <= text[-1] <= "\udbff":
            self._waiting[place] = text[-1]
            text = text[:-1]
        return _replace_lone(text)
