"""Public reports about parameters that one vendor takes and the next refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.reports.vendors import house, user

TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
CLAUDE_TOOL = {"name": "f", "input_schema": {"type": "object"}}


@pytest.mark.report("parameters", "Stop sequences above the next provider's limit are dropped and reported")
@pytest.mark.parametrize(("model", "most"), [("g", 5), ("o", 4)])
def test_stop_sequences_fit_the_vendor(tmp_path: Path, model: str, most: int) -> None:
    with house(tmp_path) as it:
        answer = it.messages(model, stop_sequences=list("123456"))
        sent = it.last["stop"] if model == "o" else it.last["generationConfig"]["stopSequences"]
    assert sent == list("123456")[:most]
    assert "stop" in answer.headers["x-gatehouse-dropped-params"]


@pytest.mark.report(
    "parameters", "Stop sequences that a provider accepts reach it unchanged, and empty ones are dropped"
)
def test_stop_sequences_that_fit(tmp_path: Path) -> None:
    with house(tmp_path) as it:
        whole = it.chat("g", stop=list("12345"))
        assert it.last["generationConfig"]["stopSequences"] == list("12345")
        empty = it.chat("g", stop=[""])
        assert "stopSequences" not in it.last.get("generationConfig", {})
        it.chat("a", stop=["\n", "END"])
        assert it.last["stop_sequences"] == ["END"]
        it.chat("o", stop=list("123456"))
        assert it.last["stop"] == list("123456")
    assert "x-gatehouse-dropped-params" not in whole.headers
    assert empty.headers["x-gatehouse-dropped-params"] == "stop"


@pytest.mark.report("parameters", "Anthropic gets only one of temperature and top_p, because it refuses both together")
@pytest.mark.parametrize(
    ("asked", "sent"),
    [
        ({"temperature": 0.5, "top_p": 0.9}, {"temperature": 0.5}),
        ({"temperature": 0.0, "top_p": 1}, {"temperature": 0.0}),
        # 1 is what the vendor uses anyway.
        ({"temperature": 1, "top_p": 0.4}, {"top_p": 0.4}),
        ({"temperature": 1.7, "top_p": 0.4}, {"temperature": 1.0}),
        ({"top_p": 0.4}, {"top_p": 0.4}),
    ],
)
def test_one_of_temperature_and_top_p(tmp_path: Path, asked: dict[str, Any], sent: dict[str, float]) -> None:
    with house(tmp_path) as it:
        answer = it.chat("a", **asked)
        assert {key: value for key, value in it.last.items() if key in ("temperature", "top_p")} == sent
        lost = set(asked) - set(sent)
        assert lost <= set(answer.headers.get("x-gatehouse-dropped-params", "").split(", "))
        config = {"temperature": asked.get("temperature", 1), "topP": asked["top_p"]}
        it.generate("a", generationConfig=config)
        assert ("temperature" in it.last) != ("top_p" in it.last)
        it.messages("a", **asked)
        assert {key: it.last[key] for key in asked} == asked


@pytest.mark.report("parameters", "A tool choice without tools is dropped, and a forced one is an error")
def test_a_choice_without_tools(tmp_path: Path) -> None:
    with house(tmp_path) as it:
        for model in "oag":
            for choice in ("auto", "none"):
                answer = it.chat(model, tools=[], tool_choice=choice, parallel_tool_calls=True)
                assert not it.last.keys() & {"tools", "tool_choice", "parallel_tool_calls", "toolConfig"}
                assert "x-gatehouse-dropped-params" not in answer.headers
            for kind in ("auto", "none"):
                it.messages(model, tools=[], tool_choice={"type": kind})
                assert not it.last.keys() & {"tools", "tool_choice", "parallel_tool_calls", "toolConfig"}
        for model in "oa":
            it.generate(model, toolConfig={"functionCallingConfig": {"mode": "NONE"}})
            assert not it.last.keys() & {"tools", "tool_choice"}
        before = len(it.upstream.requests)
        forced: Any = {"type": "function", "function": {"name": "f"}}
        answers = [it.chat(model, tools=[], tool_choice=each) for model in "oag" for each in ("required", forced)]
        answers += [it.messages(model, tool_choice={"type": "any"}) for model in "og"]
        answers += [it.generate(m, toolConfig={"functionCallingConfig": {"mode": "ANY"}}) for m in "oa"]
        assert len(it.upstream.requests) == before
    assert {answer.status for answer in answers} == {400}
    assert all("tool_choice" in answer.json()["error"]["message"] for answer in answers)


@pytest.mark.report("parameters", "A tool choice of `none` stays `none` at every provider")
def test_no_tools_with_tools(tmp_path: Path) -> None:
    with house(tmp_path) as it:
        it.messages("o", tools=[CLAUDE_TOOL], tool_choice={"type": "none"})
        assert it.last["tool_choice"] == "none"
        it.messages("g", tools=[CLAUDE_TOOL], tool_choice={"type": "none"})
        assert it.last["toolConfig"]["functionCallingConfig"] == {"mode": "NONE"}
        it.chat("a", tools=[TOOL], tool_choice="none", parallel_tool_calls=False)
        assert it.last["tool_choice"] == {"type": "none"}


@pytest.mark.report("parameters", "A forced choice of a tool that the next provider does not have is an error")
def test_a_choice_of_another_vendors_tools(tmp_path: Path) -> None:
    search = {"type": "web_search_20250305", "name": "web_search"}
    with house(tmp_path) as it:
        answer = it.messages("o", tools=[search], tool_choice={"type": "auto"})
        assert not it.last.keys() & {"tools", "tool_choice"}
        assert "tools[0]" in answer.headers["x-gatehouse-dropped-params"]
        refused = it.messages("o", tools=[search], tool_choice={"type": "tool", "name": "web_search"})
    assert refused.status == 400
    assert "tool_choice" in refused.json()["error"]["message"]


@pytest.mark.report("parameters", "A list of allowed tools is enforced at providers without such a setting")
def test_allowed_tools(tmp_path: Path) -> None:
    def tool(name: str) -> dict[str, Any]:
        return {"type": "function", "function": {"name": name, "parameters": {"type": "object"}}}

    named = [{"type": "function", "function": {"name": name}} for name in ("a", "b")]
    choice = {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": named}}
    config = {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["a", "b"]}}
    tools = [{"functionDeclarations": [{"name": name} for name in "abc"]}]
    with house(tmp_path) as it:
        it.chat("o", tools=[tool(name) for name in "abc"], tool_choice=choice)
        assert it.last["tool_choice"] == choice
        assert len(it.last["tools"]) == 3
        answer = it.chat("a", tools=[tool(name) for name in "abc"], tool_choice=choice)
        assert [each["name"] for each in it.last["tools"]] == ["a", "b"]
        assert it.last["tool_choice"] == {"type": "any"}
        assert "x-gatehouse-dropped-params" not in answer.headers
        it.generate("o", tools=tools, toolConfig=config)
        assert [each["function"]["name"] for each in it.last["tools"]] == ["a", "b"]
        assert it.last["tool_choice"] == "required"
        it.generate("g", tools=tools, toolConfig=config)
        assert it.last["toolConfig"] == config


@pytest.mark.report(
    "parameters",
    "For Anthropic, JSON mode without a schema becomes part of the system prompt and is reported as dropped",
)
def test_json_without_a_schema_at_anthropic(tmp_path: Path) -> None:
    refusing = "  ar: {targets: [a/claude-x], unsupported_params: refuse, retry: {attempts: 1}}\n"
    with house(tmp_path, models=refusing) as it:
        messages = [{"role": "system", "content": "Be kind."}, user()]
        answer = it.chat("a", messages, response_format={"type": "json_object"})
        kind, words = it.last["system"]
        assert kind == {"type": "text", "text": "Be kind."}
        assert "JSON object" in words["text"]
        assert "response_format" in answer.headers["x-gatehouse-dropped-params"]
        it.generate("a", generationConfig={"responseMimeType": "application/json"})
        assert "JSON object" in it.last["system"]
        it.chat("a", response_format={"type": "text"})
        assert "system" not in it.last
        refused = it.chat("ar", response_format={"type": "json_object"})
    assert refused.status == 400
    assert "response_format" in refused.json()["error"]["message"]


@pytest.mark.report(
    "parameters", "For OpenAI, JSON mode without a schema adds the word JSON to the prompt, which OpenAI requires"
)
def test_json_without_a_schema_at_openai(tmp_path: Path) -> None:
    config = {"responseMimeType": "application/json"}
    with house(tmp_path) as it:
        answer = it.generate("o", generationConfig=config)
        assert it.last["response_format"] == {"type": "json_object"}
        assert "JSON" in it.last["messages"][0]["content"]
        assert answer.headers["x-gatehouse-dropped-params"] == "response_format"
        it.generate("o", [{"role": "user", "parts": [{"text": "Say it in JSON"}]}], generationConfig=config)
        assert it.last["messages"] == [user("Say it in JSON")]
        it.chat("o", response_format={"type": "json_object"})
        assert it.last["messages"] == [user()]


@pytest.mark.report(
    "parameters", "The output token limit has the parameter name that the server supports or the YAML sets"
)
@pytest.mark.parametrize(
    ("option", "name"),
    [("", "max_tokens"), (", max_tokens_field: max_completion_tokens", "max_completion_tokens")],
)
def test_the_name_of_the_bound(tmp_path: Path, option: str, name: str) -> None:
    providers = f'  c: {{kind: openai, base_url: "URL/v1", api_key: k{option}}}\n'
    providers += (
        '  z: {kind: azure, endpoint: "URL", api_version: "2024-02-01", api_key: k, max_tokens_field: max_tokens}\n'
    )
    providers += '  y: {kind: azure, endpoint: "URL", api_version: "2024-10-21", api_key: k}'
    models = "  c: {targets: [c/m]}\n  z: {targets: [z/m]}\n  y: {targets: [y/m]}\n"
    with house(tmp_path, models=models, providers=providers) as it:
        it.messages("c")
        assert {key for key in it.last if key.startswith("max_")} == {name}
        it.chat("z", max_completion_tokens=5)
        assert {key for key in it.last if key.startswith("max_")} == {"max_tokens"}
        it.chat("y", max_tokens=5)
        assert {key for key in it.last if key.startswith("max_")} == {"max_completion_tokens"}


@pytest.mark.report("parameters", "OpenAI's reasoning models get max_completion_tokens, behind any host")
def test_the_name_of_the_bound_of_reasoning_models(tmp_path: Path) -> None:
    named = {"o3-mini": True, "openai/gpt-5.4": True, "gpt-4o": False, "gpt-oss-120b": False, "olmo-3": False}
    models = "".join(f"  m{index}: {{targets: [o/{name}]}}\n" for index, name in enumerate(named))
    with house(tmp_path, models=models) as it:
        for index, completion in enumerate(named.values()):
            it.messages(f"m{index}")
            name = "max_completion_tokens" if completion else "max_tokens"
            assert {key for key in it.last if key.startswith("max_")} == {name}


@pytest.mark.report("parameters", "Penalties of 0 have no effect: they are neither reported as dropped nor refused")
def test_penalties_of_nothing(tmp_path: Path) -> None:
    models = "  strict: {targets: [a/claude-x], unsupported_params: refuse}\n"
    with house(tmp_path, models=models) as it:
        answer = it.chat("strict", frequency_penalty=0, presence_penalty=0.0, logit_bias={}, verbosity="medium")
        assert answer.status == 200
        assert "x-gatehouse-dropped-params" not in answer.headers
        answer = it.chat("strict", frequency_penalty=0.1)
        assert (answer.status, answer.json()["error"]["param"]) == (400, "frequency_penalty")


@pytest.mark.report("parameters", "Numbers outside the next provider's range are clamped or dropped, and reported")
def test_numbers_of_other_ranges(tmp_path: Path) -> None:
    with house(tmp_path) as it:
        answer = it.chat("g", n=20, seed=2**40)
        assert it.last["generationConfig"] == {"candidateCount": 8}
        assert answer.headers["x-gatehouse-dropped-params"] == "n, seed"
        it.chat("g", frequency_penalty=2, presence_penalty=-2)
        assert it.last["generationConfig"] == {"frequencyPenalty": 1.99, "presencePenalty": -2}
        answer = it.messages("g", max_tokens=70_000, thinking={"type": "enabled", "budget_tokens": 60_000})
        assert it.last["generationConfig"]["thinkingConfig"]["thinkingBudget"] == 24_576
        assert "reasoning.budget_tokens" in answer.headers["x-gatehouse-dropped-params"]
        answer = it.messages("o", metadata={"user_id": "u" * 150})
        assert len(it.last["user"]) <= 64
        first = it.last["user"]
        it.messages("o", metadata={"user_id": "u" * 150})
        assert it.last["user"] == first
        assert answer.headers["x-gatehouse-dropped-params"] == "user"
        it.generate("o", generationConfig={"temperature": 2.0, "logprobs": 3})
        assert it.last["temperature"] == 2
        assert "top_logprobs" not in it.last


@pytest.mark.report("parameters", "A thinking budget stays below the output token limit")
def test_thoughts_fit_into_the_answer(tmp_path: Path) -> None:
    with house(tmp_path) as it:
        it.chat("a", reasoning_effort="high", max_completion_tokens=100)
        assert it.last["max_tokens"] > it.last["thinking"]["budget_tokens"]
        it.generate("a", generationConfig={"maxOutputTokens": 50, "thinkingConfig": {"thinkingBudget": 3000}})
        assert it.last["max_tokens"] > it.last["thinking"]["budget_tokens"]
