"""The forms of answers: what is right, what can be mended, what must not be."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardrails.formats.forms import ChoiceForm, Form, JsonForm, PatternForm, PythonForm, SqlForm, YamlForm

SCHEMA = {"type": "object", "required": ["a"], "properties": {"a": {"type": "integer"}}, "additionalProperties": False}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(JSON)
def test_what_is_json_is_left_alone(value: Any) -> None:
    assert not JsonForm().check(json.dumps(value), cut=False).problem


@given(st.dictionaries(st.text(), JSON, min_size=1, max_size=4), st.integers(0, 10_000))
def test_a_cut_answer_is_never_completed(value: dict[str, Any], place: int) -> None:
    text = json.dumps(value)
    cut = text[: place % len(text)]
    verdict = JsonForm().check(cut, cut=True)
    assert verdict.problem
    assert not verdict.repaired


@pytest.mark.parametrize(
    "text",
    [
        '```json\n{"a": 1}\n```',
        'Sure! Here it is:\n{"a": 1}\nAnything else?',
        "{'a': 1}",
        '{"a": 1,}',
        "{a: 1}",
        '{"a": 1} // done',
    ],
)
def test_small_mistakes_in_json_are_mended(text: str) -> None:
    verdict = JsonForm(SCHEMA).check(text, cut=False)
    assert verdict.problem
    assert json.loads(verdict.repaired) == {"a": 1}


@pytest.mark.parametrize(
    "text", ["", "no", '{"a": "1"}', '{"b": 1}', '{"a": 1', '{"a": NaN}', '{"a": 1, "b": 2}', '{"a": 1, "a": 2}']
)
def test_what_can_only_be_asked_again(text: str) -> None:
    verdict = JsonForm(SCHEMA).check(text, cut=False)
    assert verdict.problem
    assert not verdict.repaired or json.loads(verdict.repaired) == {"a": 2}


def test_a_problem_names_the_place_and_not_the_value() -> None:
    schema = {"properties": {"list": {"items": {"type": "integer"}}}}
    problem = JsonForm(schema).check('{"list": [1, "jane@doe.example"]}', cut=False).problem
    assert "list[1]" in problem
    assert "jane" not in problem


@pytest.mark.parametrize(
    ("form", "right", "mended", "hopeless"),
    [
        (YamlForm(SCHEMA), "a: 1", "```yaml\na: 1\n```", "a: [1"),
        (PythonForm(), "x = 1", "```python\nx = 1\n```", "x = = 1"),
        (SqlForm("postgres"), "SELECT a FROM b WHERE c = 1", "```sql\nSELECT 1\n```", "SELECT FROM WHERE"),
        (ChoiceForm(["yes", "no"]), "yes", "**Yes.**", "perhaps"),
        (PatternForm(r"[A-Z]{2}\d+"), "AB12", " AB12\n", "12AB"),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_other_forms(form: Form, right: str, mended: str, hopeless: str) -> None:
    assert not form.check(right, cut=False).problem
    verdict = form.check(mended, cut=False)
    assert verdict.problem
    assert not form.check(verdict.repaired, cut=False).problem
    assert not form.check(mended, cut=True).repaired
    assert form.check(hopeless, cut=False).problem
    assert not form.check(hopeless, cut=False).repaired


@pytest.mark.parametrize("text", ["SELECT 1; DROP TABLE x", "", "please select one"])
def test_sql_is_one_statement(text: str) -> None:
    assert SqlForm().check(text, cut=False).problem


def test_a_choice_in_a_sentence_unless_it_is_denied_or_one_of_two() -> None:
    form = ChoiceForm(["yes", "maybe"])
    assert form.check("The answer is yes.", cut=False).repaired == "yes"
    assert not form.check("The answer is not yes.", cut=False).repaired
    assert not form.check("yes or maybe", cut=False).repaired


@given(st.text(max_size=200))
def test_any_text_gets_a_verdict(text: str) -> None:
    for form in (JsonForm(SCHEMA), YamlForm(), PythonForm(), SqlForm(), ChoiceForm(["a"]), PatternForm("a+")):
        verdict = form.check(text, cut=False)
        assert verdict.problem or not verdict.repaired
