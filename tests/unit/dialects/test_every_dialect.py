"""What holds for every dialect: round trips, any split of the bytes, and that a cut answer never looks whole."""

from __future__ import annotations

import contextlib
import itertools
import json
from typing import Any

import anthropic.types
import msgspec
import pytest
from google.genai import types as google
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from openai.types.chat import ChatCompletion

from contract.deltas import ChoiceDelta, Delta, FinishReason, ToolCallDelta, Usage
from contract.dialect import Dialect, InboundCall, WireOptions
from contract.errors import GatehouseError, InvalidRequest, UpstreamError
from contract.messages import (
    ChatRequest,
    Document,
    Image,
    Message,
    Opaque,
    Part,
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
from gateway.dialects.collect import Collector
from gateway.dialects.fitting import FIRST_WORDS
from gateway.dialects.gemini_generate import GeminiGenerate
from gateway.dialects.openai_chat import OpenAIChat

DIALECTS: dict[str, Dialect] = {"openai": OpenAIChat(), "anthropic": AnthropicMessages(), "gemini": GeminiGenerate()}
MODELS: dict[str, Any] = {
    "openai": ChatCompletion,
    "anthropic": anthropic.types.Message,
    "gemini": google.GenerateContentResponse,
}
ASKED = ChatRequest(dialect="openai", model="m", messages=(Message("user", (Text("hi"),)),))
every = pytest.mark.parametrize("dialect", sorted(DIALECTS))
quick = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

words = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
json_object = st.dictionaries(words, words | st.integers(-9, 9) | st.booleans(), max_size=3)
REASONS: list[FinishReason] = ["stop", "length", "tool_calls"]


@st.composite
def answers(draw: st.DrawFn) -> list[Delta]:
    """One choice as any provider may stream it, tool calls interleaved, each of whose arguments is an object."""
    usage = Usage(draw(st.integers(10, 99)), draw(st.integers(10, 99)), cache_read=draw(st.integers(0, 5)))
    pieces = [ChoiceDelta(reasoning=each) for each in draw(st.lists(words, max_size=2))]
    pieces += [ChoiceDelta(text=each) for each in draw(st.lists(words, max_size=4))]
    calls: list[list[ChoiceDelta]] = []
    for index, arguments in enumerate(draw(st.lists(json_object, max_size=3))):
        text = json.dumps(arguments, ensure_ascii=False)
        cut = draw(st.integers(0, len(text)))
        start = ToolCallDelta(index, f"call_{index}", f"tool_{index}", text[:cut])
        calls.append(
            [ChoiceDelta(tool_calls=(start,)), ChoiceDelta(tool_calls=(ToolCallDelta(index, arguments=text[cut:]),))]
        )
    interleaved: bool = draw(st.booleans())
    if calls and interleaved:
        # All starts, then all ends.
        pieces += [call[0] for call in calls] + [call[1] for call in calls]
    else:
        pieces += [piece for call in calls for piece in call]
    if not pieces:
        pieces = [ChoiceDelta(text="x")]
    finish: FinishReason = "tool_calls" if calls else draw(st.sampled_from(["stop", "length"]))
    deltas = [Delta((piece,), id="id-1", model="m") for piece in pieces]
    return [*deltas, Delta((ChoiceDelta(finish=finish),)), Delta(usage=usage)]


def summary(deltas: list[Delta]) -> Any:
    collector = Collector()
    collector.feed(deltas)
    return [
        collector.usage,
        [
            (
                each.index,
                each.text,
                each.reasoning,
                each.finish,
                [(call.id, call.name, json.loads(call.arguments or "{}")) for call in each.tool_calls],
            )
            for each in collector.choices()
        ],
    ]


def written(dialect: Dialect, deltas: list[Delta], *, stream: bool) -> bytes:
    asked = msgspec.structs.replace(ASKED, stream=stream, include_usage=True)
    writer = dialect.reply_writer(asked, reply_id="id-1", raw=False)
    return b"".join([writer.feed([delta]) for delta in deltas]) + writer.finish()


def read(dialect: Dialect, pieces: list[bytes], *, stream: bool) -> list[Delta]:
    reader = dialect.reply_reader(stream=stream)
    return [delta for piece in pieces for delta in reader.feed(piece)] + reader.finish()


@every
@quick
@given(deltas=answers(), places=st.lists(st.integers(0, 9999), max_size=12))
def test_streams_survive_being_written_split_and_read(dialect: str, deltas: list[Delta], places: list[int]) -> None:
    data = written(DIALECTS[dialect], deltas, stream=True)
    edges = [0, *sorted({place % len(data) for place in places}), len(data)]
    pieces = [data[a:b] for a, b in itertools.pairwise(edges)]
    assert summary(read(DIALECTS[dialect], pieces, stream=True)) == summary(deltas)


@every
@quick
@given(deltas=answers())
def test_whole_answers_survive_and_are_the_vendor_s(dialect: str, deltas: list[Delta]) -> None:
    body = written(DIALECTS[dialect], deltas, stream=False)
    MODELS[dialect].model_validate(json.loads(body))
    assert summary(read(DIALECTS[dialect], [body], stream=False)) == summary(deltas)


@every
@quick
@given(deltas=answers(), place=st.integers(0, 99_999))
def test_a_cut_stream_is_never_a_clean_end(dialect: str, deltas: list[Delta], place: int) -> None:
    data = written(DIALECTS[dialect], deltas, stream=True)
    marks = {"openai": b'"finish_reason":"', "anthropic": b"event: message_delta", "gemini": b'"finishReason"'}
    end = data.rfind(marks[dialect])
    with pytest.raises(UpstreamError):
        read(DIALECTS[dialect], [data[: place % end]], stream=True)


@every
@quick
@given(deltas=answers(), place=st.integers(0, 99_999))
def test_a_cut_body_is_never_a_whole_answer(dialect: str, deltas: list[Delta], place: int) -> None:
    body = written(DIALECTS[dialect], deltas, stream=False)
    with pytest.raises(UpstreamError):
        read(DIALECTS[dialect], [body[: place % len(body)]], stream=False)


@every
@quick
@given(data=st.binary(max_size=300), stream=st.booleans())
def test_any_bytes_are_an_answer_or_an_upstream_error(dialect: str, data: bytes, stream: bool) -> None:
    with contextlib.suppress(UpstreamError):
        read(DIALECTS[dialect], [data], stream=stream)
    with contextlib.suppress(UpstreamError):
        read(DIALECTS[dialect], [b"data: " + data + b"\n\n"], stream=True)


NAMES = [
    "model", "messages", "role", "content", "type", "text", "contents", "parts", "tools", "function", "name", "system",
    "max_tokens", "choices", "delta", "index", "finish_reason", "usage", "candidates", "finishReason", "error", "id",
    "message", "content_block", "stop_reason", "functionCall", "usageMetadata", "inlineData", "source", "tool_calls",
]  # fmt: skip
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES) | words, inner, max_size=4),
    max_leaves=12,
)


