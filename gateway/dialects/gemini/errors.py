"""Errors as Google writes them: `{"error": {"code", "message", "status", "details"}}`, by itself or in an array."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import msgspec

from gateway.contract.errors import ContextWindowExceeded, CredentialRefused
from gateway.dialects.failures import upstream_failure

if TYPE_CHECKING:
    from gateway.contract.errors import GatehouseError, UpstreamError

_TYPE = "type.googleapis.com/google.rpc."
_NAMES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    405: "UNIMPLEMENTED",
    409: "ABORTED",
    413: "INVALID_ARGUMENT",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    500: "INTERNAL",
    501: "UNIMPLEMENTED",
    502: "UNAVAILABLE",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
_STATUSES = {
    "INVALID_ARGUMENT": 400,
    "FAILED_PRECONDITION": 400,
    "OUT_OF_RANGE": 400,
    "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403,
    "NOT_FOUND": 404,
    "ABORTED": 409,
    "RESOURCE_EXHAUSTED": 429,
    "INTERNAL": 500,
    "UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 504,
}
_KEY_REASONS = frozenset({"API_KEY_INVALID", "API_KEY_EXPIRED", "API_KEY_SERVICE_BLOCKED", "ACCESS_TOKEN_EXPIRED"})
_KEY_WORDS = ("api key not valid", "api key expired", "api key not found", "please pass a valid api key")
_ACCOUNT_WORDS = ("billing", "location is not supported")
_TOO_LONG = re.compile(r"token count.{0,40}exceeds the maximum", re.IGNORECASE)
_WAIT = re.compile(r"retry in ([0-9.]+)\s*s", re.IGNORECASE)
_SECRETS = re.compile(
    r"AIza[0-9A-Za-z_-]{10,}|\bAQ\.[0-9A-Za-z_-]{10,}|\bya29\.[0-9A-Za-z._-]+|(?i:\bkey[=:]\s*)[^\s&'\"]{6,}"
    r"|(?i:bearer\s+)[^\s'\"]{6,}"
)


def read(status: int, headers: dict[str, str], body: bytes) -> UpstreamError:
    """A provider's error answer. Bodies that are not JSON are fine: the status speaks."""
    try:
        value = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        value = None
    if isinstance(value, list) and value:
        value = value[0]
    return from_object(status, headers, value.get("error", value) if isinstance(value, dict) else None)


def from_object(status: int, headers: dict[str, str], error: object) -> UpstreamError:
    """The same from the error object itself, as it also comes inside a stream or a 200."""
    source: dict[str, Any] = error if isinstance(error, dict) else {}
    message = without_secrets(str(source.get("message") or (error if isinstance(error, str) else "")))
    listed = source.get("details")
    details = [item for item in listed if isinstance(item, dict)] if isinstance(listed, list) else []
    reasons = {str(item.get("reason")) for item in details if item.get("reason")}
    name = str(source.get("status") or "")
    words = message.lower()
    if reasons & _KEY_REASONS or any(word in words for word in _KEY_WORDS):
        return CredentialRefused("The provider refused our key", upstream_status=status)
    if name == "FAILED_PRECONDITION" and any(word in words for word in _ACCOUNT_WORDS):
        return CredentialRefused("The provider refuses our account or our place", upstream_status=status)
    if status == 400 and _TOO_LONG.search(message):
        return ContextWindowExceeded(message, upstream_status=status)
    if "retry-after" not in headers:
        wait = _retry_delay(details, message)
        headers = headers if wait is None else {**headers, "retry-after": wait}
    return upstream_failure(status, message, " ".join([name, *sorted(reasons)]), headers, _field(details))


def _retry_delay(details: list[dict[str, Any]], message: str) -> str | None:
    """The seconds of `RetryInfo`, or of the message, as the text of a number."""
    for item in details:
        delay = item.get("retryDelay")
        if isinstance(delay, str) and delay.endswith("s"):
            return delay[:-1]
    found = _WAIT.search(message)
    return found[1] if found else None


def _field(details: list[dict[str, Any]]) -> str:
    for item in details:
        violations = item.get("fieldViolations")
        if isinstance(violations, list) and violations and isinstance(violations[0], dict):
            return str(violations[0].get("field") or "")
    return ""


def without_secrets(message: str) -> str:
    """The message with whatever looks like a key or a token blotted out."""
    return _SECRETS.sub("[hidden]", message)


def status_of(error: object) -> int:
    """The HTTP status that an error inside a 200 or a stream stands for: its code, or by its name; else 500."""
    if not isinstance(error, dict):
        return 500
    code = error.get("code")
    if isinstance(code, int) and 400 <= code < 600:
        return code
    return _STATUSES.get(str(error.get("status")), 500)


def write(error: GatehouseError, request_id: str) -> bytes:
    """The body of an error answer, and of an error event. The SDK raises on an event that begins with `error`, and
    takes the class of what it raises from the numeric `code`.
    """
    status = error.http_status
    details: list[dict[str, Any]] = [
        {"@type": _TYPE + "ErrorInfo", "reason": error.code.upper(), "domain": "gatehouse"},
        {"@type": _TYPE + "RequestInfo", "requestId": request_id},
    ]
    if error.param:
        violation = {"field": error.param, "description": error.message}
        details.append({"@type": _TYPE + "BadRequest", "fieldViolations": [violation]})
    if error.retry_after_s is not None:
        details.append({"@type": _TYPE + "RetryInfo", "retryDelay": f"{error.retry_after_s:.3f}s"})
    name = _NAMES.get(status, "INVALID_ARGUMENT" if status < 500 else "INTERNAL")
    return msgspec.json.encode(
        {"error": {"code": status, "message": error.message, "status": name, "details": details}}
    )
