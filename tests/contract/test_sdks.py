"""The vendors' own SDKs against every upstream dialect, whole and streamed. What they parse is what apps get."""

from __future__ import annotations

import base64
import json
import struct
import warnings
from collections.abc import Iterator
from typing import Any

import anthropic
import openai
import pytest
from google import genai
from google.genai import errors as genai_errors
from google.genai import types

from tests.live import KEY, Gateway, running_gateway

DIALECTS = ("openai", "anthropic", "gemini")
PICTURE = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "degrees": {"type": "integer"}},
    "required": ["city", "degrees"],
    "additionalProperties": False,
}
WEATHER = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}

upstreams = pytest.mark.parametrize("upstream", DIALECTS)


def config() -> str:
    lines = ["version: 1", "providers:"]
    lines += [f"  {dialect}: {{kind: simulated, dialect: {dialect}}}" for dialect in DIALECTS]
    lines += ["models:"]
    for dialect in DIALECTS:
        for behaviour in ("ok", "echo", "tools", "reason", "cut5", "cached100", "length", "429-after2", "safety"):
            lines.append(
                f"  {behaviour}-{dialect}: {{targets: [{dialect}/sim-{behaviour}], retry: {{attempts: 1}}, "
                "breaker: {failures: 1000}}"
            )
        lines.append(f"  plain-{dialect}: {{targets: [{dialect}/some-model]}}")
    lines += ["apps:", f"  test: {{keys: [{KEY}]}}", 'observe: {log: "off"}']
    return "\n".join(lines)


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with running_gateway(config(), tmp_path_factory.mktemp("sdks")) as gateway:
        yield gateway


@pytest.fixture(scope="module")
def openai_sdk(gateway: Gateway) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=gateway.url + "/v1", api_key=KEY, max_retries=0) as client:
        yield client


@pytest.fixture(scope="module", params=["2023-06-01", "2026-10-21"])
def anthropic_sdk(gateway: Gateway, request: pytest.FixtureRequest) -> Iterator[anthropic.Anthropic]:
    headers = {"anthropic-version": request.param}
    with anthropic.Anthropic(base_url=gateway.url, api_key=KEY, max_retries=0, default_headers=headers) as client:
        yield client


@pytest.fixture(scope="module")
def gemini_sdk(gateway: Gateway) -> genai.Client:
    return genai.Client(api_key=KEY, http_options=types.HttpOptions(base_url=gateway.url))


# ------------------------------------------------------------------ OpenAI


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
    assert cut.value.code == "upstream_cut"


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


# ------------------------------------------------------------------ Anthropic


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


# ------------------------------------------------------------------ Gemini


@upstreams
def test_gemini_text(gemini_sdk: genai.Client, upstream: str) -> None:
    answer = gemini_sdk.models.generate_content(
        model=f"echo-{upstream}",
        contents="Grüße, 世界",
        config=types.GenerateContentConfig(system_instruction="Be brief.", max_output_tokens=200),
    )
    assert "Grüße, 世界" in (answer.text or "")
    assert answer.candidates is not None
    assert answer.candidates[0].finish_reason == types.FinishReason.STOP
    assert answer.usage_metadata is not None
    assert (answer.usage_metadata.prompt_token_count or 0) > 0


@upstreams
def test_gemini_stream(gemini_sdk: genai.Client, upstream: str) -> None:
    chunks = list(gemini_sdk.models.generate_content_stream(model=f"echo-{upstream}", contents="Grüße, 世界"))
    assert "Grüße, 世界" in "".join(chunk.text or "" for chunk in chunks)
    assert chunks[-1].candidates is not None
    assert any(c.candidates and c.candidates[0].finish_reason == types.FinishReason.STOP for c in chunks)


