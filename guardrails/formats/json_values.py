"""Parses JSON strictly, with limits on depth and size, and validates it against a schema."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterator
from typing import Any

from guardrails.formats.json_repair import MAX_DEPTH
from guardrails.matching import Matcher, TooSlow

# The maximum number of values in a document; also stops recursive YAML aliases.
MAX_VALUES = 200_000
_MAX_DIGITS = 4000
# Characters of a string that a schema's pattern is matched against.
_MAX_MATCHED = 10_000
_TOO_DEEP = "it is nested too deeply"


def loads(text: str) -> Any:
    """Parses JSON without NaN, duplicate keys or comments. Raises `ValueError`, which does not quote the text."""

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        value = dict(items)
        if len(value) != len(items):
            raise ValueError("it has a duplicate key")
        return value

    def refuse(name: str) -> Any:
        raise ValueError(f"{name} is not allowed")

    def integer(digits: str) -> int:
        if len(digits) > _MAX_DIGITS:
            raise ValueError(f"a number has more than {_MAX_DIGITS} digits")
        return int(digits)

    try:
        value = json.loads(text, object_pairs_hook=pairs, parse_constant=refuse, parse_int=integer)
    except json.JSONDecodeError as error:
        raise ValueError(f"{error.msg} at line {error.lineno} column {error.colno}") from None
    except RecursionError:
        raise ValueError(_TOO_DEEP) from None
    if problem := depth_problem(value):
        raise ValueError(problem)
    return value


def depth_problem(value: Any) -> str:
    """The problem with a value's size: nested too deeply, or too many values; else empty."""
    levels = [iter((value,))]
    count = 0
    while levels:
        each = next(levels[-1], levels)
        if each is levels:
            levels.pop()
            continue
        count += 1
        if count > MAX_VALUES:
            return "it contains too many values to be checked"
        if isinstance(each, (dict, list)):
            if len(levels) > MAX_DEPTH:
                return _TOO_DEEP
            levels.append(iter(each.values() if isinstance(each, dict) else each))
    return ""


class Schema:
    """A JSON schema."""

    def __init__(self, schema: dict[str, Any]) -> None:
        """Raises `ValueError` for an invalid schema."""
        from jsonschema import SchemaError, ValidationError  # type: ignore[import-untyped]
        from jsonschema.validators import extend, validator_for  # type: ignore[import-untyped]

        def unique(validator: Any, wanted: Any, instance: Any, schema: Any) -> Iterator[Any]:
            # The library's check compares every item with every other.
            if wanted and isinstance(instance, list) and len({_key(each) for each in instance}) < len(instance):
                yield ValidationError("it has a duplicate item")

        def pattern(validator: Any, wanted: Any, instance: Any, schema: Any) -> Iterator[Any]:
            if isinstance(instance, str) and not self._matches(wanted, instance):
                yield ValidationError("it does not match")

        validator = validator_for(schema)
        try:
            validator.check_schema(schema)
        except SchemaError as error:
            raise ValueError(f"the schema is not a valid JSON schema: {error.message}") from None
        self._validator = extend(validator, {"uniqueItems": unique, "pattern": pattern})(schema)
        self._matchers: dict[str, Matcher] = {}

    def _matches(self, regex: str, text: str) -> bool:
        matcher = self._matchers.setdefault(regex, Matcher(regex))
        try:
            return bool(matcher.find(text[:_MAX_MATCHED]))
        except TooSlow:
            return False

    def problem(self, value: Any) -> str:
        """The schema's rules that the value breaks, without the value itself; empty if it is valid."""
        if not _is_json(value):
            return "it contains a value that JSON does not support (NaN, Infinity, or a key that is not a string)"
        try:
            errors = list(itertools.islice(self._validator.iter_errors(value), _MAX_ERRORS))
        except RecursionError:
            return _TOO_DEEP
        errors.sort(key=lambda error: list(map(str, error.absolute_path)))
        return "; ".join(_describe(error) for error in errors[:3])


_MAX_ERRORS = 100


def _is_json(value: Any) -> bool:
    waiting = [value]
    while waiting:
        each = waiting.pop()
        if isinstance(each, float) and not math.isfinite(each):
            return False
        if isinstance(each, dict):
            if not all(isinstance(key, str) for key in each):
                return False
            waiting += each.values()
        elif isinstance(each, list):
            waiting += each
    return True


def _key(value: Any) -> str:
    """A text that is equal for values that JSON schema treats as equal: 1 and 1.0, but not 1 and true."""
    return json.dumps(_normalize(value), sort_keys=True, default=str)


def _normalize(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list):
        return [_normalize(each) for each in value]
    return {key: _normalize(each) for key, each in value.items()} if isinstance(value, dict) else value


def _describe(error: Any) -> str:
    """Describes a schema error without quoting the value."""
    place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in error.absolute_path).lstrip(".")
    what = f"'{place}'" if place else "the document"
    rule = error.validator
    if rule == "required":
        absent = [name for name in error.validator_value if name not in error.instance]
        return f"{what} lacks {', '.join(map(repr, absent))}"
    if rule == "additionalProperties":
        return f"{what} has properties that the schema does not allow"
    limit = json.dumps(error.validator_value, ensure_ascii=False)
    return f"{what} violates {rule}: {limit if len(limit) <= 200 else limit[:200] + '...'}"
