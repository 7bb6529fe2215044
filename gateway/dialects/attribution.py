"""Removes the billing line that Claude Code puts before its system prompt. It contains a number that always changes.

Only Anthropic reads it. For every other vendor it would be the start of the prompt: no two prompts would have a common
prefix, and the provider's prompt cache would always miss.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from contract.messages import ChatRequest, Message, Text

if TYPE_CHECKING:
    from gateway.dialects.dropped_params import DroppedParams

_LINE = "x-anthropic-billing-header:"


def without_attribution(request: ChatRequest, losses: DroppedParams) -> tuple[Message, ...]:
    """The messages for a vendor other than Anthropic."""
    messages = request.messages
    first = messages[0] if request.dialect == "anthropic" and messages else None
    if first is None or first.role != "system":
        return messages
    parts = [_without_line(part) if isinstance(part, Text) else part for part in first.parts]
    remaining = tuple([part for part in parts if not (isinstance(part, Text) and not part.text)])
    if remaining == first.parts:
        return messages
    losses.add_soft("system", "Claude Code's billing line is for Anthropic only")
    rest = messages[1:]
    return (msgspec.structs.replace(first, parts=remaining), *rest) if remaining else rest


def _without_line(part: Text) -> Text:
    if not part.text.lstrip().startswith(_LINE):
        return part
    return msgspec.structs.replace(part, text=part.text.partition("\n")[2])