@every
@quick
@given(value=JSON)
def test_any_json_is_read_or_refused_clearly(dialect: str, value: Any) -> None:
    body = json.dumps(value).encode()
    with contextlib.suppress(InvalidRequest):
        DIALECTS[dialect].read_request(body, InboundCall("m"))
    with contextlib.suppress(UpstreamError):
        read(DIALECTS[dialect], [body], stream=False)
    with contextlib.suppress(UpstreamError):
        read(DIALECTS[dialect], [b"event: message_start\ndata: " + body + b"\n\n"], stream=True)
    for status in (400, 429, 500):
        assert isinstance(DIALECTS[dialect].read_error(status, {}, body), UpstreamError)


# ------------------------------------------------------------------ requests

tool = st.builds(Tool, st.just("lookup"), words, st.just({"type": "object", "properties": {"a": {"type": "string"}}}))
call = st.builds(
    ToolCall, st.just("call_1"), st.just("lookup"), json_object.map(lambda each: msgspec.json.encode(each).decode())
)
result = st.builds(
    ToolResult, st.just("call_1"), st.tuples(st.builds(Text, words.filter(lambda t: not t.startswith("{"))))
)
picture = st.builds(Image, data=st.just("QUJD"), media_type=st.just("image/png"))
pdf = st.builds(Document, data=st.just("QUJD"), media_type=st.just("application/pdf"))
plain = st.builds(Text, words)


