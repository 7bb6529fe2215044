"""Whether a text is of a form, why not, and the nearest text that is when only little is wrong.

Nothing is said of an answer that was cut off: no beginning of a form is that form, even where it happens to parse.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import msgspec

from guardrails.formats.json_values import Schema, depth_problem, loads
from guardrails.formats.mending import MAX_DEPTH, AmbiguousText, mended, within
from guardrails.matching import Matcher, TooSlow

_FENCE = re.compile(r"\A\s*```[\w+-]*[ \t]*\n(.*?)\n?```\s*\Z", re.DOTALL)
_FENCE_WITHIN = re.compile(r"```[\w+-]*[ \t]*\n(.*?)\n?```", re.DOTALL)
# Longer answers are not read: what reads them takes about a second for so much.
MAX_CHARACTERS = 1_000_000
MAX_PARSED = 100_000
MAX_MATCHED = 10_000
_HALF = re.compile("[\ud800-\udfff]")


class Verdict(msgspec.Struct, frozen=True):
    """`problem` is empty when the text is of the form, else says why not, to the model and without quoting the text.

    `repaired` is the nearest text that is of the form; empty when there is none that is surely meant.
    """

    problem: str = ""
    repaired: str = ""


CUT = Verdict("it was cut off before its end")


class Form(Protocol):
    """One form. Pure and blocking; `cut` says that the answer ended before its end: that is of no form."""

    name: str

    def check(self, text: str, *, cut: bool) -> Verdict:
        """Whether `text` is of this form."""
        ...


def _unfenced(text: str) -> str:
    """The code in a text that is nothing but a block of it, or has just one block of it."""
    whole = _FENCE.match(text)
    if whole is not None:
        return whole[1]
    blocks = _FENCE_WITHIN.findall(text)
    return str(blocks[0]) if len(blocks) == 1 else text


def _unreadable(text: str, most: int) -> str:
    """What is wrong with a text of whatever form: too long to be read, or no text at all."""
    if len(text) > most:
        return f"it is longer than can be checked ({most} characters)"
    return "it holds half a letter (a lone surrogate)" if _HALF.search(text) is not None else ""


class _Parsed:
    """What the forms have in common that are parsed: right as it stands, or the code within a block."""

    def check(self, text: str, *, cut: bool) -> Verdict:
        """See `Form.check`."""
        if cut:
            return CUT
        if problem := _unreadable(text, MAX_PARSED):
            return Verdict(problem)
        problem = self._problem(text)
        if not problem:
            return Verdict()
        bare = _unfenced(text)
        return Verdict(problem, bare if bare != text and not self._problem(bare) else "")

    def _problem(self, text: str) -> str:
        raise NotImplementedError


class JsonForm:
    """JSON (RFC 8259), of a schema if one is given."""

    name = "json"

    def __init__(self, schema: dict[str, Any] | None = None) -> None:
        """Raises `ValueError` for a schema that is none."""
        self._schema = Schema(schema) if schema is not None else None

    def check(self, text: str, *, cut: bool) -> Verdict:
        """See `Form.check`."""
        if cut:
            return CUT
        problem = _unreadable(text, MAX_CHARACTERS) or self._problem(text)
        return Verdict(problem, self._repair(text)) if problem and len(text) <= MAX_CHARACTERS else Verdict(problem)

    def _problem(self, text: str) -> str:
        try:
            value = loads(text)
        except ValueError as error:
            return f"it is no valid JSON: {error}"
        return self._schema.problem(value) if self._schema is not None else ""

    def _repair(self, text: str) -> str:
        """Takes away what stands around the JSON, and mends commas, quotes and the like, but changes no value."""
        if _HALF.search(text) is not None:
            return ""
        bare = _unfenced(text)
        try:
            candidate = within(bare) if bare == text else bare
            for attempt in (candidate.strip(), mended(candidate)):
                if attempt != text and not self._problem(attempt):
                    return attempt
        except AmbiguousText:
            pass
        return ""


class YamlForm(_Parsed):
    """YAML 1.2: a mapping or a list, or what a JSON schema says."""

    name = "yaml"

    def __init__(self, schema: dict[str, Any] | None = None) -> None:
        self._schema = Schema(schema) if schema is not None else None

    def _problem(self, text: str) -> str:
        from ruamel.yaml import YAML
        from ruamel.yaml.error import YAMLError

        if text.lstrip().startswith("```"):
            return "it stands in a code block"
        try:
            if _is_deep(YAML(typ="safe", pure=True).parse(text)):
                return "it is nested too deeply"
            value = YAML(typ="safe", pure=True).load(text)
        except RecursionError:
            return "it is nested too deeply"
        except (YAMLError, ValueError, TypeError, AttributeError, LookupError) as error:
            # The library raises its own bare mistakes for some texts that are no YAML.
            mark = getattr(error, "problem_mark", None)
            place = f" at line {mark.line + 1} column {mark.column + 1}" if mark is not None else ""
            return f"it is no valid YAML{place}"
        if problem := depth_problem(value):
            return problem
        if self._schema is not None:
            return self._schema.problem(value)
        return "" if isinstance(value, (dict, list)) else "it is neither a mapping nor a list"


def _is_deep(events: Iterable[Any]) -> bool:
    """Whether YAML goes deeper than any that somebody means: building that takes time by the square of its depth."""
    from ruamel.yaml.events import CollectionEndEvent, CollectionStartEvent

    depth = 0
    for event in events:
        if isinstance(event, CollectionStartEvent):
            depth += 1
        elif isinstance(event, CollectionEndEvent):
            depth -= 1
        if depth > MAX_DEPTH:
            return True
    return False


class PythonForm(_Parsed):
    """Python source, of the version that runs here."""

    name = "python"

    def _problem(self, text: str) -> str:
        try:
            tree = ast.parse(text)
        except SyntaxError as error:
            return f"it is no valid Python: {error.msg} at line {error.lineno}"
        except (ValueError, RecursionError, MemoryError):
            return "it is no valid Python"
        if not tree.body:
            return "it is empty"
        if any(isinstance(each, ast.Return) for each in tree.body):
            return "it is no valid Python: 'return' outside function"
        return "it is prose" if all(_is_prose(each) for each in tree.body) else ""


# What words, commas and full stops can be taken for: names, and the operators that are words.
_WORDS_ONLY = (
    ast.Expr, ast.AnnAssign, ast.Name, ast.Attribute, ast.Tuple, ast.BoolOp, ast.Compare, ast.UnaryOp, ast.IfExp,
    ast.expr_context, ast.boolop, ast.Is, ast.IsNot, ast.In, ast.NotIn, ast.Not, ast.Raise, ast.Delete, ast.Assert,
)  # fmt: skip


def _is_prose(statement: ast.stmt) -> bool:
    """Whether a statement is words that only happen to parse: `yes`, `this is fine`, `Answer: none`."""
    return all(
        isinstance(each, _WORDS_ONLY)
        or (isinstance(each, ast.Constant) and (each.value is None or isinstance(each.value, bool)))
        for each in ast.walk(statement)
    )


class SqlForm(_Parsed):
    """One statement of SQL."""

    name = "sql"

    def __init__(self, dialect: str = "") -> None:
        """Raises `ValueError` for a dialect that is not known."""
        import sqlglot

        sqlglot.Dialect.get_or_raise(dialect or None)
        self._dialect = dialect or None

    def _problem(self, text: str) -> str:
        import sqlglot
        from sqlglot.errors import SqlglotError

        from guardrails.formats.statements import statement_problem

        try:
            statements = [each for each in sqlglot.parse(text, read=self._dialect) if each is not None]
        except SqlglotError as error:
            details = getattr(error, "errors", None) or [{}]
            line = details[0].get("line")
            return "it is no valid SQL" + (f" at line {line}" if line else "")
        except RecursionError:
            return "it is nested too deeply"
        except (ValueError, TypeError, AttributeError, LookupError):
            # The parser's own mistakes about what is no SQL.
            return "it is no valid SQL"
        if len(statements) != 1:
            return "it is not one statement"
        return statement_problem(statements[0])


class ChoiceForm:
    """One of a few answers, letter by letter."""

    name = "choice"

    def __init__(self, choices: Sequence[str]) -> None:
        self._choices = tuple(choices)
        self._known = {_plain(choice): choice for choice in choices}

    def check(self, text: str, *, cut: bool) -> Verdict:
        """See `Form.check`."""
        if cut:
            return CUT
        if text in self._choices:
            return Verdict()
        problem = f"it is none of: {', '.join(self._choices)}"
        if len(text) > _LONGEST_CHOICE + max(map(len, self._choices), default=0):
            return Verdict(problem)
        exact = self._known.get(_plain(text))
        if exact is not None:
            return Verdict(problem, exact)
        within = [c for plain, c in self._known.items() if re.search(rf"(?<!\w){re.escape(plain)}(?!\w)", _plain(text))]
        return Verdict(problem, within[0] if len(within) == 1 and len(text) <= 200 and not _NOT.search(text) else "")


_LONGEST_CHOICE = 200
_NOT = re.compile(r"(?i)\b(?:not|no|never|n't|neither)\b|n't\b")


def _plain(text: str) -> str:
    return text.strip().strip("\"'`*.!").strip().casefold()


class PatternForm:
    """What a regular expression matches from end to end."""

    name = "pattern"

    def __init__(self, pattern: str) -> None:
        self._pattern = pattern
        self._matcher = Matcher(pattern, whole=True)

    def check(self, text: str, *, cut: bool) -> Verdict:
        """See `Form.check`."""
        if cut:
            return CUT
        if problem := _unreadable(text, MAX_MATCHED):
            return Verdict(problem)
        if self._matches(text):
            return Verdict()
        trimmed = text.strip()
        problem = f"it does not match the pattern {self._pattern}"
        return Verdict(problem, trimmed if trimmed != text and self._matches(trimmed) else "")

    def _matches(self, text: str) -> bool:
        try:
            return bool(self._matcher.find(text))
        except TooSlow:
            # What can't be matched in time is not known to match.
            return False
