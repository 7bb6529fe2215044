"""Brands in answers: one's own spoken of badly, a competitor's spoken of well, or named at all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field, model_validator

from config.findings import wrong
from config.guardrails import Side, Then
from guardrails.component import Guardrail, GuardrailParts
from guardrails.judges.grounds import SENTENCE
from guardrails.keywords import KeywordFinder
from guardrails.sentences import SentenceGuard
from guardrails.sentiment import leaning
from guardrails.span import Span

if TYPE_CHECKING:
    from contract.messages import ChatRequest
    from guardrails.checks import AnswerCheck

OWN, COMPETITOR = "own_brand", "competitor"


class BrandConfig(Guardrail):
    """Brands in answers: one's own spoken of badly, competitors spoken of well."""

    needs = (("own",), ("competitors",))

    kind: Literal["brand"] = Field(description="One's own brand spoken of badly, competitors spoken of well.")
    sides: ClassVar[frozenset[str]] = frozenset({"output"})
    steps: ClassVar[frozenset[str]] = frozenset({"flag", "mask", "block"})
    own: tuple[str, ...] = Field(default=(), description="Your own names.")
    competitors: tuple[str, ...] = Field(default=(), description="The names of others.")
    when_own: Literal["negative", "any"] = Field(default="negative", description="When your own names are found.")
    when_competitor: Literal["positive", "any"] = Field(default="any", description="When others' names are found.")
    then: Then = Field(default=("flag",), description="What happens: flag, mask the name, or block.")

    @model_validator(mode="after")
    def _named(self) -> BrandConfig:
        if not self.own and not self.competitors:
            raise wrong("there are no names", "list them under own or competitors")
        return self

    def holds_back(self, side: Side) -> str:
        """See `GuardrailConfig.holds_back`."""
        return "a sentence" if side == "output" else super().holds_back(side)

    def sentence_check(self, name: str, parts: GuardrailParts) -> AnswerCheck:
        """See `Guardrail.sentence_check`."""
        judge = BrandJudge(
            self.own, self.competitors, any_own=self.when_own == "any", any_competitor=self.when_competitor == "any"
        )
        return SentenceGuard(judge, self.policy(name, parts))


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
