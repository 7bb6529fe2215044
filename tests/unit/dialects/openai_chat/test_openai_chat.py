from __future__ import annotations

import contextlib
import itertools
import json
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from contract.deltas import ChoiceDelta, Delta, TokenLogprob, Usage
from contract.dialect import InboundCall, WireOptions
from contract.errors import (
    ContentRefused,
    ContextWindowExceeded,
    CredentialRefused,
    IncompleteReply,
    InvalidRequest,
    MalformedReply,
    Overloaded,
    RateLimited,
    RequestRefused,
    ServerFault,
    UnsupportedFeature,
    UpstreamError,
    UpstreamNotFound,
)
from contract.messages import ChatRequest, Image, Message, Text, ToolResult
from gateway.dialects.collect import Collector
from gateway.dialects.openai_chat import OpenAIChat
from tests.unit.dialects.openai_chat.strategies import answers, request

DIALECT = OpenAIChat()
CALL = InboundCall()
ASKED = ChatRequest(dialect="openai", model="m", messages=(Message("user", (Text("hi"),)),))


def read(body: dict[str, Any]) -> ChatRequest:
    return DIALECT.read_request(json.dumps(body).encode(), CALL)


def chat(**fields: Any) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": "hi"}], **fields}


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(request)
def test_a_request_survives_being_written_and_read(asked: ChatRequest) -> None:
    wire = DIALECT.write_request(asked, WireOptions(asked.model, stream=False))
    assert DIALECT.read_request(wire.body, CALL) == asked
    assert wire.losses == ()


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "model"),
        ({"model": 3}, "model"),
        ({"model": "m"}, "messages"),
        (chat(messages=[]), "messages"),
        (chat(messages={}), "messages"),
        (chat(messages=["x"]), "messages[0]"),
        (chat(messages=[{"content": "x"}]), "messages[0].role"),
        (chat(messages=[{"role": "robot", "content": "x"}]), "messages[0].role"),
        (chat(messages=[{"role": "user", "content": 3}]), "messages[0].content"),
        (chat(messages=[{"role": "user", "content": [3]}]), "messages[0].content[0]"),
        (chat(messages=[{"role": "user", "content": [{"type": "text"}]}]), "messages[0].content[0].text"),
        (chat(messages=[{"role": "tool", "content": "x"}]), "messages[0].tool_call_id"),
        (chat(messages=[{"role": "assistant", "tool_calls": [{"id": "a"}]}]), "messages[0].tool_calls[0].function"),
        (chat(temperature="hot"), "temperature"),
        (chat(stream="yes"), "stream"),
        (chat(stop=[1]), "stop[0]"),
        (chat(n=1.5), "n"),
        (chat(tools=[{"type": "function"}]), "tools[0].function"),
        (chat(tool_choice="perhaps"), "tool_choice"),
        (chat(response_format={"type": "xml"}), "response_format.type"),
        (chat(response_format={"type": "json_schema"}), "response_format.json_schema"),
    ],
)
def test_bad_requests_name_the_field(body: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        read(body)
    assert caught.value.param == param
    assert param in caught.value.message


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff", b'"x"', b"[" * 5000, b'{"a": ' * 5000])
def test_bodies_that_are_no_object(body: bytes) -> None:
    with pytest.raises(InvalidRequest):
        DIALECT.read_request(body, CALL)


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_a_request_or_a_clear_error(body: bytes) -> None:
    with contextlib.suppress(InvalidRequest):
        DIALECT.read_request(body, CALL)


def test_images_by_data_url() -> None:
    content = [{"type": "image_url", "image_url": {"url": "data:image/png;base64,QUJD", "detail": "low"}}]
    asked = read(chat(messages=[{"role": "user", "content": content}]))
    assert asked.messages[0].parts == (Image(data="QUJD", media_type="image/png", detail="low"),)


def test_max_tokens_by_either_name() -> None:
    assert read(chat(max_tokens=5)).max_tokens == 5
    assert read(chat(max_completion_tokens=6)).max_tokens == 6
    for native, field in ((True, "max_completion_tokens"), (False, "max_tokens")):
        wire = DIALECT.write_request(read(chat(max_tokens=5)), WireOptions("x", stream=False, native=native))
        assert json.loads(wire.body)[field] == 5


def test_usage_is_always_asked_upstream() -> None:
    asked = read(chat(stream=True, stream_options={"include_obfuscation": False}))
    assert not asked.include_usage
    body = json.loads(DIALECT.write_request(asked, WireOptions("x", stream=True)).body)
    assert body["stream_options"] == {"include_obfuscation": False, "include_usage": True}


def test_tool_results_of_another_dialect_become_messages() -> None:
    parts = (ToolResult("a", (Text("1"),), is_error=True), ToolResult("b", (Text("2"),)), Text("and now?"))
    asked = msgspec.structs.replace(ASKED, dialect="anthropic", messages=(Message("user", parts),))
    body = json.loads(DIALECT.write_request(asked, WireOptions("x", stream=False)).body)
    assert [each["role"] for each in body["messages"]] == ["tool", "tool", "user"]
    assert body["messages"][2]["content"] == "and now?"


def test_what_cannot_be_said_is_dropped_and_recorded_or_refused() -> None:
    asked = msgspec.structs.replace(ASKED, dialect="gemini", top_k=5, extra={"safetySettings": []})
    wire = DIALECT.write_request(asked, WireOptions("x", stream=False))
    assert [loss.field for loss in wire.losses] == ["top_k", "safetySettings"]
    assert "safetySettings" not in json.loads(wire.body)
    with pytest.raises(UnsupportedFeature):
        DIALECT.write_request(asked, WireOptions("x", stream=False, unsupported="refuse"))


# ------------------------------------------------------------------ replies


def stream_of(deltas: list[Delta], *, include_usage: bool = True) -> bytes:
    asked = msgspec.structs.replace(ASKED, stream=True, include_usage=include_usage)
    writer = DIALECT.reply_writer(asked, reply_id="chatcmpl-x", raw=False)
    return writer.feed(deltas) + writer.finish()


def read_stream(pieces: list[bytes]) -> list[Delta]:
    reader = DIALECT.reply_reader(stream=True)
    deltas = [delta for piece in pieces for delta in reader.feed(piece)]
    return deltas + reader.finish()


def summary(deltas: list[Delta]) -> list[Any]:
    collector = Collector()
    collector.feed(deltas)
    return [
        collector.usage,
        [
            (each.index, each.text, each.reasoning, each.finish, [(c.id, c.name, c.arguments) for c in each.tool_calls])
            for each in collector.choices()
        ],
    ]


@settings(deadline=None)
@given(answers(), st.lists(st.integers(0, 5000), max_size=12))
def test_a_stream_survives_being_written_split_and_read(deltas: list[Delta], places: list[int]) -> None:
    data = stream_of(deltas)
    edges = [0, *sorted({place % len(data) for place in places}), len(data)]
    pieces = [data[a:b] for a, b in itertools.pairwise(edges)]
    assert summary(read_stream(pieces)) == summary(deltas)
    for frame in data.split(b"\n\n")[:-2]:
        ChatCompletionChunk.model_validate_json(frame.removeprefix(b"data: "))


@settings(deadline=None)
@given(answers())
def test_a_whole_answer_survives_being_written_and_read(deltas: list[Delta]) -> None:
    writer = DIALECT.reply_writer(ASKED, reply_id="chatcmpl-x", raw=False)
    assert writer.feed(deltas) == b""
    body = writer.finish()
    ChatCompletion.model_validate_json(body)
    reader = DIALECT.reply_reader(stream=False)
    assert reader.feed(body) == []
    assert summary(reader.finish()) == summary(deltas)


@settings(deadline=None)
@given(answers(), st.integers(0, 10_000))
def test_a_cut_stream_is_never_a_clean_end(deltas: list[Delta], place: int) -> None:
    """Cut anywhere before the last finish reason."""
    data = stream_of(deltas)
    end = max(
        data.rfind(f'"finish_reason":"{word}"'.encode()) for word in ("stop", "length", "tool_calls", "content_filter")
    )
    with pytest.raises((IncompleteReply, MalformedReply)):
        read_stream([data[: place % end]])


def test_untouched_events_go_on_byte_for_byte() -> None:
    events = [
        b'{"id":"1","choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}],"new_field":7}',
        b'{ "id":"1", "choices":[{"index":0,"delta":{"content":"a","annotations":[1]},"finish_reason":"stop"}]}',
    ]
    usage = b'{"id":"1","choices":[],"usage":{"prompt_tokens":3,"completion_tokens":4,"total_tokens":7}}'
    data = b"".join(b"data: " + event + b"\n\n" for event in [*events, usage]) + b"data: [DONE]\n\n"
    deltas = read_stream([data])
    assert deltas[1].choices[0].extra == {"annotations": [1]}
    for include_usage in (True, False):
        asked = msgspec.structs.replace(ASKED, stream=True, include_usage=include_usage)
        writer = DIALECT.reply_writer(asked, reply_id="x", raw=True)
        expected = data if include_usage else data.replace(b"data: " + usage + b"\n\n", b"")
        assert writer.feed(deltas) + writer.finish() == expected


def test_whole_bodies_go_on_byte_for_byte() -> None:
    body = b'{ "id":"1","choices":[{"message":{"role":"assistant","content":"a"},"finish_reason":"stop"}],\n "x":1}'
    reader = DIALECT.reply_reader(stream=False)
    reader.feed(body[:20])
    reader.feed(body[20:])
    writer = DIALECT.reply_writer(ASKED, reply_id="x", raw=True)
    writer.feed(reader.finish())
    assert writer.finish() == body


def test_reasoning_of_other_servers_and_logprobs() -> None:
    body = {
        "id": "1",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "a", "reasoning": "because", "provider_specific": {"a": 1}},
                "finish_reason": "stop",
                "logprobs": {"content": [{"token": "a", "logprob": -0.5, "bytes": [97], "top_logprobs": []}]},
            }
        ],
        "usage": {"prompt_tokens": 9, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 4}},
    }
    reader = DIALECT.reply_reader(stream=False)
    reader.feed(json.dumps(body).encode())
    (delta,) = reader.finish()
    choice = delta.choices[0]
    assert (choice.text, choice.reasoning, choice.finish) == ("a", "because", "stop")
    assert choice.logprobs == (TokenLogprob("a", -0.5, data=(97,)),)
    assert choice.extra == {"provider_specific": {"a": 1}}
    assert delta.usage == Usage(9, 2, cache_read=4)


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", IncompleteReply),
        (b"data: [DONE]\n\n", None),
        (b"data: {broken\n\n", MalformedReply),
        (b"data: [1]\n\n", MalformedReply),
        (b'data: {"choices": 5}\n\n', MalformedReply),
        (b'data: {"error":{"message":"slow down","code":"rate_limit_exceeded"}}\n\n', RateLimited),
        (b'data: {"error":{"message":"boom","type":"server_error"}}\n\n', ServerFault),
        (b'data: {"choices":[{"index":0,"delta":{"content":"a"}}]}\n\ndata: [DONE]\n\n', IncompleteReply),
        (b'data: {"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":"stop"}]}\n\n', None),
        (b"<html>login</html>\n\n", IncompleteReply),
    ],
)
def test_ends_of_streams(data: bytes, error: type[UpstreamError] | None) -> None:
    if error is None:
        read_stream([data])
        return
    with pytest.raises(error):
        read_stream([data])


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"", IncompleteReply),
        (b"<html>", MalformedReply),
        (b"{}", MalformedReply),
        (b'{"choices":[]}', MalformedReply),
        (b'{"choices":[{"message":{"content":"a"}}]}', IncompleteReply),
        (b'{"error":{"message":"x","code":"503"}}', Overloaded),
        (b'{"error":"no"}', ServerFault),
    ],
)
def test_ends_of_whole_answers(body: bytes, error: type[UpstreamError]) -> None:
    reader = DIALECT.reply_reader(stream=False)
    reader.feed(body)
    with pytest.raises(error):
        reader.finish()


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (400, {"message": "bad", "param": "messages"}, RequestRefused),
        (400, {"message": "too long", "code": "context_length_exceeded"}, ContextWindowExceeded),
        (400, {"message": "This model's maximum context length is 8192 tokens"}, ContextWindowExceeded),
        (400, {"message": "no", "code": "content_filter"}, ContentRefused),
        (401, {"message": "Incorrect API key provided: sk-secret"}, CredentialRefused),
        (403, {"message": "no"}, CredentialRefused),
        (404, {"message": "no model"}, UpstreamNotFound),
        (429, {"message": "slow", "type": "tokens"}, RateLimited),
        (429, {"message": "pay", "code": "insufficient_quota"}, CredentialRefused),
        (500, {"message": "boom"}, ServerFault),
        (503, {"message": "busy"}, Overloaded),
        (529, {"message": "busy"}, Overloaded),
        (418, {"message": "tea"}, ServerFault),
    ],
)
def test_errors_are_read(status: int, body: dict[str, str], error: type[UpstreamError]) -> None:
    got = DIALECT.read_error(status, {"retry-after": "7"}, json.dumps({"error": body}).encode())
    assert type(got) is error
    assert got.upstream_status == status
    assert "sk-secret" not in got.message
    assert DIALECT.read_error(status, {}, b"<html>").http_status >= 400


