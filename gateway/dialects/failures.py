"""A provider's HTTP status as one of our errors: what all dialects share of reading errors."""

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

_LONGEST_MESSAGE = 4000
_LONGEST_WORDS = 500
# What a provider may quote of our request: keys by their vendors' forms, in a URL or in a header.
_KEY = re.compile(
    r"\b(?:sk-[\w-]{8,}|AIza[\w-]{10,}|gsk_\w{8,}|xai-[\w-]{8,}|hf_\w{8,}|nvapi-[\w-]{8,}|pplx-\w{8,}|fw_\w{8,}"
    r"|AKIA\w{8,}|ya29\.[\w-]+)|(?<=key=)[^&\s\"']+|(?<=Bearer )[^\s\"']+"
)
# Words within quotes may be the caller's own, and say nothing of what is wrong. An apostrophe is no quote.
_QUOTED = re.compile(r"(?<!\w)'[^']*'(?!\w)|\"[^\"]*\"|`[^`]*`|\u201c[^\u201d]*\u201d")
# Where no header says it: `try again in 1m2.5s` of OpenAI and Groq, `retry after 20 seconds` of Azure.
_AGAIN = re.compile(
    r"(?:try again|retry) (?:in|after) (?:(\d+)h)?(?:(\d+)m(?!s|illi))?(?:(\d+(?:\.\d+)?) ?(ms|milli|s))?",
    re.IGNORECASE,
)
_BEYOND = re.compile(r"limit:? ?(\d+),? .{0,40}?requested:? ?(\d+)", re.IGNORECASE)


def upstream_failure(
    status: int, message: str, code: str, headers: dict[str, str], param: str = "", *, page: bool = False
) -> UpstreamError:
    """The error for `status`. `code` is whatever short words the provider gave; `page`: it sent HTML.

    Status 0 is an error within an answer that names no status. `message` goes on only where the request itself is
    wrong: other messages may quote our credentials.
    """
    message = message[:_LONGEST_MESSAGE]
    found = meaning(status, code.lower(), plain(message), page=page)
    shown = _KEY.sub("[key]", message)
    status = status or _STATUS_OF[found]
    if found == "request":
        return RequestRefused(shown or "The provider refused the request", param=param, upstream_status=status)
    if found == "context":
        return ContextWindowExceeded(shown or "The prompt is too long for this model", upstream_status=status)
    if found == "refusal":
        return ContentRefused(shown or "The provider's content policy declined the request", upstream_status=status)
    if found == "large":
        return RequestTooLarge("The request is larger than the provider takes", upstream_status=status)
    if found in _CREDENTIALS:
        error = CredentialRefused(_CREDENTIALS[found], upstream_status=status)
        error.key_at_fault = found != "place"
        return error
    return _passing(found, status, message, headers)


_CREDENTIALS: dict[Meaning, str] = {
    "key": "The provider refused our key",
    "account": "The provider's account has no credit left",
    "place": "The provider refuses us: for our region, for what our account may use, or by a firewall",
}
# For an error within an answer: the status that it would have had.
_STATUS_OF: dict[Meaning, int] = {
    "rate": 429, "context": 400, "large": 413, "refusal": 400, "key": 401, "account": 402, "place": 403, "model": 404,
    "setup": 405, "overloaded": 503, "timeout": 504, "request": 400, "fault": 500,
}  # fmt: skip


def _passing(found: Meaning, status: int, message: str, headers: dict[str, str]) -> UpstreamError:
    """What is no fault of the request, nor of our credentials."""
    wait = retry_after(headers)
    if found == "rate":
        limited = RateLimited(
            "The provider's rate limit is reached",
            retry_after_s=_said_wait(message) if wait is None else wait,
            upstream_status=status,
        )
        beyond = _BEYOND.search(message)
        # A request that is larger than the limit of a whole minute has no use for waiting.
        limited.may_be_repeated = beyond is None or int(beyond[2]) <= int(beyond[1])
        return limited
    if found == "model":
        return UpstreamNotFound("The provider does not know this model or path", upstream_status=status)
    if found == "setup":
        return UpstreamNotFound("The provider takes no chat requests at this path", upstream_status=status)
    if found == "timeout":
        error = TimedOut("The provider timed out", phase="total")
        error.upstream_status = status
        return error
    if found == "overloaded":
        return Overloaded("The provider is overloaded", retry_after_s=wait, upstream_status=status)
    return ServerFault(f"The provider failed with status {status}", retry_after_s=wait, upstream_status=status)


def plain(message: str) -> str:
    """Lower case, without what stands in quotes: as `meaning` wants it."""
    if "%20" in message:
        # xAI packs its messages as if they stood in a URL.
        message = unquote(message)
    return _QUOTED.sub("_", message).lower().replace("\u2019", "'")


def read_body(body: bytes) -> tuple[object, bool]:
    """The JSON of an error's body, or its text where it is neither JSON nor HTML; and whether it is HTML.

    A mark of byte order, a list of one error, and an error as an event of a stream are read through.
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
        text = body[:_LONGEST_WORDS].decode("utf-8", "replace")
        return (text if text[:1] not in ("{", "[") else None) or None, False
    return (value[0] if isinstance(value, list) and value else value), False


def words_within(value: object, depth: int = 4) -> str:
    """A message, however a server packs it: a text, a list of them, or objects as FastAPI and Mistral write them."""
    if isinstance(value, dict):
        for key in ("message", "msg", "detail", "error", "errors", "title", "reason"):
            if depth and (found := words_within(value.get(key), depth - 1)):
                return found
        return ""
    if isinstance(value, list):
        parts = [words_within(each, depth - 1) for each in value[:8]] if depth else []
        return "; ".join(filter(None, parts))
    return said(value)


def _said_wait(message: str) -> float | None:
    found = _AGAIN.search(message)
    if found is None or not any(found.groups()):
        return None
    hours, minutes, number, unit = found.groups()
    return (
        3600.0 * int(hours or 0)
        + 60.0 * int(minutes or 0)
        + float(number or 0) * (0.001 if (unit or "").startswith(("m", "M")) else 1.0)
    )


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
