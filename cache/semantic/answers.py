"""Compares two answers to label hits as right or wrong; a heuristic that is rarely wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cache.semantic.verify import analyse, disagreement

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from contract.deltas import Delta

MIN_COSINE = 0.85
_MAX_CHARACTERS = 1500


def text_of(deltas: Sequence[Delta]) -> str:
    """The text of the first choice."""
    return "".join(choice.text for delta in deltas for choice in delta.choices if choice.index == 0)[:_MAX_CHARACTERS]


def same_answer(one: str, other: str, vectors: NDArray[np.float32] | None) -> bool:
    """Whether two answers are equivalent. `vectors` are their embeddings, if available."""
    if " ".join(one.split()).casefold() == " ".join(other.split()).casefold():
        return True
    if vectors is None or float(vectors[0] @ vectors[1]) < MIN_COSINE:
        return False
    a, b = analyse(one), analyse(other)
    if a.numbers != b.numbers or a.negations % 2 != b.negations % 2:
        return False
    return disagreement(one, other) != "opposites"
