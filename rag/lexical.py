"""BM25 over passages in memory.

Robertson and Zaragoza, "The Probabilistic Relevance Framework: BM25 and Beyond" (2009), with the usual k1 and b.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from gateway.contract.terms import terms

_K1 = 1.2
_B = 0.75


class LexicalIndex:
    """Built once, then only read."""

    def __init__(self, texts: Sequence[str]) -> None:
        counts = [Counter(terms(text)) for text in texts]
        lengths = [counted.total() for counted in counts]
        mean = sum(lengths) / len(lengths) if any(lengths) else 1.0
        self._postings: dict[str, list[tuple[int, float]]] = {}
        for row, counted in enumerate(counts):
            damping = _K1 * (1 - _B + _B * lengths[row] / mean)
            for term, count in counted.items():
                weight = count * (_K1 + 1) / (count + damping)
                self._postings.setdefault(term, []).append((row, weight))
        self._size = len(texts)

    def scores(self, query: str) -> dict[int, float]:
        """The score of each text with a word of the query, by its row; all above 0."""
        found: dict[int, float] = {}
        for term in set(terms(query)):
            postings = self._postings.get(term, ())
            rarity = math.log(1 + (self._size - len(postings) + 0.5) / (len(postings) + 0.5))
            for row, weight in postings:
                found[row] = found.get(row, 0.0) + rarity * weight
        return found
