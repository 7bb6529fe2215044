"""A provider's HTTP status as one of our errors: what all dialects share of reading errors."""

from __future__ import annotations

import email.utils
import re
import time

from gateway.contract.errors import (
    ContextWindowExceeded,
    CredentialRefused,
    Overloaded,
    RateLimited,
    Refusal,
    RequestRefused,
    ServerFault,
    TimedOut,
    UpstreamError,
    UpstreamNotFound,
)

_CONTEXT_WINDOW_WORDS = (
    "context_length_exceeded",
    "maximum context length",
    "context window",
    "context length",
    "prompt is too long",
    "too many tokens",
    "input is too long",
    "exceeds the maximum number of tokens",
    "exceed_context_size",
    "reduce the length of the messages",
)
_REFUSAL_WORDS = (
    "content_filter",
    "content_policy_violation",
    "responsibleaipolicyviolation",
    "content management policy",
)
_LONGEST_MESSAGE = 4000
_QUOTA_WORDS = ("insufficient_quota", "billing_hard_limit_reached", "credit balance is too low")


def upstream_failure(status: int, message: str, code: str, headers: dict[str, str], param: str = "") -> UpstreamError:
    """The error for `status`. `code` is whatever short words the provider gave; `message` goes on only for a 4xx of the
    request's own making: other messages may quote our credentials.
    """
    hint = f"{code} {message[:_LONGEST_MESSAGE]}".lower()
    message = _KEY.sub("[key]", message[:_LONGEST_MESSAGE])
    wait = retry_after(headers)
    if status in (400, 413, 422) or status in (405, 406, 409, 410, 415, 416):
        return _request_failure(status, message, hint, param)
    if any(word in hint for word in _QUOTA_WORDS) or status in (401, 402, 403):
        return CredentialRefused("The provider refused our credentials or account", upstream_status=status)
    if status == 404:
        return UpstreamNotFound("The provider does not know this model or path", upstream_status=status)
    if status == 429:
        return RateLimited("The provider's rate limit is reached", retry_after_s=wait, upstream_status=status)
    if status in (408, 504):
        error = TimedOut("The provider timed out", phase="total")
        error.upstream_status = status
        return error
    if status in (503, 529):
        return Overloaded("The provider is overloaded", retry_after_s=wait, upstream_status=status)
    return ServerFault(f"The provider failed with status {status}", retry_after_s=wait, upstream_status=status)


# What a provider may quote of our request: keys by their vendors' forms, in a URL or in a header.
_KEY = re.compile(r"\b(?:sk-[\w-]{8,}|AIza[\w-]{10,}|gsk_\w{8,})|(?<=key=)[^&\s\"']+|(?<=Bearer )[^\s\"']+")


def _request_failure(status: int, message: str, hint: str, param: str) -> UpstreamError:
    if any(word in hint for word in _CONTEXT_WINDOW_WORDS):
        return ContextWindowExceeded(message or "The prompt is too long for this model", upstream_status=status)
    if any(word in hint for word in _REFUSAL_WORDS):
        return Refusal(message or "The provider's content policy declined the request", upstream_status=status)
    if any(word in hint for word in _QUOTA_WORDS):
        return CredentialRefused("The provider refused our account", upstream_status=status)
    return RequestRefused(message or "The provider refused the request", param=param, upstream_status=status)


def said(value: object) -> str:
    """A provider's word in an error: any other value than a string or a number says nothing."""
    return str(value) if isinstance(value, str | int) and value else ""


def retry_after(headers: dict[str, str]) -> float | None:
    """Seconds of `retry-after-ms`, `x-ms-retry-after-ms` or `retry-after` (seconds or a date); None when unsaid."""
    for name in ("retry-after-ms", "x-ms-retry-after-ms"):
        value = _seconds(headers.get(name, ""))
        if value is not None:
            return value / 1000
    text = headers.get("retry-after", "").strip()
    if not text:
        return None
    value = _seconds(text)
    if value is not None:
        return value
    try:
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, TypeError, OverflowError):
        return None


def _seconds(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if 0 <= value < 1e9 else None
