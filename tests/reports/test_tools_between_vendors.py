"""Public reports about tools whose names, ids and calls one vendor gives and the next refuses."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.live import Answer
from tests.reports.vendors import (
    House,
    Request,
    anthropic_events,
    anthropic_reply,
    events,
    gemini_reply,
    house,
    openai_chunk,
    openai_reply,
    plain,
    response,
    user,
)

CLAUDE_LETTERS = re.compile(r"[a-zA-Z0-9_-]{1,64}")
LONG = "mcp__plugin_enterprise_tracker__" + "x" * 50
# Names that the vendors differ about: too long, of strange letters, beginning with a digit, alike but for those.
NAMES = [LONG, LONG + "y", "files.read", "files/read", "2nd", "datei_löschen", "plain_one", "a" * 128]
LIMITS = {
    "o": re.compile(r"[a-zA-Z0-9_-]{1,64}"),
    "a": re.compile(r"[a-zA-Z0-9_-]{1,128}"),
    "g": re.compile(r"[a-zA-Z_][a-zA-Z0-9_.:-]{0,63}"),
}


def openai_turn(*ids: str) -> list[dict[str, Any]]:
    """A turn of calls with these ids, and their results."""
    calls = [
        {"id": each, "type": "function", "function": {"name": f"f{number}", "arguments": "{}"}}
        for number, each in enumerate(ids)
    ]
    results = [{"role": "tool", "tool_call_id": each, "content": f"r{number}"} for number, each in enumerate(ids)]
    return [{"role": "assistant", "content": None, "tool_calls": calls}, *results]


def claude_pairs(it: House) -> list[tuple[str, str]]:
    """What was called and what came of it, matched by the ids that were sent to Anthropic."""
    blocks = [block for message in it.last["messages"] if isinstance(message["content"], list)
              for block in message["content"]]  # fmt: skip
    calls = {block["id"]: block["name"] for block in blocks if block["type"] == "tool_use"}
    results = {block["tool_use_id"]: block["content"] for block in blocks if block["type"] == "tool_result"}
    assert len(calls) == sum(block["type"] == "tool_use" for block in blocks), "an id came twice"
    assert calls.keys() == results.keys()
    assert all(CLAUDE_LETTERS.fullmatch(each) for each in calls)
    return [(calls[each], results[each]) for each in calls]


@pytest.mark.report(
    "tools", "Tool call ids from other providers are rewritten for Anthropic, alike in calls and results"
)
@pytest.mark.parametrize(
    "ids",
    [
        ("functions.f:0",),
        ("functions.f:0", "functions_f_0", "functions f 0"),
        ("call|1", "call|2", "x" * 500),
        ("call_ä", "call_ö"),
        ("", ""),
        ("same", "same"),
    ],
)
def test_ids_fit_anthropic(tmp_path: Path, ids: tuple[str, ...]) -> None:
    expected = [(f"f{number}", f"r{number}") for number in range(len(ids))]
    with house(tmp_path) as it:
        it.chat("a", [user(), *openai_turn(*ids), user("go on")])
        assert claude_pairs(it) == expected
        first = it.last["messages"]
        # Another turn with the same ids; what stood before it is sent as before, for the vendor's prompt cache.
        it.chat("a", [user(), *openai_turn(*ids), user("go on"), *openai_turn(*ids)])
        assert claude_pairs(it) == expected * 2
        assert it.last["messages"][: len(first)] == first


@pytest.mark.report(
    "tools", "Ids that the gateway passes on from another provider do not make the caller's own provider refuse"
)
def test_ids_of_another_vendor_in_the_callers_own_dialect(tmp_path: Path) -> None:
    turns = [
        user(),
        {"role": "assistant", "content": [{"type": "tool_use", "id": "functions.f:0", "name": "f", "input": {}}]},
        user([{"type": "tool_result", "tool_use_id": "functions.f:0", "content": "r"}]),
        {"role": "assistant", "content": [{"type": "tool_use", "id": "toolu_1", "name": "f", "input": {}}]},
        user([{"type": "tool_result", "tool_use_id": "toolu_1", "content": "s"}]),
    ]
    with house(tmp_path) as it:
        it.messages("a", turns)
        assert claude_pairs(it) == [("f", "r"), ("f", "s")]
        assert it.last["messages"][3:] == turns[3:]


@pytest.mark.report("tools", "OpenAI gets ids of at most 40 characters, and Mistral ids of nine letters and digits")
def test_ids_fit_openai_and_mistral(tmp_path: Path) -> None:
    providers = '  m: {kind: openai, base_url: "URL/v1", api_key: k, tool_ids: nine_letters}\n'
    providers += '  z: {kind: azure, endpoint: "URL", api_version: "2024-10-21", api_key: k}'
    models = "  m: {targets: [m/mistral]}\n  z: {targets: [z/gpt]}\n"
    long_id = "chatcmpl-tool-" + "0" * 32
    turns = [
        user(),
        {"role": "assistant", "content": [{"type": "tool_use", "id": long_id, "name": "f", "input": {}}]},
        user([{"type": "tool_result", "tool_use_id": long_id, "content": "r"}]),
    ]

    def ids(it: House) -> list[str]:
        _, called, told = it.last["messages"]
        return [called["tool_calls"][0]["id"], told["tool_call_id"]]

    with house(tmp_path, models=models, providers=providers) as it:
        asks: list[Callable[[], Answer]]
        asks = [lambda: it.messages("o", turns), lambda: it.chat("z", [user(), *openai_turn(long_id)])]
        for ask in asks:
            ask()
            assert len(set(ids(it))) == 1
            assert len(ids(it)[0]) <= 40
        asks = [lambda: it.messages("m", turns), lambda: it.chat("m", [user(), *openai_turn(long_id)])]
        for ask in asks:
            ask()
            assert len(set(ids(it))) == 1
            assert re.fullmatch("[a-zA-Z0-9]{9}", ids(it)[0])
        it.chat("m", [user(), *openai_turn("abcDEF012")])
        assert ids(it) == ["abcDEF012"] * 2
        # A compatible server may have given such an id itself.
        it.chat("o", [user(), *openai_turn(long_id)])
        assert ids(it) == [long_id] * 2


@pytest.mark.report("tools", "Gemini gets each id once, and each result with the name of its call")
def test_ids_fit_gemini(tmp_path: Path) -> None:
    with house(tmp_path) as it:
        it.chat("g", [user(), *openai_turn("same", "same"), user("go on"), *openai_turn("same")])
        parts = [part for content in it.last["contents"] for part in content["parts"]]
    calls = [part["functionCall"] for part in parts if "functionCall" in part]
    results = [part["functionResponse"] for part in parts if "functionResponse" in part]
    assert len({call["id"] for call in calls}) == 3
    assert [(call["id"], call["name"]) for call in calls] == [(each["id"], each["name"]) for each in results]
    assert [each["response"]["output"] for each in results] == ["r0", "r1", "r0"]


def calling(name: str, request: Request) -> bytes:
    """Calls the tool of this name, in the dialect and manner that was asked for."""
    if "enerateContent" in request.path:
        answer = gemini_reply({"functionCall": {"name": name, "args": {"x": 1}}})
        return events(answer, done=False) if request.streams else response(answer)
    if request.path.endswith("/messages"):
        block = {"type": "tool_use", "id": "toolu_1", "name": name, "input": {"x": 1}}
        if not request.streams:
            return response(anthropic_reply(block))
        piece = {"type": "input_json_delta", "partial_json": '{"x":1}'}
        return anthropic_events(({**block, "input": {}}, [piece]))
    call = {"id": "c1", "type": "function", "function": {"name": name, "arguments": '{"x":1}'}}
    if not request.streams:
        return response(openai_reply(None, tool_calls=[call]))
    delta = {"role": "assistant", "content": None, "tool_calls": [{"index": 0, **call}]}
    return events(openai_chunk(delta), openai_chunk({}, "stop"))


def sent_names(it: House, model: str) -> list[str]:
    if model == "a":
        return [tool["name"] for tool in it.last["tools"]]
    if model == "o":
        return [tool["function"]["name"] for tool in it.last["tools"]]
    return [each["name"] for each in it.last["tools"][0]["functionDeclarations"]]


def call_last_tool(request: Request) -> bytes:
    """Calls the last tool that was offered."""
    body = request.json
    if "tools" not in body:
        return plain(request)
    last = body["tools"][-1]
    return calling(
        last.get("name") or last.get("function", {}).get("name") or last["functionDeclarations"][-1]["name"], request
    )


@pytest.mark.report(
    "tools", "Tool names that the next provider refuses are rewritten, and its calls have the original names"
)
@pytest.mark.parametrize("name", NAMES)
def test_names_fit_and_come_back(tmp_path: Path, name: str) -> None:
    others = [each for each in NAMES if each != name]
    schema = {"type": "object", "properties": {"x": {"type": "integer"}}}
    functions = [{"type": "function", "function": {"name": n, "parameters": schema}} for n in (*others, name)]
    tools = [{"name": n, "input_schema": schema} for n in (*others, name)]
    declared = [{"functionDeclarations": [{"name": n, "parametersJsonSchema": schema} for n in (*others, name)]}]
    with house(tmp_path, call_last_tool) as it:
        for stream in (False, True):
            for model in "oag":
                if model != "o":
                    answer = it.chat(model, tools=functions, stream=stream)
                    check_names(it, model, name, answer.body)
                    assert b'"finish_reason":"tool_calls"' in answer.body
                if model != "a":
                    answer = it.messages(model, tools=tools, stream=stream)
                    check_names(it, model, name, answer.body)
                    assert b'"stop_reason":"tool_use"' in answer.body
                if model != "g":
                    answer = it.generate(model, tools=declared, stream=stream)
                    check_names(it, model, name, answer.body)


def check_names(it: House, model: str, name: str, answer: bytes) -> None:
    sent = sent_names(it, model)
    assert len(set(sent)) == len(NAMES)
    assert all(LIMITS[model].fullmatch(each) for each in sent)
    assert "plain_one" in sent
    assert f'"name":"{name}"'.encode() in answer
    assert sent[-1] == name or f'"{sent[-1]}"'.encode() not in answer


@pytest.mark.report("tools", "A rewritten tool name is the same in tools, the tool choice, earlier calls and results")
def test_names_are_the_same_everywhere(tmp_path: Path) -> None:
    turns = [
        user(),
        {"role": "assistant", "content": [{"type": "tool_use", "id": "t1", "name": LONG, "input": {}}]},
        user([{"type": "tool_result", "tool_use_id": "t1", "content": "r"}]),
    ]
    tools = [{"name": LONG, "input_schema": {"type": "object"}}, {"name": "b", "input_schema": {"type": "object"}}]
    with house(tmp_path) as it:
        answer = it.messages("o", turns, tools=tools, tool_choice={"type": "tool", "name": LONG})
        sent = it.last["tools"][0]["function"]["name"]
        assert it.last["messages"][1]["tool_calls"][0]["function"]["name"] == sent
        assert it.last["tool_choice"] == {"type": "function", "function": {"name": sent}}
        assert answer.headers["x-gatehouse-dropped-params"] == "tools[].name"
        it.messages("o", tools=tools[:1])
        assert it.last["tools"][0]["function"]["name"] == sent
        it.messages("g", turns, tools=tools, tool_choice={"type": "tool", "name": LONG})
        _, called, told = it.last["contents"]
        names = {
            it.last["tools"][0]["functionDeclarations"][0]["name"],
            called["parts"][0]["functionCall"]["name"],
            told["parts"][0]["functionResponse"]["name"],
            *it.last["toolConfig"]["functionCallingConfig"]["allowedFunctionNames"],
        }
        assert len(names) == 1
        unchanged = it.messages("a", turns, tools=tools)
        assert it.last["tools"][0]["name"] == LONG
    assert "x-gatehouse-dropped-params" not in unchanged.headers


@pytest.mark.report("tools", "Rewritten tool names are restored behind guardrails and in cached answers")
def test_names_come_back_behind_guards_and_from_caches(tmp_path: Path) -> None:
    more = """caches:
  answers: {}
