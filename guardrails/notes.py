"""A line of the gateway's own in a request, after the developer's instructions: the beginning of a prompt stays as it
is, and with it what a provider has cached of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from contract.messages import ChatRequest, Message


def with_note(request: ChatRequest, note: Message) -> ChatRequest:
    """The request with `note` behind its first system messages."""
    place = 0
    while place < len(request.messages) and request.messages[place].role in ("system", "developer"):
        place += 1
    return msgspec.structs.replace(request, messages=(*request.messages[:place], note, *request.messages[place:]))
