"""What exists, by name: the only list of components, each imported when a config asks for it.

A new component is one line here. Packages that are installed beside Gatehouse add theirs by entry points of the groups
`gatehouse.<seam>`; `gatehouse plugins` prints all.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, cast

from config.kinds import Kinds, Seam

if TYPE_CHECKING:
    from contract.dialect import Dialect

SEAMS = {
    "providers": Seam(
        "config.providers:ProviderBase",
        {
            "openai": "gateway.providers.openai:OpenAIConfig",
            "azure": "gateway.providers.azure:AzureConfig",
            "anthropic": "gateway.providers.anthropic:AnthropicConfig",
            "gemini": "gateway.providers.gemini:GeminiConfig",
            "extractive": "gateway.providers.extractive:ExtractiveConfig",
            "simulated": "gateway.simulator.config:SimulatedConfig",
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
DIALECTS = {
    "openai": "gateway.dialects.openai_chat:OpenAIChat",
    "anthropic": "gateway.dialects.anthropic:AnthropicMessages",
    "gemini": "gateway.dialects.gemini_generate:GeminiGenerate",
}
# By the vendor whose API it is, which an app's `surfaces` names; the first is meant where nothing tells. What is
# Gatehouse's own comes last: `/v1/models` takes what is no vendor's path.
SURFACES = {
    "openai": ("gateway.surfaces.openai:OpenAISurface",),
    "anthropic": ("gateway.surfaces.anthropic:AnthropicSurface",),
    "gemini": ("gateway.surfaces.gemini:GeminiSurface",),
    "": (
        "gateway.surfaces.documents:DocumentSurface",
        "gateway.surfaces.cache:CacheSurface",
        "gateway.surfaces.models:ModelSurface",
    ),
}
KINDS = Kinds(SEAMS, {"surfaces": [vendor for vendor in SURFACES if vendor]})


def dialect(name: str) -> Dialect:
    """The dialect called `name`. Raises `KeyError`."""
    return cast("Dialect", load(DIALECTS[name])())


def surfaces() -> list[Any]:
    """The classes of all surfaces, in the order in which their paths are looked through."""
    return [load(place) for places in SURFACES.values() for place in places]


def load(place: str) -> Any:
    """What stands at `module:name`."""
    module, _, name = place.partition(":")
    return getattr(importlib.import_module(module), name)
