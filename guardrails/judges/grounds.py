"""Whether an answer's sentences stand in the passages that it was given: how many of their words, numbers and names do.

The features are counted per sentence against all passages together; a logistic regression over them was trained on the
BEGIN benchmark's development set (Dziri et al., 2022; `training/grounds.py`). No language model is asked.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from config.guardrails import Then
from config.struct import Number
from contract.context_block import read_blocks
from contract.work import WorkPool
from guardrails.component import GuardrailParts
from guardrails.judges.guard import AnswerGuardrail, Judgement
from guardrails.linear import LinearClassifier, load_classifier

if TYPE_CHECKING:
    from contract.deltas import FinishReason
    from contract.guards import AskAgain
    from contract.messages import ChatRequest

_STOP = frozenset({
    "a", "an", "the", "of", "to", "in", "on", "at", "by", "for", "with", "from", "and", "or", "but", "is", "are",
    "was", "were", "be", "been", "being", "it", "its", "this", "that", "these", "those", "i", "you", "he", "she",
    "they", "we", "my", "your", "his", "her", "their", "our", "me", "him", "them", "us", "as", "not", "no", "do",
    "does", "did", "have", "has", "had", "will", "would", "can", "could", "should", "may", "might", "so", "if",
    "then", "than", "there", "here", "what", "which", "who", "whom", "when", "where", "how", "why", "also", "just",
    "very", "really", "about", "into", "out", "up", "down", "over", "more", "most", "some", "any", "all", "each",
    "both", "don't", "yes", "well", "oh", "ok", "know", "think", "like", "one",
})  # fmt: skip
# Runs are taken whole or not at all, so that a line of dots is read once.
SENTENCE = re.compile(r"(?:[^.!?\n]++|(?<![.!?])[.!?]++(?!\s|\Z))+[.!?]*")
_TOKEN = re.compile(r"[^\W_]+(?:'[^\W_]+)?")
_ENDINGS = ("ingly", "edly", "ing", "ed", "ies", "es", "s", "ly")
LEAST_WORDS = 3
# Passages beyond this are no context that a model was given.
LONGEST = 2_000_000
_LONGEST_SENTENCE = 2000
_BATCH = 50


def stems(text: str) -> list[str]:
    """The words of a text without their commonest endings."""
    return [_stem(match[0].casefold()) for match in _TOKEN.finditer(text)]


def _stem(word: str) -> str:
    for ending in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            return word[: -len(ending)]
    return word


class Grounds:
    """What sentences may rest on."""

    def __init__(self, text: str) -> None:
        self._words = stems(text)
        self._known = frozenset(self._words)
        self._pairs = frozenset(itertools.pairwise(self._words))
        self._joined = f" {' '.join(self._words)} "
        self._numbers = frozenset(re.findall(r"\d+", text))

    def features(self, sentence: str) -> list[float] | None:
        """Numbers about one sentence; None for one that says too little to be judged."""
        words = stems(sentence)
        content = [word for word in words if word not in _STOP and len(word) > 1]
        if len(content) < LEAST_WORDS:
            return None
        new = sum(word not in self._known for word in content)
        covered = 1.0 - new / len(content)
        pairs = list(itertools.pairwise(words))
        paired = sum(pair in self._pairs for pair in pairs) / max(1, len(pairs))
        run = self._longest_run(words)
        strange = sum(number not in self._numbers for number in re.findall(r"\d+", sentence))
        spoken = bool({"i", "my", "me", "we"} & set(_TOKEN.findall(sentence.lower())))
        return [
            covered, covered * covered, float(new == 0), float(new <= 1), min(new, 8) / 4, float(strange > 0), paired,
            paired * covered, run / max(1, len(words)), min(run, 12) / 6, float(spoken), float("?" in sentence),
            math.log1p(len(content)) / 2,
        ]  # fmt: skip

    def _longest_run(self, words: list[str]) -> int:
        best = start = 0
        for end in range(1, len(words) + 1):
            while start < end and f" {' '.join(words[start:end])} " not in self._joined:
                start += 1
            best = max(best, end - start)
        return best


def sentences(text: str) -> list[str]:
    """The sentences and lines of a text, none longer than `_LONGEST_SENTENCE`."""
    return [
        piece
        for match in SENTENCE.finditer(text)
        for place in range(0, len(match[0]), _LONGEST_SENTENCE)
        if (piece := match[0][place : place + _LONGEST_SENTENCE].strip())
    ]


def batches(text: str) -> Iterator[list[str]]:
    """The sentences of a text, so many at a time as are judged in one piece of work."""
    left = sentences(text)
    yield from (left[place : place + _BATCH] for place in range(0, len(left), _BATCH))


class GroundedConfig(AnswerGuardrail):
    """Every statement of the answer must stand in the passages that were retrieved for it."""

    kind: Literal["grounded"] = Field(description="Statements that the retrieved passages don't support.")
    threshold: Number = Field(default=0.5, ge=0, le=1, description="How likely a statement must be to be supported.")
    steps: ClassVar[frozenset[str]] = frozenset({"flag", "retry", "race", "model", "block", "say", "human"})
    then: Then = Field(default=("retry 1", "flag"), description="What to try, in order.")

    def judge_of(self, parts: GuardrailParts) -> GroundedJudge:
        """See `AnswerGuardrail.judge_of`."""
        return GroundedJudge(self.threshold, pool=parts.pools.judging)


class GroundedJudge:
    """Finds sentences that none of the passages supports. Without passages there is nothing to judge by."""

    name = "grounded"

    def __init__(self, threshold: float, model: LinearClassifier | None = None, pool: WorkPool | None = None) -> None:
        """A sentence that is less likely than `threshold` to be supported is a problem.

        `pool` has the threads in which answers are compared.
        """
        self._pool = pool or WorkPool("judging")
        self._threshold = threshold
        self._model = model or load_classifier("grounds")

    async def judge(
        self, text: str, finish: FinishReason, *, calls: bool, request: ChatRequest, again: AskAgain, caller: str = ""
    ) -> Judgement:
        """See `Judge.judge`."""
        passages = [passage.text for message in request.messages for passage in read_blocks(message.text)[0]]
        if not passages or not text.strip():
            return Judgement()
        grounds = await self._pool.run(caller, Grounds, "\n".join(passages)[:LONGEST])
        unsupported = judged = 0
        for part in batches(text):
            counted = await self._pool.run(caller, self._count, grounds, part)
            unsupported, judged = unsupported + counted[0], judged + counted[1]
        if not unsupported:
            return Judgement()
        return Judgement(f"{unsupported} of its {judged} statements are not in the passages; say only what they say")

    def _count(self, grounds: Grounds, part: list[str]) -> tuple[int, int]:
        features = [found for sentence in part if (found := grounds.features(sentence)) is not None]
        return sum(self._model.score(each) < self._threshold for each in features), len(features)
