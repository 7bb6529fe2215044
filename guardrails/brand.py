"""Finds brands in answers: negative mentions of your own, positive mentions of competitors, or any mention."""

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
from guardrails.sentiment import sentiment
from guardrails.span import Span

if TYPE_CHECKING:
    from contract.messages import ChatRequest
    from guardrails.checks import AnswerCheck

OWN, COMPETITOR = "own_brand", "competitor"


class BrandConfig(Guardrail):
    """Brands in answers: negative mentions of your own brand, positive mentions of competitors."""

    needs = (("own",), ("competitors",))

    kind: Literal["brand"] = Field(description="Negative mentions of your own brand, positive mentions of competitors.")
    sides: ClassVar[frozenset[str]] = frozenset({"output"})
    steps: ClassVar[frozenset[str]] = frozenset({"flag", "mask", "block"})
    own: tuple[str, ...] = Field(default=(), description="The names of your own brands.")
    competitors: tuple[str, ...] = Field(default=(), description="The names of competitors.")
    when_own: Literal["negative", "any"] = Field(
        default="negative", description="Which mentions of your own names count."
    )
    when_competitor: Literal["positive", "any"] = Field(
        default="any", description="Which mentions of competitors count."
    )
    then: Then = Field(default=("flag",), description="What happens: flag, mask the name, or block.")

    @model_validator(mode="after")
    def _named(self) -> BrandConfig:
        if not self.own and not self.competitors:
            raise wrong("there are no names", "list names under own or competitors")
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
        """With `any_...` every mention counts; otherwise negative ones of own names, positive ones of competitors."""
        self._names = KeywordFinder({OWN: own, COMPETITOR: competitors})
        self._any = {OWN: any_own, COMPETITOR: any_competitor}

    async def find(self, text: str, request: ChatRequest, caller: str = "") -> Sequence[Span]:
        """See `SentenceJudge.find`."""
        spans: list[Span] = []
        for sentence in SENTENCE.finditer(text):
            for name in self._names.find(sentence[0]):
                side = sentiment(sentence[0], name.start, name.end)
                if self._any[name.kind] or (side < 0 if name.kind == OWN else side > 0):
                    start = sentence.start()
                    spans.append(Span(start + name.start, start + name.end, name.kind))
        return spans
