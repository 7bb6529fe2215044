"""The only list of components, by name. Each is imported when a config uses it.

A new component needs one line here. Other installed packages add components with entry points in the groups
`gatehouse.<seam>`; `gatehouse plugins` lists all.
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
        "guardrails.component:Guardrail",
        {
            "personal_data": "guardrails.masking.personal_data:PersonalDataConfig",
            "secrets": "guardrails.secrets:SecretsConfig",
            "keywords": "guardrails.keywords:KeywordsConfig",
            "injection": "guardrails.injection:InjectionConfig",
            "topic": "guardrails.topics:TopicConfig",
            "format": "guardrails.judges.format:FormatConfig",
            "complete": "guardrails.judges.complete:CompleteConfig",
            "prompt_leak": "guardrails.prompt_leak:PromptLeakConfig",
            "judge": "guardrails.judges.model:JudgeConfig",
            "grounded": "guardrails.judges.grounds:GroundedConfig",
            "handover": "guardrails.handover:HandoverConfig",
            "toxicity": "guardrails.toxicity:ToxicityConfig",
            "anomaly": "guardrails.anomaly:AnomalyConfig",
            "brand": "guardrails.brand:BrandConfig",
            "consistent": "guardrails.judges.samples:ConsistentConfig",
        },
    ),
    "tiers": Seam(
        "config.caches:TierConfig",
        {
            "memory": "cache.memory:MemoryTierConfig",
            "redis": "cache.redis_tier:RedisTierConfig",
            "postgres": "cache.postgres_tier:PostgresTierConfig",
        },
    ),
    "routers": Seam("config.routers:RouterConfig", {"intents": "router.intents.config:IntentsConfig"}),
    "sources": Seam(
        "config.sources:SourceConfig",
        {
            "folder": "rag.folder:FolderConfig",
            "web": "rag.web:WebConfig",
            "documents": "rag.uploads:DocumentsConfig",
            "sql": "rag.tables.sql:SqlConfig",
        },
    ),
    "tools": Seam(
        "config.tools:ToolConfig",
        {
            "http": "rag.tools.http:HttpToolConfig",
            "web_search": "rag.tools.web_search:WebSearchConfig",
            "source": "rag.tools.source:SourceToolConfig",
            "mcp": "rag.tools.mcp_server:McpConfig",
        },
    ),
}
DIALECTS = {
    "openai": "gateway.dialects.openai_chat:OpenAIChat",
    "anthropic": "gateway.dialects.anthropic:AnthropicMessages",
    "gemini": "gateway.dialects.gemini_generate:GeminiGenerate",
}
# By vendor, as in an app's `surfaces`; the first vendor is the default. Gatehouse's own surfaces come last, because
# `/v1/models` matches the paths that no vendor has.
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
    """The dialect `name`, or another package's dialect at `module:Class`. Raises `ValueError`."""
    place = name if ":" in name else DIALECTS.get(name)
    if place is None:
        raise ValueError(f"there is no dialect {name}: add it to DIALECTS in gateway/assembly/catalog.py")
    return cast("Dialect", load(place)())


def surfaces() -> list[Any]:
    """The classes of all surfaces, in the order in which their paths are matched."""
    return [load(place) for places in SURFACES.values() for place in places]


def load(place: str) -> Any:
    """Imports the object at `module:name`."""
    module, _, name = place.partition(":")
    return getattr(importlib.import_module(module), name)
