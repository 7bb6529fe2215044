"""What is remembered is what was put there last, so many and so long."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag.recent import Recent


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 9)), max_size=60), st.integers(1, 5))
def test_the_longest_unused_goes_first(steps: list[tuple[bool, int]], most: int) -> None:
    recent: Recent[int, int] = Recent(most)
    model: list[int] = []
    for place, (put, key) in enumerate(steps):
        if put:
            recent.put(key, place)
            model = [*(each for each in model if each != key), key][-most:]
        else:
            assert (recent.get(key) is not None) == (key in model)
            if key in model:
                model = [*(each for each in model if each != key), key]
        assert len(recent) == len(model)


def test_time_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("rag.recent.time.monotonic", lambda: now)
    recent: Recent[str, str] = Recent(5, 10.0)
    recent.put("a", "x")
    now = 109.9
    assert recent.get("a") == "x"
    now = 110.0
    assert recent.get("a") is None
    assert len(recent) == 0
    kept: Recent[str, str] = Recent(5, 0.0)
    kept.put("a", "x")
    assert kept.get("a") is None
