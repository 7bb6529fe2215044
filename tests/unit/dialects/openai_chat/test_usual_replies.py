"""What servers send all the time is read the short way: the general one costs twice as much."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.dialects.openai_chat import readers
from tests.reports.vendors import openai_chunk, openai_reply

USAGE = {
    "prompt_tokens": 5,
    "completion_tokens": 2,
    "total_tokens": 7,
    "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
    "completion_tokens_details": {"reasoning_tokens": 0, "accepted_prediction_tokens": 0},
}


@pytest.mark.parametrize(
    "reply",
    [
        openai_reply(),
        openai_reply(refusal=None, annotations=[]),
        {**openai_reply(), "usage": USAGE, "service_tier": "default", "system_fingerprint": None},
        openai_chunk({"role": "assistant", "content": "", "refusal": None}),
        openai_chunk({"content": "hello"}, usage=None),
        openai_chunk({"tool_calls": [{"index": 0, "id": "c", "type": "function", "function": {"arguments": "{"}}]}),
        openai_chunk({}, "stop"),
        {**openai_chunk({}), "choices": [], "usage": USAGE},
        {**openai_reply(), "error": None},
    ],
)
def test_a_usual_reply(reply: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    def general(data: bytes) -> Any:
        raise AssertionError(data)

    monkeypatch.setattr(readers, "_read_any", general)
    delta = readers.read_completion(json.dumps(reply).encode())
    assert (delta.usage is not None) == (reply.get("usage") is not None)
