"""Timeouts of one attempt, and detection of requests that reason for long before their first token.

The defaults follow the vendors' SDKs (600 s: openai-python and anthropic-sdk-python, `_constants.py`) and the silence
of reasoning models on Chat Completions (minutes: OpenAI sends nothing while a model reasons).
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
    """Timeouts in seconds. `connect_s` of None leaves it to the provider.

    `first_token` is the time from the call to the first delta with content, `idle` between two chunks of a stream,
    `total` for a complete streamed attempt, `whole` for a complete attempt that is not streamed. A request that reasons
    has `thinking` instead of `first_token`, and `thinking_idle` instead of `idle`.

    Keep-alives of a provider (comments, pings, events without content) restart `first_token` and `idle` each time, up
    to `alive_first_token` from the call on, and `alive_idle` without content.
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
        """The timeouts of one call, as `first_token`, `idle` and `total`."""
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


# Names of models that reason by default: for a request without reasoning options.
_THINKERS = re.compile(
    r"(?:^|[/:@.])(?:o[134](?:-|$)|gpt-(?:5|6|oss)|codex|deepseek-(?:r\d|reasoner)|grok-(?:[4-9]|3-mini|code)|qwq|qwen-?3"
    r"|gemini-(?:2\.5|[3-9])|magistral|kimi-k2-thinking|glm-(?:4\.[5-9]|[5-9]|z)|minimax-m|nemotron|phi-4-reasoning)"
    r"|(?<![a-z])r1(?![a-z0-9])|(?<!non-)(?:thinking|reasoning|reasoner)",
    re.IGNORECASE,
)
_QUICK = re.compile(r"-chat-latest|non-?(?:thinking|reasoning)|-instruct\b", re.IGNORECASE)


def asks_to_think(request: ChatRequest) -> bool | None:
    """Whether the request asks for reasoning; None if it has no reasoning options."""
    if request.reasoning is not None:
        return thinking_budget(request.reasoning) > 0
    extra: dict[str, Any] = request.extra or {}
    for name in ("thinking", "reasoning", "enable_thinking", "chat_template_kwargs"):
        if name in extra:
            return _enables_thinking(extra[name])
    # OpenAI's flex tier answers when it has capacity.
    return True if extra.get("service_tier") == "flex" else None


def _enables_thinking(value: Any) -> bool | None:
    """Whether the value of a vendor's field enables reasoning."""
    if not isinstance(value, dict):
        return bool(value)
    for name in ("enable_thinking", "thinking", "enabled"):
        if isinstance(value.get(name), bool):
            return bool(value[name])
    kind = value.get("type") or value.get("effort")
    return kind not in ("disabled", "none") if isinstance(kind, str) else bool(value)


@functools.lru_cache(maxsize=1024)
def is_known_to_think(model: str) -> bool:
    """Whether a model of this name is known to reason before its first token, unless the request disables it."""
    return _THINKERS.search(model) is not None and _QUICK.search(model) is None


def thinks(request: ChatRequest, model: str) -> bool:
    """Whether the first token of `model` may take minutes."""
    requested = asks_to_think(request)
    return is_known_to_think(model) if requested is None else requested
