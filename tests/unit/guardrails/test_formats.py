"""The forms of answers: what is right, what can be repaired, what must not be."""

from __future__ import annotations

import asyncio
import json
import re
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.deltas import FinishReason
from contract.messages import ChatRequest
from contract.reply import Reply
from contract.work import WorkPool
from guardrails.formats.formats import (
    ChoiceFormat,
    Format,
    JsonFormat,
    PatternFormat,
    PythonFormat,
    SqlFormat,
    YamlFormat,
)
from guardrails.judges.format import FormatJudge
from guardrails.judges.guard import Judgement

CUT = "A truncated answer fails every format check, even if its beginning parses"
VALUES_STAY = "JSON repair changes only punctuation, quotes and code fences, never a value"
PROSE = "Prose is not valid SQL, Python or YAML"
DEEP = "An answer that is nested 100,000 levels deep or refers to itself is malformed and causes no crash"
_HALF = re.compile("[\ud800-\udfff]")
_PIECES = ["{", "}", "[", "]", ",", ":", '"', "'", "a", "b", "1", "-2", "5 000", "true", "None", "EUR", " ", "\n",
           '"c"', "_id", "0.5", "...", '{"a": 1}', "[1, 2]", "```", '"d": 1', ", ", "it's"]  # fmt: skip


def _tokens(text: str) -> list[str]:
    return re.findall(r"[\w.+-]+", text)


SCHEMA = {"type": "object", "required": ["a"], "properties": {"a": {"type": "integer"}}, "additionalProperties": False}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(JSON)
def test_what_is_json_is_left_alone(value: Any) -> None:
    assert not JsonFormat().check(json.dumps(value), cut=False).problem


@given(st.dictionaries(st.text(), JSON, min_size=1, max_size=4), st.integers(0, 10_000))
def test_a_cut_answer_is_never_completed(value: dict[str, Any], place: int) -> None:
    text = json.dumps(value)
    cut = text[: place % len(text)]
    verdict = JsonFormat().check(cut, cut=True)
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
    verdict = JsonFormat(SCHEMA).check(text, cut=False)
    assert verdict.problem
    assert json.loads(verdict.repaired) == {"a": 1}


@pytest.mark.parametrize(
    "text", ["", "no", '{"a": "1"}', '{"b": 1}', '{"a": 1', '{"a": NaN}', '{"a": 1, "b": 2}', '{"a": 1, "a": 2}']
)
def test_what_can_only_be_asked_again(text: str) -> None:
    verdict = JsonFormat(SCHEMA).check(text, cut=False)
    assert verdict.problem
    assert not verdict.repaired or json.loads(verdict.repaired) == {"a": 2}


def test_a_problem_names_the_place_and_not_the_value() -> None:
    schema = {"properties": {"list": {"items": {"type": "integer"}}}}
    problem = JsonFormat(schema).check('{"list": [1, "jane@doe.example"]}', cut=False).problem
    assert "list[1]" in problem
    assert "jane" not in problem


