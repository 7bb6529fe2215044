"""A conversation made shorter: instructions and the last question stay, calls keep their answers, it fits if it can."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contract.messages import ChatRequest, Message, Text, ToolCall, ToolResult
from contract.prompt_tokens import prompt_tokens
from router.shorten import LEFT_OUT, Way, shorten

WAYS: tuple[Way, ...] = ("oldest", "middle")


def talk(turns: int, letters: int = 200, system: bool = True) -> ChatRequest:
    messages = [Message("system", (Text("Be brief."),))] if system else []
    for number in range(turns):
        messages.append(Message("user", (Text(f"question {number} " + "x" * letters),)))
        if number % 3 == 1:
            messages.append(Message("assistant", (ToolCall(f"c{number}", "f", "{}"),)))
            messages.append(Message("tool", (ToolResult(f"c{number}", (Text("r" * letters),)),)))
        if number < turns - 1:
            messages.append(Message("assistant", (Text(f"answer {number} " + "y" * letters),)))
    return ChatRequest(dialect="openai", model="m", messages=tuple(messages))


@pytest.mark.parametrize("way", WAYS)
@given(turns=st.integers(1, 12), letters=st.integers(0, 3000), tokens=st.integers(300, 4000), system=st.booleans())
@settings(max_examples=60, deadline=None)
def test_it_fits_and_keeps_what_must_stay(way: Way, turns: int, letters: int, tokens: int, system: bool) -> None:
    request = talk(turns, letters, system)
    shorter = shorten(request, tokens, way)
    assert prompt_tokens(shorter) <= max(tokens, 450)
    if prompt_tokens(request) <= tokens:
        assert shorter == request
    roles = [each.role for each in shorter.messages]
    assert roles.count("system") == system
    assert shorter.messages[system].role == "user"
    last = next(each for each in reversed(shorter.messages) if each.role == "user")
    assert last.text.startswith(f"question {turns - 1}")
    calls = {part.id for each in shorter.messages for part in each.parts if isinstance(part, ToolCall)}
    results = {part.call_id for each in shorter.messages for part in each.parts if isinstance(part, ToolResult)}
    assert calls == results


def test_the_oldest_or_the_middle_go_first() -> None:
    request = talk(9)
    half = prompt_tokens(request) // 2
    oldest, middle = (shorten(request, half, way) for way in WAYS)
    assert "question 0" not in str(oldest.messages)
    assert "question 7" in str(oldest.messages)
    assert "question 0" in str(middle.messages)
    assert "question 4" not in str(middle.messages)


def test_one_long_text_loses_its_middle() -> None:
    request = ChatRequest(dialect="openai", model="m", messages=(Message("user", (Text("a" * 9000 + "b" * 9000),)),))
    text = shorten(request, 1000, "oldest").messages[0].text
    assert text.startswith("a" * 100)
    assert text.endswith("b" * 100)
    assert LEFT_OUT in text