@upstreams
@pytest.mark.parametrize("streamed", [False, True])
def test_gemini_tools(gemini_sdk: genai.Client, upstream: str, streamed: bool) -> None:
    declaration = types.FunctionDeclaration(name="weather", description="Weather", parameters_json_schema=WEATHER)
    tools = types.GenerateContentConfig(
        tools=[types.Tool(function_declarations=[declaration])],
        automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True),
    )
    model = f"tools-{upstream}"
    question = types.Content(role="user", parts=[types.Part(text="Weather in Rome and Oslo?")])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if streamed:
            chunks = list(gemini_sdk.models.generate_content_stream(model=model, contents=[question], config=tools))
        else:
            chunks = [gemini_sdk.models.generate_content(model=model, contents=[question], config=tools)]
        calls = [call for chunk in chunks for call in chunk.function_calls or []]
    assert len(calls) == 2
    assert all(call.name == "weather" and isinstance(call.args, dict) for call in calls)
    turn = types.Content(role="model", parts=[types.Part(function_call=call) for call in calls])
    results = types.Content(
        role="user",
        parts=[
            types.Part(function_response=types.FunctionResponse(id=call.id, name=call.name, response={"output": "20"}))
            for call in calls
        ],
    )
    again = gemini_sdk.models.generate_content(
        model=f"plain-{upstream}", contents=[question, turn, results], config=tools
    )
    assert again.text


@upstreams
def test_gemini_json_schema(gemini_sdk: genai.Client, upstream: str) -> None:
    answer = gemini_sdk.models.generate_content(
        model=f"plain-{upstream}",
        contents="Weather in Rome as JSON",
        config=types.GenerateContentConfig(response_mime_type="application/json", response_json_schema=SCHEMA),
    )
    value = json.loads(answer.text or "")
    assert isinstance(value["city"], str)
    assert isinstance(value["degrees"], int)


@upstreams
@pytest.mark.parametrize("streamed", [False, True])
def test_gemini_thoughts(gemini_sdk: genai.Client, upstream: str, streamed: bool) -> None:
    thinking = types.GenerateContentConfig(thinking_config=types.ThinkingConfig(include_thoughts=True))
    model = f"reason-{upstream}"
    if streamed:
        chunks = list(gemini_sdk.models.generate_content_stream(model=model, contents="Think", config=thinking))
    else:
        chunks = [gemini_sdk.models.generate_content(model=model, contents="Think", config=thinking)]
    parts = [
        part
        for chunk in chunks
        for candidate in chunk.candidates or []
        if candidate.content
        for part in candidate.content.parts or []
    ]
    assert any(part.thought and part.text for part in parts)
    assert any(part.text and not part.thought for part in parts)


@upstreams
def test_gemini_pictures(gemini_sdk: genai.Client, upstream: str) -> None:
    contents: Any = [types.Part.from_bytes(data=PICTURE, mime_type="image/png"), "What is this?"]
    answer = gemini_sdk.models.generate_content(model=f"plain-{upstream}", contents=contents)
    assert "1 image" in (answer.text or "")


@upstreams
def test_gemini_errors(gemini_sdk: genai.Client, upstream: str) -> None:
    with pytest.raises(genai_errors.ClientError) as limited:
        gemini_sdk.models.generate_content(model=f"429-after2-{upstream}", contents="x")
    assert limited.value.code == 429
    assert limited.value.status == "RESOURCE_EXHAUSTED"
    with pytest.raises(genai_errors.APIError):
        for _ in gemini_sdk.models.generate_content_stream(model=f"cut5-{upstream}", contents="x"):
            pass


def test_gemini_counts_models_and_embeddings(gemini_sdk: genai.Client) -> None:
    count = gemini_sdk.models.count_tokens(model="plain-openai", contents="How many tokens are there in this?")
    assert 5 < (count.total_tokens or 0) < 30
    assert "models/plain-openai" in [model.name for model in gemini_sdk.models.list()]
    for upstream in ("openai", "gemini"):
        answer = gemini_sdk.models.embed_content(model=f"plain-{upstream}", contents=["a", "b"])
        assert answer.embeddings
        assert answer.embeddings[0].values
    with pytest.raises(genai_errors.ClientError, match="plain-openai"):
        gemini_sdk.models.generate_content(model="plain-opena", contents="x")
