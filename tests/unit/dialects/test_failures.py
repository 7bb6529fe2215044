"""What the errors of many hosts mean, each in its host's own shape."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from contract.errors import CredentialRefused, RateLimited, RequestTooLarge, UpstreamError
from gateway.dialects.anthropic import AnthropicMessages
from gateway.dialects.failures import normalize_message, retry_after
from gateway.dialects.gemini_generate import GeminiGenerate
from gateway.dialects.openai_chat import OpenAIChat

DIALECTS: dict[str, Any] = {"openai": OpenAIChat(), "anthropic": AnthropicMessages(), "gemini": GeminiGenerate()}
NGINX = "<html>\r\n<head><title>{0}</title></head>\r\n<body><center><h1>{0}</h1></center><hr>nginx</body></html>"


def openai(message: str, code: str | int | None = None, kind: str = "invalid_request_error") -> dict[str, Any]:
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


class Said(msgspec.Struct, frozen=True):
    """What a host says, in its dialect, and what that means: a line of `failures.jsonl`."""

    host: str
    dialect: str
    status: int
    kind: str
    body: Any


HOSTS = [
    msgspec.json.decode(line, type=Said)
    for line in Path(__file__).with_name("failures.jsonl").read_bytes().splitlines()
]


def read(dialect: str, status: int, body: Any, headers: dict[str, str] | None = None) -> UpstreamError:
    data = body if isinstance(body, str) else json.dumps(body)
    error: UpstreamError = DIALECTS[dialect].read_error(status, headers or {}, data.encode())
    return error


@pytest.mark.parametrize("said", HOSTS, ids=lambda said: f"{said.host} {said.status} {said.kind}")
def test_what_hosts_say(said: Said) -> None:
    error = read(said.dialect, said.status, said.body)
    assert error.kind == said.kind
    assert error.upstream_status == said.status
    # What is ours to mend is never the caller's mistake.
    assert (error.http_status < 500) == (said.kind in ("bad_request", "context_window", "refusal", "rate_limited"))


@pytest.mark.parametrize("dialect", DIALECTS)
def test_marks_lists_and_events_around_an_error(dialect: str) -> None:
    inner = {"error": {"message": "prompt is too long", "type": "x"}}
    for body in (inner, [inner]):
        text = json.dumps(body)
        for data in (text, "\ufeff" + text, f"data: {text}\n\n", f"event: error\ndata: {text}\n\n"):
            assert read(dialect, 400, data).kind == "context_window"


def test_which_keys_rest() -> None:
    for status, body, at_fault in (
        (401, {}, True),
        (403, {}, True),
        (400, openai("Incorrect API key provided"), True),
        (429, openai("x", "insufficient_quota"), True),
        (400, openai("User location is not supported for the API use."), False),
        (403, "<html>blocked</html>", False),
    ):
        error = read("openai", status, body)
        assert isinstance(error, CredentialRefused)
        assert error.key_at_fault is at_fault


def test_a_request_beyond_the_whole_limit_is_not_repeated() -> None:
    for requested, repeated in ((8000, False), (5000, True)):
        error = read("openai", 413, openai(f"on tokens per minute (TPM): Limit 6000, Used 4000, Requested {requested}"))
        assert isinstance(error, RateLimited)
        assert error.may_be_repeated is repeated


@pytest.mark.parametrize(
    ("words", "seconds"),
    [("Please try again in 6ms.", 0.006), ("try again in 1m2.5s", 62.5), ("try again in 18m20.589s", 1100.589),
     ("Try again in 2h", 7200.0), ("Please retry after 20 seconds.", 20.0),
        ("Please retry in 34.07s.", 34.07),
        ("try again in 300 milliseconds", 0.3),
        ("try again in a while", None)],
)  # fmt: skip
def test_the_pause_in_words(words: str, seconds: float | None) -> None:
    assert read("openai", 429, openai(words)).retry_after_s == seconds
    assert read("openai", 429, openai(words), {"retry-after": "3"}).retry_after_s == 3
    assert retry_after({}) is None


def test_bytes_and_tokens_are_told_apart() -> None:
    for body, large in ((NGINX.format("413"), True), (openai("context_length_exceeded"), False)):
        error = read("openai", 413, body)
        assert isinstance(error, RequestTooLarge) is large
        assert error.http_status == (413 if large else 400)
        assert "nginx" not in error.message


def test_quotes_are_no_apostrophes() -> None:
    assert normalize_message("This model's limit isn't 'my words' or `that`") == "this model's limit isn't _ or _"
