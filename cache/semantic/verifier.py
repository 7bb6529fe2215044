"""The last check: the likelihood that two questions are equivalent, learned from paraphrases."""

from __future__ import annotations

import json
import math
from functools import cache
from pathlib import Path

import msgspec

from cache.semantic.verify import shape

MODEL = Path(__file__).parents[1] / "models" / "same_question.json"


class _Model(msgspec.Struct, frozen=True):
    bias: float
    weights: tuple[float, ...]


@cache
def _model() -> _Model:
    return msgspec.convert(json.loads(MODEL.read_text()), _Model)


def likelihood(cosine: float, one: str, other: str) -> float:
    """The likelihood from 0 to 1, from the cosine similarity of the questions and the overlap of their words."""
    model = _model()
    score = model.bias + sum(
        weight * value for weight, value in zip(model.weights, (cosine, *shape(one, other)), strict=True)
    )
    return 1 / (1 + math.exp(-max(-60.0, min(60.0, score))))
