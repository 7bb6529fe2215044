"""OpenAI's SDK against every upstream dialect, whole and streamed."""

from __future__ import annotations

import base64
import json
import struct
from typing import Any

import openai
import pytest

from tests.contract.sdks.wire import PICTURE, SCHEMA, WEATHER, upstreams
from tests.live import Gateway


@upstreams
def test_openai_text(openai_sdk: openai.OpenAI, upstream: str) -> None:
    answer = openai_sdk.chat.completions.create(
        model=f"echo-{upstream}",
        messages=[{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Grüße, 世界"}],
        max_tokens=200,
    )
    choice = answer.choices[0]
    assert choice.message.content is not None
    assert "Grüße, 世界" in choice.message.content
    assert choice.finish_reason == "stop"
    assert answer.usage is not None
    assert answer.usage.prompt_tokens > 0
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    assert answer.object == "chat.completion"
    assert answer._request_id


@upstreams
def test_openai_stream(openai_sdk: openai.OpenAI, upstream: str) -> None:
    stream = openai_sdk.chat.completions.create(
        model=f"echo-{upstream}",
        messages=[{"role": "user", "content": "Grüße, 世界"}],
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = list(stream)
    assert "Grüße, 世界" in "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == "stop"
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens > 0
    assert not chunks[-1].choices
    without = list(
        openai_sdk.chat.completions.create(
            model=f"echo-{upstream}", messages=[{"role": "user", "content": "x"}], stream=True
        )
    )
    assert all(c.usage is None and c.choices for c in without)


@upstreams
def test_openai_stream_helper(openai_sdk: openai.OpenAI, upstream: str) -> None:
    messages: Any = [{"role": "user", "content": "hello helper"}]
    with openai_sdk.chat.completions.stream(model=f"echo-{upstream}", messages=messages) as stream:
        for _ in stream:
            pass
        final = stream.get_final_completion()
    assert "hello helper" in (final.choices[0].message.content or "")
    assert final.choices[0].message.role == "assistant"


@upstreams
@pytest.mark.parametrize("stream", [False, True])
def test_openai_tools(openai_sdk: openai.OpenAI, upstream: str, stream: bool) -> None:
    tool: Any = {"type": "function", "function": {"name": "weather", "description": "Weather", "parameters": WEATHER}}
    question: Any = {"role": "user", "content": "Weather in Rome and Oslo?"}
    arguments: dict[str, Any] = {"model": f"tools-{upstream}", "messages": [question], "tools": [tool]}
    if stream:
        with openai_sdk.chat.completions.stream(**arguments) as events:
            for _ in events:
                pass
            message: Any = events.get_final_completion().choices[0]
    else:
        message = openai_sdk.chat.completions.create(**arguments).choices[0]
    assert message.finish_reason == "tool_calls"
    calls = message.message.tool_calls
    assert len(calls) == 2
    assert len({call.id for call in calls}) == 2
    assert all(call.function.name == "weather" for call in calls)
    assert all(isinstance(json.loads(call.function.arguments), dict) for call in calls)
    results: Any = [{"role": "tool", "tool_call_id": call.id, "content": '{"degrees": 20}'} for call in calls]
    turn: Any = {
        "role": "assistant",
        "tool_calls": [
            json.loads(call.model_dump_json(include={"id": True, "type": True, "function": {"name", "arguments"}}))
            for call in calls
        ],
    }
    again = openai_sdk.chat.completions.create(
        model=f"plain-{upstream}", messages=[question, turn, *results], tools=[tool]
    )
    assert again.choices[0].message.content


@upstreams
def test_openai_json_schema(openai_sdk: openai.OpenAI, upstream: str) -> None:
    answer = openai_sdk.chat.completions.create(
        model=f"plain-{upstream}",
        messages=[{"role": "user", "content": "Weather in Rome as JSON"}],
        response_format={"type": "json_schema", "json_schema": {"name": "w", "schema": SCHEMA, "strict": True}},
    )
    value = json.loads(answer.choices[0].message.content or "")
    assert isinstance(value["city"], str)
    assert isinstance(value["degrees"], int)


@upstreams
@pytest.mark.parametrize("stream", [False, True])
def test_openai_reasoning(openai_sdk: openai.OpenAI, upstream: str, stream: bool) -> None:
    arguments: dict[str, Any] = {"model": f"reason-{upstream}", "messages": [{"role": "user", "content": "Think"}]}
    if stream:
        chunks = list(openai_sdk.chat.completions.create(**arguments, stream=True))
        thoughts = "".join(getattr(c.choices[0].delta, "reasoning_content", None) or "" for c in chunks if c.choices)
        text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    else:
        message = openai_sdk.chat.completions.create(**arguments).choices[0].message
        thoughts, text = message.reasoning_content, message.content or ""
    assert thoughts
    assert text


@upstreams
def test_openai_pictures(openai_sdk: openai.OpenAI, upstream: str) -> None:
    url = "data:image/png;base64," + base64.b64encode(PICTURE).decode()
    content: Any = [{"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": {"url": url}}]
    answer = openai_sdk.chat.completions.create(
        model=f"plain-{upstream}", messages=[{"role": "user", "content": content}]
    )
    assert "1 image" in (answer.choices[0].message.content or "")


@upstreams
def test_openai_cached_tokens(openai_sdk: openai.OpenAI, upstream: str) -> None:
    answer = openai_sdk.chat.completions.create(
        model=f"cached100-{upstream}", messages=[{"role": "user", "content": "x" * 2000}]
    )
    assert answer.usage is not None
    assert answer.usage.prompt_tokens_details is not None
    assert answer.usage.prompt_tokens_details.cached_tokens == 100
    assert answer.usage.prompt_tokens >= 100


@pytest.mark.parametrize("upstream", ["openai", "gemini"])
def test_openai_choices_and_logprobs(openai_sdk: openai.OpenAI, upstream: str) -> None:
    answer = openai_sdk.chat.completions.create(
        model=f"plain-{upstream}",
        messages=[{"role": "user", "content": "x"}],
        n=2,
        logprobs=True,
        top_logprobs=2,
        seed=7,
    )
    assert [choice.index for choice in answer.choices] == [0, 1]
    assert answer.choices[0].logprobs is not None
    assert answer.choices[0].logprobs.content
    assert answer.choices[0].logprobs.content[0].logprob <= 0


@upstreams
def test_openai_finish_reasons(openai_sdk: openai.OpenAI, upstream: str) -> None:
    messages: Any = [{"role": "user", "content": "x"}]
    cut = openai_sdk.chat.completions.create(model=f"length-{upstream}", messages=messages, max_tokens=5)
    assert cut.choices[0].finish_reason == "length"
    refused = openai_sdk.chat.completions.create(model=f"safety-{upstream}", messages=messages)
    assert refused.choices[0].finish_reason == "content_filter"


@upstreams
def test_openai_errors(openai_sdk: openai.OpenAI, upstream: str) -> None:
    messages: Any = [{"role": "user", "content": "x"}]
    with pytest.raises(openai.RateLimitError) as limited:
        openai_sdk.chat.completions.create(model=f"429-after2-{upstream}", messages=messages)
    assert limited.value.response.headers["retry-after"] == "2"
    with pytest.raises(openai.APIError) as cut:
        for _ in openai_sdk.chat.completions.create(model=f"cut5-{upstream}", messages=messages, stream=True):
            pass
    assert cut.value.code == "upstream_interrupted"


def test_openai_bad_requests(openai_sdk: openai.OpenAI, gateway: Gateway) -> None:
    messages: Any = [{"role": "user", "content": "x"}]
    with pytest.raises(openai.NotFoundError, match="plain-openai"):
        openai_sdk.chat.completions.create(model="plain-opena", messages=messages)
    with pytest.raises(openai.BadRequestError) as wrong:
        openai_sdk.chat.completions.create(model="plain-openai", messages=messages, temperature="hot")  # type: ignore[call-overload]
    assert wrong.value.param == "temperature"
    with pytest.raises(openai.AuthenticationError):
        openai.OpenAI(base_url=gateway.url + "/v1", api_key="wrong", max_retries=0).models.list()


def test_openai_models(openai_sdk: openai.OpenAI) -> None:
    assert "plain-openai" in [model.id for model in openai_sdk.models.list()]
    assert openai_sdk.models.retrieve("plain-openai").id == "plain-openai"


@pytest.mark.parametrize("upstream", ["openai", "gemini"])
@pytest.mark.parametrize("encoding", ["base64", "float"])
def test_openai_embeddings(openai_sdk: openai.OpenAI, upstream: str, encoding: Any) -> None:
    answer = openai_sdk.embeddings.create(model=f"plain-{upstream}", input=["a", "b"], encoding_format=encoding)
    by_default = openai_sdk.embeddings.create(model=f"plain-{upstream}", input="a")
    assert [item.index for item in answer.data] == [0, 1]
    first: Any = answer.data[0].embedding
    numbers = (
        list(struct.unpack(f"<{len(by_default.data[0].embedding)}f", base64.b64decode(first)))
        if isinstance(first, str)
        else first
    )
    assert numbers == pytest.approx(by_default.data[0].embedding, abs=1e-6)
