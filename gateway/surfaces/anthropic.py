"""Anthropic's API: Messages and token counting."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from contract.dialect import InboundCall
from gateway.dialects.anthropic import AnthropicMessages
from gateway.dialects.anthropic.tokens import count_tokens_reply, read_count_tokens
from gateway.surfaces.chat import ChatSurface
from gateway.surfaces.models import openai_anthropic_models
from gateway.surfaces.surface import FixedPath, Surface, Vendor
from gateway.surfaces.tokens import TokenSurface

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.surfaces.surface import Route, SurfaceParts

_MESSAGES = "POST /v1/messages"
ANTHROPIC = Vendor(
    "anthropic",
    "Anthropic",
    errors=AnthropicMessages(),
    models=openai_anthropic_models,
    chat_endpoint=_MESSAGES,
    header=b"anthropic-version",
    key_headers=(b"x-api-key",),
    unserved_paths="complete environments messages/batches organizations sessions skills",
)


class AnthropicSurface(Surface):
    """Reads requests and writes responses in the dialect `anthropic`."""

    vendor = ANTHROPIC

    def __init__(self, parts: SurfaceParts) -> None:
        dialect = AnthropicMessages()
        self._messages = ChatSurface(parts, ANTHROPIC, dialect, _MESSAGES)
        self._count = TokenSurface(parts, ANTHROPIC, dialect, "POST /v1/messages/count_tokens", count_tokens_reply)

    def routes(self) -> Sequence[Route]:
        """See `Surface.routes`."""
        return (
            FixedPath("/v1/messages", partial(self._messages.serve, inbound=InboundCall())),
            FixedPath("/v1/messages/count_tokens", partial(self._count.serve, read=read_count_tokens)),
        )
