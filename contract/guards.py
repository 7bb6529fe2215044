"""The interface of guardrails, which check requests and responses."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from contract.exchange import Exchange
    from contract.messages import ChatRequest, EmbeddingRequest
    from contract.reply import OutputFilter, Reply


class RequestGuard(Protocol):
    """The guardrails of one request, until the end of its response."""

    request: ChatRequest
    answer: Reply | None
    """A fixed response of the guardrails, without a call to a model; None in most cases."""

    async def add(self, request: ChatRequest) -> ChatRequest:
        """Checks what the context phase added; returns the guarded request."""
        ...

    def reveal(self, request: ChatRequest) -> ChatRequest:
        """The request with the caller's original values, for a trusted target."""
        ...

    def reveal_arguments(self, tool: str, arguments: str) -> str:
        """The arguments of a tool call (JSON) with the caller's original values, if the tool may receive them."""
        ...

    async def check(self, reply: Reply, again: AskAgain) -> Reply:
        """Runs the checks that need the complete response, which may call the model again. Raises `GatehouseError`."""
        ...

    def filters(self) -> tuple[OutputFilter, ...]:
        """The filters of the response, in order; empty if it may pass unchanged."""
        ...


class AskAgain(Protocol):
    """Calls a model again."""

    def __call__(self, request: ChatRequest, model: str, *, masked: bool = False) -> Awaitable[Reply]:
        """`model` is a name; empty for the model that answered. `masked`: even a trusted target gets only tags."""
        ...


class Guards(Protocol):
    """The guardrails of one pipeline."""

    async def open(self, request: ChatRequest, exchange: Exchange, again: AskAgain) -> RequestGuard:
        """Checks the request; `again` is for judges. Raises `GatehouseError` if the request is blocked."""
        ...

    async def embed(self, request: EmbeddingRequest, exchange: Exchange) -> EmbeddingRequest:
        """Checks a request for embeddings; returns the guarded one. Raises `GatehouseError`."""
        ...
