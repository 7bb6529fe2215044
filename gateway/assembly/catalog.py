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
    from gateway.providers.remote import EmbeddingDialect

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
        "guardrails.component:Guardrail",
        {
            "personal_data": "guardrails.masking.personal_data:PersonalDataConfig",
            "secrets": "guardrails.secrets:SecretsConfig",
            "keywords": "guardrails.keywords:KeywordsConfig",
            "injection": "guardrails.injection:InjectionConfig",
            "topic": "guardrails.topics:TopicConfig",
            "format": "guardrails.judges.form:FormatConfig",
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
