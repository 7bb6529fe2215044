"""Requests with too many pieces: refused by name, before they are made into anything."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contract.dialect import InboundCall
from contract.errors import InvalidRequest
from contract.messages import ChatRequest
from contract.prompt_tokens import MANY_MESSAGES, prompt_tokens
from gateway.dialects import fields
from gateway.dialects.anthropic import AnthropicMessages
from gateway.dialects.anthropic.tokens import read_count_tokens
from gateway.dialects.gemini_generate import GeminiBatchEmbeddings, GeminiGenerate
from gateway.dialects.gemini_generate.tokens import read_count_tokens as read_gemini_count
from gateway.dialects.openai_chat import OpenAIChat
from gateway.dialects.openai_chat.embeddings import OpenAIEmbeddings

guarded = pytest.mark.guarantee(
    "parsing", "A request with too many items or too deep nesting is refused, and the error names the field"
)

CALL = InboundCall("quick")


def chat(**more: Any) -> dict[str, Any]:
    return {"model": "quick", "messages": [{"role": "user", "content": "hi"}], **more}


def message(**more: Any) -> dict[str, Any]:
    return {"model": "quick", "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}], **more}


def contents(**more: Any) -> dict[str, Any]:
    return {"contents": [{"role": "user", "parts": [{"text": "hi"}]}], **more}


def read_openai(body: bytes) -> object:
    return OpenAIChat().read_request(body, CALL)


def read_anthropic(body: bytes) -> object:
    return AnthropicMessages().read_request(body, CALL)


def read_gemini(body: bytes) -> object:
    return GeminiGenerate().read_request(body, CALL)


def count_gemini(body: bytes) -> object:
    return read_gemini_count(body, CALL)


U = {"role": "user", "content": "hi"}
MANY = fields.MAX_ITEMS + 1
TEXT = {"type": "text", "text": "x"}
TOOL = {"type": "function", "function": {"name": "f"}}


@guarded
@pytest.mark.parametrize(
    ("read", "body", "field"),
    [
        (read_openai, chat(messages=[U] * MANY), "messages"),
        (read_openai, chat(messages=[U] * 300_000), "messages"),
        (read_openai, chat(messages=[{"role": "user", "content": [TEXT] * MANY}]), "content"),
        (read_openai, chat(messages=[{"role": "user", "content": [TEXT] * 3000}] * 100), "messages"),
        (read_openai, chat(tools=[TOOL] * MANY), "tools"),
        (read_openai, chat(stop=["a"] * MANY), "stop"),
        (read_openai, chat(stop=["a"] * 500_000), "stop"),
        (read_openai, chat(n=1_000_000), "n"),
        (read_openai, chat(metadata={f"k{each}": "v" for each in range(300_000)}), "metadata"),
        (read_anthropic, message(messages=[U] * MANY), "messages"),
        (read_anthropic, message(messages=[U] * 300_000), "messages"),
        (read_anthropic, message(messages=[{"role": "user", "content": [TEXT] * MANY}]), "content"),
        (read_anthropic, message(system=[TEXT] * MANY), "system"),
        (read_anthropic, message(tools=[{"name": "f", "input_schema": {}}] * MANY), "tools"),
        (read_anthropic, message(stop_sequences=["a"] * MANY), "stop_sequences"),
        (read_count_tokens, message(messages=[U] * MANY), "messages"),
        (read_gemini, contents(contents=[{"parts": [{"text": "x"}]}] * MANY), "contents"),
        (read_gemini, contents(contents=[{"parts": [{"text": "x"}]}] * 300_000), "contents"),
        (read_gemini, contents(contents=[{"parts": [{"text": "x"}] * MANY}]), "parts"),
        (read_gemini, contents(contents=[{"parts": [{"text": "x"}] * 3000}] * 100), "contents"),
        (read_gemini, contents(tools=[{"functionDeclarations": [{"name": "f"}] * MANY}]), "functionDeclarations"),
        (read_gemini, contents(generationConfig={"candidateCount": 1000}), "candidateCount"),
        (read_gemini, contents(generationConfig={"stopSequences": ["a"] * MANY}), "stopSequences"),
        (count_gemini, contents(contents=[{"parts": [{"text": "x"}]}] * MANY), "contents"),
        (OpenAIEmbeddings().read_request, {"model": "e", "input": ["a"] * 2049}, "input"),
        (OpenAIEmbeddings().read_request, {"model": "e", "input": [1] * 400_000}, "input"),
        (OpenAIEmbeddings().read_request, {"model": "e", "input": [[1] * 1000] * 400}, "input"),
        (GeminiBatchEmbeddings("e").read_request, {"requests": [{"content": {"parts": []}}] * MANY}, "requests"),
    ],
)
def test_the_field_and_its_bound_are_named(read: Callable[[bytes], object], body: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        read(json.dumps(body).encode())
    assert field in caught.value.message
    assert any(each.isdigit() for each in caught.value.message)
    assert caught.value.param.rpartition(".")[2] == field


@guarded
@pytest.mark.parametrize("depth", [101, 500, 5000, 100_000])
@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}")])
@pytest.mark.parametrize(
    ("read", "body"), [(read_openai, chat()), (read_anthropic, message()), (read_gemini, contents())]
)
def test_what_is_nested_too_deeply_is_refused(
    read: Callable[[bytes], object], body: dict[str, Any], opening: str, closing: str, depth: int
) -> None:
    data = json.dumps(body)[:-1] + f', "metadata": {opening * depth}1{closing * depth}}}'
    with pytest.raises(InvalidRequest, match="nested"):
        read(data.encode())


@guarded
def test_a_million_other_fields_are_refused() -> None:
    body = json.dumps({**chat(), **{f"field{each}": 1 for each in range(300_000)}}).encode()
    with pytest.raises(InvalidRequest, match="fields"):
        read_openai(body)


@given(depth=st.integers(1, 97), width=st.integers(0, 200))
@settings(max_examples=30)
def test_what_is_not_too_deep_is_taken(depth: int, width: int) -> None:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    request = OpenAIChat().read_request(json.dumps(chat(extra_thing=[value, *[[]] * width])).encode(), CALL)
    assert request.extra is not None


def test_long_texts_of_many_commas_and_braces_are_taken() -> None:
    text = '{"a": [1, 2, 3]}, ' * 100_000
    request = OpenAIChat().read_request(json.dumps(chat(messages=[{"role": "user", "content": text}])).encode(), CALL)
    assert isinstance(request, ChatRequest)
    many = [{"role": "user", "content": [TEXT, TEXT]}] * 9_000
    assert len(OpenAIChat().read_request(json.dumps(chat(messages=many)).encode(), CALL).messages) == 9_000


def test_many_messages_are_counted_nearly_as_each_by_itself() -> None:
    turns = [{"role": "user", "content": f"Please send order {each} to the other address, said the caller. " * 40}
             for each in range(MANY_MESSAGES * 10)]  # fmt: skip
    whole = prompt_tokens(OpenAIChat().read_request(json.dumps(chat(messages=turns)).encode(), CALL))
    parts = sum(
        prompt_tokens(OpenAIChat().read_request(json.dumps(chat(messages=turns[start : start + 50])).encode(), CALL))
        for start in range(0, len(turns), 50)
    )
    assert abs(whole - parts) < 0.05 * parts
