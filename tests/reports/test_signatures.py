"""Public reports about thoughts that a vendor signs, and wants back, over another vendor's API."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.reports.vendors import (
    Request,
    anthropic_events,
    anthropic_reply,
    events,
    gemini_reply,
    house,
    openai_chunk,
    openai_reply,
    plain,
    response,
    user,
)

GUARDED = "  guarded_{0}: {{pipeline: guarded_{0}}}\n"
# Checks that stream, that need the whole answer, and that put masked values back: each takes the bytes apart.
CHECKS = """guardrails:
  secrets: {{kind: secrets}}
  complete: {{kind: complete, then: [flag]}}
  pii: {{kind: personal_data, hint: false, types: {{person: allow, address: allow}}}}
pipelines: {{guarded_{0}: {{guard_input: [pii], guard_output: [secrets, complete], model: {0}}}}}
"""


def chunks(body: bytes) -> Iterator[dict[str, Any]]:
    """The JSON of each `data:` line."""
    for line in body.splitlines():
        if line.startswith(b"data: {"):
            yield json.loads(line[6:])


def signed_calls(request: Request) -> bytes:
    """Two calls at once, of which Google signs the first."""
    if ":" not in request.path:
        return plain(request)
    parts: list[dict[str, Any]] = [
        {"text": "hm", "thought": True},
        {"functionCall": {"id": "a", "name": "f", "args": {"n": 1}}, "thoughtSignature": "U0lH"},
        {"functionCall": {"id": "b", "name": "f", "args": {"n": 2}}},
    ]
    if request.streams:
        return events(*[gemini_reply(part, finish="") for part in parts[:-1]], gemini_reply(parts[-1]), done=False)
    return response(gemini_reply(*parts))


def calls_of(body: bytes, *, stream: bool) -> list[dict[str, Any]]:
    if not stream:
        calls: list[dict[str, Any]] = json.loads(body)["choices"][0]["message"]["tool_calls"]
        return calls
    pieces = [
        call for chunk in chunks(body) for each in chunk["choices"] for call in each["delta"].get("tool_calls", ())
    ]
    joined: dict[int, dict[str, Any]] = {}
    for piece in pieces:
        whole = joined.setdefault(piece["index"], {**piece, "function": {"name": "", "arguments": ""}})
        for key, value in piece["function"].items():
            whole["function"][key] += value
    return [{key: value for key, value in each.items() if key != "index"} for each in joined.values()]


@pytest.mark.report("contents", "The signature of a Gemini call survives a round trip through OpenAI's API")
def test_signed_calls_over_openai(tmp_path: Path) -> None:
    with house(tmp_path, signed_calls, models=GUARDED.format("g"), more=CHECKS.format("g")) as it:
        for model in ("g", "guarded_g"):
            for stream in (False, True):
                calls = calls_of(it.chat(model, stream=stream).body, stream=stream)
                assert calls[0]["extra_content"] == {"google": {"thought_signature": "U0lH"}}
                assert "extra_content" not in calls[1]
        results = [{"role": "tool", "tool_call_id": call["id"], "content": "ok"} for call in calls]
        turn = {"role": "assistant", "content": None, "tool_calls": calls}
        it.chat("g", [user(), turn, *results])
        parts = it.last["contents"][1]["parts"]
    assert [part.get("thoughtSignature") for part in parts] == ["U0lH", None]


@pytest.mark.report("contents", "The signature of a Gemini call survives a round trip through Anthropic's API")
def test_signed_calls_over_anthropic(tmp_path: Path) -> None:
    with house(tmp_path, signed_calls, models=GUARDED.format("g"), more=CHECKS.format("g")) as it:
        for model in ("g", "guarded_g"):
            blocks = it.messages(model).json()["content"]
            streamed = [each for each in chunks(it.messages(model, stream=True).body) if "content_block" in each]
            for each in (blocks, [chunk["content_block"] for chunk in streamed]):
                calls = [block for block in each if block["type"] == "tool_use"]
                assert calls[0]["extra_content"] == {"google": {"thought_signature": "U0lH"}}
                assert "extra_content" not in calls[1]
        calls = [block for block in blocks if block["type"] == "tool_use"]
        results = [{"type": "tool_result", "tool_use_id": call["id"], "content": "ok"} for call in calls]
        it.messages("g", [user(), {"role": "assistant", "content": blocks}, user(results)])
        parts = it.last["contents"][1]["parts"]
        assert [part.get("thoughtSignature") for part in parts] == ["U0lH", None]
        # Anthropic itself refuses fields that it does not know.
        answer = it.messages("a", [user(), {"role": "assistant", "content": blocks}, user(results)])
        assert "U0lH" not in json.dumps(it.last)
        assert "thought_signature" in answer.headers["x-gatehouse-dropped-params"]


@pytest.mark.report("contents", "Unsigned calls to Gemini get Google's placeholder signature in the current turn only")
def test_lost_signatures(tmp_path: Path) -> None:
    def turn(*ids: str) -> list[dict[str, Any]]:
        calls = [{"id": each, "type": "function", "function": {"name": "f", "arguments": "{}"}} for each in ids]
        results = [{"role": "tool", "tool_call_id": each, "content": "ok"} for each in ids]
        return [{"role": "assistant", "content": None, "tool_calls": calls}, *results]

    with house(tmp_path, models="  old: {targets: [g/gemini-2.5-pro]}\n") as it:
        conversation = [user(), *turn("a"), {"role": "assistant", "content": "so"}, user(), *turn("b", "c"), *turn("d")]
        answer = it.chat("g", conversation)
        steps = [each["parts"] for each in it.last["contents"] if each["role"] == "model"]
        marks = [[part.get("thoughtSignature") for part in parts if "functionCall" in part] for parts in steps]
        skip = "skip_thought_signature_validator"
        assert marks == [[None], [], [skip, None], [skip]]
        assert "thought_signature" in answer.headers["x-gatehouse-dropped-params"]
        it.chat("old", conversation)
        assert skip not in json.dumps(it.last)
        # Who speaks Google's dialect is passed on as it is.
        it.generate("g", [{"role": "model", "parts": [{"functionCall": {"name": "f", "args": {}}}]}])
        assert skip not in json.dumps(it.last)


def signed_words(request: Request) -> bytes:
    """Streamed, Google sends the signature of words in an empty part at the end."""
    if ":" not in request.path:
        return plain(request)
    if request.streams:
        frames = [gemini_reply({"text": "so"}, finish=""), gemini_reply({"text": "", "thoughtSignature": "V09SRFM="})]
        return events(*frames, done=False)
    return response(gemini_reply({"text": "so", "thoughtSignature": "V09SRFM="}))


@pytest.mark.report("contents", "The signature of Gemini's text survives a round trip through both other APIs")
@pytest.mark.parametrize("model", ["g", "guarded_g"])
def test_signed_words(tmp_path: Path, model: str) -> None:
    with house(tmp_path, signed_words, models=GUARDED.format("g"), more=CHECKS.format("g")) as it:
        message = it.chat(model).json()["choices"][0]["message"]
        assert message["extra_content"] == {"google": {"thought_signature": "V09SRFM="}}
        deltas = [choice["delta"] for chunk in chunks(it.chat(model, stream=True).body) for choice in chunk["choices"]]
        assert [each["extra_content"] for each in deltas if "extra_content" in each] == [message["extra_content"]]
        it.chat("g", [user(), message, user()])
        assert it.last["contents"][1]["parts"] == [{"text": "so", "thoughtSignature": "V09SRFM="}]

        blocks = it.messages(model).json()["content"]
        assert [block["type"] for block in blocks] == ["text", "thinking"]
        it.messages("g", [user(), {"role": "assistant", "content": blocks}, user()])
        assert it.last["contents"][1]["parts"] == [{"text": "so"}, {"text": "", "thoughtSignature": "V09SRFM="}]
        it.messages("a", [user(), {"role": "assistant", "content": blocks}, user()])
        assert it.last["messages"][1]["content"] == "so"

        whole = it.generate(model).json()["candidates"][0]["content"]["parts"]
        assert whole == [{"text": "so", "thoughtSignature": "V09SRFM="}]


@pytest.mark.report(
    "contents", "`extra_content` of Google's OpenAI-compatible endpoint survives guardrails and other APIs"
)
def test_extra_content_of_a_compatible_endpoint(tmp_path: Path) -> None:
    content = {"google": {"thought_signature": "U0lH"}, "more": 1}
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}, "extra_content": content}

    def script(request: Request) -> bytes:
        if request.streams:
            start = openai_chunk({"role": "assistant", "tool_calls": [{"index": 0, **call}]})
            return events(start, openai_chunk({}, "tool_calls"))
        return response(openai_reply(None, "tool_calls", tool_calls=[call]))

    with house(tmp_path, script, models=GUARDED.format("o"), more=CHECKS.format("o")) as it:
        for model in ("o", "guarded_o"):
            for stream in (False, True):
                (found,) = calls_of(it.chat(model, stream=stream).body, stream=stream)
                assert found["extra_content"] == content
            (block,) = it.messages(model).json()["content"]
            assert block["extra_content"]["google"] == {"thought_signature": "U0lH"}
            parts = it.generate(model, stream=True).body
            assert b'"thoughtSignature":"U0lH"' in parts
        it.chat(
            "o",
            [
                user(),
                {"role": "assistant", "tool_calls": [call]},
                {"role": "tool", "tool_call_id": "c", "content": "1"},
            ],
        )
        assert it.last["messages"][1]["tool_calls"] == [call]
        result = {"type": "tool_result", "tool_use_id": "c", "content": "1"}
        it.messages("o", [user(), {"role": "assistant", "content": [block]}, user([result])])
        assert it.last["messages"][1]["tool_calls"][0]["extra_content"]["google"] == {"thought_signature": "U0lH"}


THOUGHTS = [
    {"type": "thinking", "thinking": "first", "signature": "UzE="},
    {"type": "redacted_thinking", "data": "sealed"},
    {"type": "thinking", "thinking": "then", "signature": "UzI="},
]


def thinks(request: Request) -> bytes:
    if ":" in request.path:
        return plain(request)
    call = {"type": "tool_use", "id": "t", "name": "f", "input": {}}
    if not request.streams:
        return response(anthropic_reply(*THOUGHTS, {"type": "text", "text": "so"}, call, stop="tool_use"))
    blocks: list[tuple[dict[str, Any], list[dict[str, Any]]]] = []
    for each in THOUGHTS:
        if each["type"] == "redacted_thinking":
            blocks.append((each, []))
            continue
        pieces = [{"type": "thinking_delta", "thinking": each["thinking"]}]
        pieces.append({"type": "signature_delta", "signature": each["signature"]})
        blocks.append(({"type": "thinking", "thinking": "", "signature": ""}, pieces))
    blocks.append(({"type": "text", "text": ""}, [{"type": "text_delta", "text": "so"}]))
    return anthropic_events(*blocks, (call, []), stop="tool_use")


@pytest.mark.report(
    "contents", "Anthropic's signed and redacted thinking survives a round trip through other APIs, in order"
)
@pytest.mark.parametrize("model", ["a", "guarded_a"])
def test_anthropic_s_thoughts_come_back(tmp_path: Path, model: str) -> None:
    with house(tmp_path, thinks, models=GUARDED.format("a"), more=CHECKS.format("a")) as it:
        message = it.chat(model).json()["choices"][0]["message"]
        deltas = [choice["delta"] for chunk in chunks(it.chat(model, stream=True).body) for choice in chunk["choices"]]
        streamed = [block for delta in deltas for block in delta.get("thinking_blocks", ())]
        assert message["reasoning_content"] == "firstthen"
        assert streamed == message["thinking_blocks"] == [{"index": at, **each} for at, each in enumerate(THOUGHTS)]
        it.chat("a", [user(), message, {"role": "tool", "tool_call_id": "t", "content": "1"}])
        sent = it.last["messages"][1]["content"]
        assert [{key: value for key, value in each.items() if key != "index"} for each in sent[:3]] == THOUGHTS
        assert [each["type"] for each in sent[3:]] == ["text", "tool_use"]

        for stream in (False, True):
            body = it.generate(model, stream=stream).body
            replies = list(chunks(body)) if stream else [json.loads(body)]
            parts = [part for reply in replies for part in reply["candidates"][0]["content"]["parts"]]
            # As Google's SDK sends bytes back.
            said = [{**part, "thoughtSignature": part["thoughtSignature"].replace("+", "-").replace("/", "_")}
                    if "thoughtSignature" in part else part for part in parts]  # fmt: skip
            result = {"functionResponse": {"id": "t", "name": "f", "response": {"output": "1"}}}
            turns = [{"role": "model", "parts": said}, {"role": "user", "parts": [result]}]
            it.generate("a", [{"role": "user", "parts": [{"text": "hi"}]}, *turns])
            sent = it.last["messages"][1]["content"]
            assert [each for each in sent if "thinking" in each["type"]] == THOUGHTS
            # Google does not read them.
            it.generate("g", [{"role": "user", "parts": [{"text": "hi"}]}, *turns])
            assert "UzE=" not in json.dumps(it.last)


@pytest.mark.report("contents", "Anthropic's thinking, text and tool call blocks stay in order behind guardrails")
def test_blocks_keep_their_order(tmp_path: Path) -> None:
    with house(tmp_path, thinks, models=GUARDED.format("a"), more=CHECKS.format("a")) as it:
        assert it.messages("guarded_a").json()["content"] == it.messages("a").json()["content"]
        streams = [list(chunks(it.messages(model, stream=True).body)) for model in ("guarded_a", "a")]
        kinds = [[each["content_block"]["type"] for each in found if "content_block" in each] for found in streams]
        assert kinds[0] == kinds[1] == ["thinking", "redacted_thinking", "thinking", "text", "tool_use"]
        signed = [
            [each["delta"]["signature"] for each in found if "signature" in each.get("delta", {})] for found in streams
        ]
        assert signed[0] == signed[1] == ["UzE=", "UzI="]


@pytest.mark.report("contents", "Thinking that ends with a masked value arrives before its signature, also in a stream")
def test_masked_values_before_a_signature(tmp_path: Path) -> None:
    def script(request: Request) -> bytes:
        tag = json.dumps(request.json).partition("<EMAIL_")[2].partition(">")[0]
        pieces = [
            {"type": "thinking_delta", "thinking": f"from <EMAIL_{tag}"},
            {"type": "signature_delta", "signature": "UzE="},
        ]
        thought = {"type": "thinking", "thinking": "", "signature": ""}
        words = ({"type": "text", "text": ""}, [{"type": "text_delta", "text": "ok"}])
        return anthropic_events((thought, pieces), words)

    with house(tmp_path, script, models=GUARDED.format("a"), more=CHECKS.format("a")) as it:
        body = it.messages("guarded_a", [user("I am jane@doe.example")], stream=True).body
        kinds = [each["delta"]["type"] for each in chunks(body) if each["type"] == "content_block_delta"]
        thoughts = [each["delta"].get("thinking", "") for each in chunks(body) if each["type"] == "content_block_delta"]
        starts = [each["content_block"]["type"] for each in chunks(body) if each["type"] == "content_block_start"]
    assert starts == ["thinking", "text"]
    assert kinds[-2:] == ["signature_delta", "text_delta"]
    assert "jane@doe.example" in "".join(thoughts)


@pytest.mark.report("contents", "Signed thinking goes back to the model together with calls of the gateway's own tools")
def test_own_tools_keep_signatures(tmp_path: Path) -> None:
    def script(request: Request) -> bytes:
        if any("functionResponse" in part for content in request.json["contents"] for part in content["parts"]):
            return response(gemini_reply())
        call = {"functionCall": {"id": "x", "name": "clock", "args": {}}, "thoughtSignature": "U0lH"}
        return response(gemini_reply(call))

    more = """tools: {clock: {kind: http, url: "http://127.0.0.1:9/clock", private: true, description: Tells the time}}
pipelines: {timed: {tools: [clock], model: g}}
"""
    with house(tmp_path, script, models="  timed: {pipeline: timed}\n", more=more) as it:
        it.generate("timed")
        parts = [part for content in it.last["contents"] for part in content["parts"] if "functionCall" in part]
    assert [part["thoughtSignature"] for part in parts] == ["U0lH"]
