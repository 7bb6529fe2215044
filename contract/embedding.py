"""The seam of embedding models."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol


class Embeds(Protocol):
    """Turns texts into vectors of length 1, so that a dot product is the cosine."""

    name: str
    dimensions: int

    @property
    def ready(self) -> bool:
        """Whether `embed` would answer now. False while the model loads, and for good when there is none."""
        ...

    def status(self) -> str:
        """One line for people: what runs, or why nothing does."""
        ...

    async def embed(self, texts: Sequence[str]) -> list[list[float]]:
        """One vector of `dimensions` numbers a text. Waits while the model loads; raises `Unavailable` without one."""
        ...


class Vectors(Protocol):
    """The same as an array, for those who compute with it."""

    name: str
    dimensions: int

    @property
    def ready(self) -> bool:
        """Whether `vectors` would answer without waiting for the model to load."""
        ...

    def status(self) -> str:
        """One line for people."""
        ...

    async def wait(self) -> bool:
        """Waits for the model; False when there is none."""
        ...

    async def vectors(self, texts: Sequence[str]) -> Any:
        """A numpy array of float32, (len(texts), dimensions), each row of length 1. Raises `Unavailable`."""
        ...
