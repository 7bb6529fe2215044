"""Maps a provider's error response to one of the gateway's errors. Shared by all dialects."""

from __future__ import annotations

import email.utils
import re
import time
from urllib.parse import unquote

import msgspec

from contract.errors import (
    ContentRefused,
    ContextWindowExceeded,
    CredentialRefused,
    Overloaded,
    RateLimited,
    RequestRefused,
    RequestTooLarge,
    ServerFault,
    TimedOut,
    UpstreamError,
    UpstreamNotFound,
)
from gateway.dialects.meanings import Meaning, meaning
from gateway.dialects.sse import SseParser

_MAX_MESSAGE_CHARS = 4000
_MAX_TEXT_BYTES = 500
# Keys that a provider may quote from the request: by vendors' formats, in a URL or in a header.
_KEY = re.compile(
    r"\b(?:sk-[\w-]{8,}|AIza[\w-]{10,}|gsk_\w{8,}|xai-[\w-]{8,}|hf_\w{8,}|nvapi-[\w-]{8,}|pplx-\w{8,}|fw_\w{8,}"
    r"|AKIA\w{8,}|ya29\.[\w-]+)|(?<=key=)[^&\s\"']+|(?<=Bearer )[^\s\"']+"
)
# Quoted text may be the caller's and does not describe the error. An apostrophe is not a quote.
_QUOTED = re.compile(r"(?<!\w)'[^']*'(?!\w)|\"[^\"]*\"|`[^`]*`|\u201c[^\u201d]*\u201d")
# Retry delays in messages, if no header has one: `try again in 1m2.5s` (OpenAI, Groq), `retry after 20 s` (Azure).
_RETRY_DELAY = re.compile(
    r"(?:try again|retry) (?:in|after) (?:(\d+)h)?(?:(\d+)m(?!s|illi))?(?:(\d+(?:\.\d+)?) ?(ms|milli|s))?",
    re.IGNORECASE,
)
_LIMIT_EXCEEDED = re.compile(r"limit:? ?(\d+),? .{0,40}?requested:? ?(\d+)", re.IGNORECASE)


def upstream_failure(
    status: int, message: str, code: str, headers: dict[str, str], param: str = "", *, page: bool = False
) -> UpstreamError:
    """The error for `status`. `code` holds the provider's error codes. `page`: the body was HTML.

    Status 0 is an error without a status, within a response. `message` is passed on only if the request is at fault:
    other messages may quote the gateway's credentials.
    """
    message = message[:_MAX_MESSAGE_CHARS]
    kind = meaning(status, code.lower(), normalize_message(message), page=page)
    shown = _KEY.sub("[key]", message)
    status = status or _STATUS_OF[kind]
    if kind == "request":
        return RequestRefused(shown or "The provider rejected the request", param=param, upstream_status=status)
    if kind == "context":
        return ContextWindowExceeded(shown or "The prompt is too long for this model", upstream_status=status)
    if kind == "refusal":
        return ContentRefused(shown or "The provider's content policy declined the request", upstream_status=status)
    if kind == "large":
        return RequestTooLarge("The request is larger than the provider accepts", upstream_status=status)
    if kind in _CREDENTIALS:
        error = CredentialRefused(_CREDENTIALS[kind], upstream_status=status)
        error.key_at_fault = kind != "place"
        return error
    return _other_failure(kind, status, message, headers)


_CREDENTIALS: dict[Meaning, str] = {
    "key": "The provider rejected the gateway's key",
    "account": "The provider account has no credit left",
    "place": "The provider denies access: because of the region, the account's permissions or a firewall",
}
# The equivalent status of an error within a response.
_STATUS_OF: dict[Meaning, int] = {
    "rate": 429, "context": 400, "large": 413, "refusal": 400, "key": 401, "account": 402, "place": 403, "model": 404,
    "setup": 405, "overloaded": 503, "timeout": 504, "request": 400, "fault": 500,
}  # fmt: skip


def _other_failure(kind: Meaning, status: int, message: str, headers: dict[str, str]) -> UpstreamError:
    """The error if neither the request nor the credentials are at fault."""
    wait = retry_after(headers)
    if kind == "rate":
        limited = RateLimited(
            "The provider's rate limit is reached",
            retry_after_s=_delay_in_message(message) if wait is None else wait,
            upstream_status=status,
        )
        beyond = _LIMIT_EXCEEDED.search(message)
        # Waiting does not help a request that is larger than the limit per minute.
        limited.may_be_repeated = beyond is None or int(beyond[2]) <= int(beyond[1])
        return limited
    if kind == "model":
        return UpstreamNotFound("The provider does not know this model or path", upstream_status=status)
    if kind == "setup":
        return UpstreamNotFound("The provider does not accept chat requests at this path", upstream_status=status)
    if kind == "timeout":
        error = TimedOut("The provider timed out", phase="total")
        error.upstream_status = status
        return error
    if kind == "overloaded":
        return Overloaded("The provider is overloaded", retry_after_s=wait, upstream_status=status)
    return ServerFault(f"The provider failed with status {status}", retry_after_s=wait, upstream_status=status)


def normalize_message(message: str) -> str:
    """The message in lower case without quoted text, as `meaning` expects it."""
    if "%20" in message:
        # xAI percent-encodes its messages.
        message = unquote(message)
    return _QUOTED.sub("_", message).lower().replace("\u2019", "'")


def read_body(body: bytes) -> tuple[object, bool]:
    """The JSON of an error's body, or its text if it is neither JSON nor HTML; and whether it is HTML.

    Handles a byte order mark, a list with one error, and an error as a server-sent event.
    """
    body = body.removeprefix(b"\xef\xbb\xbf").strip()
    if body.startswith((b"data:", b"event:")):
        events = SseParser().feed(body + b"\n\n")
        body = events[0][1] if events else b""
    try:
        value = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        if body.startswith(b"<"):
            return None, True
        text = body[:_MAX_TEXT_BYTES].decode("utf-8", "replace")
        return (text if text[:1] not in ("{", "[") else None) or None, False
    return (value[0] if isinstance(value, list) and value else value), False


def find_message(value: object, depth: int = 4) -> str:
    """The message in an error: a string, a list of strings, or objects as FastAPI and Mistral write them."""
    if isinstance(value, dict):
        for key in ("message", "msg", "detail", "error", "errors", "title", "reason"):
            if depth and (message := find_message(value.get(key), depth - 1)):
                return message
        return ""
    if isinstance(value, list):
        parts = [find_message(each, depth - 1) for each in value[:8]] if depth else []
        return "; ".join(filter(None, parts))
    return as_text(value)


def _delay_in_message(message: str) -> float | None:
    match = _RETRY_DELAY.search(message)
    if match is None or not any(match.groups()):
        return None
    hours, minutes, number, unit = match.groups()
    return (
        3600.0 * int(hours or 0)
        + 60.0 * int(minutes or 0)
        + float(number or 0) * (0.001 if (unit or "").startswith(("m", "M")) else 1.0)
    )


def as_text(value: object) -> str:
    """A string or number of an error as text; empty for any other value."""
    return str(value) if isinstance(value, str | int) and value else ""


def retry_after(headers: dict[str, str]) -> float | None:
    """Seconds from `retry-after-ms`, `x-ms-retry-after-ms` or `retry-after` (seconds or a date); None without one."""
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