@pytest.mark.parametrize(
    ("form", "right", "fixable", "hopeless"),
    [
        (YamlFormat(SCHEMA), "a: 1", "```yaml\na: 1\n```", "a: [1"),
        (PythonFormat(), "x = 1", "```python\nx = 1\n```", "x = = 1"),
        (SqlFormat("postgres"), "SELECT a FROM b WHERE c = 1", "```sql\nSELECT 1\n```", "SELECT FROM WHERE"),
        (ChoiceFormat(["yes", "no"]), "yes", "**Yes.**", "perhaps"),
        (PatternFormat(r"[A-Z]{2}\d+"), "AB12", " AB12\n", "12AB"),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_other_forms(form: Format, right: str, fixable: str, hopeless: str) -> None:
    assert not form.check(right, cut=False).problem
    verdict = form.check(fixable, cut=False)
    assert verdict.problem
    assert not form.check(verdict.repaired, cut=False).problem
    assert not form.check(fixable, cut=True).repaired
    assert form.check(hopeless, cut=False).problem
    assert not form.check(hopeless, cut=False).repaired


@pytest.mark.parametrize("text", ["SELECT 1; DROP TABLE x", "", "please select one"])
def test_sql_is_one_statement(text: str) -> None:
    assert SqlFormat().check(text, cut=False).problem


def test_a_choice_in_a_sentence_unless_it_is_denied_or_one_of_two() -> None:
    form = ChoiceFormat(["yes", "maybe"])
    assert form.check("The answer is yes.", cut=False).repaired == "yes"
    assert not form.check("The answer is not yes.", cut=False).repaired
    assert not form.check("yes or maybe", cut=False).repaired


@pytest.mark.guarantee("guardrails", CUT)
@pytest.mark.parametrize(
    ("form", "text"),
    [
        (JsonFormat(), "5"),
        (YamlFormat(), "a: 1"),
        (PythonFormat(), "delete(orders)"),
        (SqlFormat(), "DELETE FROM orders"),
        (ChoiceFormat(["no", "no, thanks"]), "no"),
        (PatternFormat(r"\d+"), "12"),
    ],
    ids=lambda value: getattr(value, "name", None),
)
@pytest.mark.parametrize("finish", ["length", "context_window", "pause", "content_filter"])
def test_the_beginning_of_an_answer_is_of_no_form(form: Format, text: str, finish: FinishReason) -> None:
    assert not form.check(text, cut=False).problem
    request = ChatRequest(dialect="openai", model="m", messages=())

    async def again(request: ChatRequest, model: str, *, masked: bool = False) -> Reply:
        raise AssertionError("a form asks nobody")

    async def judged() -> Judgement:
        return await FormatJudge(form).judge(text, finish, calls=False, request=request, again=again)

    judgement = asyncio.run(judged())
    assert "cut off" in judgement.problem
    assert not judgement.repaired


@pytest.mark.guarantee("guardrails", VALUES_STAY)
@pytest.mark.parametrize(
    "text",
    [
        "5 000",
        "12 EUR",
        '{"a": 5 000}',
        '{"a": 12 EUR}',
        "[1, 2, ...]",
        "[1 2]",
        "[1,,2]",
        '["one" "two"]',
        '{"a": 1}{"a": 2}',
        '{"a": 1}\n{"a": 2}',
        '{"a": 1} and more',
        '{"a": 007,}',
        '{"a": +5,}',
        '{"a": 1_000,}',
        '{"a": .5,}',
        '{"a": 5.,}',
        '{"a": 0x1F,}',
        '{"a": -Infinity,}',
        '{"a": NaN,}',
        '{"a": True,}',
        '{"a": None,}',
        '{"a": yes}',
        '{"a": "x"',
        '{"a": "x',
        "[1, 2",
        '{"a": "say "hi" now"}',
        "{'a': 'the dogs', he said'}",
        '{"a": 1, "a": 2,}',
        "apples, pears and plums",
        "See the note [1] for details",
        "[1] first\n[2] second",
        "{'a': '\ud800'}",
    ],
)
def test_a_repair_never_guesses_a_value(text: str) -> None:
    verdict = JsonFormat().check(text, cut=False)
    assert verdict.problem
    assert not verdict.repaired


@pytest.mark.guarantee("guardrails", VALUES_STAY)
@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("{_id: 1}", '{"_id": 1}'),
        ("{'a': 'it's'}", '{"a": "it\'s"}'),
        ("{'a': 'say \"x\"'}", '{"a": "say \\"x\\""}'),
        ('{"a": 1 "b": 2}', '{"a": 1, "b": 2}'),
        ('{"b": 12345678901234567890123, "a": 1.10000000000000000001,}', None),
        ('{"a": "\\u00e9\\ud800", "b": 1e5,}', None),
        ('{"a": "one\ntwo"}', '{"a": "one\\ntwo"}'),
        ("{\u201ca\u201d: \u201cb\u201d}", '{"a": "b"}'),
        ('Here it is: {"a": [1, 2,]}', '{"a": [1, 2]}'),
    ],
)
def test_a_repair_copies_values_letter_by_letter(text: str, right: str | None) -> None:
    assert JsonFormat().check(text, cut=False).repaired == (right or text.replace(",}", "}"))


@pytest.mark.guarantee("guardrails", VALUES_STAY)
@given(st.dictionaries(st.from_regex(r"\A[a-z_]{1,6}\Z"), JSON, max_size=4), st.data())
def test_what_is_wrong_in_punctuation_alone_is_mended(value: dict[str, Any], data: st.DataObject) -> None:
    text = json.dumps(value, ensure_ascii=data.draw(st.booleans()), indent=data.draw(st.none() | st.just(2)))
    if _HALF.search(text):
        text = json.dumps(value)
    text = text[:-1] + (",}" if value else "}")
    if data.draw(st.booleans()):
        for key in value:
            text = text.replace(f'"{key}":', f"{key}:", 1)
    text = data.draw(st.sampled_from(["{}", "```json\n{}\n```", "Here:\n{}\nDone."])).replace("{}", text)
    verdict = JsonFormat().check(text, cut=False)
    if verdict.problem:
        assert json.loads(verdict.repaired) == value


@pytest.mark.guarantee("guardrails", VALUES_STAY)
@given(st.lists(st.sampled_from(_PIECES), max_size=14).map("".join))
def test_no_repair_changes_the_tokens_of_a_text(text: str) -> None:
    repaired = JsonFormat().check(text, cut=False).repaired
    # A repair escapes a raw line break in a string, so undo that; the pieces contain no backslash.
    tokens, kept = _tokens(text), _tokens(repaired.replace("\\n", "\n"))
    assert any(tokens[place : place + len(kept)] == kept for place in range(len(tokens) + 1))
    if repaired:
        json.loads(repaired)


