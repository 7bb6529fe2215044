"""Checks whether a model gives consistent answers: made-up statements differ from sample to sample.

Follows SelfCheckGPT (Manakul et al., 2023): each statement is compared with other samples of the same model, here with
the overlap model of `grounds`. Short answers are compared as texts.
"""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, ClassVar, Literal

import msgspec
from pydantic import Field

from config.guardrails import Then
from config.struct import Number, Whole
from config.units import Duration, Percentage
from contract.work import WorkPool
from guardrails.component import GuardrailParts
from guardrails.judges.grounds import MAX_CHARACTERS, Grounds, batches
from guardrails.judges.guard import AnswerGuardrail, Judgement, hold
from guardrails.linear import LinearClassifier, load_classifier

if TYPE_CHECKING:
    from contract.deltas import FinishReason
    from contract.guards import AskAgain
    from contract.messages import ChatRequest

MIN_COVERED = 0.5
_LETTERS = re.compile(r"\w+")


class ConsistentConfig(AnswerGuardrail):
    """The model must give consistent answers when it is called several times."""

    kind: Literal["consistent"] = Field(description="Statements that differ between samples of the model.")
    samples: Whole = Field(default=2, ge=1, le=8, description="How many more answers to request; each costs a call.")
    share: Percentage = Field(default=0.5, description="The share of samples that must support a statement.")
    threshold: Number = Field(
        default=0.5, ge=0, le=1, description="The minimum probability that a statement is supported."
    )
    timeout: Duration = Field(default=30.0, description="How long it may take.")
    steps: ClassVar[frozenset[str]] = frozenset({"flag", "retry", "race", "model", "block", "say", "human"})
    then: Then = Field(default=("flag",), description="What to try, in order.")

    def judge_of(self, parts: GuardrailParts) -> SamplesJudge:
        """See `AnswerGuardrail.judge_of`."""
        return SamplesJudge(self.samples, self.share, self.threshold, pool=parts.pools.judging)


class SamplesJudge:
    """Requests `count` more answers. A statement that less than `share` of them support is a problem."""

    name = "inconsistent"

    def __init__(
        self,
        count: int,
        share: float,
        threshold: float,
        model: LinearClassifier | None = None,
        pool: WorkPool | None = None,
    ) -> None:
        """`threshold`: the minimum probability that a sample supports a statement.

        `pool` provides the threads that compare answers.
        """
        self._pool = pool or WorkPool("judging")
        self._count = count
        self._share = share
        self._threshold = threshold
        self._model = model or load_classifier("grounds")

    async def judge(
        self, text: str, finish: FinishReason, *, calls: bool, request: ChatRequest, again: AskAgain, caller: str = ""
    ) -> Judgement:
        """See `Judge.judge`. Raises the errors of the model's targets."""
        if calls or not text.strip():
            return Judgement()
        # Samples at a low temperature would all be equal.
        warm = 1.0 if request.temperature is not None and request.temperature < 1.0 else request.temperature
        sampled = msgspec.structs.replace(request, temperature=warm, n=None, stream=False, seed=None, logprobs=None)
        samples = await asyncio.gather(*[self._sample(sampled, again) for _ in range(self._count)])
        grounds = [await self._pool.run(caller, Grounds, sample[:MAX_CHARACTERS]) for sample in samples]
        unsupported = judged = 0
        for part in batches(text):
            counted = await self._pool.run(caller, self._compare, part, grounds)
            unsupported, judged = unsupported + counted[0], judged + counted[1]
        if not judged:
            same = sum(_plain(sample) == _plain(text) for sample in samples)
            unsupported, judged = int(same < self._share * len(samples)), 1
        if not unsupported:
            return Judgement()
        return Judgement(
            f"{unsupported} of its {judged} statements differ each time you are asked; say only what you are sure of"
        )

    @staticmethod
    async def _sample(request: ChatRequest, again: AskAgain) -> str:
        reply = await again(request, "", masked=False)
        try:
            held = await hold(reply)
        finally:
            await reply.close()
        return next((text for text, _, _ in held.texts().values()), "")

    def _compare(self, part: list[str], grounds: list[Grounds]) -> tuple[int, int]:
        unsupported = judged = 0
        for sentence in part:
            features = [each.features(sentence) for each in grounds]
            comparable = [each for each in features if each is not None]
            if comparable:
                judged += 1
                supported = sum(self._supports(each) for each in comparable)
                unsupported += supported < self._share * len(comparable)
        return unsupported, judged

    def _supports(self, features: list[float]) -> bool:
        # Samples are worded alike, so another number or half of the words missing means another statement.
        covered, strange_number = features[0], features[5]
        return covered >= MIN_COVERED and not strange_number and self._model.score(features) >= self._threshold


def _plain(text: str) -> list[str]:
    return [word.casefold() for word in _LETTERS.findall(text)]
