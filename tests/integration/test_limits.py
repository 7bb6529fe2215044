"""Limits of an app through HTTP: told on every answer, refused in the words of the surface that was called."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.asking import ask
from tests.configs import assert_refused
from tests.live import Gateway, running_gateway

YAML = """
version: 1
providers: {pretend: {kind: simulated}}
models: {quick: {targets: [pretend/m]}}
apps:
  one: {keys: [test-key], limits: {requests: [3 per hour, 100 per day]}}
  two: {keys: [other-key], limits: {requests: 2 per minute}}
  free: {keys: [free-key]}
observe: {log: "off"}
"""
SHAPES = {"openai": b"rate_limit_exceeded", "anthropic": b"rate_limit_error", "gemini": b"RESOURCE_EXHAUSTED"}


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Gateway]:
    with running_gateway(YAML, tmp_path) as running:
        yield running


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("surface", SHAPES)
def test_so_many_and_no_more(gateway: Gateway, surface: str, stream: bool) -> None:
    for left in ("2", "1", "0"):
        answer = ask(gateway, surface, "quick", "Hello", stream=stream)
        assert answer.status == 200
        assert answer.headers["x-ratelimit-limit-requests"] == "3"
        assert answer.headers["x-ratelimit-remaining-requests"] == left
    refused = ask(gateway, surface, "quick", "Hello", stream=stream)
    assert refused.status == 429
    assert SHAPES[surface] in refused.body
    assert refused.headers["x-ratelimit-remaining-requests"] == "0"
    # Told in whole seconds, and never longer than anybody would wait.
    assert 1 <= int(refused.headers["retry-after"]) <= 120
    assert refused.headers["x-gatehouse-attempts"] == "0"


def test_each_app_has_its_own_and_who_has_none_is_told_none(gateway: Gateway) -> None:
    body = {"model": "quick", "messages": [{"role": "user", "content": "Hello"}]}

    def asked(key: str) -> tuple[int, str]:
        answer = gateway.request("POST", "/v1/chat/completions", body, {"authorization": f"Bearer {key}"})
        return answer.status, answer.headers.get("x-ratelimit-remaining-requests", "-")

    assert [asked("other-key") for _ in range(3)] == [(200, "1"), (200, "0"), (429, "0")]
    assert asked("test-key") == (200, "2")
    assert [asked("free-key") for _ in range(5)] == [(200, "-")] * 5
    # What is wrong with a request is told before it is counted.
    wrong = gateway.request("POST", "/v1/chat/completions", {**body, "model": "none"})
    assert wrong.status == 404
    assert asked("test-key") == (200, "1")


@pytest.mark.parametrize(
    ("limits", "wanted"),
    [
        ("{requests: 600}", "is not a rate"),
        ("{requests: 0 per minute}", "is not a rate"),
        ("{requests: 5 per week}", "is not a rate"),
        ("{requests: []}", "nothing is limited"),
        ("{}", "nothing is limited"),
        ("{shadow: true}", "nothing is limited"),
        ("{requests: 5 per minute, bytes: 1}", "no option|there is no|unknown"),
        ("{max_concurrent: 0}", "max_concurrent"),
    ],
)
def test_bad_limits_are_refused(tmp_path: Path, limits: str, wanted: str) -> None:
    assert_refused(
        tmp_path,
        "version: 1\nproviders: {p: {kind: simulated}}\nmodels: {m: {targets: [p/m]}}\n"
        f"apps: {{a: {{keys: [a-key-of-some-length], limits: {limits}}}}}\n",
        wanted,
    )
