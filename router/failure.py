"""Error messages of failed attempts. They contain no text of the provider except its status: it may hold secrets."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeAlias

from contract.attempt import Attempt
from contract.errors import (
    AllTargetsFailed,
    BudgetSpent,
    ErrorKind,
    GatehouseError,
    NotAllowed,
    OwnLimitReached,
    RateLimited,
    TimedOut,
    UnsupportedFeature,
    UpstreamError,
)
from contract.provider import UpstreamCall
from contract.units import write_duration
from router.policy import RETRIED, RoutePolicy

MAX_RETRY_AFTER_S = 120.0

Failed: TypeAlias = UpstreamError | UnsupportedFeature | BudgetSpent | NotAllowed
Failure: TypeAlias = tuple[Attempt, Failed]

_DESCRIPTIONS: dict[ErrorKind, str] = {
    "connect": "no connection",
    "timeout": "timed out",
    "rate_limited": "rate limited",
    "overloaded": "overloaded",
    "server_error": "server error",
    "interrupted": "the response was interrupted",
    "malformed": "the response did not match its dialect",
    "empty": "the response was empty",
    "auth": "the configured credentials were refused",
    "context_window": "the prompt is longer than the model's context window",
    "not_found": "model or path not found",
    "refusal": "declined by content policy",
    "bad_request": "rejected the request as invalid",
}


def record_failure(attempt: Attempt, error: Exception, now: float) -> None:
    """Records the error on its attempt."""
    attempt.ended = now
    if isinstance(error, UpstreamError):
        attempt.error = error.kind
        attempt.status = attempt.status or error.upstream_status
        attempt.message = f"timed out: {error.phase}" if isinstance(error, TimedOut) else _DESCRIPTIONS[error.kind]
    elif isinstance(error, UnsupportedFeature):
        attempt.error, attempt.message = "unsupported", "does not support the request"
    else:
        attempt.error = error.code if isinstance(error, GatehouseError) else GatehouseError.code


def record_cancelled(attempt: Attempt, now: float, *, lost: bool) -> None:
    """Records on the attempt that it was cancelled: another one answered, or the caller disconnected."""
    attempt.ended = now
    attempt.error = "cancelled"
    attempt.message = "another attempt answered first" if lost else "the call was cancelled"


def explain_timeout(policy: RoutePolicy, call: UpstreamCall, error: TimedOut) -> None:
    """Adds to the error which limit was reached, its length, and where it is set."""
    if error.upstream_status:
        return
    given, model = call.timeouts, f"models.{policy.name}"
    full = policy.timeouts.of(stream=call.stream, thinks=call.thinks)
    phase = error.phase
    if phase == "connect":
        limit_s = error.limit_s or given.connect_s or 0.0
        where = f"{model}.connect" if given.connect_s is not None else f"providers.{call.attempt.provider}.connect"
        event = "accepted no connection"
    elif phase == "idle":
        limit_s, event = error.limit_s or given.idle_s, "sent nothing more"
        longer = error.alive or (call.thinks and full.thinking_idle_s != policy.timeouts.idle_s)
        where = f"{model}.thinking" if longer else f"{model}.idle"
    elif phase == "first_token":
        limit_s, event = error.limit_s or given.first_token_s, "sent no first token"
        longer = error.alive or (call.thinks and full.first_token_s != policy.timeouts.first_token_s)
        where = f"{model}.thinking" if longer else f"{model}.first_token"
    else:
        limit_s, where, event = error.limit_s or given.total_s, f"{model}.timeout", "did not finish its response"
    if given != full and phase in ("first_token", "total"):
        where = f"{model}.deadline"
    error.limit_s, error.where = limit_s if limit_s < math.inf else 0.0, where
    length = f"within {_length(error.limit_s)}" if error.limit_s else "in time"
    error.message = f"The provider {event} {length} ({where} in the YAML sets this limit)"


def _length(seconds: float) -> str:
    return write_duration(round(seconds, 2))


def combine(
    failures: Sequence[Failure],
    skipped: Sequence[tuple[str, str]],
    cooldown_s: float | None,
    model: str = "",
    *,
    alone: bool = True,
) -> GatehouseError:
    """Combines all `failures` (>= 1) of `model` into one error. The error of a single attempt stays as it is, with its
    target and a cure added, as does an unsupported feature.

    `skipped` has targets with the reason; `cooldown_s` is the time until the first breaker admits calls. `alone` is
    false if the error of a single attempt must mention `skipped` too.
    """
    errors = [error for _, error in failures]
    if (len(errors) == 1 and alone) or all(isinstance(error, UnsupportedFeature) for error in errors):
        only = errors[-1]
        if isinstance(only, UpstreamError) and only.kind not in _CALLER_ERRORS:
            attempt = failures[-1][0]
            only.message = f"{attempt.target}: {only.message}; {_cure(only, attempt, model)}"
        return only
    speaker = _speaker(errors)
    outcomes = [f"{attempt.target}: {_in_short(error)} (attempt {attempt.number})" for attempt, error in failures]
    outcomes += [f"{target}: skipped, {reason}" for target, reason in skipped]
    cures = dict.fromkeys(
        f"{error.kind}: {_cure(error, attempt, model)}"
        for attempt, error in failures
        if isinstance(error, UpstreamError)
    )
    return AllTargetsFailed(
        f"no target answered: {'; '.join(outcomes)}. What helps: {'; '.join(cures)}",
        last=speaker,
        retry_after_s=_retry_after(speaker, errors, cooldown_s),
    )


# Errors that the caller can fix: their messages are the provider's, or need no cure.
_CALLER_ERRORS: frozenset[ErrorKind] = frozenset({"bad_request", "context_window", "refusal"})
_CURES: dict[ErrorKind, str] = {
    "connect": "check base_url of providers.{provider}, and that the gateway can reach it",
    "timeout": "retry later: the provider, or a proxy in front of it, timed out",
    "rate_limited": "retry later, or give models.{model} more targets, or providers.{provider} more keys",
    "overloaded": "retry later, or give models.{model} more targets",
    "server_error": "retry later: the provider had an internal error",
    "interrupted": "retry: the provider's response was interrupted",
    "malformed": "check kind and base_url of providers.{provider}: the server does not speak this dialect",
    "empty": "retry, or change the prompt",
    "auth": "check the keys, the account and the region of providers.{provider}",
    "context_window": "shorten the prompt, or give models.{model} a target with a larger window",
    "not_found": "check the name of this target's model, and base_url of providers.{provider}",
    "refusal": "change the prompt, or set on_refusal: fallback at models.{model}",
    "bad_request": "change the request",
}


def _cure(error: UpstreamError, attempt: Attempt, model: str) -> str:
    """What an operator or the caller can do."""
    if isinstance(error, OwnLimitReached):
        return f"retry later, or raise limits of providers.{attempt.provider}"
    if isinstance(error, TimedOut) and error.where:
        return f"retry, or raise {error.where}" + (f", now {_length(error.limit_s)}" if error.limit_s else "")
    return _CURES[error.kind].format(provider=attempt.provider, model=model)


def _speaker(errors: Sequence[Failed]) -> Failed:
    """The error whose status the caller gets.

    The last one, but temporary errors take precedence: a 400 from the last target must not make the caller give up if
    an earlier one was only down. It is 429 only if there were no temporary errors except rate limits.
    """
    temporary = [error for error in errors if isinstance(error, UpstreamError) and error.kind in RETRIED]
    other = [error for error in temporary if not isinstance(error, RateLimited)]
    return (other or temporary or errors)[-1]


def _retry_after(speaker: GatehouseError, errors: Sequence[GatehouseError], cooldown_s: float | None) -> float | None:
    if not isinstance(speaker, UpstreamError) or speaker.kind not in RETRIED:
        return None
    known = [error.retry_after_s for error in errors if error.retry_after_s]
    if cooldown_s:
        known.append(cooldown_s)
    return min(min(known), MAX_RETRY_AFTER_S) if known else None


def _in_short(error: Failed) -> str:
    if not isinstance(error, UpstreamError):
        return "unsupported" if isinstance(error, UnsupportedFeature) else error.code
    if isinstance(error, TimedOut):
        return f"timeout ({error.phase}, {_length(error.limit_s)})" if error.limit_s else f"timeout ({error.phase})"
    return f"{error.upstream_status} {error.kind}" if error.upstream_status else error.kind
