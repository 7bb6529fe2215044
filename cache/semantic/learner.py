"""How sure the cache must be before it gives an answer: learned from what it would have got wrong.

Every miss labels its nearest neighbour for free, by comparing the new answer with the one that was kept, and so does a
sample of the hits. The threshold is the lowest at which the share of wrong hits, with what chance may hide, stays below
the bound. It starts strict; where even that gets too much wrong, nothing is given until it is right again.
"""

from __future__ import annotations

import math
from bisect import bisect_right

# Before anything is known: only what is as good as certain.
START = 0.9
# Whatever is learned, less likely ones are not given.
LOWEST = 0.3
_STEPS = tuple(step / 100 for step in range(round(100 * LOWEST), 100, 2))
# Nothing is as likely as that.
NOTHING = 1.01
# Older observations count less: half as much after five hundred newer ones.
_DECAY = 0.5 ** (1 / 500)
_Z = 1.64
_ENOUGH = 20.0
# Less than that is what rounding leaves.
_LEAST = 1e-6


class Learner:
    """One cache's. Keeps sums by how likely hits were, in steps: learning costs the same however long it goes on."""

    def __init__(self, wrong_hits: float) -> None:
        """`wrong_hits`: the share of hits that may be wrong."""
        self._bound = wrong_hits
        self._given = [0.0] * len(_STEPS)
        self._wrong = [0.0] * len(_STEPS)
        self._seen = 0
        self.threshold = START

    def observe(self, likelihood: float, *, right: bool) -> None:
        """Learns of one that would have been given with that likelihood."""
        self._seen += 1
        self._given = [_DECAY * each for each in self._given]
        self._wrong = [_DECAY * each for each in self._wrong]
        step = bisect_right(_STEPS, likelihood) - 1
        if step >= 0:
            self._given[step] += 1.0
            self._wrong[step] += 0.0 if right else 1.0
        self.threshold = self._learned()

    def _learned(self) -> float:
        """The lowest threshold at which the bound holds for certain; else the strict one, or a stricter."""
        given, wrong = sum(self._given), sum(self._wrong)
        for step, threshold in enumerate(_STEPS):
            if threshold < START and upper_bound(wrong, given) <= self._bound:
                return threshold
            # Strict as it is, it may still be wrong too often.
            if threshold >= START and (given < _ENOUGH or lower_bound(wrong, given) <= self._bound):
                return threshold
            given -= self._given[step]
            wrong -= self._wrong[step]
        return NOTHING

    def status(self) -> str:
        """One line for people."""
        above = bisect_right(_STEPS, self.threshold) - 1 if self.threshold <= 1 else len(_STEPS)
        given, wrong = sum(self._given[above:]), sum(self._wrong[above:])
        state = f"given from {self.threshold:.2f} on" if self.threshold <= 1 else "wrong too often: nothing is given"
        return f"{state}; of {self._seen} observations {given:.0f} lately above, {wrong:.0f} of those wrong"


def upper_bound(wrong: float, count: float) -> float:
    """The most that the share of wrong ones may be, one-sided at 95 %. Wilson (1927)."""
    return _wilson(max(0.0, wrong), count, _Z) if count > _LEAST else 1.0


def lower_bound(wrong: float, count: float) -> float:
    """The least that it may be."""
    return _wilson(max(0.0, wrong), count, -_Z) if count > _LEAST else 0.0


def _wilson(wrong: float, count: float, z: float) -> float:
    share = wrong / count
    centre = share + z * z / (2 * count)
    spread = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return (centre + spread) / (1 + z * z / count)
