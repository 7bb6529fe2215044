"""Errors as OpenAI writes them: `{"error": {"message", "type", "param", "code"}}`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from gateway.dialects.failures import as_text, find_message, read_body, upstream_failure

if TYPE_CHECKING:
    from contract.errors import GatehouseError, UpstreamError

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
    """Reads a provider's error response. If the body is not JSON, the status decides."""
    value, page = read_body(body)
    if page:
        return upstream_failure(status, "", "", headers, page=True)
    return from_object(status, headers, error_object(value))


def error_object(value: object) -> object:
    """The error object in a body or an event: its `error`, with codes next to it; else the complete value."""
    if not isinstance(value, dict):
        return value
    inner = value.get("error")
    if isinstance(inner, dict):
        return inner
    if isinstance(inner, str) and inner:
        # At xAI and TGI it is a string with a code next to it, at Scaleway with a message.
        message = f"{inner}: {as_text(value['message'])}" if value.get("message") else inner
        return {"message": message, "code": value.get("code"), "type": value.get("error_type") or value.get("type")}
    return value


def from_object(status: int, headers: dict[str, str], error: object) -> UpstreamError:
    """Reads an error object, also from a stream or a response of status 200 (status 0: unknown)."""
    if not isinstance(error, dict):
        return upstream_failure(status, as_text(error), "", headers)
    fields: dict[str, Any] = error
    message = find_message(fields)
    code = " ".join(as_text(fields.get(key)) for key in ("code", "type", "status", "Code"))
    for key in ("innererror", "metadata"):
        inner = fields.get(key)
        if isinstance(inner, dict):
            message, code = _read_inner(inner, message, code)
    param = fields.get("param")
    return upstream_failure(status, message, code, headers, param if isinstance(param, str) else "")


def _read_inner(inner: dict[str, Any], message: str, code: str) -> tuple[str, str]:
    """Adds Azure's `innererror` and OpenRouter's `metadata`, which contains the original provider's error."""
    code += f" {as_text(inner.get('code'))}"
    if inner.get("flagged_input"):
        code += " content_filter"
    raw = inner.get("raw")
    if isinstance(raw, str) and raw:
        value, page = read_body(raw.encode())
        error = error_object(value)
        message = "" if page else find_message(error) or message
        if isinstance(error, dict):
            code += " ".join(["", *[as_text(error.get(key)) for key in ("code", "type")]])
    return message, code


def status_of(error: object) -> int:
    """The HTTP status of an error in a stream or a response of status 200: its numeric code, or by type; else 0."""
    if not isinstance(error, dict):
        return 0
    for key in ("code", "status", "status_code"):
        try:
            status = int(error.get(key) or 0)
        except (ValueError, TypeError, OverflowError):
            continue
        if 400 <= status < 600:
            return status
    codes = f"{error.get('type') or ''} {error.get('code') or ''}".lower()
    for code, status in _STATUS_OF_CODE:
        if code in codes:
            return status
    return 0


_STATUS_OF_CODE = (
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
    """The body of an error response."""
    return msgspec.json.encode({"error": to_object(error)})


def to_object(error: GatehouseError) -> dict[str, str | None]:
    """The error as an object."""
    return {
        "message": error.message,
        "type": _TYPES.get(error.http_status, "server_error"),
        "param": error.param or None,
        "code": error.code,
    }
