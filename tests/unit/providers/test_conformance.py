"""Every kind of provider goes through what holds for all."""

from __future__ import annotations

from pathlib import Path

from gateway.assembly.catalog import KINDS, SEAMS
from gateway.dialects.anthropic import AnthropicMessages
from gateway.dialects.gemini_generate import GeminiGenerate
from gateway.dialects.openai_chat import OpenAIChat
from gateway.providers.anthropic import AnthropicConfig
from gateway.providers.azure import AzureConfig
from gateway.providers.conformance import ProviderConformance
from gateway.providers.extractive import ExtractiveConfig
from gateway.providers.gemini import GeminiConfig
from gateway.providers.openai import OpenAIConfig
from gateway.simulator.config import SimulatedConfig


class TestOpenAI(ProviderConformance):
    config = OpenAIConfig
    dialect = OpenAIChat()
    options = {"kind": "openai", "api_key": "k"}
    excess_path = "/chat/completions"


class TestAzure(ProviderConformance):
    config = AzureConfig
    dialect = OpenAIChat()
    options = {"kind": "azure", "api_key": "k", "endpoint": "https://x.openai.azure.com", "api_version": "2024-10-21"}
    excess_path = "/openai/v1"


class TestAnthropic(ProviderConformance):
    config = AnthropicConfig
    dialect = AnthropicMessages()
    options = {"kind": "anthropic", "api_key": "k"}
    excess_path = "/v1/messages"


class TestGemini(ProviderConformance):
    config = GeminiConfig
    dialect = GeminiGenerate()
    options = {"kind": "gemini", "api_key": "k"}
    excess_path = "/v1beta/models"


class TestExtractive(ProviderConformance):
    config = ExtractiveConfig
    options = {"kind": "extractive"}


class TestSimulated(ProviderConformance):
    config = SimulatedConfig
    dialect = OpenAIChat()
    options = {"kind": "simulated"}


def test_every_kind_goes_through_it() -> None:
    tests = [each.read_text() for each in Path(__file__).parent.rglob("test_*.py")]
    classes = " ".join(each for each in tests if "(ProviderConformance)" in each)
    known = [KINDS.struct("providers", kind) for kind in SEAMS["providers"].kinds]
    assert [each for each in known if each is not None and f"config = {each.__name__}\n" not in classes] == []
