"""OpenAI's API: Chat Completions and embeddings, also under the paths of Azure's deployments."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, ClassVar

from contract.dialect import InboundCall
from gateway.dialects.openai_chat import OpenAIChat
from gateway.dialects.openai_chat.embeddings import OpenAIEmbeddings
from gateway.surfaces.chat import ChatSurface
from gateway.surfaces.embeddings import EmbeddingSurface
from gateway.surfaces.models import of_openai_and_anthropic
from gateway.surfaces.surface import FixedPath, PathPattern, Surface, Vendor

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gateway.surfaces.surface import Endpoint, PathMatch, Route, SurfaceParts

_CHAT = "POST /v1/chat/completions"
OPENAI = Vendor(
    "openai",
    "OpenAI",
    errors=OpenAIChat(),
    models=of_openai_and_anthropic,
    instead=_CHAT,
    key_headers=(b"api-key",),  # Azure's
    rooted=("deployments",),
    lent=True,
    unserved="assistants audio batches chatkit completions containers conversations evals files fine_tuning images "
    "moderations organization realtime rerank responses threads uploads vector_stores videos",
)


class OpenAISurface(Surface):
    """Asked and answered in the dialect `openai`."""

    vendor = OPENAI
    meant: ClassVar[Mapping[str, str]] = {"chat": _CHAT}

    def __init__(self, parts: SurfaceParts) -> None:
        self._chat = ChatSurface(parts, OPENAI, OpenAIChat(), _CHAT)
        self._embeddings = EmbeddingSurface(parts, OPENAI, "POST /v1/embeddings")

    def routes(self) -> Sequence[Route]:
        """See `Surface.routes`."""
        return (
            FixedPath("/v1/chat/completions", partial(self._chat.serve, inbound=InboundCall())),
            FixedPath("/v1/embeddings", partial(self._embeddings.serve, wire=OpenAIEmbeddings())),
            # As Azure's SDK and its own REST API name a model: by its deployment, which the body need not repeat.
            PathPattern(
                "/openai/deployments/{model}/{what}",
                self._find_azure,
                parts={"model": ".+", "what": "chat/completions|embeddings"},
                alone=True,
            ),
        )

    def _find_azure(self, found: PathMatch) -> Endpoint:
        model = found.values["model"]
        if found.values["what"] == "embeddings":
            return partial(self._embeddings.serve, wire=OpenAIEmbeddings(model))
        return partial(self._chat.serve, inbound=InboundCall(model))
