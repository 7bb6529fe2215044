"""Public reports about answers and streams that are written in ways of a server's own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.live import Answer
from tests.reports.vendors import (
    anthropic_events,
    events,
    house,
    openai_chunk,
    openai_reply,
    response,
    user,
)

TOOL = {"type": "function", "function": {"name": "now", "parameters": {"type": "object", "properties": {}}}}


def payloads(answer: Answer) -> list[dict[str, Any]]:
    lines = answer.body.splitlines()
    return [json.loads(line[6:]) for line in lines if line.startswith(b"data: {")]


def blocks(answer: Answer) -> list[dict[str, Any]]:
    """The content blocks of a stream of Anthropic's, each put together; each begins and ends once, one at a time."""
    found: list[dict[str, Any]] = []
    text, opened = "", False
    for event in payloads(answer):
        if event["type"] == "content_block_start":
            assert not opened
            assert event["index"] == len(found)
            found.append(event["content_block"])
            text, opened = "", True
        elif event["type"] == "content_block_delta":
            assert opened
            text += "".join(event["delta"].get(key, "") for key in ("text", "partial_json", "thinking"))
        elif event["type"] == "content_block_stop":
            opened = False
            kind = found[-1]["type"]
            found[-1]["input" if kind == "tool_use" else kind] = (
                json.loads(text or "{}") if kind == "tool_use" else text
            )
    return found


def words(answer: Answer) -> str:
    """Those of a stream of OpenAI's or of a completion."""
    found = payloads(answer) or [answer.json()]
    choices = [choice for each in found for choice in each.get("choices", ())]
    messages = [choice.get("delta", choice.get("message", {})) for choice in choices]
    return "".join(message.get("content") or "" for message in messages)


def said(*texts: str) -> bytes:
    pieces = [openai_chunk({"content": text}) for text in texts]
    return events(*pieces, openai_chunk({}, "stop"))


@pytest.mark.report("streams", "A server's nonstandard finish reason for success is success in every dialect")
@pytest.mark.parametrize(
    ("word", "stop"),
    [
        ("eos", "end_turn"),
        ("eos_token", "end_turn"),
        ("end_turn", "end_turn"),
        ("COMPLETE", "end_turn"),
        ("STOP", "end_turn"),
        ("stop_sequence", "stop_sequence"),
        ("MAX_TOKENS", "max_tokens"),
        ("model_length", "max_tokens"),
        ("SAFETY", "refusal"),
        ("nobody_knows", "max_tokens"),
    ],
)
def test_words_for_an_end(tmp_path: Path, word: str, stop: str) -> None:
    with house(tmp_path, lambda _: response(openai_reply(finish=word))) as it:
        assert it.messages("o").json()["stop_reason"] == stop
        assert it.chat("o").json()["choices"][0]["finish_reason"] == word


@pytest.mark.report("streams", "A finish reason of `tool_use` from an OpenAI-compatible server is a tool call")
def test_a_call_under_anothers_word(tmp_path: Path) -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "now", "arguments": "{}"}}
    with house(tmp_path, lambda _: response(openai_reply(None, "tool_use", tool_calls=[call]))) as it:
        assert it.messages("o").json()["stop_reason"] == "tool_use"


@pytest.mark.report("streams", "A streamed tool call without arguments has an empty object as its arguments")
@pytest.mark.parametrize("pieces", [[], [""]])
@pytest.mark.parametrize("stream", [True, False])
def test_calls_without_arguments(tmp_path: Path, pieces: list[str], stream: bool) -> None:
    deltas = [{"type": "input_json_delta", "partial_json": piece} for piece in pieces]
    block = {"type": "tool_use", "id": "toolu_1", "name": "now", "input": {}}
    script = anthropic_events((block, deltas), (block | {"id": "toolu_2"}, deltas), stop="tool_use")
    with house(tmp_path, lambda _: script) as it:
        answer = it.chat("a", tools=[TOOL], stream=stream)
        assert it.messages("a", stream=True).body.count(b"input_json_delta") == 2 * len(pieces)
    arguments = {0: "", 1: ""}
    for each in payloads(answer) or [answer.json()]:
        for place, call in enumerate(
            (each["choices"][0].get("delta") or each["choices"][0].get("message", {})).get("tool_calls", ())
        ):
            arguments[call.get("index", place)] += call["function"].get("arguments", "")
    assert arguments == {0: "{}", 1: "{}"}


