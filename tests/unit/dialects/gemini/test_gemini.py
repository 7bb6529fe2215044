"""Gemini's dialect: requests, replies and errors in every direction."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from google.genai import types as google
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contract.deltas import Delta, Usage
from contract.dialect import InboundCall, WireOptions
from contract.errors import (
    ContentRefused,
    ContextWindowExceeded,
    CredentialRefused,
    GatehouseError,
    IncompleteReply,
    InvalidRequest,
    MalformedReply,
    Overloaded,
    RateLimited,
    RequestRefused,
    ServerFault,
    TimedOut,
    UnknownModel,
    UpstreamError,
    UpstreamNotFound,
)
from contract.messages import (
    ChatRequest,
    Message,
    ReasoningOptions,
    ResponseFormat,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from gateway.dialects.collect import Collector
from gateway.dialects.gemini_generate import GeminiArray, GeminiGenerate
from gateway.dialects.gemini_generate.tokens import count_tokens_reply, read_count_tokens
from tests.unit.dialects.gemini.strategies import answers, request

quick = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
DIALECT = GeminiGenerate()
ASKED = ChatRequest(dialect="gemini", model="m", messages=(Message("user", (Text("hi"),)),))
CALL = InboundCall("m")
HI = [{"role": "user", "parts": [{"text": "hi"}]}]


def asked(stream: bool) -> ChatRequest:
    return ChatRequest(dialect="gemini", model="m", messages=ASKED.messages, stream=stream)


def read(pieces: list[bytes], *, stream: bool) -> list[Delta]:
    reader = DIALECT.reply_reader(stream=stream)
    return [delta for piece in pieces for delta in reader.feed(piece)] + reader.finish()


def written(deltas: list[Delta], *, stream: bool, dialect: GeminiGenerate = DIALECT) -> bytes:
    writer = dialect.reply_writer(asked(stream), reply_id="r-1", raw=False)
    return b"".join([writer.feed([delta]) for delta in deltas]) + writer.finish()


def said(deltas: list[Delta]) -> Any:
    collector = Collector()
    collector.feed(deltas)
    return collector.usage, [
        (
            choice.index,
            choice.text,
            choice.reasoning,
            choice.finish,
            [(call.id, call.name, json.loads(call.arguments or "{}")) for call in choice.tool_calls],
        )
        for choice in collector.choices()
    ]


def frame(response: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(response).encode() + b"\r\n\r\n"


# ------------------------------------------------------------------ requests


@quick
@given(request)
def test_requests_survive(wanted: ChatRequest) -> None:
    wire = DIALECT.write_request(wanted, WireOptions("m", stream=wanted.stream))
    assert wire.losses == ()
    assert DIALECT.read_request(wire.body, InboundCall("m", stream=wanted.stream)) == wanted


@pytest.mark.parametrize(
    ("field", "value", "ours", "read_as"),
    [
        ("temperature", 0.5, "temperature", 0.5),
        ("topP", 0.5, "top_p", 0.5),
        ("top_k", 40.0, "top_k", 40),
        ("max_output_tokens", 5, "max_tokens", 5),
        ("stopSequences", ["a"], "stop", ("a",)),
        ("candidateCount", 2, "n", 2),
        ("responseLogprobs", True, "logprobs", True),
        ("logprobs", 3, "top_logprobs", 3),
        ("responseMimeType", "application/json", "response_format", ResponseFormat("json")),
        ("response_json_schema", {"type": "null"}, "response_format", ResponseFormat("json_schema", {"type": "null"})),
        ("responseSchema", {"type": "STRING"}, "response_format", ResponseFormat("json_schema", {"type": "string"})),
        ("thinkingConfig", {"thinkingBudget": 9}, "reasoning", ReasoningOptions(budget_tokens=9)),
        ("thinking_config", {"thinking_level": "LOW"}, "reasoning", ReasoningOptions(effort="low")),
        ("speechConfig", {"x": 1}, "extra", {"generationConfig": {"speechConfig": {"x": 1}}}),
    ],
)  # fmt: skip
def test_generation_config(field: str, value: Any, ours: str, read_as: Any) -> None:
    body = json.dumps({"contents": HI, "generation_config": {field: value}}).encode()
    assert getattr(DIALECT.read_request(body, CALL), ours) == read_as


def test_a_schema_of_google_s_is_read_as_json_schema() -> None:
    parameters = {
        "type": "OBJECT",
        "properties": {
            "some_name": {"type": "STRING", "nullable": True},
            "list": {"type": "ARRAY", "items": {"type": "INTEGER"}, "maxItems": "3"},
        },
    }
    tools = [{"function_declarations": [{"name": "f", "parameters": parameters}]}, {"googleSearch": {}}]
    body = json.dumps({"contents": HI, "tools": tools}).encode()
    function, search = DIALECT.read_request(body, CALL).tools
    assert isinstance(function, Tool)
    assert function.parameters == {
        "type": "object",
        "properties": {
            "some_name": {"type": ["string", "null"]},
            "list": {"type": "array", "items": {"type": "integer"}, "maxItems": 3},
        },
    }
    assert not isinstance(search, Tool)


def test_calls_without_ids_meet_their_responses_in_order() -> None:
    calls = [{"functionCall": {"name": "f", "args": {"n": n}}} for n in range(2)]
    responses = [{"functionResponse": {"name": "f", "response": {"output": word}}} for word in ("one", "two")]
    contents = [*HI, {"role": "model", "parts": calls}, {"role": "user", "parts": responses}]
    messages = DIALECT.read_request(json.dumps({"contents": contents}).encode(), CALL).messages
    assert [part.id for part in messages[1].parts if isinstance(part, ToolCall)] == ["call_0", "call_1"]
    found = [(part.call_id, part.parts[0]) for part in messages[2].parts if isinstance(part, ToolResult)]
    assert found == [("call_0", Text("one")), ("call_1", Text("two"))]


@pytest.mark.parametrize(
    ("mode", "names", "choice"),
    [
        ("AUTO", None, ToolChoice("auto")),
        ("NONE", None, ToolChoice("none")),
        ("ANY", None, ToolChoice("required")),
        ("ANY", ["f"], ToolChoice("named", "f")),
        ("ANY", ["f", "g"], ToolChoice("required", allowed=("f", "g"))),
        ("VALIDATED", ["f"], ToolChoice("auto", allowed=("f",))),
        ("AUTO", ["f", "g"], None),
        ("VALIDATED", None, None),
    ],
)
def test_tool_choice(mode: str, names: list[str] | None, choice: ToolChoice | None) -> None:
    calling: dict[str, Any] = {"mode": mode, **({"allowedFunctionNames": names} if names else {})}
    body = {"contents": HI, "toolConfig": {"functionCallingConfig": calling}}
    found = DIALECT.read_request(json.dumps(body).encode(), CALL)
    assert found.tool_choice == choice
    again = json.loads(DIALECT.write_request(found, WireOptions("m", stream=False)).body)
    assert again["toolConfig"] == body["toolConfig"]


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "contents"),
        ({"contents": []}, "contents"),
        ({"contents": [3]}, "contents[0]"),
        ({"contents": [{"role": "boss", "parts": []}]}, "contents[0].role"),
        ({"contents": [{"parts": [{"text": 3}]}]}, "contents[0].parts[0].text"),
        ({"contents": [{"parts": [{"inlineData": {"data": "QUJD"}}]}]}, "contents[0].parts[0].inlineData.mimeType"),
        ({"contents": [{"parts": [{"functionCall": {}}]}]}, "contents[0].parts[0].functionCall.name"),
        ({"contents": HI, "generationConfig": {"temperature": "hot"}}, "generationConfig.temperature"),
        ({"contents": HI, "tools": [{"functionDeclarations": [{}]}]}, "tools[0].functionDeclarations[0].name"),
        ({"contents": HI, "systemInstruction": 3}, "systemInstruction"),
    ],
)
def test_what_is_wrong_is_named(body: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        DIALECT.read_request(json.dumps(body).encode(), CALL)
    assert refused.value.param == param


@pytest.mark.parametrize(
    ("stream", "version", "path"),
    [
        (False, "", "/v1beta/models/gemini-x:generateContent"),
        (True, "v1", "/v1/models/gemini-x:streamGenerateContent?alt=sse"),
    ],
)
def test_the_path_holds_model_version_and_streaming(stream: bool, version: str, path: str) -> None:
    assert DIALECT.write_request(ASKED, WireOptions("gemini-x", stream=stream, version=version)).path == path


def test_neighbours_of_one_role_become_one_content() -> None:
    call = ToolCall("c1", "f", '{"a":1}')
    messages = (
        Message("user", (Text("a"),)),
        Message("assistant", (call,)),
        Message("tool", (ToolResult("c1", (Text('{"b": 2}'),)),)),
        Message("user", (Text("c"),)),
    )
    body = json.loads(
        DIALECT.write_request(
            ChatRequest(dialect="openai", model="m", messages=messages), WireOptions("m", stream=False)
        ).body
    )
    response = {"functionResponse": {"id": "c1", "name": "f", "response": {"b": 2}}}
    assert [content["role"] for content in body["contents"]] == ["user", "model", "user"]
    assert body["contents"][2]["parts"] == [response, {"text": "c"}]


def test_counting_tokens() -> None:
    inside = {"model": "models/m", "contents": HI, "systemInstruction": {"parts": [{"text": "be"}]}}
    found = read_count_tokens(json.dumps({"generateContentRequest": inside}).encode(), CALL)
    assert [message.text for message in found.messages] == ["be", "hi"]
    assert read_count_tokens(json.dumps({"contents": HI}).encode(), CALL).messages == ASKED.messages
    assert google.CountTokensResponse.model_validate_json(count_tokens_reply(7)).total_tokens == 7


# ------------------------------------------------------------------ replies


@quick
@given(answers(), st.lists(st.integers(0, 9999), max_size=12))
def test_answers_survive_being_streamed_split_and_read(deltas: list[Delta], places: list[int]) -> None:
    data = written(deltas, stream=True)
    for line in data.split(b"\r\n\r\n")[:-1]:
        google.GenerateContentResponse.model_validate_json(line.removeprefix(b"data: "))
    edges = [0, *sorted({place % len(data) for place in places}), len(data)]
    found = read([data[start:end] for start, end in itertools.pairwise(edges)], stream=True)
    assert said(found) == said(deltas)


@quick
@given(answers())
def test_whole_answers_and_arrays_survive(deltas: list[Delta]) -> None:
    body = written(deltas, stream=False)
    google.GenerateContentResponse.model_validate_json(body)
    assert said(read([body], stream=False)) == said(deltas)
    array = written(deltas, stream=True, dialect=GeminiArray())
    assert said(read([array], stream=False)) == said(deltas)


@quick
@given(answers(), st.integers(0, 9999))
def test_a_cut_stream_raises(deltas: list[Delta], place: int) -> None:
    data = written(deltas, stream=True)
    with pytest.raises(UpstreamError):
        read([data[: place % data.rfind(b'"finishReason"')]], stream=True)


@pytest.mark.parametrize(
    ("reason", "finish"),
    [
        ("STOP", "stop"),
        ("MAX_TOKENS", "length"),
        ("SAFETY", "content_filter"),
        ("RECITATION", "content_filter"),
        ("BLOCKLIST", "content_filter"),
        ("PROHIBITED_CONTENT", "content_filter"),
        ("SPII", "content_filter"),
        ("IMAGE_SAFETY", "content_filter"),
        ("MALFORMED_FUNCTION_CALL", "malformed"),
        ("OTHER", "error"),
        ("NEVER_HEARD_OF", "other"),
    ],
)
def test_finish_reasons(reason: str, finish: str) -> None:
    body = {"candidates": [{"content": {"parts": [{"text": "a"}]}, "finishReason": reason}]}
    assert read([json.dumps(body).encode()], stream=False)[0].choices[-1].finish == finish


def test_calls_thoughts_usage_and_metadata_are_read() -> None:
    parts = [
        {"text": "hm", "thought": True, "thoughtSignature": "c2ln"},
        {"functionCall": {"name": "f", "args": {"a": 1}}},
        {"functionCall": {"id": "x", "name": "g"}, "thoughtSignature": "c2ln"},
    ]
    usage = {"promptTokenCount": 9, "candidatesTokenCount": 4, "thoughtsTokenCount": 3, "cachedContentTokenCount": 2}
    logprobs = {
        "chosenCandidates": [{"token": "a", "logProbability": -0.5}],
        "topCandidates": [{"candidates": [{"token": "b", "logProbability": -1}]}],
    }
    candidate = {
        "content": {"parts": parts},
        "finishReason": "STOP",
        "groundingMetadata": {"q": 1},
        "logprobsResult": logprobs,
    }
    body = {"candidates": [candidate], "usageMetadata": usage, "modelVersion": "v", "responseId": "r"}
    deltas = read([json.dumps(body).encode()], stream=False)
    collector = Collector()
    collector.feed(deltas)
    (choice,) = collector.choices()
    assert (choice.reasoning, choice.finish, choice.extra) == ("hm", "tool_calls", {"groundingMetadata": {"q": 1}})
    assert [(c.index, c.id, c.name, c.arguments, c.signature) for c in choice.tool_calls] == [
        (0, "call_r_0_0", "f", '{"a":1}', ""),
        (1, "x", "g", "{}", "c2ln"),
    ]
    assert collector.usage == Usage(input=9, output=7, cache_read=2, reasoning=3)
    assert (collector.model, collector.id) == ("v", "r")
    assert [(t.token, t.logprob, [o.token for o in t.top]) for t in choice.logprobs] == [("a", -0.5, ["b"])]


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"", IncompleteReply),
        (b"<html>", MalformedReply),
        (b'{"candidates": [{"content"', MalformedReply),
        (b"[1", MalformedReply),
        (b'{"candidates": []}', MalformedReply),
        (b'{"candidates": [{"content": {"parts": [{"text": "a"}]}}]}', IncompleteReply),
        (b'{"promptFeedback": {"blockReason": "SAFETY"}}', ContentRefused),
        (b'{"error": {"code": 503, "message": "x", "status": "UNAVAILABLE"}}', Overloaded),
        (b'{"error": {"message": "x", "status": "RESOURCE_EXHAUSTED"}}', RateLimited),
    ],
)
def test_bodies_that_are_no_answer(body: bytes, error: type[UpstreamError]) -> None:
    with pytest.raises(error):
        read([body], stream=False)


def test_an_error_in_the_stream() -> None:
    reader = DIALECT.reply_reader(stream=True)
    reader.feed(frame({"candidates": [{"content": {"parts": [{"text": "a"}]}}]}))
    with pytest.raises(Overloaded):
        reader.feed(frame({"error": {"code": 503, "message": "busy", "status": "UNAVAILABLE"}}))


def test_raw_events_are_forwarded() -> None:
    data = frame({"candidates": [{"content": {"parts": [{"text": "a"}]}}], "brandNew": 1})
    reader = DIALECT.reply_reader(stream=True)
    writer = DIALECT.reply_writer(asked(stream=True), reply_id="r", raw=True)
    assert writer.feed(reader.feed(data)) + writer.finish() == data
    assert not reader.done


@pytest.mark.parametrize(("arguments", "args"), [("", {}), ('{"a":1}', {"a": 1}), ("{brok", {"_arguments": "{brok"})])
def test_arguments_become_an_object(arguments: str, args: dict[str, Any]) -> None:
    messages = (*ASKED.messages, Message("assistant", (ToolCall("c", "f", arguments),)))
    wire = DIALECT.write_request(
        ChatRequest(dialect="gemini", model="m", messages=messages), WireOptions("m", stream=False)
    )
    assert json.loads(wire.body)["contents"][1]["parts"][0]["functionCall"]["args"] == args


# ------------------------------------------------------------------ errors


@pytest.mark.parametrize(
    ("status", "error", "expected"),
    [
        (400, {"message": "bad", "status": "INVALID_ARGUMENT"}, RequestRefused),
        (400, {"message": "no", "details": [{"reason": "API_KEY_INVALID"}]}, CredentialRefused),
        (400, {"message": "The input token count (9) exceeds the maximum (3)."}, ContextWindowExceeded),
        (403, {"message": "no"}, CredentialRefused),
        (404, {"message": "no"}, UpstreamNotFound),
        (429, {"message": "slow"}, RateLimited),
        (500, {}, ServerFault),
        (503, {}, Overloaded),
        (504, {}, TimedOut),
    ],
)
def test_errors_are_read(status: int, error: dict[str, Any], expected: type[UpstreamError]) -> None:
    assert type(DIALECT.read_error(status, {}, json.dumps({"error": error}).encode())) is expected
    assert type(DIALECT.read_error(status, {}, json.dumps([{"error": error}]).encode())) is expected


def test_the_pause_stands_in_the_details() -> None:
    details = [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "1.5s"}]
    body = json.dumps({"error": {"code": 429, "details": details}}).encode()
    assert DIALECT.read_error(429, {}, body).retry_after_s == 1.5


@pytest.mark.parametrize(
    ("error", "code", "status"),
    [
        (InvalidRequest("x"), 400, "INVALID_ARGUMENT"),
        (UnknownModel("x"), 404, "NOT_FOUND"),
        (RateLimited("x"), 429, "RESOURCE_EXHAUSTED"),
        (Overloaded("x"), 503, "UNAVAILABLE"),
        (IncompleteReply("x"), 502, "INTERNAL"),
        (TimedOut("x", phase="idle"), 504, "DEADLINE_EXCEEDED"),
    ],
)
def test_errors_are_written(error: GatehouseError, code: int, status: str) -> None:
    found = json.loads(DIALECT.write_error(error, "req"))["error"]
    assert (found["code"], found["message"], found["status"]) == (code, "x", status)


def test_an_error_frame_is_what_the_sdk_raises_on() -> None:
    data = DIALECT.reply_writer(asked(stream=True), reply_id="r", raw=False).fail(IncompleteReply("x"), "req")
    # google-genai compares the frame's beginning.
    assert data.startswith(b'data: {"error":{"code":502')
    assert data.endswith(b"\r\n\r\n")
    with pytest.raises(UpstreamError):
        read([data], stream=True)