guardrails:
  pii: {kind: personal_data, key: k}
pipelines:
  kept: {model: o, cache: answers, guard_input: [pii]}
"""
    tools = [{"name": LONG, "input_schema": {"type": "object"}}]
    question = [user("Which ticket did john.smith@example.com open about the printer?")]
    with house(tmp_path, call_last_tool, models="  kept: {pipeline: kept}\n", more=more) as it:
        for stream in (False, True):
            answer = it.messages("kept", question, tools=tools, temperature=0, stream=stream)
            assert f'"name":"{LONG}"'.encode() in answer.body
            again = it.messages("kept", question, tools=tools, temperature=0, stream=stream)
            assert f'"name":"{LONG}"'.encode() in again.body


@pytest.mark.report(
    "tools", "An answer with a tool call has the finish reason of a tool call, whatever its provider reports"
)
def test_the_end_beside_a_call(tmp_path: Path) -> None:
    def script(request: Request) -> bytes:
        return calling("f", request)

    with house(tmp_path, script) as it:
        for stream in (False, True):
            for model in "ag":
                assert b'"finish_reason":"tool_calls"' in it.chat(model, stream=stream).body
            for model in "og":
                assert b'"stop_reason":"tool_use"' in it.messages(model, stream=stream).body
            for model in "oa":
                assert b'"finishReason":"STOP"' in it.generate(model, stream=stream).body


@pytest.mark.report(
    "tools", "Turns with calls reach Anthropic with their tools declared, even if the request offers none"
)
def test_calls_of_tools_that_are_offered_no_more(tmp_path: Path) -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    turns = [
        user(),
        {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "1"},
    ]
    with house(tmp_path) as it:
        it.chat("a", turns)
        assert it.last["tools"] == [{"name": "f", "input_schema": {"type": "object"}}]
        assert it.last["tool_choice"] == {"type": "none"}
        it.chat("a")
        assert it.last.keys().isdisjoint({"tools", "tool_choice"})
        block = {"type": "tool_use", "id": "c1", "name": "f", "input": {}}
        result = {"type": "tool_result", "tool_use_id": "c1", "content": "1"}
        it.messages("a", [user(), {"role": "assistant", "content": [block]}, user([result])])
        assert it.last.keys().isdisjoint({"tools", "tool_choice"})


@pytest.mark.report("tools", "Mistral's tool choice `any` forces a call at every provider")
def test_any_tool(tmp_path: Path) -> None:
    tools = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}]
    with house(tmp_path) as it:
        it.chat("o", tools=tools, tool_choice="any")
        assert it.last["tool_choice"] == "required"
        it.chat("a", tools=tools, tool_choice="any")
        assert it.last["tool_choice"] == {"type": "any"}
