"""What a retriever finds."""

from __future__ import annotations

import msgspec


class Passage(msgspec.Struct, frozen=True):
    """A piece of a document: which, where in it, its words. `score` is the retriever's own, higher is better."""

    source: str
    place: str
    text: str
    score: float
    id: str
