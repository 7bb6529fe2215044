from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.terms import terms


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("print", "prints"),
        ("print", "printing"),
        ("printed", "prints"),
        ("price", "prices"),
        ("change", "changed"),
        ("company", "companies"),
        ("stop", "stopped"),
        ("box", "boxes"),
        ("Order", "orders"),
    ],
)
def test_forms_of_a_word_meet(one: str, other: str) -> None:
    assert terms(one) == terms(other)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("How many pages does the A300 print?", ["many", "page", "a300", "print"]),
        ("It is 6.4 seconds, or 1,500 pages.", ["6.4", "second", "1,500", "page"]),
        ("the of and", []),
        ("glass and status", ["glass", "status"]),
        ("Gr\u00f6\u00dfe", ["gr\u00f6\u00dfe"]),
    ],
)
def test_words(text: str, expected: list[str]) -> None:
    assert terms(text) == expected


@given(st.text())
def test_any_text(text: str) -> None:
    assert all(terms(text))
    assert terms(text) == terms(text + " . ")
