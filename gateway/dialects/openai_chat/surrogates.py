"""Letters of which a server streams each half in an event of its own: `\\ud83d` in one and `\\ude00` in the next.

Such an event is no valid JSON for strict readers. The first half waits for the second; one without the other becomes
U+FFFD.
"""

from __future__ import annotations

import json
import re
from typing import Any

import msgspec

from contract.deltas import ChoiceDelta, Delta, ToolCallDelta
from gateway.dialects.fields import too_deep

_HALF = re.compile(rb"\\u[dD][89a-fA-F]")


def read_with_halves(data: bytes) -> Any:
    """JSON whose strings may hold halves of letters; None for anything else that is wrong with it."""
    if not _HALF.search(data):
        return None
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return None if too_deep(value, data.count(b"[") + data.count(b"{")) else value


def without_halves(value: Any) -> Any:
    """The value with U+FFFD in place of each half in its strings."""
    if isinstance(value, str):
        return _mended(value)
    if isinstance(value, dict):
        return {_mended(key): without_halves(each) for key, each in value.items()}
    return [without_halves(each) for each in value] if isinstance(value, list) else value


def _mended(text: str) -> str:
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


class SurrogateJoiner:
    """Joins the halves of one stream."""

    __slots__ = ("_waiting",)

    def __init__(self) -> None:
        self._waiting: dict[tuple[int, str, int], str] = {}

    def join(self, delta: Delta) -> Delta:
        """The delta in whole letters, without its raw bytes if they may hold halves, or if a half is before it.

        What an answer ends with half of is left out.
        """
        if delta.raw and not self._waiting:
            return delta
        choices = tuple([self._choice(choice) for choice in delta.choices])
        name, model = _mended(delta.id), _mended(delta.model)
        return msgspec.structs.replace(delta, choices=choices, id=name, model=model, raw=b"")

    def _choice(self, choice: ChoiceDelta) -> ChoiceDelta:
        text = self._whole((choice.index, "text", 0), choice.text)
        reasoning = self._whole((choice.index, "reasoning", 0), choice.reasoning)
        calls = tuple([self._call(choice.index, call) for call in choice.tool_calls])
        return msgspec.structs.replace(
            choice,
            text=text,
            reasoning=reasoning,
            refusal=_mended(choice.refusal),
            tool_calls=calls,
            extra=without_halves(choice.extra),
        )

    def _call(self, index: int, call: ToolCallDelta) -> ToolCallDelta:
        arguments = self._whole((index, "call", call.index), call.arguments)
        return msgspec.structs.replace(call, name=_mended(call.name), arguments=arguments)

    def _whole(self, place: tuple[int, str, int], piece: str) -> str:
        if not piece:
            return piece
        text = self._waiting.pop(place, "") + piece
        if "\ud800" <= text[-1] <= "\udbff":
            self._waiting[place] = text[-1]
            text = text[:-1]
        return _mended(text)
