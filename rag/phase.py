"""The context phase of one pipeline: passages from its sources, put before the question."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Protocol

import msgspec

from gateway.contract.context_block import read_blocks, write_block
from gateway.contract.exchange import Exchange
from gateway.contract.messages import ChatRequest, Text
from gateway.contract.passages import Passage
from gateway.contract.prompt_tokens import prompt_tokens
from gateway.contract.protocols import Constructed, OutputFilter
from rag.assemble import choose, without_worst
from rag.citations import CitationFilter


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

    async def construct(self, request: ChatRequest, exchange: Exchange) -> Constructed:
        """The request with a block of passages before the words of its last user message."""
        place = next((i for i in range(len(request.messages) - 1, -1, -1) if request.messages[i].role == "user"), None)
        question = request.messages[place].text.strip() if place is not None else ""
        if place is None or not question:
            return Constructed(request)
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
        chosen = choose(passages, self._budget_tokens)
        if not chosen:
            return Constructed(request)
        message = request.messages[place]
        message = msgspec.structs.replace(message, parts=(Text(write_block(chosen)), *message.parts))
        messages = (*request.messages[:place], message, *request.messages[place + 1 :])
        return Constructed(msgspec.structs.replace(request, messages=messages), tuple(chosen))

    def fit(self, request: ChatRequest, window: int) -> ChatRequest:
        """See `Context.fit`: passages go, the lowest rank first, until the prompt and the answer fit."""
        while prompt_tokens(request) + (request.max_tokens or 0) > window:
            place, part = next(
                (
                    (place, part)
                    for place, message in enumerate(request.messages)
                    for part in message.parts
                    if isinstance(part, Text) and read_blocks(part.text)[0]
                ),
                (0, None),
            )
            if part is None:
                break
            message = request.messages[place]
            parts = tuple(
                Text(without_worst(each.text)) if each is part and isinstance(each, Text) else each
                for each in message.parts
            )
            message = msgspec.structs.replace(message, parts=tuple(each for each in parts if each != Text("")))
            messages = (*request.messages[:place], message, *request.messages[place + 1 :])
            request = msgspec.structs.replace(request, messages=messages)
        return request

    def citations(self, passages: tuple[Passage, ...]) -> OutputFilter:
        """See `Context.citations`."""
        return CitationFilter(passages)

    async def _search(self, question: str, labels: frozenset[str]) -> list[Passage]:
        found = await asyncio.gather(*[each.search(question, self._top, labels) for each in self._retrievers.values()])
        ranked = sorted((passage for passages in found for passage in passages), key=lambda each: -each.score)
        return ranked[: self._top]
