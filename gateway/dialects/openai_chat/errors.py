"""Errors as OpenAI writes them: `{"error": {"message", "type", "param", "code"}}`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from gateway.dialects.failures import said, upstream_failure

if TYPE_CHECKING:
    from gateway.contract.errors import GatehouseError, UpstreamError

_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "invalid_request_error",
    405: "invalid_request_error",
    408: "invalid_request_error",
    413: "invalid_request_error",
    415: "invalid_request_error",
    429: "rate_limit_error",
}


def read(status: int, headers: dict[str, str], body: bytes) -> UpstreamError:
    """A provider's error answer. Bodies that are not JSON are fine: the status speaks."""
    try:
        value = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        value = None
    return from_object(status, headers, value.get("error", value) if isinstance(value, dict) else None)


def from_object(status: int, headers: dict[str, str], error: object) -> UpstreamError:
    """The same from the error object itself, as it also comes inside a stream or a 200."""
    if isinstance(error, str):
        return upstream_failure(status, error, "", headers)
    fields: dict[str, Any] = error if isinstance(error, dict) else {}
    code = " ".join(said(fields.get(key)) for key in ("code", "type"))
    inner = fields.get("innererror")
    if isinstance(inner, dict):
        code += f" {inner.get('code') or ''}"
    param = fields.get("param")
    return upstream_failure(status, said(fields.get("message")), code, headers, param if isinstance(param, str) else "")


def status_of(error: object) -> int:
    """The HTTP status that an error inside a 200 or a stream stands for: its numeric code, or by its type; else 500."""
    if not isinstance(error, dict):
        return 500
    for key in ("code", "status"):
        try:
            status = int(error.get(key) or 0)
        except (ValueError, TypeError, OverflowError):
            continue
        if 400 <= status < 600:
            return status
    words = f"{error.get('type') or ''} {error.get('code') or ''}".lower()
    for word, status in _STATUS_WORDS:
        if word in words:
            return status
    return 500


_STATUS_WORDS = (
    ("rate_limit", 429),
    ("overloaded", 503),
    ("unavailable", 503),
    ("invalid_request", 400),
    ("context_length", 400),
    ("content_filter", 400),
    ("content_policy", 400),
    ("insufficient_quota", 429),
    ("authentication", 401),
    ("permission", 403),
    ("not_found", 404),
    ("timeout", 504),
)


def write(error: GatehouseError) -> bytes:
    """The body of an error answer."""
    return msgspec.json.encode({"error": to_object(error)})


def to_object(error: GatehouseError) -> dict[str, str | None]:
    """The error object."""
    return {
        "message": error.message,
        "type": _TYPES.get(error.http_status, "server_error"),
        "param": error.param or None,
        "code": error.code,
    }
