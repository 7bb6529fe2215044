"""Patterns of a config: quick ones at once, the others apart and ended at a deadline."""

from __future__ import annotations

import contextlib
import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardrails.formats.formats import JsonFormat, PatternFormat
from guardrails.matching import Matcher, TooSlow, is_quick
from guardrails.personal.search import PersonalSearch

BOUNDED = "A configured pattern that is slow on some text is stopped and blocks no other caller"
FORMS = [r"[A-Z]+-\d+", r"(?P<value>\d+) EUR", r"a.*b"]
SLOW = [r"(a+)+b", r"(a|a)*b", r"(a|aa)+b", r"(?:a*)*b", r"(\w+\s?)*!", r"(a{1,50}){1,50}b", r"(.*)*x"]


@pytest.mark.parametrize("form", [*SLOW, r"\w+@\w+", r"(a)\1*", r"a.*b.*c"])
def test_what_may_be_slow_is_known(form: str) -> None:
    assert not is_quick(form, fullmatch=False)


@pytest.mark.parametrize("form", ["TCK-[0-9]{6}", r"\d{2,8}-?[A-Z]{1,3}", "(?:ab|cd)[0-9]?", r"(?P<value>x{3})\b"])
def test_what_is_quick_is_known(form: str) -> None:
    assert is_quick(form, fullmatch=False)
    assert is_quick(r"[a-z ]+", fullmatch=True)


@pytest.mark.guarantee("guardrails", BOUNDED)
@pytest.mark.parametrize("form", SLOW)
def test_a_slow_pattern_is_ended(form: str) -> None:
    text = "a" * 5000
    matcher = Matcher(form, fullmatch=True, timeout_s=0.3)
    began = time.process_time()
    for _ in range(2):
        with contextlib.suppress(TooSlow):
            assert matcher.find(text) == []
    # The work was another process's.
    assert time.process_time() - began < 0.3
    assert matcher.find("x") == ([(0, 1)] if re.fullmatch(form, "x") else [])


@pytest.mark.guarantee("guardrails", BOUNDED)
def test_forms_and_schemas_say_that_it_does_not_match() -> None:
    assert PatternFormat(r"(a+)+b").check("a" * 5000, cut=False).problem
    assert not PatternFormat(r"(a+)+b").check("aaab", cut=False).problem
    form = JsonFormat({"type": "string", "pattern": r"^(a+)+b$"})
    assert form.check(f'"{"a" * 5000}"', cut=False).problem
    assert not form.check('"aaab"', cut=False).problem


@given(
    st.sampled_from([r"[A-Z]+-\d+", r"(?P<value>\d+) EUR", r"a.*b"]), st.text("A-1 EURab\u00e9\n\ud800", max_size=60)
)
def test_apart_finds_the_same(form: str, text: str) -> None:
    group = "value" if "value" in form else 0
    assert MATCHERS[form].find(text) == [match.span(group) for match in re.finditer(form, text)]


MATCHERS = {form: Matcher(form) for form in FORMS}


def test_types_of_ones_own_may_have_any_pattern() -> None:
    search = PersonalSearch(frozenset({"EMAIL"}), {"ORDER": r"[A-Z]+-\d+", "TICKET": "TCK/[0-9]{6}"})
    text = "AB-1234 and TCK/123456 of jane@doe.example"
    assert [(text[span.start : span.end], span.kind) for span in search.search(text)] == [
        ("AB-1234", "ORDER"),
        ("TCK/123456", "TICKET"),
        ("jane@doe.example", "EMAIL"),
    ]
