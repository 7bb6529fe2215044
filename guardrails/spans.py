"""A guardrail that searches texts with a finder and applies a policy to the spans."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pydantic import Field

from config.guardrails import Author as Speaker
from config.guardrails import Side, Then
from contract.work import WorkPool, caller_of
from guardrails.component import Guardrail, GuardrailParts
from guardrails.slices import Slicer
from guardrails.text_fields import Author, map_text

if TYPE_CHECKING:
    from contract.exchange import Exchange
    from contract.finding import Stage
    from contract.guards import AskAgain
    from contract.messages import ChatRequest
    from guardrails.checks import AnswerFinder, Finder, InputCheck
    from guardrails.span import Span
    from guardrails.verdict import Policy

# A search of more characters would block the event loop noticeably.
_INLINE_CHARACTERS = 8_000


class TextGuardrail(Guardrail):
    """The base class of guardrails that search texts: a kind declares its options and builds its finder."""

    then: Then = Field(default=("block",), description="What happens: flag, mask, block, say TEXT or human.")
    texts: tuple[Speaker, ...] = Field(
        default=("system", "user", "assistant", "tool"), description="Which texts of a request are searched, by author."
    )

    def finder(self) -> Finder:
        """Builds the finder. Raises `ValueError`."""
        raise NotImplementedError(f"{type(self).__name__} has no finder")

    @property
    def authors(self) -> frozenset[Author]:
        """The authors to search. `assistant` includes tool call arguments; labels and definitions always count."""
        authors: set[Author] = {*self.texts, "label", "definition"}
        return frozenset(authors | {"call"} if "assistant" in authors else authors)

    def request_check(self, name: str, parts: GuardrailParts) -> InputCheck:
        """See `Guardrail.request_check`."""
        return SpanGuard(self.finder(), self.policy(name, parts), self.authors, slicer=Slicer(parts.pools.searches))

    def stream_check(self, name: str, parts: GuardrailParts) -> AnswerFinder | None:
        """See `Guardrail.stream_check`."""
        return SpanGuard(self.finder(), self.policy(name, parts))

    def holds_back(self, side: Side) -> str:
        """See `GuardrailConfig.holds_back`: a guardrail that only flags holds nothing back."""
        return "nothing" if side == "output" and self.then == ("flag",) else super().holds_back(side)


class SpanGuard:
    """Searches requests and answers. Masking is irreversible: `[KIND]` replaces the text."""

    def __init__(
        self,
        finder: Finder,
        policy: Policy,
        authors: frozenset[Author] | None = None,
        *,
        spares_sent: bool = False,
        slicer: Slicer | None = None,
    ) -> None:
        """`authors` whose texts are searched; None means all. `spares_sent`: see `AnswerFinder`.

        `slicer` searches texts that are too long for the event loop.
        """
        self._slicer = slicer or Slicer(WorkPool("searches"))
        self.finder = finder
        self.spares_sent = spares_sent
        self.policy = policy
        self._authors = authors

    def finder_for(self, request: ChatRequest) -> Finder:
        """See `AnswerFinder.finder_for`: the same finder for every request."""
        return self.finder

    async def check(
        self, request: ChatRequest, exchange: Exchange, stage: Stage = "input", again: AskAgain | None = None
    ) -> ChatRequest:
        """Returns the request to pass on. Raises `ContentBlocked`, `StockAnswer` or `GuardrailBroken`."""
        texts: dict[str, None] = {}

        def note(text: str, author: Author) -> str:
            if self._authors is None or author in self._authors:
                texts[text] = None
            return text

        map_text(request, note)
        try:
            async with asyncio.timeout(self.policy.timeout_s):
                spans_by_text = await self._search(list(texts), exchange)
        except Exception as error:
            self.policy.failed(error, stage, exchange, sum(map(len, texts)))
            return request
        if not spans_by_text:
            return request
        self.policy.decide(Counter(span.kind for spans in spans_by_text.values() for span in spans), stage, exchange)
        if self.policy.shadow:
            return request
        return map_text(request, lambda text, _: redact(text, spans_by_text.get(text, ()), self.policy))

    async def _search(self, texts: list[str], exchange: Exchange) -> dict[str, list[Span]]:
        if sum(map(len, texts)) > _INLINE_CHARACTERS:
            return await self._slicer.find(caller_of(exchange), self.finder.find, texts)
        return {text: spans for text in texts if (spans := self.finder.find(text))}


def redact(text: str, spans: Sequence[Span], policy: Policy) -> str:
    """Replaces each span that the policy masks with `[KIND]`."""
    parts: list[str] = []
    place = 0
    for span in spans:
        if policy.action(span.kind) == "mask" and span.start >= place:
            parts += [text[place : span.start], f"[{span.kind.upper()}]"]
            place = span.end
    if not parts:
        return text
    parts.append(text[place:])
    return "".join(parts)
