"""Real vectors without a model, made of the letters of a text, and counted."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


class LetterVectors:
    """Fits `contract.embedding.Vectors`."""

    dimensions = 26
    ready = True

    def __init__(self, name: str = "letters") -> None:
        self.name = name
        self.texts: list[str] = []

    def status(self) -> str:
        return self.name

    async def wait(self) -> bool:
        return True

    async def vectors(self, texts: Sequence[str]) -> NDArray[np.float32]:
        self.texts.extend(texts)
        counts = np.array([[text.lower().count(chr(97 + i)) + 0.01 for i in range(26)] for text in texts], np.float32)
        lengths: NDArray[np.float32] = np.linalg.norm(counts, axis=1, keepdims=True)
        return counts / lengths
