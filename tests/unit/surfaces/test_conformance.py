"""Every surface of ours goes through what holds for all."""

from __future__ import annotations

from pathlib import Path

from gateway.assembly.catalog import surfaces
from gateway.surfaces.anthropic import AnthropicSurface
from gateway.surfaces.cache import CacheSurface
from gateway.surfaces.conformance import SurfaceConformance
from gateway.surfaces.documents import DocumentSurface
from gateway.surfaces.gemini import GeminiSurface
from gateway.surfaces.models import ModelSurface
from gateway.surfaces.openai import OpenAISurface


class TestOpenAI(SurfaceConformance):
    surface = OpenAISurface
    requests = (
        ("POST", "/v1/chat/completions"),
        ("POST", "/v1/embeddings"),
        ("POST", "/openai/deployments/gpt-5/chat/completions"),
        ("POST", "/openai/deployments/team/small/embeddings"),
    )


class TestAnthropic(SurfaceConformance):
    surface = AnthropicSurface
    requests = (("POST", "/v1/messages"), ("POST", "/v1/messages/count_tokens"))


class TestGemini(SurfaceConformance):
    surface = GeminiSurface
    requests = (
        ("POST", "/v1beta/models/gemini-pro:generateContent"),
        ("POST", "/v1/models/team/gemini:streamGenerateContent"),
        ("POST", "/v1alpha/models/gemini-pro:countTokens"),
        ("POST", "/v1beta/models/gemini-pro:embedContent"),
        ("POST", "/v1beta/models/gemini-pro:batchEmbedContents"),
    )


class TestModels(SurfaceConformance):
    surface = ModelSurface
    requests = (("GET", "/v1/models"), ("GET", "/v1/models/quick"))


class TestDocuments(SurfaceConformance):
    surface = DocumentSurface
    requests = (("GET", "/v1/sources/manuals/documents"), ("POST", "/v1/sources/manuals/search"))


class TestCache(SurfaceConformance):
    surface = CacheSurface
    requests = (("DELETE", "/v1/cache"),)


def test_every_surface_goes_through_it() -> None:
    tests = [each.read_text() for each in Path(__file__).parent.rglob("test_*.py")]
    classes = " ".join(each for each in tests if "(SurfaceConformance)" in each)
    assert [each for each in surfaces() if f"surface = {each.__name__}\n" not in classes] == []
