"""The semantic side of one cache: decides whether a stored answer may be reused, and learns whether that was right."""

from __future__ import annotations

import random
from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import structlog

from cache.semantic.answers import same_answer
from cache.semantic.lookup import SemanticLookup
from contract.errors import GatehouseError

if TYPE_CHECKING:
    from cache.semantic.learner import Learner
    from cache.semantic.nearest import Nearest, QuestionCandidate
    from cache.semantic.shared import SharedQuestions
    from contract.embedding import Vectors
    from contract.tiers import CacheAddress, Purge

# Recent hits whose likelihood is stored, to learn from a report that one was wrong.
_RECENT = 4096


class SemanticGate:
    """Looks up equivalent questions; survives a reload that does not change the cache's config."""

    def __init__(
        self,
        nearest: Nearest[Any],
        learner: Learner,
        embedder: Vectors,
        *,
        shadow: bool,
        sample: float,
        draw: Callable[[], float] = random.random,
        shared: SharedQuestions | None = None,
    ) -> None:
        """With `shadow` it only learns; `sample` is the share of hits that call the model anyway, to learn.

        `shared` exchanges questions with other replicas.
        """
        self._shared = shared
        self.learner = learner
        self._nearest = nearest
        self._embedder = embedder
        self._shadow = shadow
        self._sample = sample
        self._draw = draw
        self._hits: OrderedDict[bytes, float] = OrderedDict()

    async def look(self, question: str, partition: str, version: str) -> SemanticLookup | None:
        """Looks up a question; None if the embedding model is not available."""
        if self._shared is not None:
            self._shared.begin()
        if not self._embedder.ready:
            return None
        try:
            vector = (await self._embedder.vectors([question]))[0]
        except GatehouseError:
            return None
        candidate = self._nearest.find(question, vector, partition)
        give = (
            candidate is not None
            and not self._shadow
            and candidate.likelihood >= self.learner.threshold
            and self._draw() >= self._sample
        )
        return SemanticLookup(question, partition, version, vector, candidate, give)

    def record_hit(self, candidate: QuestionCandidate) -> None:
        """Records that the candidate's answer was returned."""
        self._hits[candidate.stored.place.key] = candidate.likelihood
        if len(self._hits) > _RECENT:
            self._hits.popitem(last=False)

    def forget(self, candidate: QuestionCandidate) -> None:
        """Removes a candidate whose answer has expired or is no longer valid."""
        self._nearest.remove(candidate.number)

    def keep(self, look: SemanticLookup, place: CacheAddress) -> None:
        """Adds the question with the address of its answer."""
        self._nearest.add(look.question, look.vector, place, look.partition, look.version)
        if self._shared is not None:
            self._shared.publish(look, place)

    async def learn(self, look: SemanticLookup, stored: str, new: str) -> None:
        """Learns from the candidate's stored answer and the model's new answer."""
        if look.candidate is None:
            return
        vectors = None
        if stored and new and stored != new:
            try:
                vectors = await self._embedder.vectors([stored, new])
            except GatehouseError:
                return
        self._observe(look.candidate.likelihood, right=same_answer(stored, new, vectors))

    def _observe(self, likelihood: float, *, right: bool) -> None:
        before = self.learner.threshold
        self.learner.observe(likelihood, right=right)
        if self.learner.threshold > 1 >= before:
            structlog.get_logger().warning("semantic cache disabled: too many false hits")

    def purge(self, what: Purge) -> None:
        """Removes the purged questions. The purge of a single recent hit counts as a wrong hit."""
        self._nearest.purge(what)
        likelihood = self._hits.pop(what.key, None) if what.key else None
        if likelihood is not None:
            self._observe(likelihood, right=False)

    async def close(self) -> None:
        """Stops the exchange with other replicas."""
        if self._shared is not None:
            await self._shared.close()

    def status(self) -> str:
        """A status line."""
        shadow = "shadow mode; " if self._shadow else ""
        return f"{len(self._nearest)} questions; {shadow}{self.learner.status()}"
