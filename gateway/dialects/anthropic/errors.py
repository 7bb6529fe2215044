"""Errors as Anthropic writes them: `{"type": "error", "error": {"type", "message"}, "request_id"}`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from contract.errors import AllTargetsFailed, ContextWindowExceeded, HeldByOtherProvider, RequestRefused
from gateway.dialects.failures import read_body, said, upstream_failure, words_within

if TYPE_CHECKING:
    from contract.errors import GatehouseError, UpstreamError

_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    405: "invalid_request_error",
    408: "timeout_error",
    413: "request_too_large",
    415: "invalid_request_error",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
}
_STATUSES = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "conflict_error": 409,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "timeout_error": 504,
    "overloaded_error": 529,
}
# So begin the codes in `details` that say why a thread does not go on.
_THREAD = "thread_"


def read(status: int, headers: dict[str, str], body: bytes) -> UpstreamError:
    """A provider's error answer. Bodies that are not JSON are fine: the status speaks."""
    value, page = read_body(body)
    if page:
        return upstream_failure(status, "", "", headers, page=True)
    inner = value.get("error") if isinstance(value, dict) else None
    # Proxies, and Bedrock, write a message without an error around it.
    return _failure(status, inner if inner else value, headers)


def within(error: object) -> UpstreamError:
    """An error event, or the error in a 200."""
    kind = error.get("type") if isinstance(error, dict) else None
    return _failure(_STATUSES.get(kind, 0) if isinstance(kind, str) else 0, error, {})


def _failure(status: int, error: object, headers: dict[str, str]) -> UpstreamError:
    fields = error if isinstance(error, dict) else {}
    kind = said(fields.get("type"))
    words = words_within(error)
    details = fields.get("details")
    if isinstance(details, dict) and said(details.get("error_code")).startswith(_THREAD):
        # Whatever the status, the caller is to send the conversation again: no fallback, and no other model's matter.
        refused = RequestRefused(upstream_failure(400, words, kind, headers).message, upstream_status=status)
        refused.details = details
        return refused
    return upstream_failure(status, words, f"{kind} {said(fields.get('code'))}", headers)


def write(error: GatehouseError, request_id: str) -> bytes:
    """The body of an error answer, and the data of an error event."""
    inner: dict[str, Any] = {"type": _TYPES.get(error.http_status, "api_error"), "message": _message(error)}
    details = _details(error)
    if details is not None:
        inner["details"] = details
    return msgspec.json.encode({"type": "error", "error": inner, "request_id": request_id})


def _details(error: GatehouseError) -> dict[str, Any] | None:
    """What the vendor's SDKs read to send the conversation again, whole (their `ThreadUnsupportedRequestError`)."""
    if isinstance(error, AllTargetsFailed):
        error = error.last
    if isinstance(error, HeldByOtherProvider):
        return {"error_code": f"{_THREAD}unsupported_request"}
    return dict(error.details) if isinstance(error, RequestRefused) and error.details is not None else None


# Claude Code summarises a conversation when an error says so in these words, which are Anthropic's own.
TOO_LONG = "prompt is too long"
_ALSO_TOO_LONG = "exceed context limit"


def _message(error: GatehouseError) -> str:
    """What the error says; that a prompt is too long in the words that the vendor's clients look for."""
    cause = error.last if isinstance(error, AllTargetsFailed) else error
    said_so = error.message.lower()
    if isinstance(cause, ContextWindowExceeded) and TOO_LONG not in said_so and _ALSO_TOO_LONG not in said_so:
        return f"{TOO_LONG}: {error.message}"
    return error.message
