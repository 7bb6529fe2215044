"""Errors as Google writes them: `{"error": {"code", "message", "status", "details"}}`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from gateway.dialects.failures import read_body, said, upstream_failure, words_within

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
    """A provider's error answer. Bodies that are not JSON are fine: the status speaks."""
    value, page = read_body(body)
    if page:
        return upstream_failure(status, "", "", headers, page=True)
    inner = value.get("error") if isinstance(value, dict) else None
    return _from_object(status, inner if inner else value, headers)


def within(error: object) -> UpstreamError:
    """The error in a stream or in a 200."""
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
    code = f"{said(fields.get('status'))} {said(fields.get('code'))} {reasons}"
    found = upstream_failure(status, words_within(error), code, headers)
    if found.retry_after_s is None:
        found.retry_after_s = wait
    return found


def _details(details: list[Any]) -> tuple[str, float | None]:
    """The reasons that are given, and the pause that a RetryInfo asks for."""
    reasons = []
    wait = None
    for detail in details:
        if not isinstance(detail, dict):
            continue
        reasons.append(said(detail.get("reason")))
        delay = said(detail.get("retryDelay"))
        if delay.endswith("s") and delay[:-1].replace(".", "", 1).isdigit():
            wait = float(delay[:-1])
    return " ".join(reasons), wait


def write(error: GatehouseError) -> bytes:
    """The body of an error answer."""
    return msgspec.json.encode({"error": to_object(error)})


def to_object(error: GatehouseError) -> dict[str, Any]:
    """The error object."""
    status = error.http_status
    name = _NAMES.get(status, "INTERNAL" if status >= 500 else "INVALID_ARGUMENT")
    found: dict[str, Any] = {"code": status, "message": error.message, "status": name}
    found["details"] = [
        {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": error.code.upper(), "domain": "gatehouse"}
    ]
    return found
