"""The order in which targets are tried. `priority` comes before any strategy: lower numbers first."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from operator import attrgetter
from random import Random

from router.health import HealthBook
from router.policy import Strategy, TargetPolicy

_priority = attrgetter("priority")


def order_targets(
    targets: tuple[TargetPolicy, ...], strategy: Strategy, book: HealthBook, now: float, random: Random, app: str = ""
) -> Sequence[TargetPolicy]:
    """Returns all targets in the order to try them.

    `priority` keeps the listed order, `weighted` draws by weight without replacement, `least_busy` sorts by calls in
    flight, `fastest` takes the better of two random targets (power of two choices, Mitzenmacher 2001).
    """
    if len(targets) == 1:
        return targets
    if strategy == "priority":
        return sorted(targets, key=_priority)
    if strategy == "weighted":
        return sorted(targets, key=lambda target: (target.priority, _arrival(target.weight, random)))
    if strategy == "least_busy":
        return sorted(targets, key=lambda target: (target.priority, book.target(target.key).in_flight, random.random()))
    ordered: list[TargetPolicy] = []
    for _, equals in groupby(sorted(targets, key=_priority), _priority):
        ordered += _best_of_two(list(equals), book, now, random, app)
    return ordered


def _arrival(weight: float, random: Random) -> float:
    # The order of independent exponential arrivals is a weighted draw without replacement.
    return random.expovariate(weight) if weight > 0 else float("inf")


def _best_of_two(
    targets: list[TargetPolicy], book: HealthBook, now: float, random: Random, app: str
) -> list[TargetPolicy]:
    ordered = []
    while len(targets) > 1:
        pair = random.sample(targets, 2)
        best = min(pair, key=lambda target: book.target(target.key).score(now, app))
        targets.remove(best)
        ordered.append(best)
    return ordered + targets
