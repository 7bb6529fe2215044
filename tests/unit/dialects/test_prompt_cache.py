"""Marks of Anthropic's prompt cache: on long stable prefixes, and only where a caller has placed none."""

from __future__ import annotations

import json
from typing import Any

import pytest

from contract.dialect import InboundCall, WireOptions
from gateway.dialects.anthropic import AnthropicMessages
from gateway.dialects.openai_chat import OpenAIChat

LONG = "The rules of the house are many. " * 200


def written(body: dict[str, Any], *, on: bool = True) -> dict[str, Any]:
    request = OpenAIChat().read_request(json.dumps({"model": "m", **body}).encode(), InboundCall())
    options = WireOptions("claude", stream=False, prompt_cache=on)
    found: dict[str, Any] = json.loads(AnthropicMessages().write_request(request, options).body)
    return found


def messages(*texts: str, system: str = "") -> list[dict[str, str]]:
    head = [{"role": "system", "content": system}] if system else []
    return head + [{"role": ("user", "assistant")[place % 2], "content": text} for place, text in enumerate(texts)]


def marks(body: dict[str, Any]) -> int:
    return json.dumps(body).count("cache_control")


def test_a_long_system_prompt_is_marked_at_its_end() -> None:
    found = written({"messages": messages("Hi", system=LONG)})
    assert found["system"][-1]["cache_control"] == {"type": "ephemeral"}
    assert marks(found) == 1
    assert found["messages"] == written({"messages": messages("Hi", system=LONG)}, on=False)["messages"]


def test_earlier_turns_are_marked_and_the_last_is_not() -> None:
    found = written({"messages": messages("One", LONG, "Two", system="Be brief.")})
    assert found["messages"][1]["content"][-1]["cache_control"] == {"type": "ephemeral"}
    assert marks(found) == 1


def test_tools_are_marked_where_there_is_no_system_prompt() -> None:
    tool = {"type": "function", "function": {"name": "f", "description": LONG, "parameters": {"type": "object"}}}
    found = written({"messages": messages("Hi"), "tools": [tool]})
    assert found["tools"][-1]["cache_control"] == {"type": "ephemeral"}


@pytest.mark.parametrize("body", [messages("Hi", system="Be brief."), messages("Hi"), messages("a", "b", "c")])
def test_short_prompts_are_left_alone(body: list[dict[str, str]]) -> None:
    assert written({"messages": body}) == written({"messages": body}, on=False)


def test_a_callers_own_marks_stay_the_only_ones() -> None:
    body = {
        "model": "m",
        "max_tokens": 5,
        "system": [
            {"type": "text", "text": LONG},
            {"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}},
        ],
        "messages": messages("One", LONG, "Two"),
    }
    request = AnthropicMessages().read_request(json.dumps(body).encode(), InboundCall())
    wire = AnthropicMessages().write_request(request, WireOptions("c", stream=False, prompt_cache=True))
    assert json.loads(wire.body)["system"] == body["system"]
    assert marks(json.loads(wire.body)) == 1
