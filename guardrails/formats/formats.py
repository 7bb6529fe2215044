"""Checks whether a text has a format, explains why not, and repairs small mistakes.

An answer that was cut off never passes, even if its beginning happens to parse.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import msgspec

from guardrails.formats.json_repair import MAX_DEPTH, AmbiguousText, extract_json, repair_json
from guardrails.formats.json_values import Schema, depth_problem, loads
from guardrails.matching import Matcher, TooSlow

_FENCE = re.compile(r"\A\s*```[\w+-]*[ \t]*\n(.*?)\n?```\s*\Z", re.DOTALL)
_FENCE_WITHIN = re.compile(r"```[\w+-]*[ \t]*\n(.*?)\n?```", re.DOTALL)
# Longer answers are not parsed: this much takes about a second.
MAX_CHARACTERS = 1_000_000
MAX_PARSED = 100_000
MAX_MATCHED = 10_000
_HALF = re.compile("[\ud800-\udfff]")


class Verdict(msgspec.Struct, frozen=True):
    """`problem` is empty if the text has the format, else a reason for the model, which does not quote the text.

    `repaired` is the corrected text; empty if there is no unambiguous correction.
    """

    problem: str = ""
    repaired: str = ""


CUT = Verdict("it was cut off before its end")


class Format(Protocol):
    """One format. Pure and blocking; with `cut` the answer was cut off and never passes."""

    name: str

    def check(self, text: str, *, cut: bool) -> Verdict:
        """Checks whether `text` has this format."""
        ...


def _unfenced(text: str) -> str:
    """The code of a text that is one code block or contains exactly one; else the text."""
    match = _FENCE.match(text)
    if match is not None:
        return match[1]
    blocks = _FENCE_WITHIN.findall(text)
    return str(blocks[0]) if len(blocks) == 1 else text


def _unreadable(text: str, max_characters: int) -> str:
    """The problem of a text in any format: too long to be parsed, or invalid Unicode; else empty."""
    if len(text) > max_characters:
        return f"it is too long to be checked (more than {max_characters} characters)"
    return "it contains an invalid character (a lone surrogate)" if _HALF.search(text) is not None else ""


class _Parsed:
    """The base of formats with a parser: the text must parse, or its code block is the repaired text."""

    def check(self, text: str, *, cut: bool) -> Verdict:
        """See `Format.check`."""
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


class JsonFormat:
    """JSON (RFC 8259), optionally with a schema."""

    name = "json"

    def __init__(self, schema: dict[str, Any] | None = None) -> None:
        """Raises `ValueError` for an invalid schema."""
        self._schema = Schema(schema) if schema is not None else None

    def check(self, text: str, *, cut: bool) -> Verdict:
        """See `Format.check`."""
        if cut:
            return CUT
        problem = _unreadable(text, MAX_CHARACTERS) or self._problem(text)
        return Verdict(problem, self._repair(text)) if problem and len(text) <= MAX_CHARACTERS else Verdict(problem)

    def _problem(self, text: str) -> str:
        try:
            value = loads(text)
        except ValueError as error:
            return f"it is not valid JSON: {error}"
        return self._schema.problem(value) if self._schema is not None else ""

    def _repair(self, text: str) -> str:
        """Removes text around the JSON and repairs punctuation, quotes and fences, but changes no value."""
        if _HALF.search(text) is not None:
            return ""
        bare = _unfenced(text)
        try:
            candidate = extract_json(bare) if bare == text else bare
            for attempt in (candidate.strip(), repair_json(candidate)):
                if attempt != text and not self._problem(attempt):
                    return attempt
        except AmbiguousText:
            pass
        return ""


class YamlFormat(_Parsed):
    """YAML 1.2: a mapping or a list, or as a JSON schema requires."""

    name = "yaml"

    def __init__(self, schema: dict[str, Any] | None = None) -> None:
        self._schema = Schema(schema) if schema is not None else None

    def _problem(self, text: str) -> str:
        from ruamel.yaml import YAML
        from ruamel.yaml.error import YAMLError

        if text.lstrip().startswith("```"):
            return "it is in a code block"
        try:
            if _is_deep(YAML(typ="safe", pure=True).parse(text)):
                return "it is nested too deeply"
            value = YAML(typ="safe", pure=True).load(text)
        except RecursionError:
            return "it is nested too deeply"
        except (YAMLError, ValueError, TypeError, AttributeError, LookupError) as error:
            # The library raises internal errors for some invalid texts.
            mark = getattr(error, "problem_mark", None)
            place = f" at line {mark.line + 1} column {mark.column + 1}" if mark is not None else ""
            return f"it is not valid YAML{place}"
        if problem := depth_problem(value):
            return problem
        if self._schema is not None:
            return self._schema.problem(value)
        return "" if isinstance(value, (dict, list)) else "it is neither a mapping nor a list"


def _is_deep(events: Iterable[Any]) -> bool:
    """Whether YAML is nested deeper than the limit: the time to build it grows with the square of its depth."""
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


class PythonFormat(_Parsed):
    """Python source code, of the running version."""

    name = "python"

    def _problem(self, text: str) -> str:
        try:
            tree = ast.parse(text)
        except SyntaxError as error:
            return f"it is not valid Python: {error.msg} at line {error.lineno}"
        except (ValueError, RecursionError, MemoryError):
            return "it is not valid Python"
        if not tree.body:
            return "it is empty"
        if any(isinstance(each, ast.Return) for each in tree.body):
            return "it is not valid Python: 'return' outside function"
        return "it is prose" if all(_is_prose(each) for each in tree.body) else ""


# The nodes that prose can parse as: names, and operators that are words.
_PROSE_NODES = (
    ast.Expr, ast.AnnAssign, ast.Name, ast.Attribute, ast.Tuple, ast.BoolOp, ast.Compare, ast.UnaryOp, ast.IfExp,
    ast.expr_context, ast.boolop, ast.Is, ast.IsNot, ast.In, ast.NotIn, ast.Not, ast.Raise, ast.Delete, ast.Assert,
)  # fmt: skip


def _is_prose(statement: ast.stmt) -> bool:
    """Whether a statement is prose that happens to parse: `yes`, `this is fine`, `Answer: none`."""
    return all(
        isinstance(each, _PROSE_NODES)
        or (isinstance(each, ast.Constant) and (each.value is None or isinstance(each.value, bool)))
        for each in ast.walk(statement)
    )


class SqlFormat(_Parsed):
    """A single SQL statement."""

    name = "sql"

    def __init__(self, dialect: str = "") -> None:
        """Raises `ValueError` for an unknown dialect."""
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
            return "it is not valid SQL" + (f" at line {line}" if line else "")
        except RecursionError:
            return "it is nested too deeply"
        except (ValueError, TypeError, AttributeError, LookupError):
            # The parser raises internal errors for some invalid texts.
            return "it is not valid SQL"
        if len(statements) != 1:
            return "it is not one statement"
        return statement_problem(statements[0])


class ChoiceFormat:
    """One of a few exact answers."""

    name = "choice"

    def __init__(self, choices: Sequence[str]) -> None:
        self._choices = tuple(choices)
        self._known = {_plain(choice): choice for choice in choices}

    def check(self, text: str, *, cut: bool) -> Verdict:
        """See `Format.check`."""
        if cut:
            return CUT
        if text in self._choices:
            return Verdict()
        problem = f"it is not one of: {', '.join(self._choices)}"
        if len(text) > _MAX_CHOICE + max(map(len, self._choices), default=0):
            return Verdict(problem)
        exact = self._known.get(_plain(text))
        if exact is not None:
            return Verdict(problem, exact)
        contained = [
            c for plain, c in self._known.items() if re.search(rf"(?<!\w){re.escape(plain)}(?!\w)", _plain(text))
        ]
        return Verdict(
            problem, contained[0] if len(contained) == 1 and len(text) <= 200 and not _NOT.search(text) else ""
        )


_MAX_CHOICE = 200
_NOT = re.compile(r"(?i)\b(?:not|no|never|n't|neither)\b|n't\b")


def _plain(text: str) -> str:
    return text.strip().strip("\"'`*.!").strip().casefold()


class PatternFormat:
    """A text that a regular expression matches completely."""

    name = "pattern"

    def __init__(self, pattern: str) -> None:
        self._pattern = pattern
        self._matcher = Matcher(pattern, fullmatch=True)

    def check(self, text: str, *, cut: bool) -> Verdict:
        """See `Format.check`."""
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
            # A text that can't be matched in time does not pass.
            return False
