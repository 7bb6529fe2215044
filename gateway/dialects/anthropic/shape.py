"""The turns of other dialects' conversations in the shape that Anthropic wants them in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from contract.errors import UnsupportedFeature
from gateway.dialects.fitting import FIRST_WORDS

if TYPE_CHECKING:
    from gateway.dialects.dropped_params import DroppedParams

Blocks = list[dict[str, Any]]


def shape(system: Blocks, turns: Blocks, losses: DroppedParams) -> tuple[Blocks, Blocks]:
    """System blocks and turns: the user begins, and what the assistant said last has no blanks at its end.

    Raises `UnsupportedFeature` where nothing is left to be said.
    """
    if turns and turns[-1]["role"] == "assistant":
        # "final assistant content cannot end with trailing whitespace"
        _strip_last(turns, losses)
    if not turns and system:
        losses.add_soft("messages", "the system prompt, which stood alone, was sent as the user's message")
        system, turns = [], [{"role": "user", "content": system}]
    if not turns:
        raise UnsupportedFeature("'messages' hold nothing that Anthropic takes: no text but blanks", param="messages")
    if turns[0]["role"] == "assistant":
        losses.add_soft("messages[0]", "a turn of the user's was put before the first, which is the assistant's")
        turns.insert(0, {"role": "user", "content": [{"type": "text", "text": FIRST_WORDS}]})
    return system, turns


def _strip_last(turns: Blocks, losses: DroppedParams) -> None:
    last = turns[-1]["content"][-1]
    if last.get("type") != "text" or last["text"] == last["text"].rstrip():
        return
    losses.add_soft("messages[-1].content", "Anthropic takes no blanks at the end of the assistant's last words")
    turns[-1]["content"][-1] = {**last, "text": last["text"].rstrip()}
