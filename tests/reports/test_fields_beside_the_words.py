"""Public reports about words that reach the caller past a guardrail, in fields that only one vendor knows."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.reports.vendors import Request, events, house, openai_chunk, openai_reply, response

GUARD = """
guardrails: {words: {kind: keywords, lists: {names: [bluebird]}, then: [%s]}}
pipelines: {p: {guard_output: [words], model: o}}
"""
MODELS = "  p: {pipeline: p}\n"
DETAILS = [{"type": "reasoning.text", "text": "The bluebird is secret.", "signature": "U0lHbmF0dXJl"}]


def whole(_: Request) -> bytes:
    return response(openai_reply("Nothing.", reasoning_details=DETAILS, audio={"transcript": "a bluebird sings"}))


def streamed(_: Request) -> bytes:
    pieces = [
        openai_chunk({"reasoning_details": [{"type": "reasoning.text", "text": part}]}) for part in ("blue", "bird")
    ]
    return events(
        *pieces, openai_chunk({"content": "Nothing.", "audio": {"transcript": "blue"}}), openai_chunk({}, "stop")
    )


@pytest.mark.report("guardrails", "Output guardrails mask text in fields that only one provider has")
def test_masked(tmp_path: Path) -> None:
    with house(tmp_path, whole, models=MODELS, more=GUARD % "mask") as it:
        answer = it.chat("p")
        assert "bluebird" not in answer.body.decode()
        message = answer.json()["choices"][0]["message"]
        assert message["content"] == "Nothing."
        assert message["reasoning_details"][0]["signature"] == "U0lHbmF0dXJl"


@pytest.mark.report("guardrails", "Output guardrails block text in fields that only one provider has")
def test_blocked(tmp_path: Path) -> None:
    with house(tmp_path, whole, models=MODELS, more=GUARD % "block") as it:
        answer = it.chat("p")
        assert answer.status == 400
        assert "bluebird" not in answer.body.decode()


@pytest.mark.report("guardrails", "Behind guardrails, streamed text outside the answer's content is dropped")
@pytest.mark.parametrize("then", ["mask", "block"])
def test_pieces(tmp_path: Path, then: str) -> None:
    with house(tmp_path, streamed, models=MODELS, more=GUARD % then) as it:
        body = it.chat("p", stream=True).body.decode()
        said = [json.loads(line[6:]) for line in body.splitlines() if line.startswith("data: {")]
        told = json.dumps(said)
        assert "reasoning_details" not in told
        assert "transcript" not in told
        assert "Nothing." in "".join(c["delta"].get("content") or "" for each in said for c in each["choices"])
