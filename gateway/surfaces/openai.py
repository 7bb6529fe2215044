"""OpenAI's API: Chat Completions and embeddings, also under Azure's deployment paths."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, ClassVar

from contract.dialect import InboundCall
from gateway.dialects.openai_chat import OpenAIChat
from gateway.dialects.openai_chat.embeddings import OpenAIEmbeddings
from gateway.surfaces.chat import ChatSurface
from gateway.surfaces.embeddings import EmbeddingSurface
from gateway.surfaces.models import openai_anthropic_models
from gateway.surfaces.surface import FixedPath, PathPattern, Surface, Vendor

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gateway.surfaces.surface import Endpoint, PathMatch, Route, SurfaceParts

_CHAT = "POST /v1/chat/completions"
OPENAI = Vendor(
    "openai",
    "OpenAI",
    errors=OpenAIChat(),
    models=openai_anthropic_models,
    chat_endpoint=_CHAT,
    key_headers=(b"api-key",),  # Azure's
    unversioned=("deployments",),
    has_other_hosts=True,
    unserved_paths="assistants audio batches chatkit completions containers conversations evals files fine_tuning "
    "images moderations organization realtime rerank responses threads uploads vector_stores videos",
)


class OpenAISurface(Surface):
    """Reads requests and writes responses in the dialect `openai`."""

    vendor = OPENAI
    similar_paths: ClassVar[Mapping[str, str]] = {"chat": _CHAT}

    def __init__(self, parts: SurfaceParts) -> None:
        self._chat = ChatSurface(parts, OPENAI, OpenAIChat(), _CHAT)
        self._embeddings = EmbeddingSurface(parts, OPENAI, "POST /v1/embeddings")

    def routes(self) -> Sequence[Route]:
        """See `Surface.routes`."""
        return (
            FixedPath("/v1/chat/completions", partial(self._chat.serve, inbound=InboundCall())),
            FixedPath("/v1/embeddings", partial(self._embeddings.serve, wire=OpenAIEmbeddings())),
            # Azure's SDK and REST API name the model by its deployment in the path; the body may omit it.
            PathPattern(
                "/openai/deployments/{model}/{operation}",
                self._find_azure,
                parts={"model": ".+", "operation": "chat/completions|embeddings"},
                vendor_prefix=False,
            ),
        )

    def _find_azure(self, match: PathMatch) -> Endpoint:
        model = match.values["model"]
        if match.values["operation"] == "embeddings":
            return partial(self._embeddings.serve, wire=OpenAIEmbeddings(model))
        return partial(self._chat.serve, inbound=InboundCall(model))
