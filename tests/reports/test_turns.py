"""Public reports about turns that one vendor takes and the next refuses: blank ones, none of the user's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.reports.vendors import House, house, user

CALL = {"id": "t", "type": "function", "function": {"name": "f", "arguments": "{}"}}


def claude_texts(it: House) -> list[str]:
    """All texts that Anthropic got."""
    found: list[str] = []
    for message in [*it.last["messages"], {"content": it.last.get("system", [])}]:
        content = message["content"]
        found += [content] if isinstance(content, str) else []
        for block in content if isinstance(content, list) else ():
            if block["type"] == "text":
                found.append(block["text"])
            inner = block.get("content")
            found += [inner] if isinstance(inner, str) else [each["text"] for each in inner or ()]
    return found


@pytest.mark.report("turns", "A request with only a system prompt is valid for every provider")
def test_only_a_system_prompt(tmp_path: Path) -> None:
    with house(tmp_path) as it:
        for role in ("system", "developer"):
            answer = it.chat("g", [{"role": role, "content": "Say hi"}, {"role": role, "content": "twice"}])
            assert it.last["contents"] == [{"role": "user", "parts": [{"text": "Say hi"}, {"text": "twice"}]}]
            assert "systemInstruction" not in it.last
            assert answer.headers["x-gatehouse-dropped-params"] == "messages"
            it.chat("a", [{"role": role, "content": "Say hi"}])
            assert it.last["messages"] == [{"role": "user", "content": "Say hi"}]
            it.chat("o", [{"role": role, "content": "Say hi"}])
            assert it.last["messages"] == [{"role": role, "content": "Say hi"}]
        blank = {"role": "user", "content": [{"type": "text", "text": " "}]}
        it.chat("a", [{"role": "system", "content": "Say hi"}, blank])
        assert it.last["messages"] == [{"role": "user", "content": "Say hi"}]


@pytest.mark.report("turns", "Whitespace-only texts are not sent to Anthropic, which refuses them")
def test_blank_texts(tmp_path: Path) -> None:
    turns: list[Any] = [
        {"role": "system", "content": "  "},
        {"role": "system", "content": [{"type": "text", "text": "Be kind."}, {"type": "text", "text": "\t"}]},
        user([{"type": "text", "text": "hi"}, {"type": "text", "text": "\n"}, {"type": "text", "text": "\u3000"}]),
        {"role": "assistant", "content": " \n", "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "t", "content": " "},
        {"role": "assistant", "content": "\n\n"},
        user("go on"),
    ]
    with house(tmp_path) as it:
        it.chat("a", turns)
        assert claude_texts(it) == ["hi", "go on", "Be kind."]
        roles = [message["role"] for message in it.last["messages"]]
        assert roles == ["user", "assistant", "user"]
        parts = [{"role": "user", "parts": [{"text": "hi"}, {"text": " "}]}, {"role": "model", "parts": [{"text": ""}]}]
        it.generate("a", [*parts, {"role": "user", "parts": [{"text": "so?"}]}])
        assert claude_texts(it) == ["hi", "so?"]


@pytest.mark.report("turns", "Empty texts are not sent to Gemini, and turns without content are not sent to OpenAI")
def test_empty_turns(tmp_path: Path) -> None:
    with house(tmp_path) as it:
        it.chat("g", [user(), {"role": "assistant", "content": ""}, user([{"type": "text", "text": ""}]), user("so?")])
        assert it.last["contents"] == [{"role": "user", "parts": [{"text": "hi"}, {"text": "so?"}]}]
        it.messages("o", [user(), {"role": "assistant", "content": []}, user([]), user("so?")])
        assert it.last["messages"] == [user(), user("so?")]
        it.generate("o", [{"role": "user", "parts": []}, {"role": "user", "parts": [{"text": "so?"}]}])
        assert it.last["messages"] == [user("so?")]


@pytest.mark.report("turns", "A request with no content left is an error that says so, and does not reach a provider")
def test_nothing_to_say(tmp_path: Path) -> None:
    with house(tmp_path) as it:
        answers = [it.chat("a", [user(" "), {"role": "system", "content": "\n"}]), it.chat("g", [user("")])]
        answers += [it.messages("o", [user([])]), it.generate("o", [{"role": "user", "parts": []}])]
        assert not it.upstream.requests
    assert {answer.status for answer in answers} == {400}
    assert all("messages" in answer.json()["error"]["message"] for answer in answers)


@pytest.mark.report(
    "turns", "A conversation that starts with the assistant gets a user turn first, and the change is reported"
)
def test_the_assistant_begins(tmp_path: Path) -> None:
    turns = [{"role": "assistant", "content": "How can I help?"}, user()]
    with house(tmp_path) as it:
        answer = it.chat("a", turns)
        assert [message["role"] for message in it.last["messages"]] == ["user", "assistant", "user"]
        assert answer.headers["x-gatehouse-dropped-params"] == "messages[0]"
        it.chat("g", turns)
        assert [content["role"] for content in it.last["contents"]] == ["user", "model", "user"]
        it.messages("o", turns)
        assert it.last["messages"] == turns
        it.messages("a", turns)
        assert it.last["messages"] == turns


@pytest.mark.report(
    "turns", "Whitespace at the end of a final assistant turn is removed for Anthropic, which refuses it"
)
def test_blanks_at_the_end(tmp_path: Path) -> None:
    with house(tmp_path) as it:
        answer = it.chat("a", [user(), {"role": "assistant", "content": "Well, \n"}])
        assert it.last["messages"][-1] == {"role": "assistant", "content": "Well,"}
        assert answer.headers["x-gatehouse-dropped-params"] == "messages[-1].content"
        it.chat("a", [user(), {"role": "assistant", "content": "Well, \n"}, user()])
        assert it.last["messages"][1]["content"] == "Well, \n"
        it.messages("a", [user(), {"role": "assistant", "content": "Well, \n"}])
        assert it.last["messages"][-1]["content"] == "Well, \n"


@pytest.mark.report("turns", "Consecutive turns of one role are merged for providers that require alternating roles")
def test_turns_of_one_role(tmp_path: Path) -> None:
    turns = [user("a"), user("b"), {"role": "assistant", "content": "c"}, {"role": "assistant", "content": "d"}, user()]
    with house(tmp_path) as it:
        it.chat("a", turns)
        assert [message["role"] for message in it.last["messages"]] == ["user", "assistant", "user"]
        it.chat("g", turns)
        assert [content["role"] for content in it.last["contents"]] == ["user", "model", "user"]
        it.messages("o", turns)
        assert it.last["messages"] == turns
