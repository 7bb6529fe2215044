"""Small linear classifiers over a text's embedding."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FOLDER = Path(__file__).parent / "models"


class LinearClassifier(msgspec.Struct, frozen=True):
    """A logistic regression."""

    weights: list[float]
    bias: float

    def score(self, vector: Sequence[float] | NDArray[np.float32]) -> float:
        """The probability of the class, from 0 to 1."""
        total = self.bias + math.sumprod(self.weights, vector) if hasattr(math, "sumprod") else self._sum(vector)
        return 1.0 / (1.0 + math.exp(-max(-60.0, min(60.0, total))))

    def _sum(self, vector: Sequence[float] | NDArray[np.float32]) -> float:
        return self.bias + float(sum(weight * value for weight, value in zip(self.weights, vector, strict=True)))


def load_classifier(name: str) -> LinearClassifier:
    """Loads a built-in classifier by name."""
    return msgspec.convert(json.loads((FOLDER / f"{name}.json").read_text()), LinearClassifier)
