from __future__ import annotations

import base64
import contextlib
import json
from typing import Any

import msgspec
import pytest
from anthropic.types import message_create_params
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from contract.dialect import InboundCall, WireOptions
from contract.errors import InvalidRequest, UnsupportedFeature
from contract.messages import (
    Audio,
    ChatRequest,
    Document,
    DroppedParam,
    Image,
    Message,
    Opaque,
    Reasoning,
    ReasoningOptions,
    ResponseFormat,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from gateway.dialects.anthropic import AnthropicMessages
from gateway.dialects.anthropic.requests import DEFAULT_MAX_TOKENS
from gateway.dialects.anthropic.tokens import count_tokens_reply, read_count_tokens
from tests.unit.dialects.anthropic.strategies import requests

DIALECT = AnthropicMessages()
OLD, NEW = "2023-06-01", "2026-10-21"
ASKED = ChatRequest(dialect="openai", model="m", messages=(Message("user", (Text("hi"),)),))
VENDORS: TypeAdapter[Any] = TypeAdapter(message_create_params.MessageCreateParamsNonStreaming)
LOOKUP = Tool("lookup", "Looks up.", {"type": "object"})


def read(body: dict[str, Any]) -> ChatRequest:
    return DIALECT.read_request(json.dumps(body).encode(), InboundCall())


def chat(**fields: Any) -> dict[str, Any]:
    return {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}], **fields}


def write(*messages: Message, version: str = OLD, **changes: Any) -> tuple[dict[str, Any], tuple[DroppedParam, ...]]:
    """The body and what was lost, of a request of OpenAI's dialect unless `changes` say otherwise."""
    asked = msgspec.structs.replace(ASKED, **({"messages": messages} if messages else {}), **changes)
    wire = DIALECT.write_request(asked, WireOptions("m", stream=False, version=version))
    body = json.loads(wire.body)
    VENDORS.validate_python(body)
    return body, wire.losses


def fields_of(losses: tuple[DroppedParam, ...]) -> list[str]:
    return [loss.field for loss in losses]


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(requests())
def test_a_request_survives_being_written_and_read(asked: ChatRequest) -> None:
    wire = DIALECT.write_request(asked, WireOptions(asked.model, stream=asked.stream, version=OLD))
    assert DIALECT.read_request(wire.body, InboundCall()) == asked
    assert wire.losses == ()


