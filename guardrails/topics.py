"""What an app is there for, from examples: questions it should answer, and questions that it should not.

A topic is its examples' embeddings. A question is judged by its nearest examples: those allowed, those denied, and a
shipped set of questions about everything else under the sun, which stands for whatever nobody thought of.
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
# A denied example must be at least so near (cosine).
LEAST_ALIKE = 0.55
# Measured on four domains of public intents: 87 % of other domains' questions refused at 5 % false refusals.
RIDGE = 0.03
RIDGE_SHARE = 0.4
FOLDS = 5
DENIED, OFF_TOPIC = "denied topic", "off topic"


class TopicConfig(Guardrail):
    """What an app is there for, learned from examples when it starts."""

    needs = (("allowed",), ("denied",))

    kind: Literal["topic"] = Field(description="Questions that are off the app's topics.")
    sides: ClassVar[frozenset[str]] = frozenset({"input"})
    steps: ClassVar[frozenset[str]] = frozenset({"flag", "block", "say", "human"})
    allowed: tuple[str, ...] = Field(
        default=(), description="Questions that it should answer, 20 or more, as its users ask them."
    )
    denied: tuple[str, ...] = Field(
        default=(), description="Questions that it should not answer, whatever they resemble."
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
                f"{len(self.allowed)} examples are too few to learn from", f"give {MIN_EXAMPLES} or more under allowed"
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
    """Learns from examples when it is first asked, in a second or two."""

    def __init__(
        self, allowed: Sequence[str], denied: Sequence[str], vectors: EmbeddingMemo, false_refusals: float
    ) -> None:
        """`false_refusals`: the share of the allowed examples' like that may be refused."""
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
        made: Any = np.asarray(await self._vectors.embed(texts), dtype=np.float32)
        first, second = len(self._allowed), len(self._allowed) + len(self._denied)
        return _Topics(made[:first], made[first:second], made[second:], self._false_refusals)


class _Side:
    """Tells what is like the allowed examples from what is like anything else: by the nearest, and by a ridge."""

    def __init__(self, allowed: NDArray[np.float32], elsewhere: NDArray[np.float32]) -> None:
        import numpy as np

        self._allowed = allowed
        self._elsewhere = elsewhere
        rows = np.vstack([allowed, elsewhere])
        self._mean = rows.mean(0)
        centred = rows - self._mean
        # Each side counts half, however many examples it has.
        weight = np.concatenate([np.full(len(each), 0.5 / len(each)) for each in (allowed, elsewhere)])
        label = np.concatenate([np.ones(len(allowed)), -np.ones(len(elsewhere))])
        gram = centred.T @ (centred * weight[:, None]) + RIDGE * np.eye(rows.shape[1])
        self._weights = np.linalg.solve(gram, centred.T @ (weight * label))

    def margin(self, vector: NDArray[np.float32]) -> float:
        """Higher is more like the allowed examples."""
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
        self._side = _Side(allowed, elsewhere) if len(allowed) else None
        self._limit = _learned_limit(allowed, elsewhere, false_refusals) if len(allowed) else 0.0

    def judge(self, vector: NDArray[np.float32]) -> list[str]:
        if len(self._denied) and _near(self._denied, vector, 1) > max(LEAST_ALIKE, _near(self._allowed, vector, 1)):
            return [DENIED]
        if self._side is not None and self._side.margin(vector) < self._limit:
            return [OFF_TOPIC]
        return []


def _near(examples: NDArray[np.float32], vector: NDArray[np.float32], count: int = NEAREST) -> float:
    """The mean cosine to the nearest examples; 0 without any."""
    if not len(examples):
        return 0.0
    cosines = examples @ vector
    count = min(count, len(cosines))
    cosines.partition(len(cosines) - count)
    return float(cosines[-count:].mean())


def _learned_limit(allowed: NDArray[np.float32], elsewhere: NDArray[np.float32], false_refusals: float) -> float:
    """The margin below which the given share of the allowed examples lies, each judged without having been learned."""
    import numpy as np

    margins: list[float] = []
    fold = np.arange(len(allowed)) % FOLDS
    for number in range(min(FOLDS, len(allowed) - 1)):
        side = _Side(allowed[fold != number], elsewhere)
        margins += [side.margin(vector) for vector in allowed[fold == number]]
    margins.sort()
    return margins[int(len(margins) * false_refusals)] - 1e-6 if margins else 0.0
