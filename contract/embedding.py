"""The interface of embedding models."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol


class Embeds(Protocol):
    """Embeds texts as vectors of length 1, so that a dot product is the cosine."""

    name: str
    dimensions: int

    @property
    def ready(self) -> bool:
        """Whether `embed` would return at once. False while the model loads, and always if there is none."""
        ...

    def status(self) -> str:
        """The status as one line for people: the loaded model, or why there is none."""
        ...

    async def embed(self, texts: Sequence[str]) -> list[list[float]]:
        """One vector of `dimensions` numbers per text. Waits while the model loads; `Unavailable` without one."""
        ...


class Vectors(Protocol):
    """Embeds texts as a numpy array, for further computation."""

    name: str
    dimensions: int

    @property
    def ready(self) -> bool:
        """Whether `vectors` would return without waiting for the model to load."""
        ...

    def status(self) -> str:
        """The status as one line for people."""
        ...

    async def wait(self) -> bool:
        """Waits for the model to load; returns False if there is none."""
        ...

    async def vectors(self, texts: Sequence[str]) -> Any:
        """A numpy array of float32, (len(texts), dimensions), each row of length 1. Raises `Unavailable`."""
        ...
