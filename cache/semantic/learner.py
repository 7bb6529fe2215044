"""Learns the likelihood threshold of the semantic cache from its (potential) false hits.

Every miss labels its nearest neighbour at no cost, by comparing the new answer with the stored one; so does a sample of
the hits. The threshold is the lowest one at which the upper confidence bound of the share of false hits stays within
the limit. It starts strict. If even the strict threshold has too many false hits, the cache returns nothing until the
share drops.
"""

from __future__ import annotations

import math
from bisect import bisect_right

# The threshold before anything has been learned.
START = 0.9
# The minimum threshold, whatever is learned.
LOWEST = 0.3
_STEPS = tuple(step / 100 for step in range(round(100 * LOWEST), 100, 2))
# A threshold that no likelihood reaches.
DISABLED = 1.01
# Observations decay: one counts half after five hundred newer ones.
_DECAY = 0.5 ** (1 / 500)
_Z = 1.64
_ENOUGH = 20.0
# Smaller counts are rounding errors.
_EPSILON = 1e-6


class Learner:
    """The learner of one cache. Aggregates observations by steps of likelihood, so that its cost is constant."""

    def __init__(self, max_false_hit_rate: float) -> None:
        """`max_false_hit_rate`: the largest share of false hits."""
        self._bound = max_false_hit_rate
        self._counts = [0.0] * len(_STEPS)
        self._wrong = [0.0] * len(_STEPS)
        self._observations = 0
        self.threshold = START

    def observe(self, likelihood: float, *, right: bool) -> None:
        """Adds a (potential) hit with that likelihood."""
        self._observations += 1
        self._counts = [_DECAY * each for each in self._counts]
        self._wrong = [_DECAY * each for each in self._wrong]
        step = bisect_right(_STEPS, likelihood) - 1
        if step >= 0:
            self._counts[step] += 1.0
            self._wrong[step] += 0.0 if right else 1.0
        self.threshold = self._learned_threshold()

    def _learned_threshold(self) -> float:
        """The lowest threshold at which the limit holds with confidence; else the strict one, or a stricter one."""
        count, wrong = sum(self._counts), sum(self._wrong)
        for step, threshold in enumerate(_STEPS):
            if threshold < START and upper_bound(wrong, count) <= self._bound:
                return threshold
            # Even a strict threshold may have too many false hits.
            if threshold >= START and (count < _ENOUGH or lower_bound(wrong, count) <= self._bound):
                return threshold
            count -= self._counts[step]
            wrong -= self._wrong[step]
        return DISABLED

    def status(self) -> str:
        """A status line."""
        above = bisect_right(_STEPS, self.threshold) - 1 if self.threshold <= 1 else len(_STEPS)
        count, wrong = sum(self._counts[above:]), sum(self._wrong[above:])
        state = f"threshold {self.threshold:.2f}" if self.threshold <= 1 else "disabled: too many false hits"
        return f"{state}; {self._observations} observations, {count:.0f} recent ones above it ({wrong:.0f} wrong)"


def upper_bound(wrong: float, count: float) -> float:
    """The upper bound of the share of false hits, one-sided at 95 %. Wilson (1927)."""
    return _wilson(max(0.0, wrong), count, _Z) if count > _EPSILON else 1.0


def lower_bound(wrong: float, count: float) -> float:
    """The lower bound of the share of false hits, one-sided at 95 %."""
    return _wilson(max(0.0, wrong), count, -_Z) if count > _EPSILON else 0.0


def _wilson(wrong: float, count: float, z: float) -> float:
    share = wrong / count
    centre = share + z * z / (2 * count)
    spread = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return (centre + spread) / (1 + z * z / count)
