"""Whether a text is of a form, why not, and the nearest text that is when only little is wrong."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Sequence
from typing import Any, Protocol

import msgspec

_FENCE = re.compile(r"\A\s*```[\w+-]*[ \t]*\n(.*?)\n?```\s*\Z", re.DOTALL)
_FENCE_WITHIN = re.compile(r"```[\w+-]*[ \t]*\n(.*?)\n?```", re.DOTALL)
MAX_CHARACTERS = 1_000_000


class Verdict(msgspec.Struct, frozen=True):
    """`problem` is empty when the text is of the form, else says why not, to the model and without quoting the text.

    `repaired` is the nearest text that is of the form; empty when there is none that is surely meant.
    """

    problem: str = ""
    repaired: str = ""


class Form(Protocol):
    """One form. Pure and blocking; `cut` says that the answer ended before its end, so that nothing may be guessed."""

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


class JsonForm:
    """JSON (RFC 8259), of a schema if one is given."""

    name = "json"

    def __init__(self, schema: dict[str, Any] | None = None) -> None:
        """Raises `ValueError` for a schema that is none."""
        self._validator: Any = None
        if schema is not None:
            from jsonschema import SchemaError  # type: ignore[import-untyped]
            from jsonschema.validators import validator_for  # type: ignore[import-untyped]

            made = validator_for(schema)
            try:
                made.check_schema(schema)
            except SchemaError as error:
                raise ValueError(f"the schema is no JSON schema: {error.message}") from None
            self._validator = made(schema)

    def check(self, text: str, *, cut: bool) -> Verdict:
        """See `Form.check`."""
        try:
            value = _loads(text)
        except ValueError as error:
            problem = f"it is no valid JSON: {error}"
        else:
            problem = self._against_schema(value)
            if not problem:
                return Verdict()
        return Verdict(problem, "" if cut else self._repair(text))

    def _against_schema(self, value: Any) -> str:
        if self._validator is None:
            return ""
        errors = sorted(self._validator.iter_errors(value), key=lambda error: list(map(str, error.absolute_path)))
        return "; ".join(_told(error) for error in errors[:3])

    def _repair(self, text: str) -> str:
        """Takes away what stands around the JSON, and mends commas, quotes and the like, but invents no value."""
        import json_repair

        candidate = _unfenced(text)
        starts = [place for place in (candidate.find("{"), candidate.find("[")) if place >= 0]
        if starts:
            end = max(candidate.rfind("}"), candidate.rfind("]"))
            candidate = candidate[min(starts) : end + 1] if end > min(starts) else candidate[min(starts) :]
        for attempt in (candidate, None):
            try:
                value = _loads(candidate) if attempt is not None else json_repair.loads(candidate, skip_json_loads=True)
            except (ValueError, RecursionError):
                continue
            if value in ("", None) or (attempt is None and not isinstance(value, (dict, list))):
                continue
            if attempt is None and not _balanced(candidate):
                return ""
            if not self._against_schema(value):
                return candidate if attempt is not None else json.dumps(value, ensure_ascii=False)
        return ""


def _loads(text: str) -> Any:
    """Strict: no NaN, no duplicate keys, no comments. Raises `ValueError` without the text in it."""

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(items)
        if len(found) != len(items):
            raise ValueError("a key comes twice")
        return found

    def refuse(name: str) -> Any:
        raise ValueError(f"{name} is not allowed")

    try:
        return json.loads(text, object_pairs_hook=pairs, parse_constant=refuse)
    except json.JSONDecodeError as error:
        raise ValueError(f"{error.msg} at line {error.lineno} column {error.colno}") from None
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _balanced(text: str) -> bool:
    """Whether every bracket outside strings is closed: what is not may have been cut off, and is not completed."""
    depth, quoted, escaped = 0, False, False
    for letter in text:
        if escaped:
            escaped = False
        elif letter == "\\":
            escaped = quoted
        elif letter == '"':
            quoted = not quoted
        elif not quoted and letter in "{[":
            depth += 1
        elif not quoted and letter in "}]":
            depth -= 1
    return depth <= 0


def _told(error: Any) -> str:
    """A schema's complaint without the value that it is about."""
    place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in error.absolute_path).lstrip(".")
    what = f"'{place}'" if place else "the whole"
    rule = error.validator
    if rule == "required":
        absent = [name for name in error.validator_value if name not in error.instance]
        return f"{what} lacks {', '.join(map(repr, absent))}"
    if rule == "additionalProperties":
        return f"{what} has properties that the schema does not know"
    limit = json.dumps(error.validator_value, ensure_ascii=False)
    return f"{what} breaks {rule}: {limit if len(limit) <= 200 else limit[:200] + '...'}"


