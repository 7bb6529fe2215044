"""Personal data masked on every surface before the provider sees it, and restored in the answer."""

from __future__ import annotations

import json
from typing import Any

from tests.asking import ask, words
from tests.integration.guarded import MAIL, STREAMS, SURFACES
from tests.integration.guarded import YAML as YAML
from tests.live import Gateway
from tests.recording import Recording


@SURFACES
@STREAMS
def test_masked_on_the_way_in_and_back_on_the_way_out(
    gateway: Gateway, upstream: Recording, surface: str, stream: bool
) -> None:
    text = f"Write to {MAIL}, card 4111 1111 1111 1111, ticket TCK-123456, <EMAIL_AAAAAA>."
    answer = ask(gateway, surface, "masked", text, stream=stream)
    assert words(answer, surface, stream=stream) == text
    for value in (MAIL, "4111 1111", "TCK-123456"):
        assert value not in upstream.seen
    assert "<EMAIL_" in upstream.seen
    assert "stand for real values" in upstream.seen


def test_names_and_addresses_are_masked_too(gateway: Gateway, upstream: Recording) -> None:
    text = "My name is Emily Watson and I live at 12 Oak Street, Springfield. Emily Watson called yesterday."
    told = words(ask(gateway, "openai", "people", text, stream=True), "openai", stream=True)
    assert told == text
    assert "Emily" not in upstream.seen
    assert "Oak Street" not in upstream.seen
    seen = upstream.bodies[-1]["messages"][-1]["content"]
    assert seen.count("<PERSON_") == 2
    assert len({tag for tag in seen.split() if tag.startswith("<PERSON_")}) == 1


@SURFACES
def test_the_same_value_has_the_same_tag_in_every_turn(gateway: Gateway, upstream: Recording, surface: str) -> None:
    ask(gateway, surface, "masked", f"I am {MAIL}")
    first = upstream.bodies[-1]["messages"][-1]["content"]
    ask(gateway, surface, "masked", f"I am {MAIL}", stream=True)
    assert upstream.bodies[-1]["messages"][-1]["content"] == first


@STREAMS
def test_tools_get_values_only_by_name(gateway: Gateway, upstream: Recording, stream: bool) -> None:
    def call(body: dict[str, Any]) -> dict[str, Any]:
        tag = body["messages"][-1]["content"].split()[-1]
        calls = [
            {"id": f"c{n}", "type": "function", "function": {"name": name, "arguments": json.dumps({"mail": tag})}}
            for n, name in enumerate(("find", "send"))
        ]
        return {"content": None, "tool_calls": calls}

    upstream.answers.append(call)
    upstream.finish = "tool_calls"
    tools = [{"type": "function", "function": {"name": name}} for name in ("find", "send")]
    answer = ask(gateway, "openai", "masked", f"Look up {MAIL}", stream=stream, tools=tools)
    if stream:
        arguments: dict[int, str] = {}
        for line in answer.body.decode().splitlines():
            if line.startswith("data: {"):
                for choice in json.loads(line[6:])["choices"]:
                    for each in choice["delta"].get("tool_calls") or ():
                        arguments[each["index"]] = arguments.get(each["index"], "") + each["function"].get(
                            "arguments", ""
                        )
        found, sent = arguments[0], arguments[1]
    else:
        found, sent = (each["function"]["arguments"] for each in answer.json()["choices"][0]["message"]["tool_calls"])
    assert json.loads(found) == {"mail": MAIL}
    assert MAIL not in sent


def test_a_tool_without_values_keeps_its_tag_from_turn_to_turn(gateway: Gateway, upstream: Recording) -> None:
    question = {"role": "user", "content": f"Write to {MAIL}"}
    gateway.request("POST", "/v1/chat/completions", {"model": "masked", "messages": [question]})
    tag = upstream.bodies[-1]["messages"][-1]["content"].split()[-1]
    call = {"id": "c1", "type": "function", "function": {"name": "send", "arguments": json.dumps({"to": tag})}}
    messages = [
        question,
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": f"sent to {MAIL}"},
    ]
    gateway.request("POST", "/v1/chat/completions", {"model": "masked", "messages": messages})
    asked = upstream.bodies[-1]["messages"]
    assert json.loads(asked[2]["tool_calls"][0]["function"]["arguments"]) == {"to": tag}
    assert asked[3]["content"] == f"sent to {tag}"


