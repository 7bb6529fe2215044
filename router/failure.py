"""What is said of failed attempts. Only our own words and the upstream's status: its texts may hold secrets."""

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

_WORDS: dict[ErrorKind, str] = {
    "connect": "no connection",
    "timeout": "timed out",
    "rate_limited": "rate limited",
    "overloaded": "overloaded",
    "server_error": "server error",
    "interrupted": "the answer broke off",
    "malformed": "the answer was not what its dialect says",
    "empty": "the answer was empty",
    "auth": "our credentials were refused",
    "context_window": "the prompt is longer than the model takes",
    "not_found": "model or path not found",
    "refusal": "declined by content policy",
    "bad_request": "called the request wrong",
}


def record_failure(attempt: Attempt, error: Exception, now: float) -> None:
    """Writes the error on the attempt that it ended."""
    attempt.ended = now
    if isinstance(error, UpstreamError):
        attempt.error = error.kind
        attempt.status = attempt.status or error.upstream_status
        attempt.message = f"timed out: {error.phase}" if isinstance(error, TimedOut) else _WORDS[error.kind]
    elif isinstance(error, UnsupportedFeature):
        attempt.error, attempt.message = "unsupported", "can't say what was asked"
    else:
        attempt.error = error.code if isinstance(error, GatehouseError) else GatehouseError.code


def record_cancelled(attempt: Attempt, now: float, *, lost: bool) -> None:
    """Writes on the attempt that nobody waits for it any more: another one answered, or the caller left."""
    attempt.ended = now
    attempt.error = "cancelled"
    attempt.message = "another attempt answered first" if lost else "nobody waits for it any more"


def explain_timeout(policy: RoutePolicy, call: UpstreamCall, error: TimedOut) -> None:
    """Writes into the error which limit has acted, how long it is, and where it is set."""
    if error.upstream_status:
        return
    given, model = call.timeouts, f"models.{policy.name}"
    full = policy.timeouts.of(stream=call.stream, thinks=call.thinks)
    phase = error.phase
    if phase == "connect":
        limit_s = error.limit_s or given.connect_s or 0.0
        where = f"{model}.connect" if given.connect_s is not None else f"providers.{call.attempt.provider}.connect"
        said = "took no connection"
    elif phase == "idle":
        limit_s, said = error.limit_s or given.idle_s, "sent nothing more"
        longer = error.alive or (call.thinks and full.thinking_idle_s != policy.timeouts.idle_s)
        where = f"{model}.thinking" if longer else f"{model}.idle"
    elif phase == "first_token":
        limit_s, said = error.limit_s or given.first_token_s, "began no answer"
        longer = error.alive or (call.thinks and full.first_token_s != policy.timeouts.first_token_s)
        where = f"{model}.thinking" if longer else f"{model}.first_token"
    else:
        limit_s, where, said = error.limit_s or given.total_s, f"{model}.timeout", "did not end its answer"
    if given != full and phase in ("first_token", "total"):
        where = f"{model}.deadline"
    error.limit_s, error.where = limit_s if limit_s < math.inf else 0.0, where
    length = f"within {_length(error.limit_s)}" if error.limit_s else "in time"
    error.message = f"The provider {said} {length} ({where} in the YAML sets this limit)"


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
    """The one error for all `failures` (>= 1) of `model`. A single attempt's error stays itself, with its target and
    what to do, as does a feature nobody has.

    `skipped` are targets with the reason, `cooldown_s` is when the first breaker lets calls in again. `alone` is false
    where a single attempt's caller is to hear of `skipped` too.
    """
    errors = [error for _, error in failures]
    if (len(errors) == 1 and alone) or all(isinstance(error, UnsupportedFeature) for error in errors):
        only = errors[-1]
        if isinstance(only, UpstreamError) and only.kind not in _CALLERS:
            attempt = failures[-1][0]
            only.message = f"{attempt.target}: {only.message}; {_cure(only, attempt, model)}"
        return only
    speaker = _speaker(errors)
    told = [f"{attempt.target}: {_in_short(error)} (attempt {attempt.number})" for attempt, error in failures]
    told += [f"{target}: skipped, {reason}" for target, reason in skipped]
    cures = dict.fromkeys(
        f"{error.kind}: {_cure(error, attempt, model)}"
        for attempt, error in failures
        if isinstance(error, UpstreamError)
    )
    return AllTargetsFailed(
        f"no target answered: {'; '.join(told)}. What helps: {'; '.join(cures)}",
        last=speaker,
        retry_after_s=_retry_after(speaker, errors, cooldown_s),
    )


# What the caller can mend: its words are the provider's, or say it all.
_CALLERS: frozenset[ErrorKind] = frozenset({"bad_request", "context_window", "refusal"})
_CURES: dict[ErrorKind, str] = {
    "connect": "check base_url of providers.{provider}, and that it can be reached from the gateway",
    "timeout": "ask again later: the provider itself, or a proxy before it, gave up",
    "rate_limited": "ask again later, or give models.{model} more targets, or providers.{provider} more keys",
    "overloaded": "ask again later, or give models.{model} more targets",
    "server_error": "ask again later: it is the provider's fault",
    "interrupted": "ask again: the provider's answer broke off",
    "malformed": "check kind and base_url of providers.{provider}: what answers there does not speak its dialect",
    "empty": "ask again, or in other words",
    "auth": "check the keys, the account and the region of providers.{provider}",
    "context_window": "shorten the prompt, or give models.{model} a target with a larger window",
    "not_found": "check the name of this target's model, and base_url of providers.{provider}",
    "refusal": "change the prompt, or set on_refusal: fallback at models.{model}",
    "bad_request": "change the request",
}


def _cure(error: UpstreamError, attempt: Attempt, model: str) -> str:
    """What an operator or the caller can do, in words of ours."""
    if isinstance(error, OwnLimitReached):
        return f"ask again later, or raise limits of providers.{attempt.provider}"
    if isinstance(error, TimedOut) and error.where:
        return f"ask again, or raise {error.where}" + (f", now {_length(error.limit_s)}" if error.limit_s else "")
    return _CURES[error.kind].format(provider=attempt.provider, model=model)


def _speaker(errors: Sequence[Failed]) -> Failed:
    """The error whose status the caller sees.

    The last one, but what may pass goes before what won't: a 400 from the last target must not tell the caller
    to give up when an earlier one was merely down. And 429 only if nothing but rate limits stood in the way.
    """
    passing = [error for error in errors if isinstance(error, UpstreamError) and error.kind in RETRIED]
    other = [error for error in passing if not isinstance(error, RateLimited)]
    return (other or passing or errors)[-1]


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
