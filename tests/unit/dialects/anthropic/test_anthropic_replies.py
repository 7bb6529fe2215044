from __future__ import annotations

import itertools
import json
from typing import Any

import msgspec
import pytest
from anthropic.lib.streaming._messages import accumulate_event
from anthropic.types import Message as VendorMessage
from anthropic.types import MessageTokensCount, RawMessageStreamEvent
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from contract.deltas import ChoiceDelta, Delta, FinishReason, ToolCallDelta, Usage
from contract.errors import (
    CredentialRefused,
    IncompleteReply,
    MalformedReply,
    Overloaded,
    RateLimited,
    RequestRefused,
    ServerFault,
    TimedOut,
    UpstreamError,
)
from contract.messages import ChatRequest, Message, Text
from gateway.dialects.anthropic import AnthropicMessages
from gateway.dialects.anthropic.tokens import count_tokens_reply
from gateway.dialects.collect import Collector
from tests.unit.dialects.anthropic.strategies import answers

DIALECT = AnthropicMessages()
ASKED = ChatRequest(dialect="anthropic", model="m", messages=(Message("user", (Text("hi"),)),))
EVENTS: TypeAdapter[Any] = TypeAdapter(RawMessageStreamEvent)
quick = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


def frames(*events: dict[str, Any]) -> bytes:
    return b"".join(b"event: %b\ndata: %b\n\n" % (each["type"].encode(), json.dumps(each).encode()) for each in events)


def written(deltas: list[Delta], *, stream: bool, raw: bool = False) -> bytes:
    asked = msgspec.structs.replace(ASKED, stream=stream)
    writer = DIALECT.reply_writer(asked, reply_id="msg_x", raw=raw)
    return b"".join([writer.feed([delta]) for delta in deltas]) + writer.finish()


def read(data: bytes, *, stream: bool, places: list[int] | None = None) -> list[Delta]:
    edges = [0, *sorted({place % len(data) for place in places or []}), len(data)]
    reader = DIALECT.reply_reader(stream=stream)
    deltas = [delta for a, b in itertools.pairwise(edges) for delta in reader.feed(data[a:b])]
    deltas += reader.finish()
    assert reader.done
    return deltas


def accumulated(data: bytes) -> dict[str, Any]:
    """What the vendor's own SDK makes of a stream: every event fits its types, and blocks come one after another."""
    snapshot: Any = None
    buffers: dict[int, bytes] = {}
    opened, closed = -1, -1
    for frame in data.split(b"\n\n")[:-1]:
        name, _, body = frame.partition(b"\ndata: ")
        if name == b"event: ping":
            continue
        event = EVENTS.validate_json(body)
        assert name == b"event: " + event.type.encode()
        if event.type == "content_block_start":
            assert (opened, closed) == (event.index - 1, event.index - 1)
            opened = event.index
        elif event.type == "content_block_delta":
            assert (opened, closed) == (event.index, event.index - 1)
        elif event.type == "content_block_stop":
            closed = event.index
            assert opened == closed
        snapshot = accumulate_event(event=event, current_snapshot=snapshot, json_bufs=buffers)
    assert data.endswith(b'event: message_stop\ndata: {"type":"message_stop"}\n\n')
    assert opened == closed
    result: dict[str, Any] = snapshot.to_dict()
    return result


def summary(deltas: list[Delta]) -> Any:
    collector = Collector()
    collector.feed(deltas)
    (only,) = collector.choices()
    calls = [(call.id, call.name, json.loads(call.arguments or "{}")) for call in only.tool_calls]
    return collector.usage, only.text, only.reasoning, only.finish, only.stop_sequence, sorted(calls)


@quick
@given(answers(), st.lists(st.integers(0, 9999), max_size=10))
def test_a_stream_survives_being_written_split_and_read(deltas: list[Delta], places: list[int]) -> None:
    data = written(deltas, stream=True)
    assert summary(read(data, stream=True, places=places)) == summary(deltas)
    message = accumulated(data)
    assert "".join(block.get("text", "") for block in message["content"]) == summary(deltas)[1]
    inputs = [block["input"] for block in message["content"] if block["type"] == "tool_use"]
    assert sorted(map(str, inputs)) == sorted(str(value) for _, _, value in summary(deltas)[5])


