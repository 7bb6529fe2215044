"""Public reports about coding agents that speak Anthropic's dialect to other vendors' models."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.reports.vendors import Request, gemini_reply, house, openai_reply, response

LINE = "x-anthropic-billing-header: cc_version=2.1.177.01c; cc_entrypoint=cli; cch=36ee5;"
OPENAI = "This model's maximum context length is 128000 tokens. However, your messages resulted in 130000 tokens."
GEMINI = "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576)."


def too_long(request: Request) -> bytes:
    error: dict[str, Any] = {"message": OPENAI, "type": "invalid_request_error", "code": "context_length_exceeded"}
    if "generateContent" in request.path:
        error = {"code": 400, "message": GEMINI, "status": "INVALID_ARGUMENT"}
    elif request.path.endswith("/messages"):
        error = {"type": "invalid_request_error", "message": "Prompt is too long: 215692 tokens > 200000 maximum"}
    return response({"type": "error", "error": error}, status="400 Bad Request")


@pytest.mark.report("agents", "A context overflow error has the wording that Claude Code recognizes")
@pytest.mark.parametrize("model", ["o", "g", "a", "both"])
def test_prompts_that_are_too_long(tmp_path: Path, model: str) -> None:
    with house(tmp_path, too_long, models="  both: {targets: [o/gpt-x, g/gemini-x]}\n") as it:
        answer = it.messages(model)
        told = answer.json()["error"]
        assert (answer.status, told["type"]) == (400, "invalid_request_error")
        assert told["message"].lower().count("prompt is too long") == 1
        if model != "both":
            assert it.chat(model).json()["error"]["code"] == "context_length_exceeded"
            assert "prompt is too long" not in it.chat(model).json()["error"]["message"] or model == "a"


@pytest.mark.report(
    "agents", "Claude Code's billing line is removed for other providers, so that their prompt caches work"
)
@pytest.mark.parametrize(
    ("system", "left"),
    [
        ([{"type": "text", "text": LINE}, {"type": "text", "text": "You are X."}], "You are X."),
        (LINE + "\nYou are X.", "You are X."),
        ([{"type": "text", "text": LINE}], None),
        ("Explain what " + LINE + " means.", "Explain what " + LINE + " means."),
    ],
)
def test_billing_lines(tmp_path: Path, system: Any, left: str | None) -> None:
    with house(tmp_path) as it:
        answer = it.messages("o", system=system)
        sent = it.last["messages"]
        assert sent[0] == {"role": "system", "content": left} if left else sent[0]["role"] == "user"
        assert answer.headers.get("x-gatehouse-dropped-params") == (None if left == system else "system")
        it.messages("g", system=system)
        assert it.last.get("systemInstruction") == ({"parts": [{"text": left}]} if left else None)
        it.messages("a", system=system)
        assert LINE in str(it.last["system"])


@pytest.mark.report("agents", "A token count includes the system prompt and the tools")
def test_counts_of_tokens(tmp_path: Path) -> None:
    tool = {"name": "f", "description": "Does a thing. " * 100, "input_schema": {"type": "object"}}
    asked = {"model": "o", "messages": [{"role": "user", "content": "hi"}]}
    with house(tmp_path) as it:
        counts = [
            it.gateway.request("POST", "/v1/messages/count_tokens?beta=true", {**asked, **more}).json()["input_tokens"]
            for more in ({}, {"system": "You are X. " * 100}, {"tools": [tool]})
        ]
        assert not it.upstream.requests
        result = {
            "type": "search_result",
            "source": "a",
            "title": "b",
            "content": [{"type": "text", "text": "x y " * 300}],
        }
        again = {**asked, "messages": [{"role": "user", "content": [result]}]}
        count = it.gateway.request("POST", "/v1/messages/count_tokens", again).json()["input_tokens"]
    assert 400 < count < 1000
    assert counts[0] < 20
    assert 300 < counts[1] < 600
    assert 300 < counts[2] < 600


@pytest.mark.report(
    "agents", "An Anthropic stream starts with a prompt token count for every provider and ends with the provider's own"
)
@pytest.mark.parametrize("model", ["o", "g", "a"])
def test_tokens_at_the_beginning(tmp_path: Path, model: str) -> None:
    with house(tmp_path) as it:
        answer = it.messages(model, [{"role": "user", "content": "How are you? " * 100}], stream=True)
    payloads = [json.loads(line[6:]) for line in answer.body.splitlines() if line.startswith(b"data: ")]
    begun = payloads[0]["message"]["usage"]["input_tokens"]
    ended = next(each["usage"] for each in payloads if each["type"] == "message_delta")
    assert 300 < begun < 600 if model == "o" else begun == 5
    assert ended.get("input_tokens", 5) == 5


@pytest.mark.report("agents", "An empty answer is an error, never a successful response")
def test_empty_answers(tmp_path: Path) -> None:
    def script(request: Request) -> bytes:
        return response(gemini_reply({"text": ""}) if "generateContent" in request.path else openai_reply(""))

    with house(tmp_path, script) as it:
        for model in ("o", "g"):
            assert it.messages(model).status == 502
