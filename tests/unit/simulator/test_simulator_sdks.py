"""The vendors' own SDKs straight at the simulator: what they parse is what it must say."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from typing import Any

import anthropic
import openai
import pytest
from google import genai
from google.genai import errors as genai_errors
from google.genai import types

from gateway.simulator.server import Simulator, running

KEY = "sk-simulated-key-1234"
SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "degrees": {"type": "integer"}, "sky": {"enum": ["clear", "grey"]}},
    "required": ["city", "degrees", "sky"],
    "additionalProperties": False,
}
PLACE = {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}}
HELLO: Any = [{"role": "user", "content": "Hello"}]
streamed = pytest.mark.parametrize("stream", [False, True])


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    with running(require_key=True) as simulator:
        yield simulator


@pytest.fixture(scope="module")
def oai(simulator: Simulator) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=simulator.url + "/v1", api_key=KEY, max_retries=0) as client:
        yield client


@pytest.fixture(scope="module", params=["2023-06-01", "2026-10-21"])
def claude(simulator: Simulator, request: pytest.FixtureRequest) -> Iterator[anthropic.Anthropic]:
    headers = {"anthropic-version": request.param}
    if request.param == "2023-06-01":
        headers |= {"x-api-key": KEY}
    with anthropic.Anthropic(base_url=simulator.url, api_key=KEY, max_retries=0, default_headers=headers) as client:
        yield client


@pytest.fixture(scope="module")
def gemini(simulator: Simulator) -> genai.Client:
    return genai.Client(api_key=KEY, http_options=types.HttpOptions(base_url=simulator.url))


# ------------------------------------------------------------------ OpenAI


def test_openai_text(oai: openai.OpenAI) -> None:
    answer = oai.chat.completions.create(
        model="sim-echo", messages=HELLO, n=2, seed=7, logprobs=True, top_logprobs=3, stop=["lo"]
    )
    assert [choice.message.content for choice in answer.choices] == ["Hel", "Hel"]
    assert answer.system_fingerprint == "fp_sim_7"
    logprobs = answer.choices[0].logprobs
    assert logprobs is not None
    assert logprobs.content is not None
    assert len(logprobs.content[0].top_logprobs) == 3
    assert answer._request_id
    short = oai.chat.completions.create(model="any", messages=HELLO, max_tokens=3).choices[0]
    assert (short.finish_reason, short.message.content) == ("length", "Grüße aus dem")


def test_openai_stream(oai: openai.OpenAI) -> None:
    chunks = list(
        oai.chat.completions.create(
            model="any", messages=HELLO, stream=True, stream_options={"include_usage": True}, logprobs=True
        )
    )
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens > 5
    assert all(chunk.usage is None for chunk in chunks[:-1])
    assert chunks[1].choices[0].logprobs is not None
    bare = list(oai.chat.completions.create(model="any", messages=HELLO, stream=True))
    assert all(chunk.usage is None and chunk.choices for chunk in bare)


@streamed
def test_openai_tools(oai: openai.OpenAI, stream: bool) -> None:
    tool: Any = {"type": "function", "function": {"name": "weather", "parameters": PLACE}}

    def calls(model: str, choice: Any) -> list[Any]:
        asked: dict[str, Any] = {"model": model, "messages": HELLO, "tools": [tool], "tool_choice": choice}
        if not stream:
            return oai.chat.completions.create(**asked).choices[0].message.tool_calls or []
        with oai.chat.completions.stream(**asked) as events:
            return events.get_final_completion().choices[0].message.tool_calls or []

    two = calls("sim-tools", "auto")
    assert [json.loads(call.function.arguments) for call in two] == [
        {"city": "Rome", "days": 7},
        {"city": "Oslo", "days": 7},
    ]
    assert len({call.id for call in two}) == 2
    assert len(calls("any", "required")) == 1
    assert not calls("any", "auto")


@streamed
def test_openai_json_and_reasoning(oai: openai.OpenAI, stream: bool) -> None:
    wanted: Any = {"type": "json_schema", "json_schema": {"name": "w", "schema": SCHEMA, "strict": True}}
    asked: dict[str, Any] = {"model": "sim-reason", "messages": HELLO, "response_format": wanted}
    if stream:
        chunks = list(oai.chat.completions.create(**asked, stream=True))
        text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
        thoughts = "".join(getattr(chunk.choices[0].delta, "reasoning_content", "") for chunk in chunks)
    else:
        message = oai.chat.completions.create(**asked).choices[0].message
        text, thoughts = message.content or "", message.reasoning_content
    assert json.loads(text) == {"city": "text", "degrees": 7, "sky": "clear"}
    assert thoughts == "Let me think about this."


def test_openai_parts(oai: openai.OpenAI) -> None:
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    content: Any = [{"type": "text", "text": "What is it?"}, picture]
    called = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    turns: Any = [
        {"role": "user", "content": content},
        {"role": "assistant", "tool_calls": [called]},
        {"role": "tool", "tool_call_id": "c", "content": "20"},
    ]
    text = oai.chat.completions.create(model="any", messages=turns).choices[0].message.content or ""
    assert "(saw 1 image)" in text
    assert "(saw 1 tool result)" in text


def test_openai_embeddings_and_models(oai: openai.OpenAI) -> None:
    packed = oai.embeddings.create(model="any", input=["a", "b"]).data
    plain = oai.embeddings.create(model="any", input=["a", "b"], encoding_format="float", dimensions=8).data
    assert packed[0].embedding == pytest.approx(plain[0].embedding, abs=1e-6)
    assert packed[0].embedding != pytest.approx(packed[1].embedding, abs=1e-6)
    assert len(oai.embeddings.create(model="any", input="a", dimensions=300).data[0].embedding) == 300
    assert [model.id for model in oai.models.list()] == ["sim-ok"]
    assert oai.models.retrieve("mine").id == "mine"


def test_openai_errors(oai: openai.OpenAI) -> None:
    with pytest.raises(openai.RateLimitError) as limited:
        oai.chat.completions.create(model="sim-429-after2", messages=HELLO)
    assert limited.value.code == "rate_limit_exceeded"
    with pytest.raises(openai.BadRequestError) as wrong:
        oai.chat.completions.create(model="any", messages=HELLO, temperature="hot")  # type: ignore[call-overload]
    assert (wrong.value.param, wrong.value.code) == ("temperature", "invalid_type")
    with pytest.raises(openai.BadRequestError) as unknown:
        oai.chat.completions.create(model="sim-hagn", messages=HELLO)
    assert "did you mean 'hang'" in unknown.value.message
    with pytest.raises(openai.APIError, match="The server had an error"):
        list(oai.chat.completions.create(model="sim-erroreven3", messages=HELLO, stream=True))


def test_azure(simulator: Simulator) -> None:
    with openai.AzureOpenAI(
        azure_endpoint=simulator.url, api_key=KEY, api_version="2024-10-21", max_retries=0
    ) as client:
        assert client.chat.completions.create(model="sim-echo", messages=HELLO).choices[0].message.content == "Hello"
        chunks = list(client.chat.completions.create(model="sim-echo", messages=HELLO, stream=True))
    assert not chunks[0].choices
    assert simulator.requests[-1]["path"] == "/openai/deployments/sim-echo/chat/completions"
    assert simulator.requests[-1]["headers"]["api-key"] == "...1234"


# ------------------------------------------------------------------ Anthropic


def ask_claude(client: anthropic.Anthropic, stream: bool, asked: dict[str, Any]) -> Any:
    asked = {"max_tokens": 500, "messages": HELLO, **asked}
    if not stream:
        return client.messages.create(**asked)
    with client.messages.stream(**asked) as events:
        return events.get_final_message()


@streamed
def test_anthropic_text(claude: anthropic.Anthropic, stream: bool) -> None:
    message = ask_claude(claude, stream, {"model": "sim-echo-cached100", "stop_sequences": ["lo"]})
    assert message.content[0].text == "Hel"
    assert (message.stop_reason, message.stop_sequence) == ("stop_sequence", "lo")
    assert message.usage.cache_read_input_tokens == 100
    assert message.usage.output_tokens == 1
    assert ask_claude(claude, stream, {"model": "any", "max_tokens": 2}).stop_reason == "max_tokens"
    assert ask_claude(claude, stream, {"model": "sim-safety"}).stop_reason == "refusal"


@streamed
def test_anthropic_tools_and_thinking(claude: anthropic.Anthropic, stream: bool) -> None:
    tools = [{"name": "weather", "input_schema": PLACE}]
    message = ask_claude(claude, stream, {"model": "sim-tools-reason", "tools": tools})
    assert [block.type for block in message.content] == ["thinking", "tool_use", "tool_use"]
    assert message.content[0].thinking == "Let me think about this."
    assert message.content[0].signature
    assert [block.input["city"] for block in message.content[1:]] == ["Rome", "Oslo"]
    assert message.stop_reason == "tool_use"
    forced = ask_claude(claude, stream, {"model": "any", "tools": tools, "tool_choice": {"type": "any"}})
    assert [block.type for block in forced.content] == ["tool_use"]


@streamed
def test_anthropic_json(claude: anthropic.Anthropic, stream: bool) -> None:
    wanted = {"format": {"type": "json_schema", "schema": SCHEMA}}
    message = ask_claude(claude, stream, {"model": "any", "output_config": wanted})
    assert json.loads(message.content[0].text) == {"city": "text", "degrees": 7, "sky": "clear"}


def test_anthropic_counts_models_and_errors(claude: anthropic.Anthropic, simulator: Simulator) -> None:
    assert claude.messages.count_tokens(model="any", messages=HELLO).input_tokens > 5
    assert [model.id for model in claude.models.list()] == ["sim-ok"]
    assert claude.models.retrieve("mine").display_name == "mine"
    with pytest.raises(anthropic.RateLimitError) as limited:
        ask_claude(claude, False, {"model": "sim-429-after2"})
    assert limited.value.request_id
    with pytest.raises(anthropic.APIStatusError):
        ask_claude(claude, True, {"model": "sim-erroreven5"})
    with pytest.raises(anthropic.BadRequestError, match="stop_sequences"):
        ask_claude(claude, False, {"model": "any", "stop_sequences": "x"})
    assert simulator.requests[-1]["headers"]["authorization"] == "...1234"


def test_anthropic_sampling_is_gone_in_the_new_version(claude: anthropic.Anthropic) -> None:
    asked = {"model": "any", "extra_body": {"temperature": 0.5}}
    if claude.default_headers["anthropic-version"] == "2026-10-21":
        with pytest.raises(anthropic.BadRequestError, match="temperature"):
            ask_claude(claude, False, asked)
    else:
        assert ask_claude(claude, False, asked).content


# ------------------------------------------------------------------ Gemini


def ask_gemini(client: genai.Client, stream: bool, model: str, config: dict[str, Any] | None = None) -> list[Any]:
    asked: dict[str, Any] = {"model": model, "contents": "Hello", "config": config}
    if stream:
        return list(client.models.generate_content_stream(**asked))
    return [client.models.generate_content(**asked)]


def parts_of(chunks: list[Any]) -> list[Any]:
    return [part for chunk in chunks for part in chunk.candidates[0].content.parts or []]


@streamed
def test_gemini_text(gemini: genai.Client, stream: bool) -> None:
    config = {"response_logprobs": True, "logprobs": 2, "stop_sequences": ["lo"]}
    chunks = ask_gemini(gemini, stream, "sim-echo-cached100", config)
    assert "".join(part.text for part in parts_of(chunks)) == "Hel"
    assert chunks[-1].candidates[0].finish_reason == types.FinishReason.STOP
    assert chunks[-1].usage_metadata.cached_content_token_count == 100
    assert chunks[-1].usage_metadata.total_token_count == chunks[-1].usage_metadata.prompt_token_count + 1
    assert len(chunks[0].candidates[0].logprobs_result.top_candidates[0].candidates) == 2
    cut = ask_gemini(gemini, stream, "any", {"max_output_tokens": 2})
    assert cut[-1].candidates[0].finish_reason == types.FinishReason.MAX_TOKENS
    declined = ask_gemini(gemini, stream, "sim-safety")
    assert declined[-1].candidates[0].finish_reason == types.FinishReason.SAFETY


def test_gemini_candidates(gemini: genai.Client) -> None:
    assert len(ask_gemini(gemini, False, "any", {"candidate_count": 3})[0].candidates) == 3


@streamed
def test_gemini_tools_and_thoughts(gemini: genai.Client, stream: bool) -> None:
    declared = [{"function_declarations": [{"name": "weather", "parameters_json_schema": PLACE}]}]
    config = {"tools": declared, "automatic_function_calling": {"disable": True}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        parts = parts_of(ask_gemini(gemini, stream, "sim-tools-reason", config))
    assert parts[0].thought
    calls = [part for part in parts if part.function_call]
    assert [part.function_call.args["city"] for part in calls] == ["Rome", "Oslo"]
    assert calls[0].thought_signature
    forced = {**config, "tool_config": {"function_calling_config": {"mode": "ANY"}}}
    assert [part.function_call.name for part in parts_of(ask_gemini(gemini, stream, "any", forced))] == ["weather"]


@streamed
def test_gemini_json(gemini: genai.Client, stream: bool) -> None:
    config = {"response_mime_type": "application/json", "response_json_schema": SCHEMA}
    text = "".join(part.text for part in parts_of(ask_gemini(gemini, stream, "any", config)))
    assert json.loads(text) == {"city": "text", "degrees": 7, "sky": "clear"}


def test_gemini_counts_models_and_embeddings(gemini: genai.Client) -> None:
    assert (gemini.models.count_tokens(model="any", contents="Hello").total_tokens or 0) > 5
    assert [model.name for model in gemini.models.list()] == ["models/sim-ok"]
    answer = gemini.models.embed_content(model="any", contents=["a", "b"], config={"output_dimensionality": 12})
    assert answer.embeddings is not None
    assert [len(each.values or []) for each in answer.embeddings] == [12, 12]


def test_gemini_errors(gemini: genai.Client) -> None:
    with pytest.raises(genai_errors.ClientError) as limited:
        ask_gemini(gemini, False, "sim-429-after2")
    assert (limited.value.code, limited.value.status) == (429, "RESOURCE_EXHAUSTED")
    with pytest.raises(genai_errors.ServerError):
        ask_gemini(gemini, True, "sim-erroreven3")
    with pytest.raises(genai_errors.ClientError, match="input token count"):
        ask_gemini(gemini, False, "sim-context")