@quick
@given(answers(), st.lists(st.integers(0, 9999), max_size=10))
def test_a_whole_answer_survives_being_written_and_read(deltas: list[Delta], places: list[int]) -> None:
    body = written(deltas, stream=False)
    VendorMessage.model_validate_json(body)
    assert summary(read(body, stream=False, places=places)) == summary(deltas)


@quick
@given(answers(), st.integers(0, 99_999))
def test_a_cut_stream_is_never_a_clean_end(deltas: list[Delta], place: int) -> None:
    data = written(deltas, stream=True)
    with pytest.raises(IncompleteReply):
        read(data[: 1 + place % (data.rfind(b"event: message_delta") - 1)], stream=True)


# ------------------------------------------------------------------ the vendor's own events

START = {
    "type": "message_start",
    "message": {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude",
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {
            "input_tokens": 9,
            "cache_read_input_tokens": 5,
            "cache_creation_input_tokens": 3,
            "output_tokens": 1,
        },
    },
}
STOP = {"type": "message_stop"}
CITATION = {
    "type": "char_location", "cited_text": "c", "document_index": 0, "document_title": None, "start_char_index": 0,
    "end_char_index": 1, "file_id": None,
}  # fmt: skip


def block(index: int, start: dict[str, Any], *deltas: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {"type": "content_block_start", "index": index, "content_block": start},
        *({"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas),
        {"type": "content_block_stop", "index": index},
    ]


def end(reason: str | None, **usage: Any) -> dict[str, Any]:
    delta = {"stop_reason": reason, "stop_sequence": None}
    return {"type": "message_delta", "delta": delta, "usage": {"output_tokens": 40, **usage}}


def input_json(*pieces: str) -> list[dict[str, Any]]:
    return [{"type": "input_json_delta", "partial_json": piece} for piece in pieces]


FULL: list[dict[str, Any]] = [
    START,
    {"type": "ping"},
    *block(
        0,
        {"type": "thinking", "thinking": "", "signature": ""},
        {"type": "thinking_delta", "thinking": "h"},
        {"type": "thinking_delta", "thinking": "m"},
        {"type": "signature_delta", "signature": "c2ln"},
    ),
    *block(1, {"type": "redacted_thinking", "data": "sealed"}),
    *block(
        2,
        {"type": "server_tool_use", "id": "srv_1", "name": "web_search", "input": {}},
        *input_json("", '{"query": ', '"caf\u00e9"}'),
    ),
    *block(
        3,
        {
            "type": "web_search_tool_result",
            "tool_use_id": "srv_1",
            "content": [
                {"type": "web_search_result", "url": "u", "title": "t", "encrypted_content": "e", "page_age": None}
            ],
        },
    ),
    *block(
        4,
        {"type": "text", "text": "", "citations": []},
        {"type": "text_delta", "text": "a "},
        {"type": "text_delta", "text": "caf\u00e9"},
        {"type": "citations_delta", "citation": CITATION},
        {"type": "citations_delta", "citation": {**CITATION, "document_index": 1}},
    ),
    *block(5, {"type": "text", "text": ""}, {"type": "text_delta", "text": "!"}),
    *block(6, {"type": "tool_use", "id": "toolu_1", "name": "lookup", "input": {}}),
    *block(7, {"type": "tool_use", "id": "toolu_2", "name": "lookup", "input": {}}, *input_json('{"a"', ":1}")),
    end("tool_use", output_tokens_details={"thinking_tokens": 12}),
    STOP,
]


def test_untouched_events_go_on_byte_for_byte() -> None:
    data = frames(*FULL)[: -len(frames(STOP))] + b'event: message_stop\ndata: {"type":"message_stop"}\n\n'
    deltas = read(data, stream=True)
    assert written(deltas, stream=True, raw=True) == data
    assert [delta.event for delta in deltas] == [each["type"] for each in FULL[:-1]]


def test_every_block_survives_being_written_anew() -> None:
    data = frames(*FULL)
    deltas = [msgspec.structs.replace(delta, raw=b"") for delta in read(data, stream=True)]
    assert deltas[-1].usage == Usage(17, 40, 5, 3, 12)
    theirs = accumulated(data[: -len(frames(STOP))] + b'event: message_stop\ndata: {"type":"message_stop"}\n\n')
    ours = accumulated(written(deltas, stream=True))
    assert ours == theirs
    whole = json.loads(written(deltas, stream=False))
    VendorMessage.model_validate(whole)
    assert {**whole, "stop_details": None} == theirs
    # And a whole message, read and written anew, is the same again.
    again = [msgspec.structs.replace(delta, raw=b"") for delta in read(json.dumps(whole).encode(), stream=False)]
    assert json.loads(written(again, stream=False)) == whole
    assert accumulated(written(again, stream=True)) == theirs


def test_whole_bodies_go_on_byte_for_byte() -> None:
    body = b'{ "id":"m","type":"message","content":[{"type":"text","text":"a"}],\n"stop_reason":"end_turn","x":1}'
    deltas = read(body, stream=False, places=[20, 50])
    assert written(deltas, stream=False, raw=True) == body


def test_what_comes_beside_a_tool_call_waits() -> None:
    def call(*pieces: ToolCallDelta) -> Delta:
        return Delta((ChoiceDelta(tool_calls=pieces),))

    deltas = [
        call(ToolCallDelta(0, "a", "f", '{"x"'), ToolCallDelta(1, "b", "g", '{"y"')),
        Delta((ChoiceDelta(text="so"),)),
        call(ToolCallDelta(1, arguments=":2}")),
        call(ToolCallDelta(0, arguments=":1}")),
        Delta((ChoiceDelta(1, text="another choice"),)),
        Delta((ChoiceDelta(finish="tool_calls"),), Usage(1, 2)),
    ]
    message = accumulated(written(deltas, stream=True))
    assert message["content"] == [
        {"type": "tool_use", "id": "a", "name": "f", "input": {"x": 1}},
        {"type": "tool_use", "id": "b", "name": "g", "input": {"y": 2}},
        {"type": "text", "text": "so"},
    ]
    assert (message["stop_reason"], message["usage"]["output_tokens"]) == ("tool_use", 2)


def test_the_extras_of_other_dialects_are_not_taken_for_blocks() -> None:
    extra = {"citations": ["https://example.com"], "content_blocks": "x", "annotations": [1]}
    deltas = [Delta((ChoiceDelta(text="a", extra=extra),)), Delta((ChoiceDelta(finish="stop"),))]
    expected = [{"type": "text", "text": "a"}]
    assert accumulated(written(deltas, stream=True))["content"] == expected
    assert json.loads(written(deltas, stream=False))["content"] == expected


@pytest.mark.parametrize(
    ("reason", "finish", "back"),
    [
        ("end_turn", "stop", "end_turn"),
        ("stop_sequence", "stop_sequence", "stop_sequence"),
        ("max_tokens", "length", "max_tokens"),
        ("tool_use", "tool_calls", "tool_use"),
        ("refusal", "refusal", "refusal"),
        ("pause_turn", "pause", "pause_turn"),
        ("model_context_window_exceeded", "context_window", "model_context_window_exceeded"),
        ("something_new", "other", "max_tokens"),
        (None, "content_filter", "refusal"),
        (None, "malformed", "max_tokens"),
    ],
)
def test_reasons_to_stop(reason: str | None, finish: FinishReason, back: str) -> None:
    deltas = [Delta((ChoiceDelta(text="a"),)), Delta((ChoiceDelta(finish=finish),))]
    if reason is not None:
        body = {"type": "message", "content": [{"type": "text", "text": "a"}], "stop_reason": reason}
        for got in (
            read(frames(START, end(reason), STOP), stream=True)[-1],
            read(json.dumps(body).encode(), stream=False)[0],
        ):
            assert got.choices[-1].finish == finish
    assert json.loads(written(deltas, stream=False))["stop_reason"] == back
    assert accumulated(written(deltas, stream=True))["stop_reason"] == back


def test_usage_is_added_up() -> None:
    deltas = read(frames(START, end(None), end("end_turn", input_tokens=20, output_tokens=50), STOP), stream=True)
    assert [delta.usage for delta in deltas] == [Usage(17, 1, 5, 3), Usage(17, 40, 5, 3), Usage(28, 50, 5, 3)]
    unsaid = read(frames(START, end("end_turn", cache_read_input_tokens=None), STOP), stream=True)
    assert unsaid[-1].usage == Usage(17, 40, 5, 3)


def test_an_input_that_was_cut_off_does_not_break_the_answer() -> None:
    start = {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}}
    deltas = read(frames(START, *block(0, start, *input_json('{"que')), end("max_tokens"), STOP), stream=True)
    (found,) = [choice.extra for delta in deltas for choice in delta.choices if choice.extra]
    assert found["content_blocks"][0]["input"] == {"_arguments": '{"que'}


TEXT = b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,"delta":%b}\n\n'


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", IncompleteReply),
        (b"<html>login</html>\n\n", IncompleteReply),
        (frames(START), IncompleteReply),
        (frames(START, end("end_turn"))[:-9], IncompleteReply),
        (b"data: {broken\n\n", MalformedReply),
        (b"data: [1]\n\n", MalformedReply),
        (b'data: {"delta": 1}\n\n', MalformedReply),
        (b'data: {"type": 7}\n\n', MalformedReply),
        (b'data: {"type": "message_start"}\n\n', MalformedReply),
        (b'data: {"type": "content_block_start", "index": 0}\n\n', MalformedReply),
        (TEXT % b'{"type":"text_delta","text":"\xff"}', MalformedReply),
        (TEXT % b'{"type":"text_delta"}', MalformedReply),
        (TEXT % b'{"text":"a"}', MalformedReply),
        (frames({"type": "error", "error": {"type": "overloaded_error", "message": "busy"}}), Overloaded),
        (frames({"type": "error", "error": {"type": "rate_limit_error", "message": "slow"}}), RateLimited),
        (frames({"type": "error", "error": {"type": "api_error", "message": "boom"}}), ServerFault),
        (frames({"type": "error", "error": {"type": "timeout_error", "message": "late"}}), TimedOut),
        (frames({"type": "error", "error": {"type": "authentication_error", "message": "key"}}), CredentialRefused),
        (frames({"type": "error", "error": {"type": "invalid_request_error", "message": "no"}}), RequestRefused),
        (frames({"type": "error", "error": {"type": ["odd"]}}), ServerFault),
        (b'event: error\ndata: {"error": "no"}\n\n', ServerFault),
    ],
)
def test_bad_ends_of_streams(data: bytes, error: type[UpstreamError]) -> None:
    reader = DIALECT.reply_reader(stream=True)
    with pytest.raises(error):
        reader.feed(data)
        reader.finish()


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"", IncompleteReply),
        (b"<html>", MalformedReply),
        (b"[]", MalformedReply),
        (b"{}", MalformedReply),
        (b'{"content":5,"stop_reason":"end_turn"}', MalformedReply),
        (b'{"content":[{}],"stop_reason":"end_turn"}', MalformedReply),
        (b'{"content":[],"stop_reason":null}', IncompleteReply),
        (b'{"type":"error","error":{"type":"overloaded_error","message":"busy"}}', Overloaded),
        (b'{"error":"no"}', ServerFault),
    ],
)
def test_bad_whole_answers(body: bytes, error: type[UpstreamError]) -> None:
    reader = DIALECT.reply_reader(stream=False)
    reader.feed(body)
    with pytest.raises(error):
        reader.finish()


