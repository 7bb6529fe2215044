"""What one dialect or the other says and reads; what holds for all stands in `gateway.dialects.conformance`."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.deltas import ChoiceDelta, Delta
from contract.dialect import Dialect, InboundCall, WireOptions
from contract.errors import GatehouseError, UpstreamError
from contract.messages import (
    ChatRequest,
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
from gateway.dialects.conformance import REQUEST, conversation, quick, read, tool, words, written
from gateway.dialects.gemini_generate import GeminiGenerate
from gateway.dialects.openai_chat import OpenAIChat

DIALECTS: dict[str, Dialect] = {"openai": OpenAIChat(), "anthropic": AnthropicMessages(), "gemini": GeminiGenerate()}
every = pytest.mark.parametrize("dialect", sorted(DIALECTS))

number = st.integers(1, 8).map(lambda n: n / 8)
common = {
    "model": st.just("m"),
    "messages": conversation,
    "tools": st.lists(tool, max_size=1).map(tuple),
    "tool_choice": st.none()
    | st.sampled_from([ToolChoice("auto"), ToolChoice("required"), ToolChoice("named", "lookup")]),
    "response_format": st.none() | st.just(ResponseFormat("json_schema", schema={"type": "object"})),
    "temperature": st.none() | number,
    "top_p": st.none() | number,
    "max_tokens": st.integers(1, 999),
    "stop": st.lists(words, max_size=2).map(tuple),
}


@quick
@given(
    st.builds(
        ChatRequest,
        dialect=st.just("anthropic"),
        include_usage=st.just(True),
        top_k=st.none() | st.integers(1, 40),
        parallel_tool_calls=st.none(),
        reasoning=st.none() | st.just(ReasoningOptions(budget_tokens=2048, enabled=True, include=True)),
        user=st.just("") | words,
        extra=st.none() | st.just({"service_tier": "auto", "brand_new": [1]}),
        **common,
    )
)
def test_anthropic_requests_survive(asked: ChatRequest) -> None:
    if not asked.tools:
        asked = msgspec.structs.replace(asked, tool_choice=None)
    wire = DIALECTS["anthropic"].write_request(asked, WireOptions("m", stream=False, version="2023-06-01"))
    assert DIALECTS["anthropic"].read_request(wire.body, InboundCall()) == asked
    assert wire.losses == ()


@quick
@given(
    st.builds(
        ChatRequest,
        dialect=st.just("gemini"),
        include_usage=st.just(True),
        top_k=st.none() | st.integers(1, 40),
        seed=st.none() | st.integers(0, 99),
        n=st.none() | st.integers(1, 3),
        logprobs=st.none() | st.booleans(),
        top_logprobs=st.none() | st.integers(0, 5),
        presence_penalty=st.none() | number,
        reasoning=st.none() | st.just(ReasoningOptions(budget_tokens=2048, include=True)),
        extra=st.none() | st.just({"safetySettings": [], "generationConfig": {"mediaResolution": "LOW"}}),
        **common,
    )
)
def test_gemini_requests_survive(asked: ChatRequest) -> None:
    wire = DIALECTS["gemini"].write_request(asked, WireOptions("m", stream=False))
    got = DIALECTS["gemini"].read_request(wire.body, InboundCall("m"))
    # Gemini's results carry their function's name, which the others don't know.
    named = tuple(
        msgspec.structs.replace(
            message,
            parts=tuple(
                msgspec.structs.replace(p, name="lookup") if isinstance(p, ToolResult) else p for p in message.parts
            ),
        )
        for message in asked.messages
    )
    assert got == msgspec.structs.replace(asked, messages=named)
    assert wire.losses == ()


@pytest.mark.parametrize(
    ("target", "request_", "field"),
    [
        ("anthropic", {"seed": 1}, "seed"),
        ("anthropic", {"n": 2}, "n"),
        ("anthropic", {"logprobs": True}, "logprobs"),
        ("anthropic", {"response_format": ResponseFormat("json")}, "response_format"),
        ("anthropic", {"extra": {"brand_new": 1}}, "brand_new"),
        ("gemini", {"user": "x"}, "user"),
        ("gemini", {"parallel_tool_calls": False, "tools": (Tool("f"),)}, "parallel_tool_calls"),
        ("gemini", {"tools": (Opaque("openai", {"type": "custom"}),)}, "tools[0]"),
    ],
)
def test_what_can_t_be_said_is_recorded_or_refused(target: str, request_: dict[str, Any], field: str) -> None:
    asked = msgspec.structs.replace(REQUEST, **request_)
    wire = DIALECTS[target].write_request(asked, WireOptions("m", stream=False))
    assert [loss.field for loss in wire.losses] == [field]
    with pytest.raises(GatehouseError) as refused:
        DIALECTS[target].write_request(asked, WireOptions("m", stream=False, unsupported="refuse"))
    assert refused.value.param == field


def test_the_newer_anthropic_api_has_no_sampling() -> None:
    asked = msgspec.structs.replace(REQUEST, temperature=0.5, top_p=0.5, top_k=4)
    wire = DIALECTS["anthropic"].write_request(asked, WireOptions("m", stream=False, version="2026-10-21"))
    assert {loss.field for loss in wire.losses} == {"temperature", "top_p", "top_k"}
    assert wire.headers["anthropic-version"] == "2026-10-21"
    assert not {"temperature", "top_p", "top_k"} & json.loads(wire.body).keys()


def test_thoughts_go_back_to_the_one_who_signed_them() -> None:
    thought = Reasoning("hm", signature="c2ln")
    messages = (
        Message("user", (Text("a"),)),
        Message("assistant", (thought, Text("b"))),
        Message("user", (Text("c"),)),
    )
    asked = msgspec.structs.replace(REQUEST, dialect="anthropic", messages=messages)
    body = json.loads(DIALECTS["anthropic"].write_request(asked, WireOptions("m", stream=False)).body)
    assert body["messages"][1]["content"][0] == {"type": "thinking", "thinking": "hm", "signature": "c2ln"}
    unsigned = msgspec.structs.replace(asked, messages=(Message("assistant", (Reasoning("hm"), Text("b"))),))
    wire = DIALECTS["anthropic"].write_request(unsigned, WireOptions("m", stream=False))
    assert wire.losses[0].field == "messages[].reasoning"


STREAM_OF_NULLS: dict[str, list[dict[str, Any]]] = {
    "anthropic": [
        {"type": "message_start", "message": {"id": None, "model": None, "usage": {}}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": None}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": None}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": None}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "signature_delta", "signature": None}},
    ],
    "gemini": [
        {"candidates": [{"content": {"parts": [{"text": None}]}}], "responseId": None},
        {"candidates": [{"content": {"parts": [{"text": None, "thought": True}]}}]},
    ],
    "openai": [{"id": None, "choices": [{"index": 0, "delta": {"content": None, "reasoning_content": None}}]}],
}


@every
def test_null_is_no_word(dialect: str) -> None:
    reader = DIALECTS[dialect].reply_reader(stream=True)
    frames = b"".join(b"data: " + json.dumps(event).encode() + b"\n\n" for event in STREAM_OF_NULLS[dialect])
    deltas = reader.feed(frames)
    assert len(deltas) == len(STREAM_OF_NULLS[dialect])
    for choice in (choice for delta in deltas for choice in delta.choices):
        assert (choice.text, choice.reasoning, choice.signature) == ("", "", "")


@pytest.mark.parametrize("dialect", ["anthropic", "gemini"])
def test_words_that_are_no_string_are_malformed(dialect: str) -> None:
    for event in STREAM_OF_NULLS[dialect][-2:]:
        data = json.dumps(event).replace("null", "[7]", 1).encode()
        with pytest.raises(UpstreamError):
            DIALECTS[dialect].reply_reader(stream=True).feed(b"data: " + data + b"\n\n")


def test_gemini_results_carry_the_name_of_their_own_turn_s_call() -> None:
    messages: list[Message] = []
    for name in ("first", "second"):
        messages.append(Message("assistant", (ToolCall("call_0", name, "{}"),)))
        messages.append(Message("tool", (ToolResult("call_0", (Text("x"),)),)))
    asked = msgspec.structs.replace(REQUEST, messages=tuple(messages))
    body = json.loads(DIALECTS["gemini"].write_request(asked, WireOptions("m", stream=False)).body)
    parts = [part for content in body["contents"] for part in content["parts"]]
    assert [part["functionResponse"]["name"] for part in parts if "functionResponse" in part] == ["first", "second"]


def test_gemini_s_ids_of_calls_differ_from_answer_to_answer() -> None:
    ids = set()
    for response_id in ("a", "b"):
        part = {"functionCall": {"name": "f", "args": {}}}
        candidate = {"content": {"parts": [part]}, "finishReason": "STOP"}
        body = json.dumps({"candidates": [candidate], "responseId": response_id}).encode()
        (delta,) = read(DIALECTS["gemini"], [body], stream=False)
        ids |= {call.id for choice in delta.choices for call in choice.tool_calls}
    assert len(ids) == 2


def test_gemini_s_last_frame_has_a_part() -> None:
    """The SDK's chats drop a turn with a frame without parts."""
    data = written(DIALECTS["gemini"], [Delta((ChoiceDelta(text="a", finish="stop"),))], stream=True)
    frames = [json.loads(frame[6:]) for frame in data.split(b"\r\n\r\n") if frame]
    assert all(candidate["content"]["parts"] for frame in frames for candidate in frame["candidates"])