@pytest.mark.report("streams", "A tool call whose name arrives late has its name in every dialect")
def test_names_that_come_late(tmp_path: Path) -> None:
    call: dict[str, Any] = {"index": 0, "id": "c1", "type": "function", "function": {"name": "", "arguments": ""}}
    signed = call["extra_content"] = {"google": {"thought_signature": "c2ln"}}
    script = events(
        openai_chunk({"role": "assistant", "tool_calls": [call]}),
        openai_chunk({"tool_calls": [{"index": 0, "function": {"name": "bash", "arguments": '{"a":'}}]}),
        openai_chunk({"tool_calls": [{"index": 0, "id": "", "function": {"name": "", "arguments": "1}"}}]}),
        openai_chunk({}, "tool_calls"),
    )
    with house(tmp_path, lambda _: script) as it:
        assert blocks(it.messages("o", stream=True)) == [
            {"type": "tool_use", "id": "c1", "name": "bash", "input": {"a": 1}, "extra_content": signed}
        ]
        pieces = [
            call
            for each in payloads(it.chat("o", stream=True))
            for call in each["choices"][0]["delta"].get("tool_calls", ())
        ]
        parts = it.generate("o").json()["candidates"][0]["content"]["parts"]
    assert (pieces[0]["id"], pieces[0]["function"]["name"]) == ("c1", "bash")
    assert "".join(each["function"].get("arguments", "") for each in pieces) == '{"a":1}'
    assert parts == [{"functionCall": {"id": "c1", "name": "bash", "args": {"a": 1}}, "thoughtSignature": "c2ln"}]


@pytest.mark.report("streams", "Interleaved deltas of parallel tool calls become blocks that each start and stop once")
def test_interleaved_calls(tmp_path: Path) -> None:
    def piece(index: int, arguments: str, name: str = "") -> dict[str, Any]:
        begun = {"id": f"c{index}", "type": "function"} if name else {}
        return {"index": index, **begun, "function": {"arguments": arguments, **({"name": name} if name else {})}}

    steps = [
        [piece(0, "", "f"), piece(1, "", "g")],
        [piece(0, '{"a":')],
        [piece(1, '{"b":')],
        [piece(0, "1}")],
        [piece(1, "2}")],
    ]
    script = events(*[openai_chunk({"tool_calls": step}) for step in steps], openai_chunk({}, "tool_calls"))
    with house(tmp_path, lambda _: script) as it:
        assert [(each["name"], each["input"]) for each in blocks(it.messages("o", stream=True))] == [
            ("f", {"a": 1}),
            ("g", {"b": 2}),
        ]


@pytest.mark.report("streams", "References between the parts of an answer do not remove any of its text")
@pytest.mark.parametrize("stream", [True, False])
def test_content_in_parts(tmp_path: Path, stream: bool) -> None:
    reference = {"type": "reference", "reference_ids": [1, "b"]}
    parts = [{"type": "text", "text": "Paris"}, reference, {"type": "text", "text": " is."}]
    pieces: list[Any] = ["Paris", [reference], " is."]
    script = response({**openai_reply(), "choices": [{"message": {"content": parts}, "finish_reason": "stop"}]})
    if stream:
        script = events(*[openai_chunk({"content": piece}) for piece in pieces], openai_chunk({}, "stop"))
    with house(tmp_path, lambda _: script) as it:
        answer = it.chat("o", stream=stream)
        assert words(answer) == "Paris is."
        assert b'"reference_ids":[1,"b"]' in answer.body
        told = it.messages("o", stream=stream)
    assert (blocks(told) if stream else told.json()["content"]) == [{"type": "text", "text": "Paris is."}]


@pytest.mark.report("streams", "A stream with a stop reason is complete, even without its last event")
@pytest.mark.parametrize("left", [b"", b'event: message_stop\ndata: {"type":"mess'])
def test_streams_without_their_last_event(tmp_path: Path, left: bytes) -> None:
    text = ({"type": "text", "text": ""}, [{"type": "text_delta", "text": "hello"}])
    data = anthropic_events(text).partition(b"\r\n\r\n")[2].partition(b"event: message_stop")[0]
    with house(tmp_path, lambda _: response(data + left, "text/event-stream")) as it:
        assert it.chat("a", stream=True).body.endswith(b"data: [DONE]\n\n")
        assert payloads(it.messages("a", stream=True))[-1] == {"type": "message_stop"}
        # Without a reason it is cut off.
        it.upstream.script = lambda _: response(data.partition(b"event: message_delta")[0], "text/event-stream")
        assert payloads(it.messages("a", stream=True))[-1]["type"] == "error"


