"""Every dialect of ours goes through what holds for all."""

from __future__ import annotations

import json
from pathlib import Path

import anthropic.types
from google.genai import types as google
from openai.types.chat import ChatCompletion

from gateway.assembly.catalog import DIALECTS, dialect
from gateway.dialects.anthropic import AnthropicMessages
from gateway.dialects.conformance import DialectConformance
from gateway.dialects.gemini_generate import GeminiGenerate
from gateway.dialects.openai_chat import OpenAIChat


class TestOpenAI(DialectConformance):
    dialect = OpenAIChat()
    end = b'"finish_reason":"'
    embedded = b'{"data":[{"index":1,"embedding":[0.5]},{"index":0,"embedding":"AACAPw=="}]}'

    def check_body(self, body: bytes) -> None:
        ChatCompletion.model_validate(json.loads(body))


class TestAnthropic(DialectConformance):
    dialect = AnthropicMessages()
    end = b"event: message_delta"
    declares_tools = True

    def check_body(self, body: bytes) -> None:
        anthropic.types.Message.model_validate(json.loads(body))


class TestGemini(DialectConformance):
    dialect = GeminiGenerate()
    end = b'"finishReason"'
    embedded = b'{"embeddings":[{"values":[0.5]},{"values":[0.25]}]}'

    def check_body(self, body: bytes) -> None:
        google.GenerateContentResponse.model_validate(json.loads(body))


def test_every_dialect_goes_through_it() -> None:
    tests = [each.read_text() for each in Path(__file__).parent.rglob("test_*.py")]
    classes = " ".join(each for each in tests if "(DialectConformance)" in each)
    assert [name for name in DIALECTS if f"dialect = {type(dialect(name)).__name__}()" not in classes] == []
    assert [dialect(name).name for name in DIALECTS] == list(DIALECTS)
