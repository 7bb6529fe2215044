"""Detects insults, hate and threats in texts of the user or the model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from config.document import Path
from config.guardrails import ANSWER_STEPS, Author, Position, Side, Then, written_steps
from config.struct import Number
from guardrails.classified import ClassifierGuard
from guardrails.component import Guardrail, GuardrailParts
from guardrails.judges.grounds import sentences
from guardrails.judges.guard import AnswerGuard, Judgement
from guardrails.linear import LinearClassifier, load_classifier

if TYPE_CHECKING:
    from contract.deltas import FinishReason
    from contract.guards import AskAgain
    from contract.messages import ChatRequest
    from guardrails.checks import AnswerCheck, InputCheck
    from guardrails.embedding_memo import EmbeddingMemo


class ToxicityConfig(Guardrail):
    """Insults, hate and threats by the user or the model."""

    kind: Literal["toxicity"] = Field(description="Insults, hate, threats.")
    threshold: Number = Field(default=0.5, ge=0, le=1, description="The minimum score.")
    texts: tuple[Author, ...] = Field(default=("user",), description="Which texts of a request are judged, by author.")
    steps: ClassVar[frozenset[str]] = frozenset({"flag", "retry", "race", "model", "block", "say", "human"})
    then: Then = Field(
        default=("block",),
        description="What happens: for requests only flag, block, say TEXT or human; for answers a list of steps.",
    )

    @classmethod
    def needed_extras(cls, values: Mapping[str, Any]) -> Iterator[tuple[Path, str]]:
        """The embedding model."""
        yield ("kind",), "embeddings"

    @classmethod
    def misplaced(cls, values: Mapping[str, Any], position: Position) -> Iterator[tuple[str, str]]:
        """Steps that call the model again are not possible for requests."""
        if position.side == "input" and any(step.split(" ")[0] in ANSWER_STEPS for step in written_steps(values)):
            cure = f"use flag, block, say or human for {position.name}"
            yield "a request has no answer that could be requested again", cure
        yield from super().misplaced(values, position)

    def holds_back(self, side: Side) -> str:
        """See `GuardrailConfig.holds_back`."""
        return "the whole answer" if side == "output" else super().holds_back(side)

    def request_check(self, name: str, parts: GuardrailParts) -> InputCheck:
        """See `Guardrail.request_check`."""
        return ClassifierGuard(self._classifier(parts), self.policy(name, parts), frozenset(self.texts))

    def answer_check(self, name: str, parts: GuardrailParts) -> AnswerCheck:
        """See `Guardrail.answer_check`."""
        policy = self.policy(name, parts, {"*": "flag"})
        return AnswerGuard(self._classifier(parts), policy, self.ordered_steps)

    def _classifier(self, parts: GuardrailParts) -> ToxicityClassifier:
        return ToxicityClassifier(self.threshold, load_classifier("toxicity"), parts.embeddings())


class ToxicityClassifier:
    """A linear model over a text's embedding. Implements `Classifier` and `guardrails.judges.guard.Judge`."""

    name = "toxicity"

    def __init__(self, threshold: float, model: LinearClassifier, vectors: EmbeddingMemo) -> None:
        """`threshold` from 0 to 1: at 0.5 about 5 % of harmless remarks are flagged."""
        self._threshold = threshold
        self._model = model
        self._vectors = vectors

    async def rules(self, text: str, again: AskAgain | None = None, caller: str = "") -> list[str]:
        """See `Classifier.rules`."""
        scores = [self._model.score(vector) for vector in await self._vectors.of(text)]
        return ["toxicity"] if max(scores, default=0.0) >= self._threshold else []

    async def judge(
        self, text: str, finish: FinishReason, *, calls: bool, request: ChatRequest, again: AskAgain, caller: str = ""
    ) -> Judgement:
        """See `guardrails.judges.guard.Judge.judge`. Judges sentence by sentence, because one is enough."""
        for sentence in sentences(text):
            if await self.rules(sentence):
                return Judgement("it contains an insult or a threat")
        return Judgement()
