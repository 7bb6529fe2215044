"""What a retriever finds, and how good it was."""

from __future__ import annotations

import msgspec


class Passage(msgspec.Struct, frozen=True):
    """A piece of a document: which, where in it, its words. `score` is the retriever's own, higher is better."""

    source: str
    place: str
    text: str
    score: float
    id: str


class ContextQuality(msgspec.Struct):
    """What judges have said of a pipeline's passages: sums over the questions that were judged, each from 0 to 1."""

    judged: int = 0
    failed: int = 0
    relevance: float = 0.0
    precision: float = 0.0
