"""Errors as OpenAI writes them: `{"error": {"message", "type", "param", "code"}}`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from gateway.dialects.failures import read_body, said, upstream_failure, words_within

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
    """A provider's error answer. Bodies that are not JSON are fine: the status speaks."""
    value, page = read_body(body)
    if page:
        return upstream_failure(status, "", "", headers, page=True)
    return from_object(status, headers, within(value))


def within(value: object) -> object:
    """The error object in a body or an event: what its `error` says, with the codes beside it; else all of it."""
    if not isinstance(value, dict):
        return value
    inner = value.get("error")
    if isinstance(inner, dict):
        return inner
    if isinstance(inner, str) and inner:
        # xAI and TGI have a text there, with a code beside it, and Scaleway a message.
        message = f"{inner}: {said(value['message'])}" if value.get("message") else inner
        return {"message": message, "code": value.get("code"), "type": value.get("error_type") or value.get("type")}
    return value


def from_object(status: int, headers: dict[str, str], error: object) -> UpstreamError:
    """The same from the error object itself, as it also comes inside a stream or a 200 (status 0: none is known)."""
    if not isinstance(error, dict):
        return upstream_failure(status, said(error), "", headers)
    fields: dict[str, Any] = error
    message = words_within(fields)
    code = " ".join(said(fields.get(key)) for key in ("code", "type", "status", "Code"))
    for key in ("innererror", "metadata"):
        inner = fields.get(key)
        if isinstance(inner, dict):
            message, code = _read_inner(inner, message, code)
    param = fields.get("param")
    return upstream_failure(status, message, code, headers, param if isinstance(param, str) else "")


def _read_inner(inner: dict[str, Any], message: str, code: str) -> tuple[str, str]:
    """What Azure's `innererror` and OpenRouter's `metadata` add: there the words of the provider behind it stand."""
    code += f" {said(inner.get('code'))}"
    if inner.get("flagged_input"):
        code += " content_filter"
    raw = inner.get("raw")
    if isinstance(raw, str) and raw:
        value, page = read_body(raw.encode())
        told = within(value)
        message = "" if page else words_within(told) or message
        code += " ".join(["", *[said(told.get(key)) for key in ("code", "type")]]) if isinstance(told, dict) else ""
    return message, code


def status_of(error: object) -> int:
    """The HTTP status that an error inside a 200 or a stream stands for: its numeric code, or by its type; else 0."""
    if not isinstance(error, dict):
        return 0
    for key in ("code", "status", "status_code"):
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
    return 0


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
