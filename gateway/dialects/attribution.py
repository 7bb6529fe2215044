"""The line that Claude Code puts before its system prompt: who bills for it, with a number that is another every time.

Only Anthropic reads it. To every other vendor it is the beginning of the prompt, so that no prompt begins as the one
before it did, and none is ever found in the provider's cache.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from contract.messages import ChatRequest, Message, Text

if TYPE_CHECKING:
    from gateway.dialects.dropped_params import DroppedParams

_LINE = "x-anthropic-billing-header:"


def without_attribution(request: ChatRequest, losses: DroppedParams) -> tuple[Message, ...]:
    """The messages as a vendor other than Anthropic gets them."""
    messages = request.messages
    first = messages[0] if request.dialect == "anthropic" and messages else None
    if first is None or first.role != "system":
        return messages
    parts = [_without_line(part) if isinstance(part, Text) else part for part in first.parts]
    kept = tuple([part for part in parts if not (isinstance(part, Text) and not part.text)])
    if kept == first.parts:
        return messages
    losses.add_soft("system", "Claude Code's billing line is for Anthropic only")
    rest = messages[1:]
    return (msgspec.structs.replace(first, parts=kept), *rest) if kept else rest


def _without_line(part: Text) -> Text:
    if not part.text.lstrip().startswith(_LINE):
        return part
    return msgspec.structs.replace(part, text=part.text.partition("\n")[2])
