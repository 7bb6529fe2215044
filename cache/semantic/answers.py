"""Whether two answers say the same, for labels: not proven, but seldom wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cache.semantic.verify import analyse, disagreement

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from contract.deltas import Delta

LEAST_COSINE = 0.85
_SHOWN = 1500


def text_of(deltas: Sequence[Delta]) -> str:
    """The words of the first choice."""
    return "".join(choice.text for delta in deltas for choice in delta.choices if choice.index == 0)[:_SHOWN]


def same_answer(one: str, other: str, vectors: NDArray[np.float32] | None) -> bool:
    """`vectors` are those of the two, if there are any."""
    if " ".join(one.split()).casefold() == " ".join(other.split()).casefold():
        return True
    if vectors is None or float(vectors[0] @ vectors[1]) < LEAST_COSINE:
        return False
    a, b = analyse(one), analyse(other)
    if a.numbers != b.numbers or a.negations % 2 != b.negations % 2:
        return False
    return disagreement(one, other) != "opposites"
