"""Public reports about addresses and numbers that guardrails took for personal data."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.reports.vendors import house, user

MORE = """  masked: {pipeline: masked}
pipelines: {masked: {guard_input: [pii], model: o}}
guardrails: {pii: {kind: personal_data, key: "0123456789012345678901234567890123", hint: false}}
"""
NOBODY_S = [
    "Listen on 127.0.0.1:8080, 127.0.1.1 or 0.0.0.0, with the mask 255.255.255.0; ::1 is the same.",
    "Job 1785525294 began at 1785525294123 and took 0.1234567890123 s.",
    "The id is 550e8400-e29b-41d4-a716-446655440000, the commit 9fceb02d0ae598e95dc970b74767f19372d61af8.",
    "It began on 2026-11-27 12:30:45 in build 20261127, at 52.520008, 13.404954.",
    "std::cout << std::vector<int>{1, 2};",
    "The ISBN is 978-3-16-148410-0, the ticket INC0012345678 and the parcel 1Z999AA10123456784.",
    "The price is 1,234,567.89 EUR.",
]


@pytest.mark.report("guardrails", "Loopback addresses, times, ids and prices are not masked as personal data")
def test_numbers_of_nobody(tmp_path: Path) -> None:
    with house(tmp_path, models=MORE) as it:
        for text in NOBODY_S:
            assert it.chat("masked", [user(text)]).status == 200
            assert it.last["messages"][0]["content"] == text
        it.chat("masked", [user("From 10.0.0.1, 192.168.1.77 and 8.8.4.4")])
        assert it.last["messages"][0]["content"].count("<IP_") == 3
