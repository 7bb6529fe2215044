"""The thread that runs the model for names and addresses."""

from __future__ import annotations

from typing import Protocol

from contract.work import WorkPool
from guardrails.slices import Slicer
from guardrails.span import Span


class TaggingModel(Protocol):
    """A model that finds names and addresses in text."""

    def tag(self, text: str) -> list[Span]:
        """Returns spans; blocking."""
        ...


class TaggerThread:
    """A tagger with its own thread: the model uses one core, and callers take turns piece by piece.

    It survives a reload, because the model needs memory and time to load.
    """

    def __init__(self, tagger: TaggingModel, pool: WorkPool | None = None) -> None:
        self.tagger = tagger
        # About 60 ms per piece.
        self.slicer = Slicer(pool or WorkPool("names and addresses"), 4000, 300)
