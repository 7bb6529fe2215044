"""Gemini's SDK against every upstream dialect, whole and streamed."""

from __future__ import annotations

import json
import warnings
from typing import Any

import pytest
from google import genai
from google.genai import errors as genai_errors
from google.genai import types

from tests.contract.sdks.wire import PICTURE, SCHEMA, WEATHER, upstreams


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
