"""What a provider holds of a conversation: a request names it, and sends only what is new.

Without it the model would answer a conversation of which it has seen the end only. So such a request goes to the vendor
whose field it is, or nowhere.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from contract.errors import HeldByOtherProvider

if TYPE_CHECKING:
    from contract.messages import ChatRequest

THREAD = "thread"
# The field: who holds what it names.
HELD = {
    THREAD: "Anthropic holds the conversation",
    "cachedContent": "Google holds the beginning of the conversation",
    # Of the Responses API, which some send with Chat Completions.
    "previous_response_id": "OpenAI holds the conversation",
    "conversation": "OpenAI holds the conversation",
}


def check_held(field: str) -> None:
    """Raises `HeldByOtherProvider` if a provider holds what the field names, and this is another one's request."""
    if field in HELD:
        raise HeldByOtherProvider(
            f"'{field}' can't be sent to this model: {HELD[field]}. Send the whole conversation without it", param=field
        )


def check_whole(request: ChatRequest) -> None:
    """Raises `HeldByOtherProvider` where a provider holds the history that guardrails, context and caches need."""
    if request.extra and request.extra.get(THREAD) is not None:
        raise HeldByOtherProvider(
            f"'{THREAD}' can't be taken here: this model's pipeline looks at whole conversations. "
            "Send the whole conversation without it",
            param=THREAD,
        )