def turns(
    system: Text, users: list[list[Part]], calls: list[ToolCall], results: list[ToolResult]
) -> tuple[Message, ...]:
    """System, then users and assistants in turn; a call is followed by its result."""
    messages = [Message("system", (system,))]
    for number, parts in enumerate(users):
        messages.append(Message("user", tuple(parts)))
        if number < len(calls) and results:
            messages.append(Message("assistant", (Text("let me see"), calls[number])))
            messages.append(Message("user", (results[0],)))
        messages.append(Message("assistant", (Text("well"),)))
    return (*messages, Message("user", (Text("so?"),)))


conversation = st.builds(
    turns,
    plain,
    st.lists(st.lists(plain | picture | pdf, min_size=1, max_size=3), max_size=2),
    st.lists(call, max_size=1),
    st.lists(result, max_size=1),
)
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


@pytest.mark.parametrize("target", sorted(DIALECTS))
@every
@quick
@given(messages=conversation, tools=st.lists(tool, max_size=1).map(tuple))
def test_a_conversation_says_the_same_in_every_dialect(
    dialect: str, target: str, messages: tuple[Message, ...], tools: tuple[Tool, ...]
) -> None:
    asked = ChatRequest(dialect=dialect, model="m", messages=messages, tools=tools, max_tokens=50)
    wire = DIALECTS[target].write_request(asked, WireOptions("m", stream=True))
    got = DIALECTS[target].read_request(wire.body, InboundCall("m", stream=True))
    assert content(got.messages) == content(messages)
    names = [each.name for each in tools]
    if target == "anthropic" and dialect != target and not tools:
        # It wants the tools of earlier turns declared.
        names = list({part.name: None for each in messages for part in each.parts if isinstance(part, ToolCall)})
    assert [each.name for each in got.tools if isinstance(each, Tool)] == names
    assert got.max_tokens == 50


def content(messages: tuple[Message, ...]) -> list[Any]:
    """What is said, whoever's turn holds it: other dialects merge and split turns."""
    found: list[Any] = []
    for message in messages:
        for part in message.parts:
            if isinstance(part, Text):
                # Blanks alone say nothing, and Anthropic refuses them; what then begins may be the assistant's turn.
                said = part.text.strip() and part.text != FIRST_WORDS
                found += [("text", message.role, part.text)] if said else []
            elif isinstance(part, ToolCall):
                found.append(("call", part.id, part.name, json.loads(part.arguments)))
            elif isinstance(part, ToolResult):
                texts = [p.text for p in part.parts if isinstance(p, Text) and p.text.strip()]
                found.append(("result", part.call_id, "".join(texts)))
            else:
                found.append((type(part).__name__, getattr(part, "data", ""), getattr(part, "media_type", "")))
    return found


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
    asked = msgspec.structs.replace(ASKED, **request_)
    wire = DIALECTS[target].write_request(asked, WireOptions("m", stream=False))
    assert [loss.field for loss in wire.losses] == [field]
    with pytest.raises(GatehouseError) as refused:
        DIALECTS[target].write_request(asked, WireOptions("m", stream=False, unsupported="refuse"))
    assert refused.value.param == field


def test_the_newer_anthropic_api_has_no_sampling() -> None:
    asked = msgspec.structs.replace(ASKED, temperature=0.5, top_p=0.5, top_k=4)
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
    asked = msgspec.structs.replace(ASKED, dialect="anthropic", messages=messages)
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


@every
def test_no_key_reaches_the_caller_in_an_error(dialect: str) -> None:
    for secret in ("AIzaSyA-0123456789abcdefghijklmnop", "sk-ant-api03-0123456789abcdef", "sk-proj-0123456789abcdef"):
        for message in (f"bad url https://x/y?key={secret}", f"the header 'Bearer {secret}' is wrong", secret):
            body = json.dumps(
                {"type": "error", "error": {"message": message, "type": "invalid_request_error"}}
            ).encode()
            assert secret not in DIALECTS[dialect].read_error(400, {}, body).message


@every
def test_deeply_nested_errors_are_errors(dialect: str) -> None:
    body = b'{"error":' + b"[" * 50_000 + b"]" * 50_000 + b"}"
    assert isinstance(DIALECTS[dialect].read_error(500, {}, body), UpstreamError)


def test_gemini_results_carry_the_name_of_their_own_turn_s_call() -> None:
    messages: list[Message] = []
    for name in ("first", "second"):
        messages.append(Message("assistant", (ToolCall("call_0", name, "{}"),)))
        messages.append(Message("tool", (ToolResult("call_0", (Text("x"),)),)))
    asked = msgspec.structs.replace(ASKED, messages=tuple(messages))
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
