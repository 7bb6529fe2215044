"""Adapts conversations of other dialects to Anthropic's rules for turns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from contract.errors import UnsupportedFeature
from gateway.dialects.fitting import FIRST_WORDS

if TYPE_CHECKING:
    from gateway.dialects.dropped_params import DroppedParams

Blocks = list[dict[str, Any]]


def shape(system: Blocks, turns: Blocks, losses: DroppedParams) -> tuple[Blocks, Blocks]:
    """System blocks and turns: the first turn is the user's, and the last assistant turn has no trailing whitespace.

    Raises `UnsupportedFeature` if nothing is left to send.
    """
    if turns and turns[-1]["role"] == "assistant":
        # "final assistant content cannot end with trailing whitespace"
        _strip_last(turns, losses)
    if not turns and system:
        losses.add_soft("messages", "the system prompt was the only message, so it was sent as a user message")
        system, turns = [], [{"role": "user", "content": system}]
    if not turns:
        raise UnsupportedFeature(
            "'messages' contains nothing that Anthropic accepts: all text is blank", param="messages"
        )
    if turns[0]["role"] == "assistant":
        losses.add_soft("messages[0]", "a user message was inserted before the first message, which is the assistant's")
        turns.insert(0, {"role": "user", "content": [{"type": "text", "text": FIRST_WORDS}]})
    return system, turns


def _strip_last(turns: Blocks, losses: DroppedParams) -> None:
    last = turns[-1]["content"][-1]
    if last.get("type") != "text" or last["text"] == last["text"].rstrip():
        return
    losses.add_soft("messages[-1].content", "Anthropic accepts no trailing whitespace in the last assistant message")
    turns[-1]["content"][-1] = {**last, "text": last["text"].rstrip()}
