"""The thread of the model that finds names and addresses."""

from __future__ import annotations

from typing import Protocol

from contract.work import WorkPool
from guardrails.slices import Slicer
from guardrails.span import Span


class Tags(Protocol):
    """What finds names and addresses in free text."""

    def tag(self, text: str) -> list[Span]:
        """Blocking."""
        ...


class TaggerThread:
    """A tagger with a thread of its own: the model uses one core at a time, and callers take turns piece by piece.

    It outlives a reload, for the model takes memory and a moment to load.
    """

    def __init__(self, tagger: Tags, pool: WorkPool | None = None) -> None:
        self.tagger = tagger
        # About 60 ms a piece.
        self.slicer = Slicer(pool or WorkPool("names and addresses"), 4000, 300)
