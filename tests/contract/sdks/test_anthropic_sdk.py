"""Anthropic's SDK against every upstream dialect, whole and streamed."""

from __future__ import annotations

import base64
from typing import Any

import anthropic
import pytest

from tests.contract.sdks.wire import PICTURE, WEATHER, upstreams


@upstreams
def test_anthropic_text(anthropic_sdk: anthropic.Anthropic, upstream: str) -> None:
    message = anthropic_sdk.messages.create(
        model=f"echo-{upstream}",
        max_tokens=200,
        system="Be brief.",
        messages=[{"role": "user", "content": "Grüße, 世界"}],
    )
    assert "Grüße, 世界" in "".join(block.text for block in message.content if block.type == "text")
    assert message.stop_reason == "end_turn"
    assert message.usage.input_tokens > 0
    assert message.usage.output_tokens > 0
    assert message._request_id


@upstreams
def test_anthropic_stream(anthropic_sdk: anthropic.Anthropic, upstream: str) -> None:
    with anthropic_sdk.messages.stream(
        model=f"echo-{upstream}", max_tokens=200, messages=[{"role": "user", "content": "Grüße, 世界"}]
    ) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()
    assert "Grüße, 世界" in text
    assert final.stop_reason == "end_turn"
    assert final.usage.output_tokens > 0


@upstreams
@pytest.mark.parametrize("streamed", [False, True])
def test_anthropic_tools(anthropic_sdk: anthropic.Anthropic, upstream: str, streamed: bool) -> None:
    tool: Any = {"name": "weather", "description": "Weather", "input_schema": WEATHER}
    question: Any = {"role": "user", "content": "Weather in Rome and Oslo?"}
    arguments: dict[str, Any] = {
        "model": f"tools-{upstream}",
        "max_tokens": 500,
        "messages": [question],
        "tools": [tool],
    }
    if streamed:
        with anthropic_sdk.messages.stream(**arguments) as stream:
            message: Any = stream.get_final_message()
    else:
        message = anthropic_sdk.messages.create(**arguments)
    assert message.stop_reason == "tool_use"
    calls = [block for block in message.content if block.type == "tool_use"]
    assert len(calls) == 2
    assert all(call.name == "weather" and isinstance(call.input, dict) for call in calls)
    content: Any = [{"type": "tool_use", "id": call.id, "name": call.name, "input": call.input} for call in calls]
    results: Any = [{"type": "tool_result", "tool_use_id": call.id, "content": "20"} for call in calls]
    again = anthropic_sdk.messages.create(
        model=f"plain-{upstream}",
        max_tokens=500,
        tools=[tool],
        messages=[question, {"role": "assistant", "content": content}, {"role": "user", "content": results}],
    )
    assert again.content


@upstreams
@pytest.mark.parametrize("streamed", [False, True])
def test_anthropic_thinking(anthropic_sdk: anthropic.Anthropic, upstream: str, streamed: bool) -> None:
    arguments: dict[str, Any] = {
        "model": f"reason-{upstream}",
        "max_tokens": 2048,
        "messages": [{"role": "user", "content": "Think"}],
        "thinking": {"type": "enabled", "budget_tokens": 1024},
    }
    if streamed:
        with anthropic_sdk.messages.stream(**arguments) as stream:
            message: Any = stream.get_final_message()
    else:
        message = anthropic_sdk.messages.create(**arguments)
    assert [block.type for block in message.content] == ["thinking", "text"]
    assert message.content[0].thinking


@upstreams
def test_anthropic_pictures(anthropic_sdk: anthropic.Anthropic, upstream: str) -> None:
    source: Any = {"type": "base64", "media_type": "image/png", "data": base64.b64encode(PICTURE).decode()}
    content: Any = [{"type": "image", "source": source}, {"type": "text", "text": "What is this?"}]
    message = anthropic_sdk.messages.create(
        model=f"plain-{upstream}", max_tokens=100, messages=[{"role": "user", "content": content}]
    )
    assert "1 image" in "".join(block.text for block in message.content if block.type == "text")


@upstreams
def test_anthropic_errors(anthropic_sdk: anthropic.Anthropic, upstream: str) -> None:
    messages: Any = [{"role": "user", "content": "x"}]
    with pytest.raises(anthropic.RateLimitError) as limited:
        anthropic_sdk.messages.create(model=f"429-after2-{upstream}", max_tokens=9, messages=messages)
    assert limited.value.response.headers["retry-after"] == "2"
    assert limited.value.request_id
    with (
        pytest.raises(anthropic.APIError),
        anthropic_sdk.messages.stream(model=f"cut5-{upstream}", max_tokens=99, messages=messages) as stream,
    ):
        for _ in stream:
            pass


def test_anthropic_counts_and_models(anthropic_sdk: anthropic.Anthropic) -> None:
    count = anthropic_sdk.messages.count_tokens(
        model="plain-openai", messages=[{"role": "user", "content": "How many tokens are there in this?"}]
    )
    assert 5 < count.input_tokens < 30
    assert "plain-openai" in [model.id for model in anthropic_sdk.models.list()]
    with pytest.raises(anthropic.NotFoundError, match="plain-openai"):
        anthropic_sdk.messages.create(model="plain-opena", max_tokens=9, messages=[{"role": "user", "content": "x"}])
