"""A request that is too long for its targets, made to fit them: before they are asked, and after one has said so."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from contract.prompt_tokens import prompt_tokens
from router.shorten import shorten

if TYPE_CHECKING:
    from contract.exchange import Exchange
    from contract.messages import ChatRequest
    from router.policy import RoutePolicy

# What is left of a prompt that a provider called too long.
_SHORTER = 0.6


def made_to_fit(request: ChatRequest, size: int, policy: RoutePolicy, exchange: Exchange) -> tuple[ChatRequest, int]:
    """The request with fewer turns, where that is wanted and no target would hold it; and its size."""
    room = policy.room(request.max_tokens or 0)
    if policy.shorten is None or room is None or size <= room:
        return request, size
    started = time.perf_counter()
    request = shorten(request, room, policy.shorten)
    shorter = prompt_tokens(request)
    exchange.record("shorten", started, {"tokens": size, "left": shorter})
    return request, shorter


def after_refusal(request: ChatRequest, policy: RoutePolicy, exchange: Exchange) -> ChatRequest | None:
    """What to ask after the last target has said that the prompt is too long; None where that is not wanted."""
    if policy.shorten is None or not exchange.attempts or exchange.attempts[-1].error != "context_window":
        return None
    started = time.perf_counter()
    size = prompt_tokens(request)
    request = shorten(request, int(_SHORTER * size), policy.shorten)
    shorter = prompt_tokens(request)
    exchange.record("shorten", started, {"tokens": size, "left": shorter})
    return request if shorter < size else None
