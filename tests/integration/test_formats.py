"""Formats through HTTP: what is cut, nested or guessed is asked again or refused, and the next answer is served."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.live import Answer, Gateway, running_gateway
from tests.recording import Recording

CUT = "A truncated answer is retried, then refused, even if its beginning parses"
VALUES_STAY = "JSON repair never changes a value; the gateway asks the model again instead of guessing"
DEEP = "A deeply nested answer is refused, and the next request succeeds"
FORMS = {
    "json": "format: json",
    "yaml": "format: yaml",
    "sql": "format: sql",
    "python": "format: python",
    "choice": "format: choice, choices: [yes, no]",
    "pattern": 'format: pattern, pattern: "[0-9]+"',
}
YAML = (
    """
version: 1
providers:
  up: {kind: openai, base_url: "http://127.0.0.1:PORT/v1", api_key: upstream-key}
models:
  plain: {targets: [up/m], retry: {attempts: 1}}
"""
    + "".join(f"  {name}: {{pipeline: {name}}}\n" for name in FORMS)
    + "guardrails:\n"
    + "".join(f"  {name}: {{kind: format, {form}, then: [repair, retry 1, block]}}\n" for name, form in FORMS.items())
    + "pipelines:\n"
    + "".join(f"  {name}: {{model: plain, guard_output: [{name}]}}\n" for name in FORMS)
    + """
apps:
  all: {keys: [test-key]}
observe: {log: "off"}
"""
)


@pytest.fixture(scope="module")
def gateway(recorder: Recording, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with running_gateway(YAML.replace("PORT", str(recorder.port)), tmp_path_factory.mktemp("formats")) as running:
        yield running


def _ask(gateway: Gateway, model: str) -> Answer:
    body = {"model": model, "messages": [{"role": "user", "content": "answer"}]}
    return gateway.request("POST", "/v1/chat/completions", body, timeout=60)


def _answers(upstream: Recording, *texts: str) -> None:
    def saying(text: str) -> Callable[[dict[str, Any]], str]:
        return lambda _: text

    upstream.answers = [saying(text) for text in texts]


@pytest.mark.guarantee("guardrails", CUT)
@pytest.mark.parametrize(
    ("form", "text"),
    [("json", "5"), ("yaml", "a: 1"), ("sql", "DELETE FROM orders"), ("python", "drop(x)"), ("choice", "no"),
     ("pattern", "12")],
)  # fmt: skip
def test_a_cut_answer_is_asked_again_and_refused(gateway: Gateway, upstream: Recording, form: str, text: str) -> None:
    _answers(upstream, text)
    assert _ask(gateway, form).json()["choices"][0]["message"]["content"] == text
    upstream.finish = "length"
    _answers(upstream, text, text)
    answer = _ask(gateway, form)
    assert answer.status == 400
    assert form in answer.json()["error"]["message"]
    assert "cut off" in upstream.bodies[-1]["messages"][-1]["content"]


@pytest.mark.guarantee("guardrails", VALUES_STAY)
@pytest.mark.parametrize("text", ["5 000", "12 EUR", "[1, 2, ...]", '{"a": -Infinity}'])
def test_what_would_be_a_guess_is_asked_again(gateway: Gateway, upstream: Recording, text: str) -> None:
    _answers(upstream, text, '{"a": 5000}')
    answer = _ask(gateway, "json")
    assert answer.status == 200
    assert json.loads(answer.json()["choices"][0]["message"]["content"]) == {"a": 5000}


@pytest.mark.guarantee("guardrails", VALUES_STAY)
def test_a_lone_surrogate_is_copied_as_it_was_written(gateway: Gateway, upstream: Recording) -> None:
    _answers(upstream, r"{'a': '\ud800', 'b': 1.10,}")
    answer = _ask(gateway, "json")
    assert answer.json()["choices"][0]["message"]["content"] == r'{"a": "\ud800", "b": 1.10}'


@pytest.mark.guarantee("guardrails", DEEP)
@pytest.mark.parametrize(
    ("form", "unit"), [("json", "["), ("json", '{"a":'), ("yaml", "- "), ("sql", "(select "), ("python", "-")]
)
def test_what_is_nested_deeply_is_refused(gateway: Gateway, upstream: Recording, form: str, unit: str) -> None:
    deep = unit * (100_000 if form == "json" else 20_000)
    _answers(upstream, deep, deep)
    assert _ask(gateway, form).status == 400
    _answers(upstream, {"json": "1", "yaml": "a: 1", "sql": "SELECT 1", "python": "x = 1"}[form])
    assert _ask(gateway, form).status == 200
