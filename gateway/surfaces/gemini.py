"""Google's API for Gemini: content, token counts and embeddings, each a verb after the model's name."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from contract.dialect import InboundCall
from gateway.dialects.gemini_generate import GeminiArray, GeminiBatchEmbeddings, GeminiGenerate, GeminiSingleEmbedding
from gateway.dialects.gemini_generate.tokens import count_tokens_reply, read_count_tokens
from gateway.surfaces.chat import ChatSurface
from gateway.surfaces.embeddings import EmbeddingSurface
from gateway.surfaces.surface import PathPattern, Surface, Vendor
from gateway.surfaces.tokens import TokenSurface

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.surfaces.http import HttpCall
    from gateway.surfaces.surface import Endpoint, PathMatch, Route, SurfaceParts

_VERBS = ("generateContent", "streamGenerateContent", "countTokens", "embedContent", "batchEmbedContents")


def _models(models: list[str], name: str | None) -> dict[str, Any]:
    if name is not None:
        return _model(name)
    return {"models": [_model(model) for model in models]}


def _model(name: str) -> dict[str, Any]:
    return {"name": f"models/{name}", "displayName": name, "supportedGenerationMethods": list(_VERBS)}


GEMINI = Vendor(
    "gemini",
    "Gemini",
    errors=GeminiGenerate(),
    models=_models,
    chat_endpoint="POST /v1beta/models/MODEL:generateContent",
    header=b"x-goog-api-key",
    key_headers=(b"x-goog-api-key",),
    versions=("v1beta", "v1alpha"),
    verbs=_VERBS,
    unserved_paths="batches cachedContents corpora fileSearchStores files interactions operations tunedModels",
)


class GeminiSurface(Surface):
    """Reads requests and writes responses in the dialect `gemini`."""

    vendor = GEMINI

    def __init__(self, parts: SurfaceParts) -> None:
        dialect, name = GeminiGenerate(), "POST /v1beta/models/{model}:"
        self._generate = ChatSurface(parts, GEMINI, dialect, name + "generateContent")
        self._stream = ChatSurface(parts, GEMINI, dialect, name + "streamGenerateContent")
        self._stream_array = ChatSurface(parts, GEMINI, GeminiArray(), name + "streamGenerateContent")
        self._count = TokenSurface(parts, GEMINI, dialect, name + "countTokens", count_tokens_reply)
        self._embed = EmbeddingSurface(parts, GEMINI, name + "embedContent")

    def routes(self) -> Sequence[Route]:
        """See `Surface.routes`."""
        parts = {"model": ".+", "verb": "|".join(_VERBS)}
        return (PathPattern("/(?:v1|v1beta|v1alpha)/models/{model}:{verb}", self._find, parts=parts),)

    def _find(self, match: PathMatch) -> Endpoint:
        model, verb = match.values["model"], match.values["verb"]
        if verb == "generateContent":
            return partial(self._generate.serve, inbound=InboundCall(model))
        if verb == "streamGenerateContent":
            return partial(self._serve_stream, model)
        if verb == "countTokens":
            call = InboundCall(model)
            return partial(self._count.serve, read=lambda body: read_count_tokens(body, call))
        if verb == "embedContent":
            return partial(self._embed.serve, wire=GeminiSingleEmbedding(model))
        return partial(self._embed.serve, wire=GeminiBatchEmbeddings(model))

    async def _serve_stream(self, model: str, call: HttpCall) -> None:
        """Streams a JSON array, as Google's server does, unless the query asks for server-sent events."""
        surface = self._stream if b"alt=sse" in call.query else self._stream_array
        await surface.serve(call, InboundCall(model, stream=True))
