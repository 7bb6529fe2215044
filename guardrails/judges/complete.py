"""Checks that an answer is neither empty nor cut off."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from config.guardrails import Then
from guardrails.component import GuardrailParts
from guardrails.judges.guard import CUT_OFF, AnswerGuardrail, Judgement

if TYPE_CHECKING:
    from contract.deltas import FinishReason
    from contract.guards import AskAgain
    from contract.messages import ChatRequest


class CompleteConfig(AnswerGuardrail):
    """The answer must be neither empty nor cut off."""

    kind: Literal["complete"] = Field(description="The answer is neither empty nor cut off.")
    then: Then = Field(default=("retry 1", "flag"), description="What to try, in order.")

    def judge_of(self, parts: GuardrailParts) -> CompleteJudge:
        """See `AnswerGuardrail.judge_of`."""
        return CompleteJudge()


class CompleteJudge:
    """Checks that an answer is neither empty nor cut off."""

    name = "complete"

    async def judge(
        self, text: str, finish: FinishReason, *, calls: bool, request: ChatRequest, again: AskAgain, caller: str = ""
    ) -> Judgement:
        """See `Judge.judge`."""
        if finish in CUT_OFF:
            return Judgement("it was cut off before its end")
        if not calls and not text.strip():
            return Judgement("it was empty")
        return Judgement()