def test_retry_after_in_every_form() -> None:
    for headers, low, high in (
        ({"retry-after": "7"}, 7, 7),
        ({"retry-after-ms": "1500", "retry-after": "2"}, 1.5, 1.5),
        ({"retry-after": "Wed, 21 Oct 2099 07:28:00 GMT"}, 1e9, 1e10),
    ):
        wait = DIALECT.read_error(429, headers, b"").retry_after_s
        assert wait is not None
        assert low <= wait <= high
    for broken in ("soon", "-4", "nan", ""):
        assert DIALECT.read_error(429, {"retry-after": broken}, b"").retry_after_s is None


def test_errors_are_written() -> None:
    body = json.loads(DIALECT.write_error(InvalidRequest("'n' must be an integer", param="n"), "req_1"))
    assert body == {
        "error": {
            "message": "'n' must be an integer",
            "type": "invalid_request_error",
            "param": "n",
            "code": "invalid_request",
        }
    }


def test_a_failed_stream_says_so_and_does_not_end() -> None:
    asked = msgspec.structs.replace(ASKED, stream=True)
    writer = DIALECT.reply_writer(asked, reply_id="x", raw=True)
    writer.feed([Delta((ChoiceDelta(text="a"),), raw=b'{"choices":[]}')])
    frame = writer.fail(IncompleteReply("The provider's response ended early"), "req_1")
    assert json.loads(frame.removeprefix(b"data: "))["error"]["code"] == "upstream_interrupted"
    assert b"[DONE]" not in frame


def test_what_only_other_dialects_can_say_stays_there() -> None:
    delta = Delta(
        (ChoiceDelta(text="a", extra={"content_blocks": [{"type": "server_tool_use"}], "audio": {"id": "x"}}),)
    )
    finish = Delta((ChoiceDelta(finish="stop"),))
    for stream in (True, False):
        writer = DIALECT.reply_writer(msgspec.structs.replace(ASKED, stream=stream), reply_id="x", raw=False)
        written = writer.feed([delta, finish]) + writer.finish()
        assert b"audio" in written
        assert b"content_blocks" not in written
