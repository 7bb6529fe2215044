"""Fuses two rankings into one, by weighted scores or by ranks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, TypeAlias

Fusion: TypeAlias = Literal["weighted", "ranks", "words", "meaning"]
# The best weight on three public data sets, one of them Cranfield.
WORDS_WEIGHT = 0.3
# Cormack, Clarke and Buettcher, "Reciprocal Rank Fusion" (2009).
RANK_CONSTANT = 60


def weighted(
    words: Mapping[int, float], cosines: Mapping[int, float], weight: float = WORDS_WEIGHT
) -> dict[int, float]:
    """Scores from 0 to 1: `weight` times the full-text score relative to the best one, the rest from the cosine."""
    best = max(words.values(), default=0.0) or 1.0
    return {
        chunk: weight * words.get(chunk, 0.0) / best + (1.0 - weight) * max(0.0, cosines.get(chunk, 0.0))
        for chunk in {**words, **cosines}
    }


def by_ranks(*rankings: Sequence[int]) -> dict[int, float]:
    """Reciprocal rank fusion: sums of reciprocal ranks, as a share of the score for first place in every ranking."""
    fused: dict[int, float] = {}
    for ranking in rankings:
        for rank, chunk in enumerate(ranking, 1):
            fused[chunk] = fused.get(chunk, 0.0) + 1.0 / (RANK_CONSTANT + rank)
    full = len(rankings) / (RANK_CONSTANT + 1)
    return {chunk: score / full for chunk, score in fused.items()}


def ranked(scores: Mapping[int, float], top: int) -> list[tuple[int, float]]:
    """Returns the `top` chunks, best first; ties are ordered by chunk id, so that results are deterministic."""
    return sorted(((chunk, score) for chunk, score in scores.items() if score > 0), key=lambda hit: (-hit[1], hit[0]))[
        :top
    ]
