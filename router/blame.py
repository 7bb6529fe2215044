"""Decides what a failed attempt counts against: the target for all apps, or only for the calling app."""

from __future__ import annotations

from typing import Literal, TypeAlias

from contract.errors import OwnLimitReached, TimedOut, UpstreamError
from contract.messages import ChatRequest
from contract.patience import Timeouts
from contract.unsettled import Transcript

# `target`: no caller can cause the failure. `app`: the app may have caused it. `model`: the timeouts of its model are
# too short. `none`: the request, or a limit of the gateway, caused it.
Blame: TypeAlias = Literal["target", "app", "model", "none"]

FEW_TOKENS = 64
# The assumed connect timeout of a model that leaves it to the provider.
CONNECT_S = 10.0


def blame(
    error: UpstreamError, transcript: Transcript, timeouts: tuple[Timeouts, Timeouts] | None, *, stream: bool
) -> Blame:
    """`timeouts` are those of the attempt, and the longest ones that any model sets for such a call to the target."""
    attempt = transcript.attempt
    if isinstance(error, OwnLimitReached) or (
        error.kind == "overloaded" and not attempt.sent and not error.upstream_status
    ):
        # A limit of the gateway was reached: the target was not called.
        return "none"
    if isinstance(error, TimedOut) and not error.upstream_status:
        if timeouts is not None and is_short(error.phase, *timeouts, stream=stream):
            return "model"
        return "target" if error.phase == "connect" else "app"
    if error.kind == "empty" and may_be_empty(transcript.request):
        return "none"
    if error.kind == "connect" and not attempt.sent:
        return "target"
    # A 403 may be a firewall's response to the content of the request.
    return "target" if error.kind == "auth" and error.upstream_status in (401, 402) else "app"


def is_short(phase: str, given: Timeouts, longest: Timeouts, *, stream: bool) -> bool:
    """Whether another call has a longer timeout in this phase."""
    if phase == "connect":
        if given.connect_s is not None and (longest.connect_s is None or given.connect_s < longest.connect_s):
            return True
        return given.total_s < min(longest.total_s, CONNECT_S)
    if phase == "idle":
        return given.idle_s < longest.idle_s
    if phase == "first_token" and stream:
        return min(given.first_token_s, given.total_s) < min(longest.first_token_s, longest.total_s)
    return given.total_s < longest.total_s


def may_be_empty(request: object) -> bool:
    """Whether the request may legitimately produce an empty response."""
    if not isinstance(request, ChatRequest):
        return False
    few = request.max_tokens is not None and request.max_tokens <= FEW_TOKENS
    return few or bool(request.stop or request.response_format or "logit_bias" in (request.extra or {}))


def longest(one: Timeouts, other: Timeouts) -> Timeouts:
    """The longer of the two in each phase."""
    connect_s = None
    if one.connect_s is not None and other.connect_s is not None:
        connect_s = max(one.connect_s, other.connect_s)
    names = [name for name in Timeouts.__struct_fields__ if name != "connect_s"]
    return Timeouts(connect_s, **{name: max(getattr(one, name), getattr(other, name)) for name in names})
