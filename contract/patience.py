"""How long one attempt may take, and which requests take long before their first word.

The defaults follow what the vendors' own SDKs wait for (600 s: openai-python and anthropic-sdk-python, `_constants.py`)
and how long reasoning models are silent on Chat Completions (minutes: OpenAI sends nothing while a model thinks).
"""

from __future__ import annotations

import functools
import math
import re
from typing import TYPE_CHECKING, Any

import msgspec

from contract.thinking_budget import thinking_budget

if TYPE_CHECKING:
    from contract.messages import ChatRequest

FIRST_TOKEN_S = 60.0
IDLE_S = 120.0
LONG_S = 600.0


class Timeouts(msgspec.Struct, frozen=True):
    """Seconds. `connect_s` None leaves it to the provider.

    `first_token` counts from the call to the first delta with content, `idle` from one piece of a stream to the next,
    `total` over the whole of a streamed attempt, `whole` over that of one that is not streamed. A request that thinks
    has `thinking` in place of `first_token`, and `thinking_idle` in place of `idle`.

    A provider that shows signs of life (comments, pings, events without content) starts `first_token` and `idle` again,
    each time; up to `alive_first_token` from the call on, and `alive_idle` without content.
    """

    connect_s: float | None = None
    first_token_s: float = FIRST_TOKEN_S
    idle_s: float = IDLE_S
    total_s: float = math.inf
    whole_s: float = LONG_S
    thinking_s: float = LONG_S
    thinking_idle_s: float = LONG_S
    alive_first_token_s: float = LONG_S
    alive_idle_s: float = LONG_S

    def of(self, *, stream: bool, thinks: bool) -> Timeouts:
        """As one call has them: `first_token`, `idle` and `total` are its own."""
        return self if stream and not thinks else _fitted(self, stream, thinks)


@functools.lru_cache(maxsize=1024)
def _fitted(of: Timeouts, stream: bool, thinks: bool) -> Timeouts:
    return msgspec.structs.replace(
        of,
        first_token_s=of.thinking_s if thinks else of.first_token_s,
        idle_s=of.thinking_idle_s if thinks else of.idle_s,
        total_s=of.total_s if stream else min(of.total_s, of.whole_s),
        alive_first_token_s=max(of.alive_first_token_s, of.thinking_s) if thinks else of.alive_first_token_s,
    )


# Models that think without being asked to, by their vendors' names: for a request that says nothing of reasoning.
_THINKERS = re.compile(
    r"(?:^|[/:@.])(?:o[134](?:-|$)|gpt-(?:5|6|oss)|codex|deepseek-(?:r\d|reasoner)|grok-(?:[4-9]|3-mini|code)|qwq|qwen-?3"
    r"|gemini-(?:2\.5|[3-9])|magistral|kimi-k2-thinking|glm-(?:4\.[5-9]|[5-9]|z)|minimax-m|nemotron|phi-4-reasoning)"
    r"|(?<![a-z])r1(?![a-z0-9])|(?<!non-)(?:thinking|reasoning|reasoner)",
    re.IGNORECASE,
)
_QUICK = re.compile(r"-chat-latest|non-?(?:thinking|reasoning)|-instruct\b", re.IGNORECASE)


def asks_to_think(request: ChatRequest) -> bool | None:
    """Whether the request asks for thoughts; None where it says nothing of them."""
    if request.reasoning is not None:
        return thinking_budget(request.reasoning) > 0
    extra: dict[str, Any] = request.extra or {}
    for name in ("thinking", "reasoning", "enable_thinking", "chat_template_kwargs"):
        if name in extra:
            return _says(extra[name])
    # OpenAI's flex tier answers when there is room for it.
    return True if extra.get("service_tier") == "flex" else None


def _says(value: Any) -> bool | None:
    """What a field of some vendor's says of thinking."""
    if not isinstance(value, dict):
        return bool(value)
    for name in ("enable_thinking", "thinking", "enabled"):
        if isinstance(value.get(name), bool):
            return bool(value[name])
    kind = value.get("type") or value.get("effort")
    return kind not in ("disabled", "none") if isinstance(kind, str) else bool(value)


@functools.lru_cache(maxsize=1024)
def is_known_to_think(model: str) -> bool:
    """Whether the model of this name is one that thinks before its first word, unless it is told not to."""
    return _THINKERS.search(model) is not None and _QUICK.search(model) is None


def thinks(request: ChatRequest, model: str) -> bool:
    """Whether the first word of `model`'s answer may take minutes."""
    asked = asks_to_think(request)
    return is_known_to_think(model) if asked is None else asked
