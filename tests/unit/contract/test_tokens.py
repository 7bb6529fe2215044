from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.tokens import estimate_tokens

# Counted by hand: a common word with its space is a token, so is a sign, and digits go in threes.
KNOWN = [
    ("", 0),
    ("hello", 1),
    ("The cat sat on the mat.", 7),
    ("1234567", 3),
    ("The quick brown fox jumps over the lazy dog.", 10),
]


@pytest.mark.parametrize(("text", "tokens"), KNOWN)
def test_known_texts_within_a_fifth(text: str, tokens: int) -> None:
    assert abs(estimate_tokens(text) - tokens) <= max(1, tokens * 0.2)


@given(st.text(), st.text())
def test_never_falls_as_text_is_added(text: str, more: str) -> None:
    assert estimate_tokens(text) <= estimate_tokens(text + more)


@given(st.text(alphabet="ab1 .\u4e2d", max_size=50), st.integers(0, 3000), st.text(alphabet="xyz 9", max_size=2000))
def test_never_falls_across_the_length_from_which_it_extrapolates(unit: str, times: int, more: str) -> None:
    text = "word, " * (64 * 1024 // 6 - 100) + unit * times
    assert estimate_tokens(text) <= estimate_tokens(text + more)


@given(st.text())
def test_between_nothing_and_one_a_byte(text: str) -> None:
    assert 0 <= estimate_tokens(text) <= len(text.encode("utf-8", "surrogatepass"))
    assert (estimate_tokens(text) > 0) == bool(text.encode("utf-8", "replace").strip())


def test_chinese_is_about_four_fifths_of_its_signs() -> None:
    text = "\u4eca\u5929\u5929\u6c14\u5f88\u597d\u6211\u4eec\u4e00\u8d77\u53bb\u516c\u56ed\u6563\u6b65" * 10
    assert estimate_tokens(text) == pytest.approx(0.8 * len(text), rel=0.05)


def test_ten_megabytes_do_not_hold_up_the_loop() -> None:
    text = "Many words, and 12345 numbers. " * 330_000
    started = time.process_time()
    tokens = estimate_tokens(text)
    assert time.process_time() - started < 0.5
    assert tokens == pytest.approx(estimate_tokens("Many words, and 12345 numbers. ") * 330_000, rel=0.15)
