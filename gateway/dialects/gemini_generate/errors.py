"""Errors as Google writes them: `{"error": {"code", "message", "status", "details"}}`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from gateway.dialects.failures import as_text, find_message, read_body, upstream_failure

if TYPE_CHECKING:
    from contract.errors import GatehouseError, UpstreamError

_NAMES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    405: "INVALID_ARGUMENT",
    408: "DEADLINE_EXCEEDED",
    413: "INVALID_ARGUMENT",
    415: "INVALID_ARGUMENT",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    502: "INTERNAL",
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
    "ABORTED": 503,
    "RESOURCE_EXHAUSTED": 429,
    "CANCELLED": 503,
    "INTERNAL": 500,
    "UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 504,
}


def read(status: int, headers: dict[str, str], body: bytes) -> UpstreamError:
    """Reads a provider's error response. If the body is not JSON, the status decides."""
    value, page = read_body(body)
    if page:
        return upstream_failure(status, "", "", headers, page=True)
    inner = value.get("error") if isinstance(value, dict) else None
    return _from_object(status, inner if inner else value, headers)


def read_embedded(error: object) -> UpstreamError:
    """Reads the error in a stream or in a response of status 200."""
    status = 0
    if isinstance(error, dict):
        status = _STATUSES.get(str(error.get("status")), 0)
        code = error.get("code")
        if isinstance(code, int) and 400 <= code < 600:
            status = code
    return _from_object(status, error, {})


def _from_object(status: int, error: object, headers: dict[str, str]) -> UpstreamError:
    fields: dict[str, Any] = error if isinstance(error, dict) else {}
    details = fields.get("details")
    reasons, wait = _details(details if isinstance(details, list) else [])
    code = f"{as_text(fields.get('status'))} {as_text(fields.get('code'))} {reasons}"
    failure = upstream_failure(status, find_message(error), code, headers)
    if failure.retry_after_s is None:
        failure.retry_after_s = wait
    return failure


def _details(details: list[Any]) -> tuple[str, float | None]:
    """The reasons, and the delay of a RetryInfo."""
    reasons = []
    wait = None
    for detail in details:
        if not isinstance(detail, dict):
            continue
        reasons.append(as_text(detail.get("reason")))
        delay = as_text(detail.get("retryDelay"))
        if delay.endswith("s") and delay[:-1].replace(".", "", 1).isdigit():
            wait = float(delay[:-1])
    return " ".join(reasons), wait


def write(error: GatehouseError) -> bytes:
    """The body of an error response."""
    return msgspec.json.encode({"error": to_object(error)})


def to_object(error: GatehouseError) -> dict[str, Any]:
    """The error as an object."""
    status = error.http_status
    name = _NAMES.get(status, "INTERNAL" if status >= 500 else "INVALID_ARGUMENT")
    failure: dict[str, Any] = {"code": status, "message": error.message, "status": name}
    failure["details"] = [
        {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": error.code.upper(), "domain": "gatehouse"}
    ]
    return failure
