"""What exists, by name: the only list of components, each imported when a config asks for it.

A new component is one line here. Packages that are installed beside Gatehouse add theirs by entry points of the groups
`gatehouse.<seam>`; `gatehouse plugins` prints all.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, cast

from config.kinds import Kinds, Seam

if TYPE_CHECKING:
    from contract.dialect import Dialect
    from gateway.providers.endpoint import EmbeddingDialect

SEAMS = {
    "providers": Seam(
        "config.struct:Component",
        {
            "openai": "config.providers:OpenAIConfig",
            "azure": "config.providers:AzureConfig",
            "anthropic": "config.providers:AnthropicConfig",
            "gemini": "config.providers:GeminiConfig",
            "extractive": "config.providers:ExtractiveConfig",
            "simulated": "config.providers:SimulatedConfig",
        },
    ),
    "guardrails": Seam(
        "config.guardrails:GuardrailBase",
        {
            "personal_data": "config.guardrails:PersonalDataConfig",
            "secrets": "config.guardrails:SecretsConfig",
            "keywords": "config.guardrails:KeywordsConfig",
            "injection": "config.guardrails:InjectionConfig",
            "topic": "config.guardrails:TopicConfig",
            "format": "config.guardrails:FormatConfig",
            "complete": "config.guardrails:CompleteConfig",
            "prompt_leak": "config.guardrails:PromptLeakConfig",
            "judge": "config.guardrails:JudgeConfig",
            "grounded": "config.guardrails:GroundedConfig",
            "handover": "config.guardrails:HandoverConfig",
            "toxicity": "config.guardrails:ToxicityConfig",
            "anomaly": "config.guardrails:AnomalyConfig",
            "brand": "config.guardrails:BrandConfig",
            "consistent": "config.guardrails:ConsistentConfig",
        },
    ),
    "tiers": Seam(
        "config.struct:Component",
        {
            "memory": "config.caches:MemoryTierConfig",
            "redis": "config.caches:RedisTierConfig",
            "postgres": "config.caches:PostgresTierConfig",
        },
    ),
    "routers": Seam("config.struct:Component", {"intents": "config.routers:RouterConfig"}),
    "sources": Seam(
        "config.struct:Component",
        {
            "folder": "config.sources:FolderConfig",
            "web": "config.sources:WebConfig",
            "documents": "config.sources:DocumentsConfig",
            "sql": "config.sources:SqlConfig",
        },
    ),
    "tools": Seam(
        "config.tools:ToolBase",
        {
            "http": "config.tools:HttpToolConfig",
            "web_search": "config.tools:WebSearchConfig",
            "source": "config.tools:SourceToolConfig",
            "mcp": "config.tools:McpConfig",
        },
    ),
}
KINDS = Kinds(SEAMS)
DIALECTS = {
    "openai": "gateway.dialects.openai_chat:OpenAIChat",
    "anthropic": "gateway.dialects.anthropic:AnthropicMessages",
    "gemini": "gateway.dialects.gemini_generate:GeminiGenerate",
}
EMBEDDINGS = {
    "openai": "gateway.dialects.openai_embeddings:OpenAIEmbeddings",
    "gemini": "gateway.dialects.gemini_generate:GeminiEmbeddings",
}


def dialect(name: str) -> Dialect:
    """The dialect called `name`. Raises `KeyError`."""
    return cast("Dialect", _make(DIALECTS[name]))


def embedding_dialect(name: str) -> EmbeddingDialect | None:
    """The embeddings side of a dialect, or None where the vendor has none."""
    place = EMBEDDINGS.get(name)
    return cast("EmbeddingDialect", _make(place)) if place else None


def _make(place: str) -> object:
    module, _, name = place.partition(":")
    return getattr(importlib.import_module(module), name)()
