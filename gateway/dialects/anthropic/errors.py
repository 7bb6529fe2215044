"""Errors as Anthropic writes them: `{"type": "error", "error": {"type", "message"}, "request_id"}`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from contract.errors import AllTargetsFailed, ContextWindowExceeded, HeldByOtherProvider, RequestRefused
from gateway.dialects.failures import as_text, find_message, read_body, upstream_failure

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
# The prefix of codes in `details` that say why a thread can't continue.
_THREAD_CODE_PREFIX = "thread_"


def read(status: int, headers: dict[str, str], body: bytes) -> UpstreamError:
    """Reads a provider's error response. If the body is not JSON, the status decides."""
    value, page = read_body(body)
    if page:
        return upstream_failure(status, "", "", headers, page=True)
    inner = value.get("error") if isinstance(value, dict) else None
    # Proxies, and Bedrock, write a message without an error around it.
    return _failure(status, inner if inner else value, headers)


def read_embedded(error: object) -> UpstreamError:
    """Reads an error event, or the error in a response of status 200."""
    kind = error.get("type") if isinstance(error, dict) else None
    return _failure(_STATUSES.get(kind, 0) if isinstance(kind, str) else 0, error, {})


def _failure(status: int, error: object, headers: dict[str, str]) -> UpstreamError:
    fields = error if isinstance(error, dict) else {}
    kind = as_text(fields.get("type"))
    message = find_message(error)
    details = fields.get("details")
    if isinstance(details, dict) and as_text(details.get("error_code")).startswith(_THREAD_CODE_PREFIX):
        # Whatever the status, the caller must resend the conversation: a fallback to another model would not help.
        refused = RequestRefused(upstream_failure(400, message, kind, headers).message, upstream_status=status)
        refused.details = details
        return refused
    return upstream_failure(status, message, f"{kind} {as_text(fields.get('code'))}", headers)


def write(error: GatehouseError, request_id: str) -> bytes:
    """Writes the body of an error response, or the data of an error event."""
    inner: dict[str, Any] = {"type": _TYPES.get(error.http_status, "api_error"), "message": _message(error)}
    details = _details(error)
    if details is not None:
        inner["details"] = details
    return msgspec.json.encode({"type": "error", "error": inner, "request_id": request_id})


def _details(error: GatehouseError) -> dict[str, Any] | None:
    """The details that tell the vendor's SDKs to resend the full conversation (`ThreadUnsupportedRequestError`)."""
    if isinstance(error, AllTargetsFailed):
        error = error.last
    if isinstance(error, HeldByOtherProvider):
        return {"error_code": f"{_THREAD_CODE_PREFIX}unsupported_request"}
    return dict(error.details) if isinstance(error, RequestRefused) and error.details is not None else None


# Claude Code compacts a conversation if an error contains this text of Anthropic's.
TOO_LONG = "prompt is too long"
_ALSO_TOO_LONG = "exceed context limit"


def _message(error: GatehouseError) -> str:
    """The message; for a prompt that is too long, it contains the text that the vendor's clients look for."""
    cause = error.last if isinstance(error, AllTargetsFailed) else error
    message = error.message.lower()
    if isinstance(cause, ContextWindowExceeded) and TOO_LONG not in message and _ALSO_TOO_LONG not in message:
        return f"{TOO_LONG}: {error.message}"
    return error.message
