"""Restricts an app to its topics, learned from examples of allowed and denied questions.

A question is classified by its nearest examples in the embedding space: allowed ones, denied ones, and a built-in set
of questions about many other topics.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, model_validator

from config.document import Path as Place
from config.findings import wrong
from config.guardrails import Then
from config.units import Percentage
from guardrails.classified import ClassifierGuard
from guardrails.component import Guardrail, GuardrailParts

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from contract.guards import AskAgain
    from guardrails.checks import InputCheck
    from guardrails.embedding_memo import EmbeddingMemo

ELSEWHERE = Path(__file__).parent / "models" / "elsewhere.txt"
MIN_EXAMPLES = 20
NEAREST = 3
# The minimum cosine similarity to a denied example.
MIN_SIMILARITY = 0.55
# Measured on four domains of public intent data: refuses 87 % of other domains' questions at 5 % false refusals.
RIDGE = 0.03
RIDGE_SHARE = 0.4
FOLDS = 5
DENIED, OFF_TOPIC = "denied topic", "off topic"


class TopicConfig(Guardrail):
    """Restricts an app to its topics, learned from examples at startup."""

    needs = (("allowed",), ("denied",))

    kind: Literal["topic"] = Field(description="Questions outside the app's topics.")
    sides: ClassVar[frozenset[str]] = frozenset({"input"})
    steps: ClassVar[frozenset[str]] = frozenset({"flag", "block", "say", "human"})
    allowed: tuple[str, ...] = Field(
        default=(), description="Questions that it should answer, 20 or more, worded as users ask them."
    )
    denied: tuple[str, ...] = Field(
        default=(), description="Questions that it should not answer, even if they resemble allowed ones."
    )
    false_refusals: Percentage = Field(
        default=0.05, description="The share of questions like the allowed ones that may be refused."
    )
    then: Then = Field(
        default=("say I can't help with that.",), description="What happens: flag, block, say TEXT or human."
    )

    @model_validator(mode="after")
    def _enough(self) -> TopicConfig:
        if not self.allowed and not self.denied:
            raise wrong("there are no examples", "list questions under allowed or denied")
        if self.allowed and len(self.allowed) < MIN_EXAMPLES:
            raise wrong(
                f"{len(self.allowed)} examples are too few to learn from", f"list {MIN_EXAMPLES} or more under allowed"
            )
        return self

    @classmethod
    def needed_extras(cls, values: Mapping[str, Any]) -> Iterator[tuple[Place, str]]:
        """The model that embeds texts."""
        yield ("kind",), "embeddings"

    def request_check(self, name: str, parts: GuardrailParts) -> InputCheck:
        """See `Guardrail.request_check`."""
        topics = TopicClassifier(self.allowed, self.denied, parts.embeddings(), self.false_refusals)
        return ClassifierGuard(topics, self.policy(name, parts), frozenset({"user"}), last_only=True)


class TopicClassifier:
    """Learns from examples on first use, in a second or two."""

    def __init__(
        self, allowed: Sequence[str], denied: Sequence[str], vectors: EmbeddingMemo, false_refusals: float
    ) -> None:
        """`false_refusals`: the share of questions like the allowed examples that may be refused."""
        self._allowed = list(dict.fromkeys(allowed))
        self._denied = list(dict.fromkeys(denied))
        self._vectors = vectors
        self._false_refusals = false_refusals
        self._learning: asyncio.Task[_Topics] | None = None

    async def rules(self, text: str, again: AskAgain | None = None, caller: str = "") -> list[str]:
        """See `Classifier.rules`."""
        if self._learning is None or (self._learning.done() and self._learning.exception() is not None):
            self._learning = asyncio.create_task(self._learn())
        topics = await asyncio.shield(self._learning)
        import numpy as np

        vector = np.asarray(await self._vectors.of(text), dtype=np.float32).mean(0)
        return topics.judge(vector / max(1e-9, float(np.linalg.norm(vector))))

    async def _learn(self) -> _Topics:
        import numpy as np

        elsewhere = [line for line in ELSEWHERE.read_text("utf-8").splitlines() if line.strip()]
        texts = [*self._allowed, *self._denied, *elsewhere]
        vectors: Any = np.asarray(await self._vectors.embed(texts), dtype=np.float32)
        first, second = len(self._allowed), len(self._allowed) + len(self._denied)
        return _Topics(vectors[:first], vectors[first:second], vectors[second:], self._false_refusals)


class _AllowedTopics:
    """Separates questions like the allowed examples from others, by nearest neighbours and ridge regression."""

    def __init__(self, allowed: NDArray[np.float32], elsewhere: NDArray[np.float32]) -> None:
        import numpy as np

        self._allowed = allowed
        self._elsewhere = elsewhere
        rows = np.vstack([allowed, elsewhere])
        self._mean = rows.mean(0)
        centred = rows - self._mean
        # Both classes have equal weight, independent of their sizes.
        weight = np.concatenate([np.full(len(each), 0.5 / len(each)) for each in (allowed, elsewhere)])
        label = np.concatenate([np.ones(len(allowed)), -np.ones(len(elsewhere))])
        gram = centred.T @ (centred * weight[:, None]) + RIDGE * np.eye(rows.shape[1])
        self._weights = np.linalg.solve(gram, centred.T @ (weight * label))

    def margin(self, vector: NDArray[np.float32]) -> float:
        """The similarity to the allowed examples; higher is more similar."""
        ridge = float((vector - self._mean) @ self._weights)
        return _near(self._allowed, vector) - _near(self._elsewhere, vector) + RIDGE_SHARE * ridge


class _Topics:
    def __init__(
        self,
        allowed: NDArray[np.float32],
        denied: NDArray[np.float32],
        elsewhere: NDArray[np.float32],
        false_refusals: float,
    ) -> None:
        self._allowed = allowed
        self._denied = denied
        self._side = _AllowedTopics(allowed, elsewhere) if len(allowed) else None
        self._limit = _learned_limit(allowed, elsewhere, false_refusals) if len(allowed) else 0.0

    def judge(self, vector: NDArray[np.float32]) -> list[str]:
        if len(self._denied) and _near(self._denied, vector, 1) > max(MIN_SIMILARITY, _near(self._allowed, vector, 1)):
            return [DENIED]
        if self._side is not None and self._side.margin(vector) < self._limit:
            return [OFF_TOPIC]
        return []


def _near(examples: NDArray[np.float32], vector: NDArray[np.float32], count: int = NEAREST) -> float:
    """The mean cosine similarity to the nearest examples; 0 without examples."""
    if not len(examples):
        return 0.0
    cosines = examples @ vector
    count = min(count, len(cosines))
    cosines.partition(len(cosines) - count)
    return float(cosines[-count:].mean())


def _learned_limit(allowed: NDArray[np.float32], elsewhere: NDArray[np.float32], false_refusals: float) -> float:
    """The margin that the given share of the allowed examples falls below, by cross-validation."""
    import numpy as np

    margins: list[float] = []
    fold = np.arange(len(allowed)) % FOLDS
    for number in range(min(FOLDS, len(allowed) - 1)):
        side = _AllowedTopics(allowed[fold != number], elsewhere)
        margins += [side.margin(vector) for vector in allowed[fold == number]]
    margins.sort()
    return margins[int(len(margins) * false_refusals)] - 1e-6 if margins else 0.0
