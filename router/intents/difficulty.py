"""Estimates the difficulty of a question from its text: a score from 0 to 1 that ranks questions.

It is only an estimate: `gatehouse eval router` measures which of your questions a model answers correctly.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_left, insort
from collections import deque

_CODE = re.compile(r"```|\bdef |\bclass |\bSELECT\b|[{};]\s*\n|</\w+>|\w+\([^)]*\)")
_MATHS = re.compile(r"[=<>\u2264\u2265\u2211\u222b\u221a^]|\d\s*[-+*/]\s*\d|\\frac|\bx\b.*\by\b")
_WORD = re.compile(r"[^\W\d_]+")
_HARD = frozenset(
    ("analyse", "analyze", "argue", "assess", "calculate", "compare", "contrast", "critique", "debug", "derive",
     "design", "diagnose", "discuss", "estimate", "evaluate", "explain", "implement", "integral", "integrate",
     "justify", "optimise", "optimize", "plan", "probability", "proof", "prove", "rank", "reason", "refactor",
     "simulate", "solve",
     "strategy", "synthesise", "synthesize", "theorem", "tradeoff", "trade", "why", "beweise", "berechne", "vergleiche",
     "entwirf", "analysiere", "begr\u00fcnde")
)  # fmt: skip
_STEPS = frozenset(
    ("step", "steps", "then", "finally", "must", "constraint", "constraints", "each", "ensure", "except")
)
_EASY = frozenset(("hi", "hello", "thanks", "thank", "hallo", "danke", "bonjour", "merci", "hola", "gracias", "bye"))
_BIAS = -2.6
_RECENT = 1000


def difficulty(question: str) -> float:
    """The difficulty, 0 to 1."""
    shown = question[:8000]
    words = [word.lower() for word in _WORD.findall(shown)]
    known = set(words)
    score = _BIAS
    score += 0.9 * math.log1p(len(words) / 12)
    score += 1.2 * (_CODE.search(shown) is not None)
    score += 0.8 * (_MATHS.search(shown) is not None)
    score += 0.7 * min(3, len(known & _HARD))
    score += 0.25 * min(4, len(known & _STEPS))
    score += 0.3 * min(3, shown.count("?") - 1 if "?" in shown else 0)
    score += 0.4 * (sum(map(len, words)) / max(1, len(words)) > 6)
    score -= 1.5 * (not known.isdisjoint(_EASY) and len(words) < 6)
    return 1 / (1 + math.exp(-score))


class ShareLimit:
    """A score limit that follows the traffic: `share` of the recent questions are below it."""

    def __init__(self, share: float, start: float = 0.3) -> None:
        """`start` is the limit until there are enough questions."""
        self._share = share
        self._start = start
        self._order: list[float] = []
        self._recent: deque[float] = deque()

    def below(self, score: float) -> bool:
        """Counts a question; returns whether it goes to the simple model."""
        limit = self.limit
        insort(self._order, score)
        self._recent.append(score)
        if len(self._recent) > _RECENT:
            del self._order[bisect_left(self._order, self._recent.popleft())]
        return score < limit

    @property
    def limit(self) -> float:
        """The current limit."""
        if len(self._order) < _LEAST:
            return self._start
        place = self._share * len(self._order)
        return self._order[int(place)] if place < len(self._order) else math.inf


_LEAST = 20
