"""Public reports about marks of Anthropic's prompt cache that clients of another dialect send."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.reports.vendors import Request, anthropic_reply, gemini_reply, house, openai_reply, response, user

MARK = {"type": "ephemeral"}
HOUR = {"type": "ephemeral", "ttl": "1h"}


def tool(**beside: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}, **beside}


@pytest.mark.report(
    "contents", "cache_control on OpenAI's parts, messages or tools reaches Anthropic at the same place"
)
def test_marks_cross(tmp_path: Path) -> None:
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    with house(tmp_path) as it:
        it.chat("a", [{"role": "system", "content": [{"type": "text", "text": "long", "cache_control": HOUR}]}, user()])
        assert it.last["system"] == [{"type": "text", "text": "long", "cache_control": HOUR}]

        it.chat(
            "a", [{"role": "system", "content": "long", "cache_control": MARK}, {**user("hi"), "cache_control": MARK}]
        )
        assert it.last["system"][0]["cache_control"] == MARK
        assert it.last["messages"][0]["content"] == [{"type": "text", "text": "hi", "cache_control": MARK}]

        it.chat("a", tools=[tool(cache_control=MARK)])
        assert it.last["tools"][0]["cache_control"] == MARK
        it.chat("a", tools=[{"type": "function", "function": {"name": "f", "cache_control": MARK}}])
        assert it.last["tools"][0]["cache_control"] == MARK

        result = {"role": "tool", "tool_call_id": "c", "content": "1", "cache_control": MARK}
        it.chat("a", [user(), {"role": "assistant", "content": None, "tool_calls": [call]}, result], tools=[tool()])
        assert it.last["messages"][2]["content"][0]["cache_control"] == MARK

        it.chat("a", cache_control=MARK)
        assert it.last["cache_control"] == MARK


@pytest.mark.report(
    "contents", "Anthropic gets the last four cache_control marks, and x-gatehouse-dropped-params reports any others"
)
def test_four_marks_at_most(tmp_path: Path) -> None:
    parts = [{"type": "text", "text": str(number), "cache_control": MARK} for number in range(6)]
    with house(tmp_path) as it:
        answer = it.chat("a", [user(parts)])
        marks = ["cache_control" in block for block in it.last["messages"][0]["content"]]
        assert marks == [False, False, True, True, True, True]
        assert "cache_control" in answer.headers["x-gatehouse-dropped-params"]
        # Anthropic's own callers are told by Anthropic.
        it.messages("a", [user(parts)])
        assert json.dumps(it.last).count("cache_control") == 6


@pytest.mark.report(
    "contents", "cache_control is dropped for providers without it, even with `unsupported_params: refuse`"
)
def test_marks_do_no_harm(tmp_path: Path) -> None:
    models = "  strict: {targets: [o/gpt-x, g/gemini-x], unsupported_params: refuse}\n"
    block = {"type": "text", "text": "long", "cache_control": MARK}
    with house(tmp_path, models=models) as it:
        for model in ("o", "g", "strict"):
            assert it.messages(model, [user([block])], system=[block]).status == 200
            assert "cache_control" not in json.dumps(it.last)
        marked = [{"role": "user", "content": [block], "cache_control": MARK}]
        it.chat("o", marked, tools=[tool(cache_control=MARK)])
        assert it.last["messages"] == marked
        assert it.last["tools"] == [tool(cache_control=MARK)]


@pytest.mark.report("contents", "Reads and writes of a provider's prompt cache appear in each API's own usage fields")
def test_counts_of_the_cache(tmp_path: Path) -> None:
    def script(request: Request) -> bytes:
        if ":" in request.path:
            counts = {
                "promptTokenCount": 10,
                "candidatesTokenCount": 2,
                "totalTokenCount": 12,
                "cachedContentTokenCount": 6,
            }
            return response({**gemini_reply(), "usageMetadata": counts})
        if request.path.endswith("/messages"):
            counts = {
                "input_tokens": 1,
                "output_tokens": 2,
                "cache_read_input_tokens": 6,
                "cache_creation_input_tokens": 3,
            }
            return response({**anthropic_reply(), "usage": counts})
        counted = {"prompt_tokens": 10, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 6}}
        return response({**openai_reply(), "usage": counted})

    with house(tmp_path, script) as it:
        for model in ("o", "a", "g"):
            assert it.chat(model).json()["usage"]["prompt_tokens_details"]["cached_tokens"] == 6
            assert it.chat(model).json()["usage"]["prompt_tokens"] == 10
            assert it.messages(model).json()["usage"]["cache_read_input_tokens"] == 6
            assert it.generate(model).json()["usageMetadata"]["cachedContentTokenCount"] == 6
        assert it.chat("a").json()["usage"]["prompt_tokens_details"]["cache_write_tokens"] == 3
