"""Kept questions by partition, and those nearest to a new one that the words allow."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

import msgspec

from cache.semantic.verifier import likelihood
from cache.semantic.verify import disagreement
from contract.language import language
from contract.messages import Text

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from contract.messages import ChatRequest
    from contract.tiers import CacheAddress, Purge

CANDIDATES = 5
LEAST_COSINE = 0.6
_FEWEST_LETTERS, _MOST_LETTERS = 8, 600


class Index(Protocol):
    """Vectors of one partition, by numbers."""

    def add(self, number: int, vector: NDArray[np.float32]) -> None:
        """Adds one."""
        ...

    def remove(self, number: int) -> None:
        """Takes one out."""
        ...

    def search(self, vector: NDArray[np.float32], top: int) -> list[tuple[int, float]]:
        """Numbers and cosines, best first."""
        ...


SomeIndex = TypeVar("SomeIndex", bound=Index)


class StoredQuestion(msgspec.Struct, frozen=True):
    """A kept question: where its answer lies, and the partition that it belongs to."""

    question: str
    place: CacheAddress
    partition: str
    version: str = ""
    """Of the sources, when it was answered."""


class QuestionCandidate(msgspec.Struct, frozen=True):
    """A kept question that may be the same as the one asked."""

    number: int
    kept: StoredQuestion
    cosine: float
    likelihood: float


class Nearest(Generic[SomeIndex]):
    """All partitions of one cache, bounded: the oldest questions go first."""

    def __init__(self, make_index: Callable[[], SomeIndex], most: int) -> None:
        self._make_index = make_index
        self._most = most
        self.indexes: dict[str, SomeIndex] = {}
        self._kept: OrderedDict[int, StoredQuestion] = OrderedDict()
        self._by_key: dict[bytes, int] = {}
        self._next = 0

    def __len__(self) -> int:
        return len(self._kept)

    def add(
        self, question: str, vector: NDArray[np.float32], place: CacheAddress, partition: str, version: str = ""
    ) -> None:
        """Keeps a question whose answer lies at `place`."""
        known = self._by_key.get(place.key)
        if known is not None:
            self.remove(known)
        while len(self._kept) >= self._most:
            self.remove(next(iter(self._kept)))
        number = self._next = self._next + 1
        self._kept[number] = StoredQuestion(question, place, partition, version)
        self._by_key[place.key] = number
        if partition not in self.indexes:
            self.indexes[partition] = self._make_index()
        self.indexes[partition].add(number, vector)

    def remove(self, number: int) -> None:
        """Forgets a question."""
        kept = self._kept.pop(number, None)
        if kept is not None:
            self._by_key.pop(kept.place.key, None)
            self.indexes[kept.partition].remove(number)

    def purge(self, what: Purge) -> list[bytes]:
        """Forgets what a purge names, as far as that is known here; their keys."""
        gone = [
            (number, kept.place.key)
            for number, kept in self._kept.items()
            if kept.place.owner == what.owner
            and (not what.model or kept.place.model == what.model)
            and (not what.key or kept.place.key == what.key)
            and what.before is None
        ]
        for number, _ in gone:
            self.remove(number)
        return [key for _, key in gone]

    def find(self, question: str, vector: NDArray[np.float32], partition: str) -> QuestionCandidate | None:
        """The kept question that is most likely the same, of the nearest few; None where the words forbid them all."""
        index = self.indexes.get(partition)
        best: QuestionCandidate | None = None
        for number, cosine in index.search(vector, CANDIDATES) if index is not None else ():
            kept = self._kept.get(number)
            if kept is None or cosine < LEAST_COSINE or disagreement(question, kept.question):
                continue
            likely = likelihood(cosine, question, kept.question)
            if best is None or likely > best.likelihood:
                best = QuestionCandidate(number, kept, cosine, likely)
        return best


def question_of(request: ChatRequest) -> str:
    """The question of a request that stands alone; empty for one that does not, or that is more than a question."""
    if any(each.role != "system" for each in request.messages[:-1]):
        return ""
    return _last_question(request)


def is_conversation(request: ChatRequest) -> bool:
    """Whether it is a later turn of a plain conversation: nothing but words have been said in it."""
    turns = [each for each in request.messages if each.role != "system"]
    plain = all(each.role in ("user", "assistant") and all(isinstance(p, Text) for p in each.parts) for each in turns)
    return len(turns) > 1 and plain and bool(_last_question(request))


def _last_question(request: ChatRequest) -> str:
    if not request.messages or request.messages[-1].role != "user":
        return ""
    parts = request.messages[-1].parts
    if request.tools or request.logprobs or (request.n or 1) > 1 or len(parts) != 1 or not isinstance(parts[0], Text):
        return ""
    text = parts[0].text.strip()
    return text if _FEWEST_LETTERS <= len(text) <= _MOST_LETTERS else ""


def partition_request(request: ChatRequest, question: str) -> ChatRequest:
    """The request without its turns: what has to be the same for two questions to be compared at all."""
    instructions = tuple(each for each in request.messages if each.role == "system")
    return msgspec.structs.replace(request, messages=instructions, seed=None, stop=(language(question),))
