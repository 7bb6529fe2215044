"""Spans of a text, and the resolution of overlapping spans."""

from __future__ import annotations

import bisect
from collections.abc import Mapping, Sequence

import msgspec


class Span(msgspec.Struct, frozen=True, order=True, gc=False):
    """A part of a text: `[start, end)` in characters, its kind, and the confidence (0 to 1)."""

    start: int
    end: int
    kind: str
    score: float = 1.0


def resolve(spans: list[Span], order: Mapping[str, int] | None = None) -> list[Span]:
    """Removes overlaps and orders spans: the higher score wins, then the longer span, then `order` of kinds."""
    ranks = order or {}
    ranked = sorted(spans, key=lambda s: (-s.score, s.start - s.end, ranks.get(s.kind, len(ranks)), s.start))
    taken = TakenSpans()
    return sorted([span for span in ranked if span.end > span.start and taken.take(span.start, span.end)])


class TakenSpans:
    """A set of non-overlapping ranges of a text, searched by bisection."""

    __slots__ = ("_ends", "_starts")

    def __init__(self, spans: Sequence[Span] = ()) -> None:
        """`spans` must be ordered and without overlaps."""
        self._starts = [span.start for span in spans]
        self._ends = [span.end for span in spans]

    def take(self, start: int, end: int) -> bool:
        """Adds a range if it is free; returns whether it was."""
        if not self.is_free(start, end):
            return False
        place = bisect.bisect_right(self._starts, start)
        self._starts.insert(place, start)
        self._ends.insert(place, end)
        return True

    def is_free(self, start: int, end: int) -> bool:
        """Whether a range overlaps no other."""
        place = bisect.bisect_right(self._starts, start)
        return not (place and self._ends[place - 1] > start) and not (
            place < len(self._starts) and self._starts[place] < end
        )