@pytest.mark.report("streams", "An answer with the wrong content type reaches the caller with the right one")
@pytest.mark.parametrize("kind", ["text/plain; charset=utf-8", "application/json", "text/event-stream"])
@pytest.mark.parametrize("asked", [True, False])
@pytest.mark.parametrize("streams", [True, False])
def test_wrong_content_types(tmp_path: Path, kind: str, asked: bool, streams: bool) -> None:
    body = said("hel", "lo").partition(b"\r\n\r\n")[2] if streams else json.dumps(openai_reply()).encode()
    with house(tmp_path, lambda _: response(body, kind)) as it:
        answer = it.chat("o", stream=asked)
        assert words(answer) == "hello"
        assert answer.headers["content-type"].startswith("text/event-stream" if asked else "application/json")
        assert it.messages("o").json()["content"] == [{"type": "text", "text": "hello"}]


@pytest.mark.report("streams", "A JSON answer that ends like an event stream is read as JSON")
def test_a_whole_answer_that_ends_as_a_stream(tmp_path: Path) -> None:
    body = json.dumps(openai_reply()).encode() + b"\n\ndata: [DONE]\n\n"
    with house(tmp_path, lambda _: response(body, "text/event-stream")) as it:
        assert it.chat("o").json()["choices"][0]["message"]["content"] == "hello"
        it.upstream.script = lambda _: response(b"<html>Sign in</html>", "text/html")
        assert it.chat("o").status == 502


@pytest.mark.report(
    "streams", "A character that is split between two deltas arrives intact, and half a character does not end a stream"
)
@pytest.mark.parametrize(
    ("pieces", "text"),
    [
        (["a \\ud83d", "\\ude00 b"], "a \U0001f600 b"),
        (["\\ud83d", "b"], "\ufffdb"),
        (["a\\ude00", "b"], "a\ufffdb"),
        (["\\ud83d\\ude00"], "\U0001f600"),
    ],
)
def test_halves_of_letters(tmp_path: Path, pieces: list[str], text: str) -> None:
    marks = [f"<{number}>" for number in range(len(pieces))]
    script = said(*marks)
    for mark, piece in zip(marks, pieces, strict=True):
        script = script.replace(mark.encode(), piece.encode())
    body = script.partition(b"\r\n\r\n")[2]
    with house(tmp_path, lambda _: response(body, "text/event-stream")) as it:
        assert words(it.chat("o", stream=True)) == text
        assert blocks(it.messages("o", stream=True)) == [{"type": "text", "text": text}]


@pytest.mark.report("streams", "Numeric ids become the strings that clients expect")
def test_ids_that_are_numbers(tmp_path: Path) -> None:
    call = {"id": 7, "type": "function", "function": {"name": "now", "arguments": "{}"}}
    reply = {**openai_reply(None, "tool_calls", tool_calls=[call]), "id": 123}
    with house(tmp_path, lambda _: response(reply)) as it:
        told = it.chat("o").json()
        assert (told["id"], told["choices"][0]["message"]["tool_calls"][0]["id"]) == ("123", "7")
        assert it.messages("o").json()["content"][0]["id"] == "7"


@pytest.mark.report("streams", "An error inside a 200 response reaches the caller as an error status, in any shape")
@pytest.mark.parametrize(
    "error",
    [
        {"error": {"message": "quota exceeded", "code": 400}},
        {"object": "error", "message": "quota exceeded", "type": "BadRequestError", "code": 400},
    ],
)
@pytest.mark.parametrize("stream", [True, False])
def test_errors_within(tmp_path: Path, error: dict[str, Any], stream: bool) -> None:
    with house(tmp_path, lambda request: events(error) if request.streams else response(error)) as it:
        for answer in (it.chat("o", stream=stream), it.messages("o", stream=stream)):
            assert answer.status == 400
            assert b"quota exceeded" in answer.body


@pytest.mark.report("streams", "A model's reasoning before its tool calls goes back to it in every dialect")
def test_thoughts_go_back(tmp_path: Path) -> None:
    script = events(openai_chunk({"reasoning_content": "hm"}), openai_chunk({"content": "x"}), openai_chunk({}, "stop"))
    with house(tmp_path, lambda _: script) as it:
        thought, _ = blocks(it.messages("o", stream=True))
        assert (thought["thinking"], thought["signature"]) == ("hm", "")
        call = {"type": "tool_use", "id": "t1", "name": "f", "input": {}}
        result = {"type": "tool_result", "tool_use_id": "t1", "content": "ok"}
        it.messages("o", [user(), {"role": "assistant", "content": [thought, call]}, user([result])])
        assert it.last["messages"][1]["reasoning_content"] == "hm"
