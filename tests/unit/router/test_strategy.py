"""The order of targets."""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.health import HealthBook
from router.policy import BreakerPolicy, Strategy, TargetPolicy
from router.strategy import order_targets

TARGETS = st.lists(
    st.builds(TargetPolicy, st.uuids().map(str), st.just("m"), st.sampled_from([0.0, 0.5, 1, 9]), st.integers(0, 3)),
    min_size=1,
    max_size=8,
)


def firsts(targets: list[TargetPolicy], strategy: Strategy, book: HealthBook, now: float = 0.0) -> Counter[str]:
    random = Random(7)
    return Counter(order_targets(tuple(targets), strategy, book, now, random)[0].provider for _ in range(2000))


@given(TARGETS, st.sampled_from(get_args(Strategy)), st.randoms(use_true_random=False))
def test_every_target_once_and_priorities_first(
    targets: list[TargetPolicy], strategy: Strategy, random: Random
) -> None:
    ordered = order_targets(tuple(targets), strategy, HealthBook(), 0.0, random)
    assert sorted(target.key for target in ordered) == sorted(target.key for target in targets)
    assert [target.priority for target in ordered] == sorted(target.priority for target in targets)
    if strategy == "priority":
        assert list(ordered) == sorted(targets, key=lambda target: target.priority)


def test_weights_are_shares() -> None:
    targets = [TargetPolicy("a", "m", 3), TargetPolicy("b", "m", 1), TargetPolicy("c", "m", 0)]
    seen = firsts(targets, "weighted", HealthBook())
    assert seen["a"] / 2000 == pytest.approx(0.75, abs=0.04)
    assert seen["c"] == 0


def test_least_busy_takes_the_fewest_in_flight_and_breaks_ties_by_lot() -> None:
    book = HealthBook()
    book.target("a/m").enter(0.0, BreakerPolicy())
    seen = firsts([TargetPolicy(name, "m") for name in "abc"], "least_busy", book)
    assert seen["a"] == 0
    assert seen["b"] / 2000 == pytest.approx(0.5, abs=0.05)


def test_fastest_prefers_low_latency_and_comes_back_to_a_slow_past() -> None:
    book = HealthBook()
    for name, latency_s in (("a", 2.0), ("b", 0.2), ("c", 0.4)):
        book.target(f"{name}/m").observe(latency_s, 0.0)
    targets = [TargetPolicy(name, "m") for name in "abc"]
    seen = firsts(targets, "fastest", book)
    assert seen["a"] == 0
    assert seen["b"] > seen["c"] > 0
    book.target("b/m").observe(0.2, 120.0)
    book.target("c/m").observe(0.4, 120.0)
    assert firsts(targets, "fastest", book, 120.0)["a"] > 1000