GOLDEN: list[dict[str, Any]] = [
    chat(system="Be brief."),
    chat(system=[{"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}}], service_tier="auto"),
    chat(thinking={"type": "enabled", "budget_tokens": 2048, "display": "summarized"}, temperature=1),
    chat(thinking={"type": "enabled", "budget_tokens": 2048, "display": "omitted"}),
    chat(thinking={"type": "adaptive"}, output_config={"effort": "xhigh"}),
    chat(thinking={"type": "adaptive", "display": "summarized"}),
    chat(thinking={"type": "between_tools"}),
    chat(thinking={"type": "dreaming", "depth": 3}),
    chat(thinking={"type": "disabled"}, max_tokens=0),
    chat(output_config={"effort": "low", "format": {"type": "json_schema", "schema": {"type": "object"}}, "x": 1}),
    chat(
        tools=[
            {"name": "a", "input_schema": {"type": "object"}, "strict": True, "defer_loading": True},
            {"type": "web_search_20250305", "name": "web_search", "max_uses": 2},
        ],
        tool_choice={"type": "tool", "name": "a", "disable_parallel_tool_use": True, "x": 1},
        metadata={"user_id": "u"},
        stop_sequences=["END"],
        container="c_1",
    ),
    chat(
        messages=[
            {"role": "user", "content": [{"type": "image", "source": {"type": "file", "file_id": "f"}}]},
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "", "signature": "c2ln"},
                    {"type": "redacted_thinking", "data": "x"},
                    {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {"query": "q"}},
                    {"type": "web_search_tool_result", "tool_use_id": "s", "content": []},
                    {"type": "tool_use", "id": "t", "name": "a", "input": {}, "caller": {"type": "direct"}},
                    {"type": "tool_use", "id": "u", "name": "a", "input": {"x": [1, {"y": None}]}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": "t", "content": "no", "is_error": True},
                    {
                        "type": "tool_result",
                        "tool_use_id": "u",
                        "content": [{"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}}],
                    },
                    {"type": "document", "source": {"type": "content", "content": "a"}, "context": "c"},
                    {"type": "document", "source": {"type": "file", "file_id": "f"}, "title": "T"},
                ],
            },
            {"role": "system", "content": "From now on in French."},
            {"role": "user", "content": "go on"},
        ]
    ),
]


@pytest.mark.parametrize("body", GOLDEN)
def test_the_vendor_s_bodies_go_through_unchanged(body: dict[str, Any]) -> None:
    VENDORS.validate_python(chat() if body.get("thinking", {}).get("type") == "dreaming" else body)
    wire = DIALECT.write_request(read(body), WireOptions("m", stream=False, version=OLD))
    assert json.loads(wire.body) == body
    assert wire.losses == ()


def test_the_former_place_of_the_format_is_read() -> None:
    schema = {"type": "object"}
    asked = read(chat(output_format={"type": "json_schema", "schema": schema}))
    assert asked.response_format == ResponseFormat("json_schema", schema=schema)
    assert asked.extra is None


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "model"),
        ({"model": "m"}, "max_tokens"),
        (chat(max_tokens="9"), "max_tokens"),
        (chat(messages=None), "messages"),
        (chat(messages=[]), "messages"),
        (chat(messages=["x"]), "messages[0]"),
        (chat(messages=[{"role": "tool", "content": "x"}]), "messages[0].role"),
        (chat(messages=[{"role": "user"}]), "messages[0].content"),
        (chat(messages=[{"role": "user", "content": [3]}]), "messages[0].content[0]"),
        (chat(messages=[{"role": "user", "content": [{"type": "text"}]}]), "messages[0].content[0].text"),
        (chat(messages=[{"role": "user", "content": [{"type": "image"}]}]), "messages[0].content[0].source"),
        (
            chat(messages=[{"role": "user", "content": [{"type": "document", "source": {}, "title": 3}]}]),
            "messages[0].content[0].title",
        ),
        (chat(messages=[{"role": "user", "content": [{"type": "tool_result"}]}]), "messages[0].content[0].tool_use_id"),
        (chat(system=3), "system"),
        (chat(tools=[{"input_schema": {}}]), "tools[0].name"),
        (chat(tool_choice={"type": "perhaps"}), "tool_choice.type"),
        (chat(tool_choice={"type": "tool"}), "tool_choice.name"),
        (chat(thinking={"type": "enabled"}), "thinking.budget_tokens"),
        (chat(thinking={}), "thinking.type"),
        (chat(stop_sequences=[1]), "stop_sequences[0]"),
        (chat(output_config={"format": {"type": "xml"}}), "output_config.format.type"),
        (chat(output_config={"format": {"type": "json_schema"}}), "output_config.format.schema"),
        (chat(metadata={"user_id": 3}), "metadata.user_id"),
    ],
)
def test_bad_requests_name_the_field(body: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        read(body)
    assert caught.value.param == param
    assert param in caught.value.message


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_a_request_or_a_clear_error(body: bytes) -> None:
    with contextlib.suppress(InvalidRequest):
        DIALECT.read_request(body, InboundCall())


def test_counting_tokens_needs_no_maximum() -> None:
    asked = read_count_tokens(b'{"model":"m","messages":[{"role":"user","content":"hi"}]}')
    assert asked.max_tokens is None
    assert json.loads(count_tokens_reply(7)) == {"input_tokens": 7}


# ------------------------------------------------------------------ from other dialects


def test_what_the_vendor_requires_is_filled_in() -> None:
    body, losses = write(tools=(Tool("a"), Tool("b", "", {"properties": {}})))
    assert body["max_tokens"] == DEFAULT_MAX_TOKENS
    assert body["tools"] == [
        {"name": "a", "input_schema": {"type": "object"}},
        {"name": "b", "input_schema": {"type": "object", "properties": {}}},
    ]
    assert losses == ()


def test_system_messages_are_joined_in_front() -> None:
    body, losses = write(
        Message("system", (Text("a"),)),
        Message("developer", (Text("b"),)),
        Message("user", (Text("hi"),)),
        Message("system", (Text("c"),)),
    )
    assert [block["text"] for block in body["system"]] == ["a", "b", "c"]
    assert body["messages"] == [{"role": "user", "content": "hi"}]
    assert fields_of(losses) == ["messages[3]"]
    body, losses = write(Message("system", (Text("a"),)))
    assert body["messages"] == [{"role": "user", "content": "a"}]
    assert "system" not in body
    assert fields_of(losses) == ["messages"]


def test_results_come_first_in_one_turn() -> None:
    body, losses = write(
        Message("user", (Text("weather?"),)),
        Message("assistant", (ToolCall("a", "lookup", '{"x": 1}'), ToolCall("b", "lookup", ""))),
        Message("tool", (ToolResult("a", (Text("1"),)),)),
        Message("user", (Text("and?"),)),
        Message("tool", (ToolResult("b", (Text("2"), Image(data="QUJD", media_type="image/png")), is_error=True),)),
    )
    assert [each["role"] for each in body["messages"]] == ["user", "assistant", "user"]
    assert [block["input"] for block in body["messages"][1]["content"]] == [{"x": 1}, {}]
    first, second, words = body["messages"][2]["content"]
    assert first == {"type": "tool_result", "tool_use_id": "a", "content": "1"}
    assert second["is_error"]
    assert [inner["type"] for inner in second["content"]] == ["text", "image"]
    assert words == {"type": "text", "text": "and?"}
    assert losses == ()


@pytest.mark.parametrize("arguments", ["{broken", "[1]", "7"])
def test_arguments_that_are_no_object_stay_readable(arguments: str) -> None:
    body, losses = write(Message("assistant", (ToolCall("a", "lookup", arguments),)))
    assert body["messages"][1]["content"][0]["input"] == {"_arguments": arguments}
    assert fields_of(losses) == ["tool_calls[].arguments", "messages[0]"]


def test_files() -> None:
    csv = base64.b64encode(b"a,b").decode()
    body, losses = write(
        Message(
            "user",
            (
                Document(data="QUJD", media_type="application/pdf", name="a.pdf"),
                Document(data=csv, media_type="text/csv"),
                Document(data="QUJD", media_type="application/zip"),
                Document(data="/w==", media_type="text/plain"),
                Audio("QUJD", "wav"),
                Image(url="https://example.com/a.png", detail="high"),
                Opaque("openai", {"type": "hologram"}),
                Text(""),
            ),
        )
    )
    pdf, text, image = body["messages"][0]["content"]
    assert (pdf["title"], pdf["source"]["media_type"]) == ("a.pdf", "application/pdf")
    assert text["source"] == {"type": "text", "media_type": "text/plain", "data": "a,b"}
    assert image["source"] == {"type": "url", "url": "https://example.com/a.png"}
    where = "messages[].content[]"
    assert fields_of(losses) == [
        f"{where}.file", f"{where}.file", f"{where}.audio", f"{where}.detail", where,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("reasoning", "version", "thinking", "effort"),
    [
        (ReasoningOptions(effort="low"), OLD, {"type": "enabled", "budget_tokens": 2048}, None),
        (ReasoningOptions(effort="none"), OLD, {"type": "disabled"}, None),
        (ReasoningOptions(effort="minimal"), NEW, {"type": "adaptive"}, "low"),
        (ReasoningOptions(effort="max"), NEW, {"type": "adaptive"}, "max"),
        (ReasoningOptions(enabled=False), NEW, {"type": "disabled"}, None),
        (ReasoningOptions(budget_tokens=0), OLD, {"type": "disabled"}, None),
        (ReasoningOptions(budget_tokens=5), OLD, {"type": "enabled", "budget_tokens": 1024}, None),
        (ReasoningOptions(budget_tokens=-1), OLD, {"type": "enabled", "budget_tokens": 8192}, None),
        (ReasoningOptions(budget_tokens=-1), NEW, {"type": "adaptive"}, None),
        (ReasoningOptions(include=False), NEW, None, None),
        (
            ReasoningOptions(budget_tokens=3000, include=True),
            NEW,
            {"type": "enabled", "budget_tokens": 3000, "display": "summarized"},
            None,
        ),
    ],
)
def test_thinking_of_other_dialects(
    reasoning: ReasoningOptions, version: str, thinking: dict[str, Any] | None, effort: str | None
) -> None:
    body, losses = write(reasoning=reasoning, version=version, max_tokens=50)
    assert body.get("thinking") == thinking
    assert body.get("output_config", {}).get("effort") == effort
    # The budget must lie below `max_tokens`, and the answer keeps its room.
    assert body["max_tokens"] == 50 + (thinking or {}).get("budget_tokens", 0)
    assert losses == ()


def test_thinking_is_dropped_where_the_vendor_refuses_it() -> None:
    high = ReasoningOptions(effort="high")
    body, losses = write(reasoning=high, tools=(LOOKUP,), tool_choice=ToolChoice("required"))
    assert "thinking" not in body
    assert fields_of(losses) == ["reasoning"]
    turns = (
        Message("user", (Text("weather?"),)),
        Message("assistant", (ToolCall("a", "lookup", "{}"),)),
        Message("tool", (ToolResult("a", (Text("1"),)),)),
    )
    body, losses = write(*turns, reasoning=high, tools=(LOOKUP,))
    assert "thinking" not in body
    assert fields_of(losses) == ["reasoning"]
    assert write(*turns, reasoning=high, tools=(LOOKUP,), version=NEW)[0]["thinking"] == {"type": "adaptive"}
    assert "thinking" in write(*turns, Message("user", (Text("thanks"),)), reasoning=high, tools=(LOOKUP,))[0]
    body, losses = write(reasoning=high, temperature=0.5, top_p=0.5, top_k=3)
    assert "temperature" not in body
    assert fields_of(losses) == ["temperature", "top_p", "top_k"]
    assert fields_of(write(reasoning=ReasoningOptions(effort="heroic"))[1]) == ["reasoning.effort"]


def test_tool_choice_of_other_dialects() -> None:
    body, _ = write(tools=(LOOKUP,), parallel_tool_calls=False)
    assert body["tool_choice"] == {"type": "auto", "disable_parallel_tool_use": True}
    body, _ = write(tools=(LOOKUP,), tool_choice=ToolChoice("named", "lookup"), parallel_tool_calls=True)
    assert body["tool_choice"] == {"type": "tool", "name": "lookup", "disable_parallel_tool_use": False}
    assert write(tools=(LOOKUP,), tool_choice=ToolChoice("none"), parallel_tool_calls=True)[0]["tool_choice"] == {
        "type": "none"
    }
    body, losses = write(tool_choice=ToolChoice("auto"), parallel_tool_calls=True)
    assert "tool_choice" not in body
    assert losses == ()
    with pytest.raises(UnsupportedFeature, match="tool_choice"):
        write(tool_choice=ToolChoice("required"), parallel_tool_calls=True)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"seed": 1}, "seed"),
        ({"n": 2}, "n"),
        ({"top_logprobs": 2}, "logprobs"),
        ({"presence_penalty": 0.5}, "presence_penalty"),
        ({"frequency_penalty": 0.5}, "frequency_penalty"),
        ({"response_format": ResponseFormat("json")}, "response_format"),
        ({"stop": ("\n", "END")}, "stop"),
        ({"metadata": {"a": "b"}}, "metadata"),
        ({"extra": {"modalities": ["audio"]}}, "modalities"),
        ({"tools": (Opaque("openai", {"type": "custom"}),)}, "tools[0]"),
        ({"tools": (msgspec.structs.replace(LOOKUP, extra={"x": 1}),)}, "tools[0].x"),
        ({"messages": (Message("user", (Text("a", {"x": 1}),)),)}, "messages[].content[].x"),
        ({"messages": (Message("system", (Text("a"),), extra={"x": 1}), *ASKED.messages)}, "messages[].x"),
    ],
)
def test_what_can_t_be_said_is_recorded_or_refused(changes: dict[str, Any], field: str) -> None:
    assert fields_of(write(**changes)[1]) == [field]
    asked = msgspec.structs.replace(ASKED, **changes)
    with pytest.raises(UnsupportedFeature) as refused:
        DIALECT.write_request(asked, WireOptions("m", stream=False, unsupported="refuse"))
    assert refused.value.param == field


def test_the_newer_version_has_no_sampling() -> None:
    body, losses = write(temperature=0.5, top_p=0.5, top_k=4, version=NEW)
    assert fields_of(losses) == ["temperature", "top_p", "top_k"]
    assert not {"temperature", "top_p", "top_k"} & body.keys()
    body, losses = write(temperature=1.7)
    assert body["temperature"] == 1.0
    assert fields_of(losses) == ["temperature"]


def test_unsigned_thoughts_do_not_go_back() -> None:
    turns = (Message("user", (Text("a"),)), Message("assistant", (Reasoning("hm"),)))
    body, losses = write(*turns, dialect="anthropic")
    assert [each["role"] for each in body["messages"]] == ["user"]
    assert fields_of(losses) == ["messages[].reasoning"]
