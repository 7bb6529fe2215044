"""What servers that call themselves compatible with OpenAI do otherwise."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.deltas import ChoiceDelta, ToolCallDelta
from contract.errors import MalformedReply
from contract.messages import ChatRequest
from gateway.dialects.collect import CollectedChoice, Collector
from gateway.dialects.openai_chat import OpenAIChat
from gateway.dialects.openai_chat.calls import UNNUMBERED, CallNumbers

DIALECT = OpenAIChat()


def _streamed(*deltas: dict[str, Any]) -> tuple[CollectedChoice, bytes]:
    """The answer as collected, and the stream as a caller of the same dialect gets it."""
    chunks: list[dict[str, Any]] = [{"choices": [{"index": 0, "delta": delta}]} for delta in deltas]
    chunks.append({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    wire = b"".join(b"data: %b\n\n" % json.dumps(chunk).encode() for chunk in chunks) + b"data: [DONE]\n\n"
    reader = DIALECT.reply_reader(stream=True)
    read = reader.feed(wire) + reader.finish()
    asked = ChatRequest(dialect="openai", model="m", messages=(), stream=True)
    writer = DIALECT.reply_writer(asked, reply_id="r", raw=True)
    collector = Collector()
    collector.feed(read)
    return collector.choices()[0], writer.feed(read) + writer.finish()


def _call(name: str, **more: Any) -> dict[str, Any]:
    return {"tool_calls": [{"type": "function", "function": {"name": name, "arguments": "{}"}, **more}]}


def _told(choice: CollectedChoice) -> list[tuple[str, str]]:
    return [(call.name, call.arguments) for call in choice.tool_calls]


@pytest.mark.parametrize(
    "deltas",
    [
        pytest.param((_call("f", id="a"), _call("g", id="b")), id="no index"),
        pytest.param((_call("f", id="a", index=0), _call("g", id="b", index=0)), id="all at 0"),
        pytest.param((_call("f", index=0), _call("g", index=1)), id="no id"),
        pytest.param((_call("f", index=None, id="a"), _call("g", index=None, id="b")), id="null index"),
    ],
)
def test_badly_numbered_calls_stay_apart(deltas: tuple[dict[str, Any], ...]) -> None:
    choice, wire = _streamed(*deltas)
    assert _told(choice) == [("f", "{}"), ("g", "{}")]
    assert len({call.id for call in choice.tool_calls} - {""}) == 2
    # The caller of the same dialect gets the numbers too, not the provider's bytes.
    reader = DIALECT.reply_reader(stream=True)
    collector = Collector()
    collector.feed(reader.feed(wire) + reader.finish())
    assert _told(collector.choices()[0]) == _told(choice)
    assert b'"index":1' in wire.replace(b" ", b"")


def test_an_id_that_comes_with_every_piece_is_one_call() -> None:
    piece = {"tool_calls": [{"index": 0, "id": "a", "function": {"arguments": "1"}}]}
    choice, _ = _streamed(_call("f", id="a", index=0), piece, piece)
    assert _told(choice) == [("f", "{}11")]


def test_calls_of_a_whole_answer_get_ids() -> None:
    body = {"choices": [{"index": 0, "finish_reason": "tool_calls", "message": _call("f") | {"content": None}}]}
    reader = DIALECT.reply_reader(stream=False)
    reader.feed(json.dumps(body).encode())
    (delta,) = reader.finish()
    assert delta.choices[0].tool_calls[0].id.startswith("call_")
    assert not delta.raw


def test_content_in_parts_and_thoughts_among_them() -> None:
    choice, wire = _streamed(
        {"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}]},
        {"content": [{"type": "text", "text": "Hel"}, {"type": "text", "text": "lo"}]},
        {"content": "!"},
    )
    assert (choice.text, choice.reasoning) == ("Hello!", "hm")
    assert b'"content":"Hello"' in wire


def test_arguments_as_an_object() -> None:
    choice, wire = _streamed(
        {"tool_calls": [{"index": 0, "id": "a", "function": {"name": "f", "arguments": {"a": 1}}}]}
    )
    assert json.loads(choice.tool_calls[0].arguments) == {"a": 1}
    assert b'"arguments":"{' in wire


def test_parts_of_an_unknown_kind_are_malformed() -> None:
    with pytest.raises(MalformedReply):
        _streamed({"content": [{"type": "hologram"}]})


@given(st.lists(st.tuples(st.integers(UNNUMBERED, 3), st.sampled_from(["", "a", "b"]), st.sampled_from(["", "f"]))))
def test_every_piece_gets_an_index_and_every_call_an_id(pieces: list[tuple[int, str, str]]) -> None:
    numbers = CallNumbers()
    ids: dict[int, str] = {}
    for index, call_id, name in pieces:
        settled = numbers.number_calls(ChoiceDelta(tool_calls=(ToolCallDelta(index, call_id, name),))).tool_calls[0]
        assert settled.index >= 0
        if settled.index not in ids:
            assert settled.id
            ids[settled.index] = settled.id
