"""Guardrails that judge sentences: an answer is released sentence by sentence, as each one has been judged."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import TYPE_CHECKING, Any, Literal, Protocol

import msgspec

from contract.deltas import ChoiceDelta, Delta
from contract.stock import OWN_DIALECT
from contract.work import caller_of
from guardrails.spans import redact

if TYPE_CHECKING:
    from contract.exchange import Exchange
    from contract.guards import AskAgain
    from contract.messages import ChatRequest
    from contract.reply import Reply
    from guardrails.span import Span
    from guardrails.verdict import Policy

# The maximum number of held-back characters; a longer sentence is judged in parts.
MAX_HELD = 600
_END = re.compile(r"(?<![.!?\u2026\u3002])[.!?\u2026\u3002]+[\"'\u201d\u2019)\]]*\s+|\n+")
_TEXT_FIELDS: tuple[Literal["reasoning", "text", "refusal"], ...] = ("reasoning", "text", "refusal")


class SentenceJudge(Protocol):
    """Finds spans that an answer's sentence must not contain."""

    async def find(self, text: str, request: ChatRequest, caller: str = "") -> Sequence[Span]:
        """Returns spans, ordered and without overlaps, in complete sentences of an answer to `request`.

        Long work is queued as `caller`.
        """
        ...


class SentenceGuard:
    """Implements `guardrails.checks.AnswerCheck`: masks what the judge finds, or blocks the answer."""

    def __init__(self, judge: SentenceJudge, policy: Policy) -> None:
        self.policy = policy
        self._judge = judge

    async def check(self, request: ChatRequest, reply: Reply, exchange: Exchange, again: AskAgain) -> Reply:
        """See `AnswerCheck.check`."""

        async def judge(text: str) -> str:
            return await self._apply(text, request, exchange)

        return SentenceReply(reply, judge)

    async def _apply(self, text: str, request: ChatRequest, exchange: Exchange) -> str:
        try:
            async with asyncio.timeout(self.policy.timeout_s):
                spans = await self._judge.find(text, request, caller_of(exchange))
        except Exception as error:
            self.policy.failed(error, "output", exchange)
            return text
        if not spans:
            return text
        self.policy.decide(Counter(span.kind for span in spans), "output", exchange)
        return text if self.policy.shadow else redact(text, spans, self.policy)


class SentenceReply:
    """Implements `contract.reply.Reply`: passes on another reply's text in complete, judged sentences."""

    def __init__(self, reply: Reply, judge: Callable[[str], Awaitable[str]]) -> None:
        """`judge` returns the text to pass on, or raises `GatehouseError`."""
        # The provider's raw bytes no longer apply: every writer must serialise the deltas.
        self.dialect = OWN_DIALECT
        self.streamed = reply.streamed
        self._reply = reply
        self._judge = judge
        self._held: dict[tuple[int, str], str] = {}
        self._ended = False

    async def next(self) -> list[Delta] | None:
        """See `Reply.next`."""
        while not self._ended:
            deltas = await self._reply.next()
            if deltas is None:
                self._ended = True
                left = [piece for index, _ in list(self._held) for piece in await self._flush(index, ())]
                return [Delta(tuple(left))] if left else None
            released = [new for delta in deltas if (new := await self._delta(delta)) is not None]
            if released:
                return released
        return None

    async def close(self) -> None:
        """See `Reply.close`."""
        await self._reply.close()

    async def _delta(self, delta: Delta) -> Delta | None:
        pieces = [new for piece in delta.choices for new in await self._piece(piece)]
        if not pieces and delta.usage is None and not delta.id:
            return None
        return msgspec.structs.replace(delta, choices=tuple(pieces), raw=b"")

    async def _piece(self, piece: ChoiceDelta) -> list[ChoiceDelta]:
        """The piece with its releasable text, after the held-back text of channels that it does not continue."""
        changes: dict[str, Any] = {}
        carried = {name for name in _TEXT_FIELDS if getattr(piece, name)}
        # A new text block does not continue the previous text.
        continued = carried - {"text"} if piece.begins else carried
        parts = piece.tool_calls or piece.separates_text
        before = await self._flush(piece.index, continued) if carried or parts else []
        for name in carried:
            key = (piece.index, name)
            text = self._held.pop(key, "") + getattr(piece, name)
            place = len(text) if piece.closes or piece.tool_calls else _released(text)
            if place < len(text):
                self._held[key] = text[place:]
            changes[name] = await self._judge(text[:place]) if place else ""
        if not changes:
            return [*before, piece]
        # The log probabilities no longer match the text.
        new = msgspec.structs.replace(piece, logprobs=(), **changes)
        return [*before, new] if new.must_be_forwarded else before

    async def _flush(self, index: int, carried: Collection[str]) -> list[ChoiceDelta]:
        return [
            msgspec.structs.replace(ChoiceDelta(index), **{name: await self._judge(text)})
            for name in _TEXT_FIELDS
            if name not in carried and (text := self._held.pop((index, name), ""))
        ]


def _released(text: str) -> int:
    """The end of the last complete sentence."""
    place = 0
    for match in _END.finditer(text):
        place = match.end()
    if len(text) - place <= MAX_HELD:
        return place
    space = text.rfind(" ", place, place + MAX_HELD)
    return space + 1 if space > place else place + MAX_HELD
