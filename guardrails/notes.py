"""Inserts a system message of the gateway after the developer's instructions, so that the start of the prompt, which
providers cache, does not change."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from contract.messages import ChatRequest, Message


def with_note(request: ChatRequest, note: Message) -> ChatRequest:
    """Returns the request with `note` after its leading system messages."""
    place = 0
    while place < len(request.messages) and request.messages[place].role in ("system", "developer"):
        place += 1
    return msgspec.structs.replace(request, messages=(*request.messages[:place], note, *request.messages[place:]))
