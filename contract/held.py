"""Conversation state that a provider stores: a request refers to it, and contains only the new messages.

Another provider would see only the end of such a conversation. So the request goes to the vendor of the field, or is
refused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from contract.errors import HeldByOtherProvider

if TYPE_CHECKING:
    from contract.messages import ChatRequest

THREAD = "thread"
# Fields that refer to state at a provider.
HELD = {
    THREAD: "Anthropic stores the conversation",
    "cachedContent": "Google stores the beginning of the conversation",
    # Fields of the Responses API, which some callers send with Chat Completions.
    "previous_response_id": "OpenAI stores the conversation",
    "conversation": "OpenAI stores the conversation",
}


def check_held(field: str) -> None:
    """Raises `HeldByOtherProvider` if the field refers to state at another provider."""
    if field in HELD:
        raise HeldByOtherProvider(
            f"'{field}' can't be sent to this model: {HELD[field]}. Send the complete conversation without it",
            param=field,
        )


def check_history(request: ChatRequest) -> None:
    """Raises `HeldByOtherProvider` if a provider stores the history, which guardrails, context and caches need."""
    if request.extra and request.extra.get(THREAD) is not None:
        raise HeldByOtherProvider(
            f"'{THREAD}' is not supported here: the pipeline of this model needs all messages. Send them without it",
            param=THREAD,
        )
