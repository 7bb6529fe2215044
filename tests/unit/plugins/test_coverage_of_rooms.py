"""Lines that ran are counted by room."""

from __future__ import annotations

from tests.coverage_of_rooms import room_of, table


def test_rooms() -> None:
    assert room_of("gateway/engine/pump.py") == "gateway/engine"
    assert room_of("gateway/dialects/gemini_generate/tokens.py") == "gateway/dialects"
    assert room_of("gateway/__main__.py") == "gateway"
    assert room_of("cache/tiers/redis.py") == "cache"


def test_a_line_for_each_room_and_one_for_all() -> None:
    lines = {"cache/a.py": (1, 4), "cache/tiers/b.py": (2, 2), "gateway/engine/c.py": (0, 0)}
    assert [line.split() for line in table(lines)] == [
        ["cache", "3", "of", "6", "lines", "50.0%"],
        ["gateway/engine", "0", "of", "0", "lines", "0.0%"],
        ["all", "3", "of", "6", "lines", "50.0%"],
    ]
