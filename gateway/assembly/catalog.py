"""What exists, by name: the only list of concrete classes that are imported when a config asks for them."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from contract.dialect import Dialect

    from gateway.providers.remote import EmbeddingDialect

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
