"""The rules of secrets as data: what has a form passes its gate, and no form repeats without bound."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guardrails.secrets import SecretFinder, rules

ISSUED = {name: (rule, form) for name, rule, form in rules().issued}
FORMS = [rule.form for rule, _ in ISSUED.values()]
FORMS += [rule.form for forms in rules().placed.values() for rule, _ in forms]


# No text is made of a form that looks ahead.
@pytest.mark.parametrize("name", [name for name, (rule, _) in ISSUED.items() if "(?=" not in rule.form])
@settings(max_examples=15, deadline=None)
@given(st.data())
def test_what_has_the_form_is_found(name: str, data: st.DataObject) -> None:
    rule, form = ISSUED[name]
    secret = data.draw(st.from_regex(re.compile(rule.form, re.ASCII), fullmatch=True), label=name)
    assert form.search(secret) is not None
    assert any(part in secret for part in rule.has)
    assert rule.random or SecretFinder().find(f"It is {secret} today")


@pytest.mark.parametrize("form", FORMS)
def test_repetitions_are_bounded(form: str) -> None:
    bare = re.sub(r"\[\]?[^]]*\]", "", re.sub(r"\\.", "", form))
    assert not re.search(r"[*+]|,\}", bare)


def test_a_value_in_its_place_is_found_without_the_end_of_its_sentence() -> None:
    text = "Send it with Authorization: Bearer aB3dE5fG7hI9jK1lM3nO."
    (span,) = SecretFinder().find(text)
    assert text[span.start : span.end] == "aB3dE5fG7hI9jK1lM3nO"
