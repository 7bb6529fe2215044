"""A fixed answer of the gateway, without a call to a model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from contract.deltas import ChoiceDelta, Delta, FinishReason, Usage

if TYPE_CHECKING:
    from contract.messages import ChatRequest


OWN_DIALECT = "gatehouse"


class StockReply:
    """Implements `contract.reply.Reply` with a fixed text."""

    def __init__(self, text: str, request: ChatRequest, finish: FinishReason = "stop") -> None:
        self.dialect = OWN_DIALECT
        self.streamed = request.stream
        self._deltas: list[Delta] | None = [
            Delta((ChoiceDelta(text=text, finish=finish),), usage=Usage(), model=request.model)
        ]

    async def next(self) -> list[Delta] | None:
        """See `Reply.next`."""
        deltas, self._deltas = self._deltas, None
        return deltas

    async def close(self) -> None:
        """Does nothing: nothing is open."""