def test_every_field_of_a_conversation_is_masked(gateway: Gateway, upstream: Recording) -> None:
    messages = [
        {"role": "system", "content": f"You serve {MAIL}."},
        {"role": "user", "content": [{"type": "text", "text": f"I am {MAIL}"}], "name": "jane"},
        {"role": "assistant", "content": None, "tool_calls": [
            {"id": "c1", "type": "function", "function": {"name": "send", "arguments": json.dumps({"to": [MAIL]})}}]},
        {"role": "tool", "tool_call_id": "c1", "content": f"sent to {MAIL}"},
        {"role": "assistant", "content": f"Sent to {MAIL}"},
        {"role": "user", "content": "thanks"},
    ]  # fmt: skip
    body = {
        "model": "masked",
        "messages": messages,
        "user": MAIL,
        "metadata": {"mail": MAIL},
        "prediction": {"type": "content", "content": MAIL},
    }
    answer = gateway.request("POST", "/v1/chat/completions", body)
    assert answer.status == 200, answer.body
    assert MAIL not in upstream.seen
    assert upstream.bodies[-1]["messages"][3]["role"] == "assistant"


def test_every_field_of_an_anthropic_conversation_is_masked(gateway: Gateway, upstream: Recording) -> None:
    body = {
        "model": "masked",
        "max_tokens": 100,
        "system": [{"type": "text", "text": f"You serve {MAIL}.", "cache_control": {"type": "ephemeral"}}],
        "metadata": {"user_id": MAIL},
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": f"I am {MAIL}"}]},
            {"role": "assistant", "content": [
                {"type": "thinking", "thinking": f"So {MAIL}", "signature": "c2ln"},
                {"type": "tool_use", "id": "t1", "name": "send", "input": {"to": {"mail": MAIL, "cc": [MAIL]}}},
            ]},
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "t1", "content": [{"type": "text", "text": f"sent to {MAIL}"}]},
                {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": f"by {MAIL}"}},
                {"type": "text", "text": "thanks"},
            ]},
        ],
    }  # fmt: skip
    answer = gateway.request("POST", "/v1/messages", body)
    assert answer.status == 200, answer.body
    assert MAIL not in upstream.seen
    assert upstream.seen.count("<EMAIL_") >= 6


def test_every_field_of_a_gemini_conversation_is_masked(gateway: Gateway, upstream: Recording) -> None:
    body = {
        "systemInstruction": {"parts": [{"text": f"You serve {MAIL}."}]},
        "labels": {"owner": MAIL},
        "contents": [
            {"role": "user", "parts": [{"text": f"I am {MAIL}"}]},
            {"role": "model", "parts": [{"functionCall": {"name": "send", "args": {"to": MAIL}}}]},
            {"role": "user", "parts": [{"functionResponse": {"name": "send", "response": {"sent": [MAIL]}}}]},
            {"role": "model", "parts": [{"text": f"Sent to {MAIL}", "thought": True}, {"text": f"Done, {MAIL}"}]},
            {"role": "user", "parts": [{"text": "thanks"}]},
        ],
    }
    answer = gateway.request("POST", "/v1beta/models/masked:generateContent", body)
    assert answer.status == 200, answer.body
    assert MAIL not in upstream.seen
    assert upstream.seen.count("<EMAIL_") >= 4


@STREAMS
def test_every_choice_and_every_kind_of_words_comes_back(gateway: Gateway, upstream: Recording, stream: bool) -> None:
    def answer(body: dict[str, Any]) -> dict[str, Any]:
        tag = body["messages"][-1]["content"].split()[-1]
        return {
            "content": f"So {tag}!",
            "reasoning_content": f"Hm, {tag.lower()}",
            "refusal": f"No, {tag.strip('<>')}.",
        }

    upstream.answers.append(answer)
    told = ask(gateway, "openai", "masked", f"I am {MAIL}", stream=stream)
    text = told.body.decode()
    if stream:
        deltas = [
            json.loads(line[6:])["choices"][0]["delta"] for line in text.splitlines() if line.startswith("data: {")
        ]
        message = {
            key: "".join(each.get(key) or "" for each in deltas) for key in ("content", "reasoning_content", "refusal")
        }
    else:
        message = told.json()["choices"][0]["message"]
    assert message["content"] == f"So {MAIL}!"
    assert message["reasoning_content"] == f"Hm, {MAIL}"
    assert message["refusal"] == f"No, {MAIL}."


def test_a_trusted_target_gets_the_values(gateway: Gateway, upstream: Recording) -> None:
    assert words(ask(gateway, "openai", "home", f"I am {MAIL}"), "openai", stream=False) == f"I am {MAIL}"
    assert MAIL in upstream.seen
    assert "stand for real values" not in upstream.seen


def test_embeddings_are_masked(gateway: Gateway, upstream: Recording) -> None:
    answer = gateway.request("POST", "/v1/embeddings", {"model": "masked", "input": [f"I am {MAIL}"]})
    assert answer.status == 200, answer.body
    assert MAIL not in upstream.seen
