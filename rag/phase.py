"""The context phase of one pipeline: passages from its sources, put before the question."""

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
from rag.assemble import choose, without_worst
from rag.citations import CitationFilter
from rag.recent import Recent
from rag.rerank import CANDIDATES as RERANKED
from rag.rerank import Reranker
from rag.rewrite import Rewriter, Rewritten

if TYPE_CHECKING:
    from contract.sources import LiveSource, Searches
    from rag.quality import QualityJudge


# So many questions that a model has made stand alone are remembered, for so long.
_RECENT, _KEEP_S = 256, 60.0


class RetrievedContext:
    """Implements `contract.phases.Context`."""

    def __init__(
        self,
        retrievers: Mapping[str, Searches],
        top: int,
        budget_tokens: int,
        tables: Sequence[LiveSource] = (),
        rewriter: Rewriter | None = None,
        reranker: Reranker | None = None,
        look_up: GatewayTools | None = None,
        judge: QualityJudge | None = None,
    ) -> None:
        """`retrievers` by their sources' names; `tables` answer with rows; `rewriter` makes questions stand alone.

        `look_up` are the tools by which the rewriter may find out whom or what a question means; `judge` samples.
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
        """The request with a block of passages before the words of its last user message."""
        started = time.perf_counter()
        try:
            return await self._construct(request, exchange, calls)
        finally:
            exchange.record("context", started)

    async def _construct(self, request: ChatRequest, exchange: Exchange, calls: GuardedCalls) -> AugmentedRequest:
        place = _last_question(request)
        if place is None:
            return AugmentedRequest(request)

        async def ask(asked: ChatRequest, model: str) -> str:
            return await collect_text(await calls.ask_model(asked, model, masked=True))

        rewritten = await self._rewrite(request, place, exchange, ask, calls)
        sight = _sight(exchange)
        found, rows = await asyncio.gather(
            self._retrieve(rewritten, sight, exchange, ask),
            self._rows(rewritten.question, sight, exchange, ask),
        )
        # Rows answer what was asked: they come first.
        chosen = choose([*rows, *found], self._budget_tokens)
        if self._judge is not None:
            ranked = sorted(chosen, key=[*rows, *found].index)
            self._judge.sample(rewritten.question, ranked, calls.ask_aside)
        block = (write_block(chosen) if chosen else "") + (_ask_back(rewritten.unknown) if rewritten.unknown else "")
        if not block:
            return AugmentedRequest(request)
        message = request.messages[place]
        message = msgspec.structs.replace(message, parts=(Text(block), *message.parts))
        messages = (*request.messages[:place], message, *request.messages[place + 1 :])
        return AugmentedRequest(msgspec.structs.replace(request, messages=messages), tuple(chosen))

    async def standalone(self, request: ChatRequest, exchange: Exchange, calls: GuardedCalls) -> str:
        """See `Context.standalone`. What was made of it is not made again when the context is constructed."""
        place = _last_question(request)
        if place is None or self._rewriter is None:
            return ""

        async def ask(asked: ChatRequest, model: str) -> str:
            return await collect_text(await calls.ask_model(asked, model, masked=True))

        rewritten = await self._rewrite(request, place, exchange, ask, calls)
        return rewritten.question if rewritten.how == "model" and not rewritten.unknown else ""

    async def _rewrite(
        self, request: ChatRequest, place: int, exchange: Exchange, ask: AskModel, calls: GuardedCalls
    ) -> Rewritten:
        """The question of the message at `place`."""
        messages = request.messages[: place + 1]
        if self._rewriter is None or (len(messages) == 1 and self._rewriter.leaves_first):
            return Rewritten(messages[-1].text.strip())
        # Of this request alone, whatever its caller calls it: what was looked up for it may be its caller's own.
        key = exchange.ledger_id, hashlib.blake2b(msgspec.msgpack.encode(messages), digest_size=16).digest()
        if (known := self._rewritten.get(key)) is not None:
            return known
        started = time.perf_counter()

        async def look_up(tool: str, arguments: str) -> str:
            assert self._look_up is not None
            said = await self._look_up.call(tool, calls.reveal_arguments(tool, arguments), exchange)
            # Guarded as what a tool said in this conversation: masked by its values, and free of orders.
            call = Message("assistant", (ToolCall("look_up", tool, arguments),))
            result = Message("tool", (ToolResult("look_up", (Text(said),), name=tool),))
            told = msgspec.structs.replace(request, messages=(*request.messages, call, result))
            parts = (await calls.recheck(told)).messages[-1].parts
            return "".join(
                each.text
                for part in parts
                if isinstance(part, ToolResult)
                for each in part.parts
                if isinstance(each, Text)
            )

        rewritten = await self._rewriter.standalone(messages, ask, look_up if self._look_up is not None else None)
        if rewritten.how != "as is":
            about: Attributes = {"how": rewritten.how, "unknown": bool(rewritten.unknown)}
            if rewritten.queries:
                about["queries"] = len(rewritten.queries)
            exchange.record("rewrite", started, about)
        if rewritten.how == "model":
            self._rewritten.put(key, rewritten)
        return rewritten

    async def _retrieve(
        self, rewritten: Rewritten, sight: Visibility, exchange: Exchange, ask: AskModel
    ) -> list[Passage]:
        if not self._retrievers:
            return []
        started = time.perf_counter()
        top = self._top if self._reranker is None else RERANKED
        queries = rewritten.queries or (rewritten.question,)
        passages = _taken_in_turn(await asyncio.gather(*[self._search(each, sight, top) for each in queries]))[:top]
        if self._reranker is not None:
            passages = (await self._reranker.rerank(rewritten.question, passages, ask))[: self._top]
        about: Attributes = {
            "sources": list(self._retrievers),
            "passages": len(passages),
            "best_score": round(passages[0].score, 3) if passages else 0.0,
        }
        exchange.record("retrieve", started, about)
        return passages

    async def _rows(self, question: str, sight: Visibility, exchange: Exchange, ask: AskModel) -> list[Passage]:
        """What the tables say that the caller may see and that concern the question; one that fails says nothing."""
        tables = [each for each in self._tables if sight.reaches(each.name)]
        asked = [each for each in tables if each.may_see(sight.labels) and each.concerns(question)]
        found = await asyncio.gather(*[each.answer(question, exchange, ask) for each in asked], return_exceptions=True)
        for each in found:
            if isinstance(each, BaseException) and not isinstance(each, GatehouseError):
                raise each
        return [each for each in found if isinstance(each, Passage)]

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

    def citations(self, passages: tuple[Passage, ...]) -> tuple[OutputFilter, ...]:
        """See `Context.citations`."""
        return (CitationFilter(passages),) if passages else ()

    async def _search(self, question: str, sight: Visibility, top: int) -> list[Passage]:
        asked = [each for name, each in self._retrievers.items() if sight.reaches(name)]
        found = await asyncio.gather(*[each.search(question, top, sight.labels, sight.payer) for each in asked])
        ranked = sorted((passage for passages in found for passage in passages), key=lambda each: -each.score)
        return ranked[:top]


class Visibility(NamedTuple):
    """What a caller may see: documents by their labels, in these sources (None: all). `payer` pays for the search."""

    labels: frozenset[str]
    sources: frozenset[str] | None
    payer: Caller | None = None

    def reaches(self, source: str) -> bool:
        """Whether the source is among them."""
        return self.sources is None or source in self.sources


def _sight(exchange: Exchange) -> Visibility:
    caller = exchange.caller
    if caller is None:
        return Visibility(frozenset(), None)
    payer = caller
    if exchange.user and exchange.user != caller.user:
        payer = msgspec.structs.replace(caller, user=exchange.user)
    return Visibility(caller.labels, caller.sources, payer)


def _last_question(request: ChatRequest) -> int | None:
    """The place of the last user message that says something."""
    place = next((i for i in range(len(request.messages) - 1, -1, -1) if request.messages[i].role == "user"), None)
    return place if place is not None and request.messages[place].text.strip() else None


def _taken_in_turn(found: Sequence[Sequence[Passage]]) -> list[Passage]:
    """What several searches found, each passage once: the first of each search, then the second of each."""
    if len(found) == 1:
        return list(found[0])
    best: dict[str, tuple[int, float, Passage]] = {}
    for passages in found:
        for rank, passage in enumerate(passages):
            entry = (rank, -passage.score, passage)
            best[passage.id] = min(entry, best.get(passage.id, entry), key=lambda each: each[:2])
    return [passage for _, _, passage in sorted(best.values(), key=lambda each: each[:2])]


def _ask_back(unknown: str) -> str:
    return (
        f"The question refers to something that is not known here: {unknown[:200]}. "
        "Do not guess: ask the user what is meant.\n"
    )
