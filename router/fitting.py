"""Shortens a request that is too long for all targets: before they are called, and after one has refused it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from contract.prompt_tokens import prompt_tokens
from router.shorten import shorten

if TYPE_CHECKING:
    from contract.exchange import Exchange
    from contract.messages import ChatRequest
    from router.policy import RoutePolicy

# The share of a prompt to keep after a provider refused it as too long.
_KEPT_SHARE = 0.6


def fit_to_targets(request: ChatRequest, size: int, policy: RoutePolicy, exchange: Exchange) -> tuple[ChatRequest, int]:
    """Returns the request and its size in tokens; with fewer turns if configured and no target has room for it."""
    room = policy.room(request.max_tokens or 0)
    if policy.shorten is None or room is None or size <= room:
        return request, size
    started = time.perf_counter()
    request = shorten(request, room, policy.shorten)
    shorter = prompt_tokens(request)
    exchange.record("shorten", started, {"tokens": size, "left": shorter})
    return request, shorter


def shorten_after_refusal(request: ChatRequest, policy: RoutePolicy, exchange: Exchange) -> ChatRequest | None:
    """The shortened request after the last target refused the prompt as too long; None if it should not be retried."""
    if policy.shorten is None or not exchange.attempts or exchange.attempts[-1].error != "context_window":
        return None
    started = time.perf_counter()
    size = prompt_tokens(request)
    request = shorten(request, int(_KEPT_SHARE * size), policy.shorten)
    shorter = prompt_tokens(request)
    exchange.record("shorten", started, {"tokens": size, "left": shorter})
    return request if shorter < size else None
