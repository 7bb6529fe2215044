"""Public reports about usage that is said in a server's own words, in pieces or not at all, and so priced wrongly."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.live import Answer
from tests.reports.vendors import (
    House,
    Request,
    anthropic_reply,
    events,
    gemini_reply,
    house,
    openai_chunk,
    openai_reply,
    response,
)

COST = {"x-gatehouse-include": "cost"}
PRICES = """
prices:
  o/gpt-x: {input: 1.00, output: 10.00, cache_read: 0.10, cache_write: 1.25}
  a/claude-x: {input: 1.00, output: 10.00, cache_read: 0.10, cache_write: 1.25}
  g/gemini-x: {input: 1.00, output: 10.00, cache_read: 0.10}
"""


def said(usage: dict[str, Any] | None, text: str = "hello") -> bytes:
    reply = openai_reply(text)
    return response(
        {**reply, "usage": usage} if usage is not None else {k: v for k, v in reply.items() if k != "usage"}
    )


def last_usage(answer: Answer) -> dict[str, Any]:
    """The usage at the end of a stream of OpenAI's or Anthropic's."""
    payloads = [json.loads(line[6:]) for line in answer.body.splitlines() if line.startswith(b"data: {")]
    found: dict[str, Any] = [each["usage"] for each in payloads if each.get("usage")][-1]
    return found


@pytest.mark.report("usage", "Cached prompt tokens are read from every server's own usage fields")
@pytest.mark.parametrize(
    ("words", "read", "written", "cost"),
    [
        ({"prompt_cache_hit_tokens": 900, "prompt_cache_miss_tokens": 100}, 900, 0, "0.00029"),
        ({"cached_tokens": 900}, 900, 0, "0.00029"),
        ({"cache_read_input_tokens": 500, "cache_creation_input_tokens": 400}, 500, 400, "0.00075"),
        ({"prompt_tokens_details": {"cached_tokens": 0, "cache_creation_input_tokens": 900}}, 0, 900, "0.001325"),
        ({"prompt_tokens_details": {"cached_tokens": 900}, "cached_tokens": 1}, 900, 0, "0.00029"),
    ],
)
def test_kept_prompts(tmp_path: Path, words: dict[str, Any], read: int, written: int, cost: str) -> None:
    usage = {"prompt_tokens": 1000, "completion_tokens": 10, "total_tokens": 1010, **words}
    with house(tmp_path, lambda _: said(usage), more=PRICES) as it:
        answer = it.messages("o")
    told = answer.json()["usage"]
    assert (told["cache_read_input_tokens"], told["cache_creation_input_tokens"]) == (read, written)
    assert told["input_tokens"] == 1000 - read - written
    assert answer.headers["x-gatehouse-cost-usd"] == cost


@pytest.mark.report("usage", "Usage inside the last choice of a stream is counted")
def test_usage_within_a_choice(tmp_path: Path) -> None:
    end = openai_chunk({}, "stop")
    end["choices"][0]["usage"] = {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110}
    script = events(openai_chunk({"role": "assistant", "content": "hello"}), end)
    with house(tmp_path, lambda _: script, more=PRICES) as it:
        told = last_usage(it.messages("o", stream=True, headers=COST))
    assert (told["input_tokens"], told["output_tokens"], told["cost_usd"]) == (100, 10, "0.0002")


@pytest.mark.report("usage", "The tokens of Anthropic's compaction, which its other counts omit, are counted")
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_usage_of_compaction(tmp_path: Path, stream: bool) -> None:
    usage = {
        "input_tokens": 100,
        "output_tokens": 10,
        "cache_read_input_tokens": 0,
        "cache_creation_input_tokens": 0,
        "iterations": [
            {"type": "compaction", "input_tokens": 700, "output_tokens": 50, "cache_read_input_tokens": 200},
            {"type": "message", "input_tokens": 100, "output_tokens": 10},
        ],
    }
    script = response({**anthropic_reply(), "usage": usage})
    if stream:
        begun = {**anthropic_reply(), "content": [], "stop_reason": None, "usage": {"input_tokens": 100}}
        script = events(
            {"type": "message_start", "message": begun},
            {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": "hello"}},
            {"type": "content_block_stop", "index": 0},
            {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": usage},
            {"type": "message_stop"},
            named=True,
        )
    with house(tmp_path, lambda _: script) as it:
        answer = it.chat("a", stream=stream, stream_options={"include_usage": True} if stream else None)
    told = answer.json()["usage"] if not stream else last_usage(answer)
    assert (told["prompt_tokens"], told["completion_tokens"]) == (1000, 60)
    assert told["prompt_tokens_details"]["cached_tokens"] == 200


@pytest.mark.report("usage", "Groq's usage beside the last choice of a stream is counted")
def test_usage_of_groq(tmp_path: Path) -> None:
    usage = {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110}
    end = openai_chunk({}, "stop", x_groq={"id": "req_1", "usage": usage})
    begin = openai_chunk({"role": "assistant", "content": "hello"}, x_groq={"id": "req_1"})
    with house(tmp_path, lambda _: events(begin, end), more=PRICES) as it:
        told = last_usage(it.messages("o", stream=True, headers=COST))
    assert (told["input_tokens"], told["output_tokens"], told["cost_usd"]) == (100, 10, "0.0002")


@pytest.mark.report("usage", "Reasoning tokens that appear only in the total are counted and priced as output")
def test_thoughts_that_only_the_total_counts(tmp_path: Path) -> None:
    usage = {"prompt_tokens": 20, "completion_tokens": 424, "total_tokens": 1016}
    with house(tmp_path, lambda _: said(usage), more=PRICES) as it:
        answer = it.messages("o")
    assert answer.json()["usage"]["output_tokens"] == 996
    assert answer.headers["x-gatehouse-cost-usd"] == "0.00998"


@pytest.mark.report("usage", "Cached prompt tokens that only the total includes are not counted as output")
def test_a_total_that_counts_what_was_kept(tmp_path: Path) -> None:
    usage = {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 1010, "cache_read_input_tokens": 900}
    with house(tmp_path, lambda _: said(usage), more=PRICES) as it:
        told = it.messages("o").json()["usage"]
    assert (told["input_tokens"], told["cache_read_input_tokens"], told["output_tokens"]) == (100, 900, 10)


@pytest.mark.report("usage", "A zero count at the end of a stream does not overwrite the count from its start")
@pytest.mark.parametrize("model", ["o", "a", "g"])
def test_zeros_at_the_end(tmp_path: Path, model: str) -> None:
    first = {"input_tokens": 100, "cache_read_input_tokens": 900, "output_tokens": 1}
    begin = {**anthropic_reply(), "content": [], "stop_reason": None, "usage": first}
    scripts = {
        "o": events(
            openai_chunk(
                {"role": "assistant", "content": "hello"},
                usage={"prompt_tokens": 1000, "completion_tokens": 1, "prompt_tokens_details": {"cached_tokens": 900}},
            ),
            openai_chunk({}, "stop", usage={"prompt_tokens": 0, "completion_tokens": 20}),
        ),
        "a": events(
            {"type": "message_start", "message": begin},
            {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": "hello"}},
            {"type": "content_block_stop", "index": 0},
            {
                "type": "message_delta",
                "delta": {"stop_reason": "end_turn"},
                "usage": {"input_tokens": 0, "cache_read_input_tokens": 0, "output_tokens": 20},
            },
            {"type": "message_stop"},
            named=True,
        ),
        "g": events(
            {
                **gemini_reply({"text": "hel"}, finish=None),
                "usageMetadata": {"promptTokenCount": 1000, "cachedContentTokenCount": 900, "totalTokenCount": 1000},
            },
            {
                **gemini_reply({"text": "lo"}),
                "usageMetadata": {"promptTokenCount": 1000, "candidatesTokenCount": 20, "totalTokenCount": 1020},
            },
            done=False,
        ),
    }
    with house(tmp_path, lambda _: scripts[model], more=PRICES) as it:
        told = last_usage(it.chat(model, stream=True, stream_options={"include_usage": True}, headers=COST))
    assert (told["prompt_tokens"], told["prompt_tokens_details"]["cached_tokens"]) == (1000, 900)
    assert told["completion_tokens"] == 20
    assert told["cost_usd"] == "0.00039"


def paid(it: House, usage: dict[str, Any] | None) -> float:
    it.upstream.script = lambda _: said(usage, "word " * 500)
    return float(it.chat("o", [{"role": "user", "content": "why " * 500}]).headers["x-gatehouse-cost-usd"])


@pytest.mark.report(
    "usage", "An answer whose provider reports zero tokens is priced by an estimate, as if it reported none"
)
def test_zeros_are_no_count(tmp_path: Path) -> None:
    with house(tmp_path, more=PRICES) as it:
        unsaid = paid(it, None)
        assert unsaid > 0.005
        assert paid(it, {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}) == unsaid
        # What is counted is believed, and what is not is estimated.
        assert 0.01 < paid(it, {"prompt_tokens": 0, "completion_tokens": 1000, "total_tokens": 1000}) < 0.011
        assert paid(it, {"prompt_tokens": 1000, "completion_tokens": 1, "total_tokens": 1001}) == 0.00101


@pytest.mark.report("usage", "Gemini's reasoning tokens count as output tokens in every dialect")
@pytest.mark.parametrize("counted", [{"thoughtsTokenCount": 60}, {}])
def test_an_answer_of_thoughts_alone(tmp_path: Path, counted: dict[str, int]) -> None:
    def script(_: Request) -> bytes:
        usage = {"promptTokenCount": 21, "totalTokenCount": 81, **counted}
        return response({**gemini_reply({"text": ""}, finish="MAX_TOKENS"), "usageMetadata": usage})

    with house(tmp_path, script, more=PRICES) as it:
        told = it.chat("g").json()["usage"]
    assert (told["prompt_tokens"], told["completion_tokens"], told["total_tokens"]) == (21, 60, 81)


@pytest.mark.report("usage", "Cached prompt tokens appear in each dialect's own way and are never counted twice")
def test_kept_prompts_across_dialects(tmp_path: Path) -> None:
    def script(request: Request) -> bytes:
        if "generateContent" in request.path:
            usage = {"promptTokenCount": 1000, "cachedContentTokenCount": 900, "candidatesTokenCount": 10}
            return response({**gemini_reply(), "usageMetadata": usage})
        end = {**openai_chunk({}), "choices": [{"index": 0, "delta": {}}]}
        last = {"prompt_tokens": 1000, "completion_tokens": 10, "prompt_tokens_details": {"cached_tokens": 900}}
        return events(openai_chunk({"content": "hi"}), openai_chunk({}, "stop"), {**end, "usage": last})

    with house(tmp_path, script, more=PRICES) as it:
        whole, streamed = it.messages("g").json()["usage"], last_usage(it.messages("o", stream=True))
    for told in (whole, streamed):
        assert (told["input_tokens"], told["cache_read_input_tokens"], told["output_tokens"]) == (100, 900, 10)
