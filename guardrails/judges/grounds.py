"""Checks whether the retrieved passages support an answer's sentences, by overlap of words, numbers and names.

The features are computed per sentence against all passages; a logistic regression over them was trained on the
development set of the BEGIN benchmark (Dziri et al., 2022; `training/grounds.py`). No language model is called.
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
# Possessive quantifiers prevent backtracking on a line of dots.
SENTENCE = re.compile(r"(?:[^.!?\n]++|(?<![.!?])[.!?]++(?!\s|\Z))+[.!?]*")
_TOKEN = re.compile(r"[^\W_]+(?:'[^\W_]+)?")
_ENDINGS = ("ingly", "edly", "ing", "ed", "ies", "es", "s", "ly")
MIN_WORDS = 3
# The maximum length of all passages; no model accepts a longer context.
MAX_CHARACTERS = 2_000_000
_MAX_SENTENCE = 2000
_BATCH = 50


def stems(text: str) -> list[str]:
    """The words of a text without common endings."""
    return [_stem(match[0].casefold()) for match in _TOKEN.finditer(text)]


def _stem(word: str) -> str:
    for ending in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            return word[: -len(ending)]
    return word


class Grounds:
    """The text that may support sentences."""

    def __init__(self, text: str) -> None:
        self._words = stems(text)
        self._known = frozenset(self._words)
        self._pairs = frozenset(itertools.pairwise(self._words))
        self._joined = f" {' '.join(self._words)} "
        self._numbers = frozenset(re.findall(r"\d+", text))

    def features(self, sentence: str) -> list[float] | None:
        """The features of one sentence; None if it is too short to be judged."""
        words = stems(sentence)
        content = [word for word in words if word not in _STOP and len(word) > 1]
        if len(content) < MIN_WORDS:
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
    """The sentences and lines of a text, none longer than `_MAX_SENTENCE`."""
    return [
        piece
        for match in SENTENCE.finditer(text)
        for place in range(0, len(match[0]), _MAX_SENTENCE)
        if (piece := match[0][place : place + _MAX_SENTENCE].strip())
    ]


def batches(text: str) -> Iterator[list[str]]:
    """The sentences of a text in batches for the thread pool."""
    left = sentences(text)
    yield from (left[place : place + _BATCH] for place in range(0, len(left), _BATCH))


class GroundedConfig(AnswerGuardrail):
    """The retrieved passages must support every statement of the answer."""

    kind: Literal["grounded"] = Field(description="Statements that the retrieved passages don't support.")
    threshold: Number = Field(
        default=0.5, ge=0, le=1, description="The minimum probability that a statement is supported."
    )
    steps: ClassVar[frozenset[str]] = frozenset({"flag", "retry", "race", "model", "block", "say", "human"})
    then: Then = Field(default=("retry 1", "flag"), description="What to try, in order.")

    def judge_of(self, parts: GuardrailParts) -> GroundedJudge:
        """See `AnswerGuardrail.judge_of`."""
        return GroundedJudge(self.threshold, pool=parts.pools.judging)


class GroundedJudge:
    """Finds sentences that no passage supports. An answer without passages passes."""

    name = "grounded"

    def __init__(self, threshold: float, model: LinearClassifier | None = None, pool: WorkPool | None = None) -> None:
        """`threshold` is the minimum probability that a sentence is supported.

        `pool` provides the threads that compare answers.
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
        grounds = await self._pool.run(caller, Grounds, "\n".join(passages)[:MAX_CHARACTERS])
        unsupported = judged = 0
        for part in batches(text):
            counted = await self._pool.run(caller, self._count, grounds, part)
            unsupported, judged = unsupported + counted[0], judged + counted[1]
        if not unsupported:
            return Judgement()
        return Judgement(f"{unsupported} of its {judged} statements are not in the passages; say only what they say")

    def _count(self, grounds: Grounds, part: list[str]) -> tuple[int, int]:
        rows = [features for sentence in part if (features := grounds.features(sentence)) is not None]
        return sum(self._model.score(row) < self._threshold for row in rows), len(rows)
