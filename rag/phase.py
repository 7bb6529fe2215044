"""The context phase of one pipeline: passages from its sources, put before the question."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Protocol

import msgspec

from gateway.contract.exchange import Exchange
from gateway.contract.messages import ChatRequest, Text
from gateway.contract.passages import Passage
from rag.assemble import assemble


class Retriever(Protocol):
    """Finds passages."""

    async def search(self, query: str, top: int, labels: frozenset[str] | None = None) -> list[Passage]:
        """Up to `top` passages that somebody with `labels` may see, best first."""
        ...


class RetrievedContext:
    """Implements `gateway.contract.protocols.Context`."""

    def __init__(self, retrievers: Mapping[str, Retriever], top: int, budget_tokens: int) -> None:
        """`retrievers` by the name of their source."""
        self._retrievers = dict(retrievers)
        self._top = top
        self._budget_tokens = budget_tokens

    async def construct(self, request: ChatRequest, exchange: Exchange) -> ChatRequest:
        """The request with a block of passages before the words of its last user message."""
        place = next((i for i in range(len(request.messages) - 1, -1, -1) if request.messages[i].role == "user"), None)
        question = request.messages[place].text.strip() if place is not None else ""
        if place is None or not question:
            return request
        started = time.perf_counter()
        labels = exchange.caller.labels if exchange.caller is not None else frozenset()
        passages = await self._search(question, labels)
        exchange.record(
            "retrieve",
            started,
            {
                "sources": list(self._retrievers),
                "passages": len(passages),
                "best_score": round(passages[0].score, 3) if passages else 0.0,
            },
        )
        block = assemble(passages, self._budget_tokens)
        if not block:
            return request
        message = request.messages[place]
        message = msgspec.structs.replace(message, parts=(Text(block), *message.parts))
        messages = (*request.messages[:place], message, *request.messages[place + 1 :])
        return msgspec.structs.replace(request, messages=messages)

    async def _search(self, question: str, labels: frozenset[str]) -> list[Passage]:
        found = await asyncio.gather(*[each.search(question, self._top, labels) for each in self._retrievers.values()])
        ranked = sorted((passage for passages in found for passage in passages), key=lambda each: -each.score)
        return ranked[: self._top]
