from __future__ import annotations

import json

import pytest
from anthropic.types import BetaErrorResponse
from hypothesis import given, settings
from hypothesis import strategies as st

from contract.errors import (
    ContentRefused,
    ContextWindowExceeded,
    CredentialRefused,
    GatehouseError,
    InternalFault,
    InvalidRequest,
    NotAllowed,
    Overloaded,
    RateLimited,
    RequestRefused,
    RequestTooLarge,
    ServerFault,
    TimedOut,
    Unauthenticated,
    UnknownModel,
    UpstreamError,
    UpstreamNotFound,
)
from gateway.dialects.anthropic import AnthropicMessages

DIALECT = AnthropicMessages()
INVALID = "invalid_request_error"


@pytest.mark.parametrize(
    ("status", "kind", "message", "error"),
    [
        (400, INVALID, "messages: at least one message is required", RequestRefused),
        (400, INVALID, "prompt is too long: 210000 tokens > 200000 maximum", ContextWindowExceeded),
        (400, INVALID, "input length and `max_tokens` exceed context limit: 1 + 2 > 2", ContextWindowExceeded),
        (400, INVALID, "Output blocked by content filtering policy", ContentRefused),
        (400, INVALID, "Your credit balance is too low to access the API", CredentialRefused),
        (400, "billing_error", "pay", CredentialRefused),
        (401, "authentication_error", "invalid x-api-key: sk-ant-api03-secret", CredentialRefused),
        (402, "billing_error", "pay", CredentialRefused),
        (403, "permission_error", "no", CredentialRefused),
        (404, "not_found_error", "model: claude-9", UpstreamNotFound),
        (409, "conflict_error", "again", Overloaded),
        (413, "request_too_large", "Request exceeds the maximum size", RequestTooLarge),
        (429, "rate_limit_error", "slow", RateLimited),
        (500, "api_error", "sk-ant-api03-secret broke", ServerFault),
        (504, "timeout_error", "late", TimedOut),
        (529, "overloaded_error", "Overloaded", Overloaded),
        (400, INVALID, "bad header sk-ant-api03-secret_x-y.", RequestRefused),
    ],
)
def test_errors_are_read(status: int, kind: str, message: str, error: type[UpstreamError]) -> None:
    body = {"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_1"}
    got = DIALECT.read_error(status, {}, json.dumps(body).encode())
    assert type(got) is error
    assert got.upstream_status >= 400
    assert "secret" not in got.message


@pytest.mark.parametrize(
    ("headers", "low", "high"),
    [
        ({"retry-after": "7"}, 7, 7),
        ({"retry-after-ms": "1500", "retry-after": "2"}, 1.5, 1.5),
        ({"retry-after": "Wed, 21 Oct 2099 07:28:00 GMT"}, 1e9, 1e10),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0, 0),
    ],
)
def test_how_long_to_wait(headers: dict[str, str], low: float, high: float) -> None:
    for status in (429, 529):
        wait = DIALECT.read_error(status, headers, b"").retry_after_s
        assert wait is not None
        assert low <= wait <= high


@settings(deadline=None)
@given(st.integers(400, 599), st.binary(max_size=80) | st.just(b"[" * 5000))
def test_any_body_is_an_error(status: int, body: bytes) -> None:
    assert isinstance(DIALECT.read_error(status, {}, body), UpstreamError)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (InvalidRequest("'n' must be an integer", param="n"), INVALID),
        (Unauthenticated("no key"), "authentication_error"),
        (NotAllowed("no"), "permission_error"),
        (UnknownModel("no such model"), "not_found_error"),
        (RateLimited("slow"), "rate_limit_error"),
        (ContextWindowExceeded("prompt is too long"), INVALID),
        (TimedOut("late", phase="idle"), "timeout_error"),
        (Overloaded("busy"), "overloaded_error"),
        (CredentialRefused("our key"), "api_error"),
        (InternalFault("ours"), "api_error"),
    ],
)
def test_errors_are_written(error: GatehouseError, kind: str) -> None:
    body = DIALECT.write_error(error, "req_1")
    BetaErrorResponse.model_validate_json(body)
    assert json.loads(body) == {
        "type": "error",
        "error": {"type": kind, "message": error.message},
        "request_id": "req_1",
    }
