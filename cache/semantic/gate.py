"""The semantic side of one cache: may a kept answer be given for this question, and was that right."""

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

# So many hits are remembered with how sure they were, for whoever says that one was wrong.
_RECENT = 4096


class SemanticGate:
    """Outlives a reload that leaves the cache as it is."""

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
        """`shadow`: nothing is given, only learned; `sample`: the share of hits that are answered anew to learn.

        `shared` tells other replicas of what is kept here, and hears of what they keep.
        """
        self._shared = shared
        self.learner = learner
        self._nearest = nearest
        self._embedder = embedder
        self._shadow = shadow
        self._sample = sample
        self._draw = draw
        self._given: OrderedDict[bytes, float] = OrderedDict()

    async def look(self, question: str, partition: str, version: str) -> SemanticLookup | None:
        """None where there is no model to compare by."""
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

    def given(self, candidate: QuestionCandidate) -> None:
        """Its answer was given."""
        self._given[candidate.kept.place.key] = candidate.likelihood
        if len(self._given) > _RECENT:
            self._given.popitem(last=False)

    def gone(self, candidate: QuestionCandidate) -> None:
        """Its answer is no longer there, or no longer true."""
        self._nearest.remove(candidate.number)

    def keep(self, look: SemanticLookup, place: CacheAddress) -> None:
        """The answer to this question lies there from now on."""
        self._nearest.add(look.question, look.vector, place, look.partition, look.version)
        if self._shared is not None:
            self._shared.tell(look, place)

    async def learn(self, look: SemanticLookup, kept: str, new: str) -> None:
        """What was kept for the candidate, and what has been answered now."""
        if look.candidate is None:
            return
        vectors = None
        if kept and new and kept != new:
            try:
                vectors = await self._embedder.vectors([kept, new])
            except GatehouseError:
                return
        self._observe(look.candidate.likelihood, right=same_answer(kept, new, vectors))

    def _observe(self, likelihood: float, *, right: bool) -> None:
        before = self.learner.threshold
        self.learner.observe(likelihood, right=right)
        if self.learner.threshold > 1 >= before:
            structlog.get_logger().warning("the semantic cache was wrong too often, and gives nothing for now")

    def purge(self, what: Purge) -> None:
        """Forgets what is removed. A single one that was given lately was wrong: that is learned."""
        self._nearest.purge(what)
        likelihood = self._given.pop(what.key, None) if what.key else None
        if likelihood is not None:
            self._observe(likelihood, right=False)

    async def close(self) -> None:
        """Hears of nothing more."""
        if self._shared is not None:
            await self._shared.close()

    def status(self) -> str:
        """One line for people."""
        shadow = "in the shadow; " if self._shadow else ""
        return f"{len(self._nearest)} questions; {shadow}{self.learner.status()}"
