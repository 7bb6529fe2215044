"""The context phase of a pipeline: inserts passages from its sources before the question."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from contract.answering import AskModel, collect_text
from contract.caller import Caller
from contract.context_block import read_blocks, write_block
from contract.errors import GatehouseError
from contract.exchange import Attributes, Exchange
from contract.messages import ChatRequest, Message, Text, ToolCall, ToolResult
from contract.passages import Passage
from contract.phases import AugmentedRequest, GatewayTools, GuardedCalls
from contract.prompt_tokens import prompt_tokens
from contract.reply import OutputFilter
from rag.assemble import choose, drop_worst
from rag.citations import CitationFilter
from rag.recent import Recent
from rag.rerank import CANDIDATES as RERANKED
from rag.rerank import Reranker
from rag.rewrite import Rewriter, Rewritten

if TYPE_CHECKING:
    from contract.sources import LiveSource, SearchableSource
    from rag.quality import QualityJudge


# Size and lifetime of the cache of standalone questions that a model wrote.
_RECENT, _KEEP_S = 256, 60.0


class RetrievedContext:
    """Implements `contract.phases.Context`."""

    def __init__(
        self,
        retrievers: Mapping[str, SearchableSource],
        top: int,
        budget_tokens: int,
        tables: Sequence[LiveSource] = (),
        rewriter: Rewriter | None = None,
        reranker: Reranker | None = None,
        look_up: GatewayTools | None = None,
        judge: QualityJudge | None = None,
    ) -> None:
        """`retrievers` by source name; `tables` return rows; `rewriter` makes questions standalone.

        `look_up` are the tools that the rewriter may use to resolve references; `judge` samples the quality.
        """
        self._retrievers = dict(retrievers)
        self._top = top
        self._budget_tokens = budget_tokens
        self._tables = tuple(tables)
        self._rewriter = rewriter
        self._reranker = reranker
        self._look_up = look_up
        self._rewritten: Recent[tuple[str, bytes], Rewritten] = Recent(_RECENT, _KEEP_S)
        self._judge = judge

    async def construct(self, request: ChatRequest, exchange: Exchange, calls: GuardedCalls) -> AugmentedRequest:
        """Returns the request with a block of passages before the text of its last user message."""
        started = time.perf_counter()
        try:
            return await self._construct(request, exchange, calls)
        finally:
            exchange.record("context", started)

    async def _construct(self, request: ChatRequest, exchange: Exchange, calls: GuardedCalls) -> AugmentedRequest:
        place = _last_question(request)
        if place is None:
            return AugmentedRequest(request)

        async def ask(question: ChatRequest, model: str) -> str:
            return await collect_text(await calls.ask_model(question, model, masked=True))

        rewritten = await self._rewrite(request, place, exchange, ask, calls)
        visibility = _visibility(exchange)
        passages, rows = await asyncio.gather(
            self._retrieve(rewritten, visibility, exchange, ask),
            self._rows(rewritten.question, visibility, exchange, ask),
        )
        # Rows answer the question directly, so they rank first.
        chosen = choose([*rows, *passages], self._budget_tokens)
        if self._judge is not None:
            ranked = sorted(chosen, key=[*rows, *passages].index)
            self._judge.sample(rewritten.question, ranked, calls.ask_aside)
        block = (write_block(chosen) if chosen else "") + (
            _clarification(rewritten.unknown) if rewritten.unknown else ""
        )
        if not block:
            return AugmentedRequest(request)
        message = request.messages[place]
        message = msgspec.structs.replace(message, parts=(Text(block), *message.parts))
        messages = (*request.messages[:place], message, *request.messages[place + 1 :])
        return AugmentedRequest(msgspec.structs.replace(request, messages=messages), tuple(chosen))

    async def standalone(self, request: ChatRequest, exchange: Exchange, calls: GuardedCalls) -> str:
        """See `Context.standalone`. The result is cached for `construct`."""
        place = _last_question(request)
        if place is None or self._rewriter is None:
            return ""

        async def ask(question: ChatRequest, model: str) -> str:
            return await collect_text(await calls.ask_model(question, model, masked=True))

        rewritten = await self._rewrite(request, place, exchange, ask, calls)
        return rewritten.question if rewritten.how == "model" and not rewritten.unknown else ""

    async def _rewrite(
        self, request: ChatRequest, place: int, exchange: Exchange, ask: AskModel, calls: GuardedCalls
    ) -> Rewritten:
        """Makes the question of the message at `place` standalone."""
        messages = request.messages[: place + 1]
        if self._rewriter is None or (len(messages) == 1 and self._rewriter.skips_first):
            return Rewritten(messages[-1].text.strip())
        # Cache per request (by our id, not the caller's): look-ups may return data for this caller only.
        key = exchange.ledger_id, hashlib.blake2b(msgspec.msgpack.encode(messages), digest_size=16).digest()
        if (cached := self._rewritten.get(key)) is not None:
            return cached
        started = time.perf_counter()

        async def look_up(tool: str, arguments: str) -> str:
            assert self._look_up is not None
            output = await self._look_up.call(tool, calls.reveal_arguments(tool, arguments), exchange)
            # Check the output like a tool result of this conversation: mask it and remove prompt injections.
            call = Message("assistant", (ToolCall("look_up", tool, arguments),))
            result = Message("tool", (ToolResult("look_up", (Text(output),), name=tool),))
            extended = msgspec.structs.replace(request, messages=(*request.messages, call, result))
            parts = (await calls.recheck(extended)).messages[-1].parts
            return "".join(
                each.text
                for part in parts
                if isinstance(part, ToolResult)
                for each in part.parts
                if isinstance(each, Text)
            )

        rewritten = await self._rewriter.standalone(messages, ask, look_up if self._look_up is not None else None)
        if rewritten.how != "as is":
            attributes: Attributes = {"how": rewritten.how, "unknown": bool(rewritten.unknown)}
            if rewritten.queries:
                attributes["queries"] = len(rewritten.queries)
            exchange.record("rewrite", started, attributes)
        if rewritten.how == "model":
            self._rewritten.put(key, rewritten)
        return rewritten

    async def _retrieve(
        self, rewritten: Rewritten, visibility: Visibility, exchange: Exchange, ask: AskModel
    ) -> list[Passage]:
        if not self._retrievers:
            return []
        started = time.perf_counter()
        top = self._top if self._reranker is None else RERANKED
        queries = rewritten.queries or (rewritten.question,)
        passages = _interleave(await asyncio.gather(*[self._search(query, visibility, top) for query in queries]))[:top]
        if self._reranker is not None:
            passages = (await self._reranker.rerank(rewritten.question, passages, ask))[: self._top]
        attributes: Attributes = {
            "sources": list(self._retrievers),
            "passages": len(passages),
            "best_score": round(passages[0].score, 3) if passages else 0.0,
        }
        exchange.record("retrieve", started, attributes)
        return passages

    async def _rows(self, question: str, visibility: Visibility, exchange: Exchange, ask: AskModel) -> list[Passage]:
        """The answers of the tables that the caller may see and that concern the question; skips tables that fail."""
        tables = [table for table in self._tables if visibility.includes(table.name)]
        relevant = [table for table in tables if table.may_see(visibility.labels) and table.concerns(question)]
        answers = await asyncio.gather(
            *[table.answer(question, exchange, ask) for table in relevant], return_exceptions=True
        )
        for answer in answers:
            if isinstance(answer, BaseException) and not isinstance(answer, GatehouseError):
                raise answer
        return [answer for answer in answers if isinstance(answer, Passage)]

    def fit(self, request: ChatRequest, window: int) -> ChatRequest:
        """See `Context.fit`: removes passages, the lowest rank first, until the prompt and the answer fit."""
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
                Text(drop_worst(each.text)) if each is part and isinstance(each, Text) else each
                for each in message.parts
            )
            message = msgspec.structs.replace(message, parts=tuple(each for each in parts if each != Text("")))
            messages = (*request.messages[:place], message, *request.messages[place + 1 :])
            request = msgspec.structs.replace(request, messages=messages)
        return request

    def citations(self, passages: tuple[Passage, ...]) -> tuple[OutputFilter, ...]:
        """See `Context.citations`."""
        return (CitationFilter(passages),) if passages else ()

    async def _search(self, question: str, visibility: Visibility, top: int) -> list[Passage]:
        retrievers = [retriever for name, retriever in self._retrievers.items() if visibility.includes(name)]
        results = await asyncio.gather(
            *[retriever.search(question, top, visibility.labels, visibility.payer) for retriever in retrievers]
        )
        ranked = sorted((passage for passages in results for passage in passages), key=lambda each: -each.score)
        return ranked[:top]


class Visibility(NamedTuple):
    """What a caller may see: documents with these labels, in these sources (None: all). `payer` pays for the search."""

    labels: frozenset[str]
    sources: frozenset[str] | None
    payer: Caller | None = None

    def includes(self, source: str) -> bool:
        """Whether the caller may search the source."""
        return self.sources is None or source in self.sources


def _visibility(exchange: Exchange) -> Visibility:
    caller = exchange.caller
    if caller is None:
        return Visibility(frozenset(), None)
    payer = caller
    if exchange.user and exchange.user != caller.user:
        payer = msgspec.structs.replace(caller, user=exchange.user)
    return Visibility(caller.labels, caller.sources, payer)


def _last_question(request: ChatRequest) -> int | None:
    """The index of the last user message that has text; None if it is empty or missing."""
    place = next((i for i in range(len(request.messages) - 1, -1, -1) if request.messages[i].role == "user"), None)
    return place if place is not None and request.messages[place].text.strip() else None


def _interleave(results: Sequence[Sequence[Passage]]) -> list[Passage]:
    """Merges the results of several searches, each passage once: the first of each search, then the second of each."""
    if len(results) == 1:
        return list(results[0])
    best: dict[str, tuple[int, float, Passage]] = {}
    for passages in results:
        for rank, passage in enumerate(passages):
            entry = (rank, -passage.score, passage)
            best[passage.id] = min(entry, best.get(passage.id, entry), key=lambda each: each[:2])
    return [passage for _, _, passage in sorted(best.values(), key=lambda each: each[:2])]


def _clarification(unknown: str) -> str:
    return (
        f"The question refers to something that is not known here: {unknown[:200]}. "
        "Do not guess: ask the user what is meant.\n"
    )
