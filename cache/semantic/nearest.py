"""Stored questions by partition; finds those that are near a new question and don't differ in a decisive word."""

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
MIN_COSINE = 0.6
_MIN_CHARACTERS, _MAX_CHARACTERS = 8, 600


class Index(Protocol):
    """The vectors of one partition, by number."""

    def add(self, number: int, vector: NDArray[np.float32]) -> None:
        """Adds a vector."""
        ...

    def remove(self, number: int) -> None:
        """Removes a vector."""
        ...

    def search(self, vector: NDArray[np.float32], top: int) -> list[tuple[int, float]]:
        """Returns numbers and cosines, best first."""
        ...


SomeIndex = TypeVar("SomeIndex", bound=Index)


class StoredQuestion(msgspec.Struct, frozen=True):
    """A stored question with its partition and the address of its answer."""

    question: str
    place: CacheAddress
    partition: str
    version: str = ""
    """The version of the sources when the question was answered."""


class QuestionCandidate(msgspec.Struct, frozen=True):
    """A stored question that may be equivalent to the new one."""

    number: int
    stored: StoredQuestion
    cosine: float
    likelihood: float


class Nearest(Generic[SomeIndex]):
    """All partitions of one cache, with a size limit; the oldest questions are removed first."""

    def __init__(self, make_index: Callable[[], SomeIndex], max_questions: int) -> None:
        self._make_index = make_index
        self._max_questions = max_questions
        self.indexes: dict[str, SomeIndex] = {}
        self._questions: OrderedDict[int, StoredQuestion] = OrderedDict()
        self._by_key: dict[bytes, int] = {}
        self._next = 0

    def __len__(self) -> int:
        return len(self._questions)

    def add(
        self, question: str, vector: NDArray[np.float32], place: CacheAddress, partition: str, version: str = ""
    ) -> None:
        """Adds a question whose answer is stored at `place`."""
        existing = self._by_key.get(place.key)
        if existing is not None:
            self.remove(existing)
        while len(self._questions) >= self._max_questions:
            self.remove(next(iter(self._questions)))
        number = self._next = self._next + 1
        self._questions[number] = StoredQuestion(question, place, partition, version)
        self._by_key[place.key] = number
        if partition not in self.indexes:
            self.indexes[partition] = self._make_index()
        self.indexes[partition].add(number, vector)

    def remove(self, number: int) -> None:
        """Removes a question."""
        stored = self._questions.pop(number, None)
        if stored is not None:
            self._by_key.pop(stored.place.key, None)
            self.indexes[stored.partition].remove(number)

    def purge(self, what: Purge) -> list[bytes]:
        """Removes the purged questions (except for purges by age); returns their keys."""
        removed = [
            (number, stored.place.key)
            for number, stored in self._questions.items()
            if stored.place.owner == what.owner
            and (not what.model or stored.place.model == what.model)
            and (not what.key or stored.place.key == what.key)
            and what.before is None
        ]
        for number, _ in removed:
            self.remove(number)
        return [key for _, key in removed]

    def find(self, question: str, vector: NDArray[np.float32], partition: str) -> QuestionCandidate | None:
        """The nearest stored question that is most likely equivalent; None if all differ in a decisive word."""
        index = self.indexes.get(partition)
        best: QuestionCandidate | None = None
        for number, cosine in index.search(vector, CANDIDATES) if index is not None else ():
            stored = self._questions.get(number)
            if stored is None or cosine < MIN_COSINE or disagreement(question, stored.question):
                continue
            likely = likelihood(cosine, question, stored.question)
            if best is None or likely > best.likelihood:
                best = QuestionCandidate(number, stored, cosine, likely)
        return best


def question_of(request: ChatRequest) -> str:
    """The question of a single-turn request; empty if it has more turns or is more than a question."""
    if any(each.role != "system" for each in request.messages[:-1]):
        return ""
    return _last_question(request)


def is_conversation(request: ChatRequest) -> bool:
    """Whether the request is a later turn of a conversation that contains only text."""
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
    return text if _MIN_CHARACTERS <= len(text) <= _MAX_CHARACTERS else ""


def partition_request(request: ChatRequest, question: str) -> ChatRequest:
    """The request without its turns: questions are compared only if the rest of their requests is equal."""
    instructions = tuple(each for each in request.messages if each.role == "system")
    return msgspec.structs.replace(request, messages=instructions, seed=None, stop=(language(question),))
