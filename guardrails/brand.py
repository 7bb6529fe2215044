"""Brands in answers: one's own spoken of badly, a competitor's spoken of well, or named at all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from guardrails.judges.grounds import SENTENCE
from guardrails.keywords import KeywordFinder
from guardrails.personal.patterns import Span
from guardrails.sentiment import leaning

if TYPE_CHECKING:
    from contract.messages import ChatRequest

OWN, COMPETITOR = "own_brand", "competitor"


class BrandJudge:
    """Implements `guardrails.sentences.SentenceJudge`."""

    def __init__(
        self, own: Sequence[str], competitors: Sequence[str], *, any_own: bool = False, any_competitor: bool = False
    ) -> None:
        """`any_...`: whenever it is named; otherwise the own brand spoken of badly, competitors spoken of well."""
        self._names = KeywordFinder({OWN: own, COMPETITOR: competitors})
        self._any = {OWN: any_own, COMPETITOR: any_competitor}

    async def find(self, text: str, request: ChatRequest, caller: str = "") -> Sequence[Span]:
        """See `SentenceJudge.find`."""
        found: list[Span] = []
        for sentence in SENTENCE.finditer(text):
            for name in self._names.find(sentence[0]):
                side = leaning(sentence[0], name.start, name.end)
                if self._any[name.kind] or (side < 0 if name.kind == OWN else side > 0):
                    start = sentence.start()
                    found.append(Span(start + name.start, start + name.end, name.kind))
        return found