@pytest.mark.guarantee("guardrails", PROSE)
@pytest.mark.parametrize(
    "text",
    ["hello world", "hello", "yes", "select one please", "SELECT one", "Use the force", "Update orders", "Insert coin",
     "not found", "42", "select", "SELECT", "Copy that", "Drop the ball", "show me the orders", "a and b"],
)  # fmt: skip
@pytest.mark.parametrize("dialect", ["", "postgres", "mysql", "duckdb", "sqlite"])
def test_prose_is_no_sql(text: str, dialect: str) -> None:
    verdict = SqlFormat(dialect).check(text, cut=False)
    assert verdict.problem
    assert not verdict.repaired


@pytest.mark.parametrize(
    "text",
    ["SELECT 1", "SELECT now(), current_user", "SELECT count(*) FROM t", "WITH x AS (SELECT 1 AS a) SELECT a FROM x",
     "DELETE FROM orders", "UPDATE orders SET a = 1", "INSERT INTO t (a) SELECT 1", "CREATE TABLE a (b INT)",
     "(SELECT a FROM b) UNION (SELECT 1)", "DROP TABLE x", "SELECT (SELECT max(a) FROM t)", "COMMIT"],
)  # fmt: skip
def test_statements_are_sql(text: str) -> None:
    assert not SqlFormat("postgres").check(text, cut=False).problem


@pytest.mark.guarantee("guardrails", PROSE)
@pytest.mark.parametrize(
    ("form", "texts"),
    [
        (PythonFormat(), ["yes", "this is fine", "not found", "Answer: none", "return 5", "# nothing", "sorry, none"]),
        (YamlFormat(), ["hello", "Sure, here you go", "42", "null", "", "'text'"]),
    ],
    ids=["python", "yaml"],
)
def test_words_are_neither_python_nor_yaml(form: Format, texts: list[str]) -> None:
    assert [text for text in texts if not form.check(text, cut=False).problem] == []


@pytest.mark.parametrize("text", ["x = 1", "print(1)", "42", "[1]", "import os", "pass", "def f(): return 1"])
def test_code_is_python(text: str) -> None:
    assert not PythonFormat().check(text, cut=False).problem


@pytest.mark.guarantee("guardrails", DEEP)
@pytest.mark.parametrize(
    "unit",
    ["[", "{", '{"a":', "- ", "? ", "&a ", "(", "-", "not ", "1+", "a.", "lambda:", "x if y else ", "f'{", "(select ",
     "select a from (", "case when ", "cast(", "{[", "'", "a:\n ", "*a ", "b'' if "],
)  # fmt: skip
@pytest.mark.slow
def test_what_is_nested_too_deeply_is_malformed(unit: str) -> None:
    text = unit * (100_000 // len(unit))

    async def run() -> None:
        pool = WorkPool("formats")
        # In a thread, whose stack is smaller than the process's own.
        for form in (
            JsonFormat({"type": "object"}),
            YamlFormat(),
            PythonFormat(),
            SqlFormat(),
            PatternFormat("[a-z]+"),
        ):
            closed = text + "".join({"[": "]", "{": "}", "(": ")"}.get(each, "") for each in reversed(text))
            for each in (text, closed[:100_000]):
                assert (await pool.run("", partial(form.check, each, cut=False))).problem, form.name
        pool.close()

    asyncio.run(run())


@pytest.mark.guarantee("guardrails", DEEP)
def test_what_refers_to_itself_is_malformed() -> None:
    schema = {"type": "array"}
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 9)]
    for text in ("&a [*a]", "\n".join(lines)):
        assert YamlFormat(schema).check(text, cut=False).problem
        assert YamlFormat().check(text, cut=False).problem


def test_an_item_that_comes_twice_is_found_however_many_there_are() -> None:
    form = JsonFormat({"type": "array", "uniqueItems": True})
    items: list[Any] = [{"a": number} for number in range(20_000)]
    assert not form.check(json.dumps([*items, 1, True, "1"]), cut=False).problem
    assert form.check(json.dumps([*items, 1, 1.0]), cut=False).problem
    assert form.check(json.dumps([*items, {"a": 5}]), cut=False).problem


def test_a_schema_speaks_of_what_json_can_hold() -> None:
    assert YamlFormat({"type": "object"}).check("a: .nan", cut=False).problem
    assert JsonFormat().check("1" * 5000, cut=False).problem


@pytest.mark.parametrize(
    "form", [JsonFormat(), YamlFormat(), PythonFormat(), SqlFormat(), PatternFormat("a*"), ChoiceFormat(["a"])]
)
def test_what_is_too_long_to_be_checked_is_said(form: Format) -> None:
    verdict = form.check("a" * 1_000_001, cut=False)
    assert verdict.problem
    assert not verdict.repaired


@given(st.text(max_size=200))
def test_any_text_gets_a_verdict(text: str) -> None:
    for form in (
        JsonFormat(SCHEMA),
        YamlFormat(),
        PythonFormat(),
        SqlFormat(),
        ChoiceFormat(["a"]),
        PatternFormat("a+"),
    ):
        verdict = form.check(text, cut=False)
        assert verdict.problem or not verdict.repaired