class YamlForm:
    """YAML 1.2, of a JSON schema if one is given."""

    name = "yaml"

    def __init__(self, schema: dict[str, Any] | None = None) -> None:
        self._json = JsonForm(schema)

    def check(self, text: str, *, cut: bool) -> Verdict:
        """See `Form.check`."""
        problem = self._problem(text)
        if not problem:
            return Verdict()
        bare = _unfenced(text)
        return Verdict(problem, bare if not cut and bare != text and not self._problem(bare) else "")

    def _problem(self, text: str) -> str:
        from ruamel.yaml import YAML
        from ruamel.yaml.error import YAMLError

        if text.lstrip().startswith("```"):
            return "it stands in a code block"
        try:
            value = YAML(typ="safe", pure=True).load(text)
        except (YAMLError, ValueError, RecursionError) as error:
            mark = getattr(error, "problem_mark", None)
            place = f" at line {mark.line + 1} column {mark.column + 1}" if mark is not None else ""
            return f"it is no valid YAML{place}"
        return self._json._against_schema(value)


class PythonForm:
    """Python source, of the version that runs here."""

    name = "python"

    def check(self, text: str, *, cut: bool) -> Verdict:
        """See `Form.check`."""
        problem = self._problem(text)
        if not problem:
            return Verdict()
        bare = _unfenced(text)
        return Verdict(problem, bare if not cut and bare != text and not self._problem(bare) else "")

    @staticmethod
    def _problem(text: str) -> str:
        if not text.strip():
            return "it is empty"
        try:
            ast.parse(text)
        except SyntaxError as error:
            return f"it is no valid Python: {error.msg} at line {error.lineno}"
        except (ValueError, RecursionError, MemoryError):
            return "it is no valid Python"
        return ""


class SqlForm:
    """One statement of SQL."""

    name = "sql"

    def __init__(self, dialect: str = "") -> None:
        """Raises `ValueError` for a dialect that is not known."""
        import sqlglot

        sqlglot.Dialect.get_or_raise(dialect or None)
        self._dialect = dialect or None

    def check(self, text: str, *, cut: bool) -> Verdict:
        """See `Form.check`."""
        problem = self._problem(text)
        if not problem:
            return Verdict()
        bare = _unfenced(text).strip()
        return Verdict(problem, bare if not cut and bare != text and not self._problem(bare) else "")

    def _problem(self, text: str) -> str:
        import sqlglot
        from sqlglot.errors import SqlglotError
        from sqlglot.expressions import Command

        try:
            statements = [each for each in sqlglot.parse(text, read=self._dialect) if each is not None]
        except SqlglotError as error:
            details = getattr(error, "errors", None) or [{}]
            line = details[0].get("line")
            return "it is no valid SQL" + (f" at line {line}" if line else "")
        except RecursionError:
            return "it is nested too deeply"
        if len(statements) != 1:
            return "it is not one statement"
        return "it is no statement that is understood" if isinstance(statements[0], Command) else ""


class ChoiceForm:
    """One of a few answers, letter by letter."""

    name = "choice"

    def __init__(self, choices: Sequence[str]) -> None:
        self._choices = tuple(choices)
        self._known = {_plain(choice): choice for choice in choices}

    def check(self, text: str, *, cut: bool) -> Verdict:
        """See `Form.check`."""
        if text in self._choices:
            return Verdict()
        problem = f"it is none of: {', '.join(self._choices)}"
        if cut:
            return Verdict(problem)
        exact = self._known.get(_plain(text))
        if exact is not None:
            return Verdict(problem, exact)
        within = [c for plain, c in self._known.items() if re.search(rf"(?<!\w){re.escape(plain)}(?!\w)", _plain(text))]
        return Verdict(problem, within[0] if len(within) == 1 and len(text) <= 200 and not _NOT.search(text) else "")


_NOT = re.compile(r"(?i)\b(?:not|no|never|n't|neither)\b|n't\b")


def _plain(text: str) -> str:
    return text.strip().strip("\"'`*.!").strip().casefold()


class PatternForm:
    """What a regular expression matches from end to end."""

    name = "pattern"

    def __init__(self, pattern: str) -> None:
        self._pattern = re.compile(pattern)

    def check(self, text: str, *, cut: bool) -> Verdict:
        """See `Form.check`."""
        if self._pattern.fullmatch(text):
            return Verdict()
        trimmed = text.strip()
        problem = f"it does not match the pattern {self._pattern.pattern}"
        return Verdict(problem, trimmed if not cut and self._pattern.fullmatch(trimmed) else "")