def test_nothing_is_read_after_the_end() -> None:
    deltas = read(frames(START, end("end_turn"), STOP) + b"data: {broken\n\n", stream=True)
    assert len(deltas) == 2


def test_an_opening_binds_to_nothing() -> None:
    asked = msgspec.structs.replace(ASKED, stream=True)
    writer = DIALECT.reply_writer(asked, reply_id="msg_x", raw=False)
    opening = writer.opening(Delta())
    assert accumulated(opening + writer.feed([Delta((ChoiceDelta(text="a"),))]) + writer.finish())["id"] == "msg_x"
    assert DIALECT.reply_writer(ASKED, reply_id="x", raw=False).opening(Delta()) == b""


def test_an_answer_of_nothing_is_still_a_message() -> None:
    assert accumulated(written([], stream=True))["content"] == []
    VendorMessage.model_validate_json(written([], stream=False))


def test_a_failed_stream_says_so_and_does_not_end() -> None:
    asked = msgspec.structs.replace(ASKED, stream=True)
    writer = DIALECT.reply_writer(asked, reply_id="x", raw=True)
    writer.feed([Delta((ChoiceDelta(text="a"),), raw=b"{}", event="content_block_delta")])
    frame = writer.fail(IncompleteReply("The provider's response ended early"), "req_1")
    name, _, body = frame.partition(b"\ndata: ")
    assert name == b"event: error"
    assert json.loads(body)["error"]["type"] == "api_error"
    assert b"message_stop" not in frame


def test_counts_are_the_vendor_s() -> None:
    assert MessageTokensCount.model_validate_json(count_tokens_reply(7)).input_tokens == 7
