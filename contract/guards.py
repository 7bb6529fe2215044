"""The seam of the guardrails: what checks a request on its way in and its answer on its way out."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from contract.exchange import Exchange
    from contract.messages import ChatRequest, EmbeddingRequest
    from contract.reply import OutputFilter, Reply


class RequestGuard(Protocol):
    """One request under guard, until its answer's end."""

    request: ChatRequest
    answer: Reply | None
    """An answer of the guardrails' own, for which no model is called; None in most cases."""

    async def add(self, request: ChatRequest) -> ChatRequest:
        """The guarded request with what the context phase has added, guarded too."""
        ...

    def reveal(self, request: ChatRequest) -> ChatRequest:
        """The request with the caller's own values, for a target that is trusted with them."""
        ...

    def reveal_arguments(self, tool: str, arguments: str) -> str:
        """A call's arguments (JSON) with the caller's own values, if that tool may have them."""
        ...

    async def check(self, reply: Reply, again: AskAgain) -> Reply:
        """The reply under the checks that need the whole of it, which may ask again. Raises `GatehouseError`."""
        ...

    def filters(self) -> tuple[OutputFilter, ...]:
        """What the answer passes on its way out, in order; empty when it may pass untouched."""
        ...


class AskAgain(Protocol):
    """Asks a model once more."""

    def __call__(self, request: ChatRequest, model: str, *, masked: bool = False) -> Awaitable[Reply]:
        """`model` by its name, empty for the one that answered. `masked`: even a trusted target sees tags only."""
        ...


class Guards(Protocol):
    """The guardrails of one pipeline."""

    async def open(self, request: ChatRequest, exchange: Exchange, again: AskAgain) -> RequestGuard:
        """The request under guard; `again` is for judges. Raises `GatehouseError` when it may not pass."""
        ...

    async def embed(self, request: EmbeddingRequest, exchange: Exchange) -> EmbeddingRequest:
        """A request for embeddings as it may go on. Raises `GatehouseError`."""
        ...
