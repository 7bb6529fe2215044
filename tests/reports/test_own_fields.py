"""Public reports about fields that only the caller's own vendor knows, and that get lost on the way."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.live import Answer
from tests.reports.test_signatures import CHECKS, GUARDED, chunks
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

CACHED = """caches: {kept: {ttl: 1h, tiers: [{kind: memory}]}}
pipelines: {cached: {cache: kept, model: MODEL}}
"""
LOGPROBS = {"content": [{"token": "\ufffd", "logprob": -0.5, "bytes": [226, 130], "top_logprobs": []}], "refusal": None}


def openai_whole(**more: Any) -> dict[str, Any]:
    reply = {**openai_reply("hello", custom_field={"a": 1}, refusal=None), "system_fingerprint": "fp_1", "created": 7}
    reply |= {"service_tier": "flex", "vendor_field": [1], "usage": {**reply["usage"], "cost": 0.5}}
    reply["choices"][0] |= {"content_filter_results": {"hate": {"filtered": False}}, "unknown": 2, "logprobs": LOGPROBS}
    return {**reply, **more}


def same_but_more(found: Any, sent: Any) -> bool:
    """Whether all that was sent is there; what is null or empty need not be."""
    if isinstance(sent, dict):
        return isinstance(found, dict) and all(
            same_but_more(found.get(key), value) for key, value in sent.items() if value not in (None, "", [], {})
        )
    if isinstance(sent, list):
        pairs = zip(found, sent, strict=True) if isinstance(found, list) and len(found) == len(sent) else None
        return pairs is not None and all(same_but_more(one, other) for one, other in pairs)
    return bool(found == sent)


@pytest.mark.report(
    "contents", "Response fields that only one provider has survive guardrails, caches and renamed tools"
)
def test_whole_replies(tmp_path: Path) -> None:
    anthropic = anthropic_reply(
        {"type": "text", "text": "hello"},
        {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {"query": "x"}},
        {"type": "web_search_tool_result", "tool_use_id": "s", "content": [{"type": "web_search_result", "url": "u"}]},
        {"type": "text", "text": "world"},
        {"type": "tool_use", "id": "t", "name": "f", "input": {}, "caller": {"type": "direct"}},
        stop="tool_use",
    )
    anthropic |= {"container": {"id": "c"}, "usage": {**anthropic["usage"], "inference_geo": "eu"}}
    part = {"functionCall": {"name": "f", "args": {}, "id": "x", "willContinue": False}, "partMetadata": {"a": 1}}
    gemini = gemini_reply({"text": "hello", "partMetadata": {"b": 2}}, part, safetyRatings=[{"category": "X"}])
    gemini |= {"createTime": "now", "modelStatus": {"stage": "STABLE"}}
    gemini["usageMetadata"]["promptTokensDetails"] = [{"modality": "TEXT", "tokenCount": 5}]

    def script(request: Request) -> bytes:
        if ":" in request.path:
            return response(gemini)
        return response(anthropic if request.path.endswith("/messages") else openai_whole())

    for model in ("o", "a", "g"):
        with house(tmp_path, script, models=GUARDED.format(model), more=CHECKS.format(model)) as it:
            asks: dict[str, Callable[[str], Answer]] = {"o": it.chat, "a": it.messages, "g": it.generate}
            asked = asks[model]
            sent = {"o": openai_whole(), "a": anthropic, "g": gemini}[model]
            assert asked(model).json() == sent
            assert same_but_more(asked(f"guarded_{model}").json(), sent)


@pytest.mark.report("contents", "A cached answer has the fields that only its provider has")
def test_kept_replies(tmp_path: Path) -> None:
    question = [user("What is the capital of France?")]
    more = CACHED.replace("MODEL", "o")
    with house(tmp_path, lambda _: response(openai_whole()), models="  cached: {pipeline: cached}\n", more=more) as it:
        first, second = it.chat("cached", question), it.chat("cached", question)
        assert (first.headers["x-gatehouse-cache"], second.headers["x-gatehouse-cache"]) == ("miss", "exact")
        for answer in (first, second):
            found = answer.json()
            found["id"] = "c1"
            assert same_but_more(found, openai_whole())
        # They mean nothing to callers of another dialect.
        assert b"fp_1" not in it.messages("cached", question).body


@pytest.mark.report("contents", "Stream fields that only one provider has survive guardrails")
def test_streams(tmp_path: Path) -> None:
    def script(request: Request) -> bytes:
        if request.path.endswith("/messages"):
            block = {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}}
            pieces = [{"type": "input_json_delta", "partial_json": '{"query":"x"}'}]
            words = ({"type": "text", "text": ""}, [{"type": "text_delta", "text": "hello"}])
            return anthropic_events((block, pieces), words)
        if ":" in request.path:
            frames = [gemini_reply({"text": "hel"}, finish=""), gemini_reply({"text": "lo"}, safetyRatings=[{"a": 1}])]
            return events(*frames, done=False)
        top: dict[str, Any] = {"system_fingerprint": "fp_1", "service_tier": "flex", "created": 7}
        said = [
            openai_chunk({"content": "hel", "reasoning": "hm"}, **top),
            openai_chunk({"content": "lo", "own": 1}, **top),
        ]
        last = openai_chunk({}, "stop", **top)
        last["choices"][0]["stop_reason"] = 99
        return events(*said, last)

    with house(tmp_path, script, models=GUARDED.format("o"), more=CHECKS.format("o")) as it:
        found = list(chunks(it.chat("guarded_o", stream=True).body))
        assert all(
            (each["system_fingerprint"], each["service_tier"], each["created"]) == ("fp_1", "flex", 7) for each in found
        )
        deltas = [choice["delta"] for each in found for choice in each["choices"]]
        assert "".join(delta.get("reasoning", "") for delta in deltas) == "hm"
        assert [delta["own"] for delta in deltas if "own" in delta] == [1]
        assert [choice["stop_reason"] for each in found for choice in each["choices"] if "stop_reason" in choice] == [
            99
        ]
    with house(tmp_path, script, models=GUARDED.format("a"), more=CHECKS.format("a")) as it:
        body = it.messages("guarded_a", stream=True).body
        kinds = [each["content_block"]["type"] for each in chunks(body) if "content_block" in each]
        assert kinds == ["server_tool_use", "text"]
        assert b'\\"query\\":\\"x\\"' in body
    with house(tmp_path, script, models=GUARDED.format("g"), more=CHECKS.format("g")) as it:
        assert b'"safetyRatings":[{"a":1}]' in it.generate("guarded_g", stream=True).body


@pytest.mark.report("contents", "Request fields that only one provider has stay in messages, parts, calls and tools")
def test_requests(tmp_path: Path) -> None:
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}, "call_field": 1}
    custom = {"id": "k", "type": "custom", "custom": {"name": "g", "input": "free"}}
    messages = [
        {"role": "user", "content": [{"type": "text", "text": "hi", "part_field": 1}], "message_field": 1},
        {"role": "assistant", "content": None, "tool_calls": [call, custom], "audio": {"id": "a"}},
        {"role": "tool", "tool_call_id": "c", "content": "1", "result_field": 1},
        {"role": "tool", "tool_call_id": "k", "content": "2"},
    ]
    tools = [{"type": "function", "function": {"name": "f", "own": 1}, "beside": 2}]
    with house(tmp_path, models=GUARDED.format("o"), more=CHECKS.format("o")) as it:
        for model in ("o", "guarded_o"):
            it.chat(model, messages, tools=tools)
            assert it.last["messages"] == messages
            assert it.last["tools"] == tools
    source = {"type": "base64", "media_type": "application/pdf", "data": "AAAA", "source_field": 1}
    block = {"type": "document", "source": source, "title": "t", "context": "c", "citations": {"enabled": True}}
    with house(tmp_path, models=GUARDED.format("a"), more=CHECKS.format("a")) as it:
        for model in ("a", "guarded_a"):
            it.messages(model, [{"role": "user", "content": [block]}])
            assert it.last["messages"] == [{"role": "user", "content": [block]}]


@pytest.mark.report("contents", "Personal data in request fields that only one provider has is masked")
def test_own_fields_are_masked(tmp_path: Path) -> None:
    with house(tmp_path, models=GUARDED.format("o"), more=CHECKS.format("o")) as it:
        it.chat("guarded_o", [{**user("hi"), "note": "from jane@doe.example"}])
        assert "jane@doe.example" not in json.dumps(it.last)
        thoughts = [{"type": "thinking", "thinking": "jane@doe.example asks", "signature": "S"}]
        it.chat("guarded_o", [user(), {"role": "assistant", "content": "a", "thinking_blocks": thoughts}, user()])
        assert "jane@doe.example" not in json.dumps(it.last)


@pytest.mark.report(
    "contents", "An answer with only the steps of a provider's web search names the steps instead of being empty"
)
def test_steps_of_a_search(tmp_path: Path) -> None:
    step = {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {"query": "x"}}

    def script(request: Request) -> bytes:
        if request.streams:
            return anthropic_events(({**step, "input": {}}, []), stop="pause_turn")
        return response(anthropic_reply(step, stop="pause_turn"))

    with house(tmp_path, script) as it:
        answer = it.chat("a")
        assert "server_tool_use" in answer.json()["choices"][0]["message"]["content"]
        assert answer.headers["x-gatehouse-dropped-params"] == "answer.server_tool_use"
        assert b"server_tool_use" in it.chat("a", stream=True).body
        assert "server_tool_use" in it.generate("a").json()["candidates"][0]["content"]["parts"][0]["text"]
        assert b"server_tool_use" in it.generate("a", stream=True).body
        # With words beside them they are left out, and told.
        it.upstream.script = lambda _: response(anthropic_reply({"type": "text", "text": "so"}, step))
        assert it.chat("a").json()["choices"][0]["message"]["content"] == "so"
        it.upstream.script = plain
        turns = [user(), {"role": "assistant", "content": [{"type": "text", "text": "so"}, step]}, user()]
        for model in ("o", "g"):
            answer = it.messages(model, turns)
            assert answer.status == 200
            assert "messages[].content[]" in answer.headers["x-gatehouse-dropped-params"]


@pytest.mark.report("contents", "A custom tool call stays complete behind guardrails, buffered or streamed")
def test_custom_tools(tmp_path: Path) -> None:
    custom = {"id": "k", "type": "custom", "custom": {"name": "run", "input": "{[half"}}

    def script(request: Request) -> bytes:
        if not request.streams:
            return response(openai_reply(None, "tool_calls", tool_calls=[custom]))
        start = {"index": 0, "id": "k", "type": "custom", "custom": {"name": "run", "input": "{["}}
        rest = {"index": 0, "custom": {"input": "half"}}
        pieces = [openai_chunk({"tool_calls": [each]}) for each in (start, rest)]
        return events(*pieces, openai_chunk({}, "tool_calls"))

    with house(tmp_path, script, models=GUARDED.format("o"), more=CHECKS.format("o")) as it:
        assert it.chat("guarded_o").json()["choices"][0]["message"]["tool_calls"] == [custom]
        found = [
            choice["delta"] for each in chunks(it.chat("guarded_o", stream=True).body) for choice in each["choices"]
        ]
        pieces = [call for delta in found for call in delta.get("tool_calls", ())]
        assert "".join(each["custom"].get("input", "") for each in pieces) == "{[half"
        assert (pieces[0]["type"], pieces[0]["custom"]["name"]) == ("custom", "run")


@pytest.mark.report("contents", "A field between two deltas of a stream does not let half a secret through")
def test_fields_between_words(tmp_path: Path) -> None:
    secret = "AKIA" + "Z7QX3LMT" + "5RWK2PBD"
    filtered = openai_chunk({})
    filtered["choices"][0]["content_filter_results"] = {"hate": {"filtered": False}}
    said = [openai_chunk({"content": "it is " + secret[:10]}), filtered, openai_chunk({"content": secret[10:] + " so"})]

    def script(request: Request) -> bytes:
        return events(*said, openai_chunk({}, "stop"))

    checks = CHECKS.replace("{{kind: secrets}}", "{{kind: secrets, then: [mask]}}")
    with house(tmp_path, script, models=GUARDED.format("o"), more=checks.format("o")) as it:
        body = it.chat("guarded_o", stream=True).body
    assert b"content_filter_results" in body
    assert secret[:10].encode() not in body
