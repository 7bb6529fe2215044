"""Names of tools and ids of calls that fit every vendor, whatever they were."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.deltas import ChoiceDelta, Delta, ToolCallDelta
from contract.messages import ChatRequest, Message, Text, Tool, ToolCall, ToolChoice, ToolResult
from gateway.dialects.anthropic import requests as anthropic
from gateway.dialects.call_ids import call_ids, fit_ids
from gateway.dialects.dropped_params import DroppedParams
from gateway.dialects.gemini_generate import requests as gemini
from gateway.dialects.names import EVERY_VENDOR, NameRule, fit_names, restore_names
from gateway.dialects.openai_chat import requests as openai

RULES = {
    "anthropic names": anthropic.NAMES,
    "anthropic ids": anthropic.IDS,
    "openai names": openai.NAMES,
    "openai ids": openai.IDS,
    "mistral ids": openai.NINE_CHARS,
    "gemini names": gemini.NAMES,
    "gemini ids": gemini.IDS,
    "every vendor": EVERY_VENDOR,
}
every = pytest.mark.parametrize("rule", RULES.values(), ids=list(RULES))
names = st.text(st.sampled_from("ab_-.:/9ä \n\ud800"), max_size=6) | st.integers(30, 400).map(lambda n: "x" * n)


@every
@given(found=st.lists(names, min_size=1, max_size=6, unique=True))
def test_names_fit_are_unique_and_come_back(rule: NameRule, found: list[str]) -> None:
    calls = tuple([ToolCall(str(number), name, "{}") for number, name in enumerate(found)])
    asked = ChatRequest(
        dialect="openai",
        model="m",
        messages=(Message("assistant", calls), Message("tool", (ToolResult("0", (), name=found[0]),))),
        tools=tuple([Tool(name) for name in found]),
        tool_choice=ToolChoice("named", found[-1]),
    )
    fitted, back = fit_names(asked, rule, DroppedParams("drop"))
    sent = [tool.name for tool in fitted.tools if isinstance(tool, Tool)]
    assert all(map(rule.accepts, sent))
    assert len(set(sent)) == len(found)
    assert [part.name for part in fitted.messages[0].parts if isinstance(part, ToolCall)] == sent
    assert fitted.tool_choice == ToolChoice("named", sent[-1])
    for name, other in zip(found, sent, strict=True):
        assert other == name or not rule.accepts(name)
        delta = Delta(
            (ChoiceDelta(tool_calls=(ToolCallDelta(0, "i", other), ToolCallDelta(0, arguments="{"))),), raw=b"x"
        )
        (told,) = restore_names([delta], back)
        assert told.choices[0].tool_calls[0].name == name
        assert told.raw == (b"x" if name == other else b"")
    assert fit_names(fitted, rule, DroppedParams("drop")) == (fitted, {})


# Turns of calls by their ids, each with a result, in another order or not.
turns = st.lists(st.lists(st.sampled_from(["", "a", "b", "a.b", "a b", "x" * 80]), min_size=1, max_size=3), max_size=4)


@every
@given(turns=turns, backwards=st.booleans())
def test_each_call_has_an_id_of_its_own_and_its_own_result(
    rule: NameRule, turns: list[list[str]], backwards: bool
) -> None:
    numbers = itertools.count()
    messages: list[Message] = []
    for ids in turns:
        calls = [(each, f"f{next(numbers)}") for each in ids]
        messages.append(Message("assistant", tuple([ToolCall(each, name, "{}") for each, name in calls])))
        told = sorted(calls, reverse=True, key=lambda call: call[0]) if backwards else calls
        messages += [Message("tool", (ToolResult(each, (Text(name),)),)) for each, name in told]
    fitted = fit_ids(tuple(messages), rule)
    parts = [part for message in fitted for part in message.parts]
    called = {part.id: part.name for part in parts if isinstance(part, ToolCall)}
    assert len(called) == sum(map(len, turns))
    assert all(map(rule.accepts, called))
    for part in parts:
        if isinstance(part, ToolResult):
            assert isinstance(part.parts[0], Text)
            assert called[part.call_id] == part.parts[0].text
    assert fit_ids(fitted, rule) == fitted


def test_ids_that_fit_and_come_once_stay() -> None:
    messages = (
        Message("assistant", (ToolCall("toolu_1", "f", "{}"), ToolCall("toolu_2", "f", "{}"))),
        Message("user", (ToolResult("toolu_2"), ToolResult("toolu_1"), ToolResult("toolu_1"), ToolResult("gone"))),
    )
    assert fit_ids(messages, anthropic.IDS) == messages


def test_a_result_without_an_id_is_of_the_oldest_call() -> None:
    messages = (
        Message("assistant", (ToolCall("a", "f", "{}"), ToolCall("b", "g", "{}"))),
        Message("tool", (ToolResult(""),)),
        Message("tool", (ToolResult(""),)),
    )
    assert call_ids(fit_ids(messages, anthropic.IDS)) == ["a", "b", "a", "b"]
    unnamed = (Message("assistant", (ToolCall("", "f", "{}"),)), Message("tool", (ToolResult("b"),)))
    call, result = call_ids(fit_ids(unnamed, anthropic.IDS))
    assert call == result != ""


def test_a_call_without_a_result_takes_none_of_a_later_turn() -> None:
    messages = (
        Message("assistant", (ToolCall("a", "f", "{}"),)),
        Message("user", (Text("never mind"),)),
        Message("assistant", (ToolCall("a", "g", "{}"),)),
        Message("tool", (ToolResult("a"),)),
    )
    first, second, result = call_ids(fit_ids(messages, anthropic.IDS))
    assert first == "a"
    assert second == result != "a"


@pytest.mark.parametrize("call_id", ["", "same", "a.b"])
def test_thousands_of_calls_with_one_id(call_id: str) -> None:
    count = 5000
    calls = Message("assistant", tuple([ToolCall(call_id, "f", "{}") for _ in range(count)]))
    results = Message("tool", tuple([ToolResult(call_id, ()) for _ in range(count)]))
    before, after = fit_ids((calls, results), NameRule(r"[^a-zA-Z0-9_-]", 64))
    given = [part.id for part in before.parts if isinstance(part, ToolCall)]
    assert len(set(given)) == count
    assert [part.call_id for part in after.parts if isinstance(part, ToolResult)] == given
