"""What is said of failed attempts. Only our own words and the upstream's status: its texts may hold secrets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from gateway.contract.errors import (
    AllTargetsFailed,
    BudgetSpent,
    ErrorKind,
    GatehouseError,
    NotAllowed,
    RateLimited,
    TimedOut,
    UnsupportedFeature,
    UpstreamError,
)
from gateway.contract.exchange import Attempt
from router.policy import RETRIED

MAX_RETRY_AFTER_S = 120.0

Failed: TypeAlias = UpstreamError | UnsupportedFeature | BudgetSpent | NotAllowed
Failure: TypeAlias = tuple[Attempt, Failed]

_WORDS: dict[ErrorKind, str] = {
    "connect": "no connection",
    "timeout": "timed out",
    "rate_limited": "rate limited",
    "overloaded": "overloaded",
    "server_error": "server error",
    "cut": "the answer broke off",
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


def combine(
    failures: Sequence[Failure], skipped: Sequence[tuple[str, str]], cooldown_s: float | None, *, alone: bool = True
) -> GatehouseError:
    """The one error for all `failures` (>= 1). A single attempt's error stays itself, as does a feature nobody has.

    `skipped` are targets with the reason, `cooldown_s` is when the first breaker lets calls in again. `alone` is false
    where a single attempt's caller is to hear of `skipped` too.
    """
    errors = [error for _, error in failures]
    if (len(errors) == 1 and alone) or all(isinstance(error, UnsupportedFeature) for error in errors):
        return errors[-1]
    speaker = _speaker(errors)
    told = [f"{attempt.target}: {_in_short(error)} (attempt {attempt.number})" for attempt, error in failures]
    told += [f"{target}: skipped, {reason}" for target, reason in skipped]
    return AllTargetsFailed(
        "no target answered: " + "; ".join(told), last=speaker, retry_after_s=_retry_after(speaker, errors, cooldown_s)
    )


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
        return f"timeout ({error.phase})"
    return f"{error.upstream_status} {error.kind}" if error.upstream_status else error.kind
