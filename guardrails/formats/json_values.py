"""JSON values: read strictly, bounded in depth and size, and held against a schema."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterator
from typing import Any

from guardrails.formats.mending import MAX_DEPTH
from guardrails.matching import Matcher, TooSlow

# So many values are held against a schema; what refers to itself has more than that, whatever it is.
MAX_VALUES = 200_000
_MOST_DIGITS = 4000
# A pattern of a schema is looked for in so many characters.
_MOST_MATCHED = 10_000
_TOO_DEEP = "it is nested too deeply"


def loads(text: str) -> Any:
    """Strict: no NaN, no duplicate keys, no comments. Raises `ValueError` without the text in it."""

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(items)
        if len(found) != len(items):
            raise ValueError("a key comes twice")
        return found

    def refuse(name: str) -> Any:
        raise ValueError(f"{name} is not allowed")

    def whole(digits: str) -> int:
        if len(digits) > _MOST_DIGITS:
            raise ValueError(f"a number has more than {_MOST_DIGITS} digits")
        return int(digits)

    try:
        value = json.loads(text, object_pairs_hook=pairs, parse_constant=refuse, parse_int=whole)
    except json.JSONDecodeError as error:
        raise ValueError(f"{error.msg} at line {error.lineno} column {error.colno}") from None
    except RecursionError:
        raise ValueError(_TOO_DEEP) from None
    if problem := depth_problem(value):
        raise ValueError(problem)
    return value


def depth_problem(value: Any) -> str:
    """What is wrong with a value's size: nested too deeply, or more values than can be checked; else empty."""
    levels = [iter((value,))]
    count = 0
    while levels:
        each = next(levels[-1], levels)
        if each is levels:
            levels.pop()
            continue
        count += 1
        if count > MAX_VALUES:
            return "it holds more values than can be checked"
        if isinstance(each, (dict, list)):
            if len(levels) > MAX_DEPTH:
                return _TOO_DEEP
            levels.append(iter(each.values() if isinstance(each, dict) else each))
    return ""


class Schema:
    """A JSON schema."""

    def __init__(self, schema: dict[str, Any]) -> None:
        """Raises `ValueError` for a schema that is none."""
        from jsonschema import SchemaError, ValidationError  # type: ignore[import-untyped]
        from jsonschema.validators import extend, validator_for  # type: ignore[import-untyped]

        def unique(validator: Any, wanted: Any, instance: Any, schema: Any) -> Iterator[Any]:
            # The library's own compares every item with every other.
            if wanted and isinstance(instance, list) and len({_key(each) for each in instance}) < len(instance):
                yield ValidationError("an item comes twice")

        def pattern(validator: Any, wanted: Any, instance: Any, schema: Any) -> Iterator[Any]:
            if isinstance(instance, str) and not self._matches(wanted, instance):
                yield ValidationError("it does not match")

        made = validator_for(schema)
        try:
            made.check_schema(schema)
        except SchemaError as error:
            raise ValueError(f"the schema is no JSON schema: {error.message}") from None
        self._validator = extend(made, {"uniqueItems": unique, "pattern": pattern})(schema)
        self._matchers: dict[str, Matcher] = {}

    def _matches(self, form: str, text: str) -> bool:
        matcher = self._matchers.setdefault(form, Matcher(form))
        try:
            return bool(matcher.find(text[:_MOST_MATCHED]))
        except TooSlow:
            return False

    def problem(self, value: Any) -> str:
        """What the value breaks, without the value; empty when it is of the schema."""
        if not _is_json(value):
            return "it holds what JSON can't (NaN, Infinity, or a key that is no text)"
        try:
            errors = list(itertools.islice(self._validator.iter_errors(value), _MOST_ERRORS))
        except RecursionError:
            return _TOO_DEEP
        errors.sort(key=lambda error: list(map(str, error.absolute_path)))
        return "; ".join(_told(error) for error in errors[:3])


_MOST_ERRORS = 100


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
    """The same text for what a schema takes to be equal: 1 and 1.0, but not 1 and true."""
    return json.dumps(_whole(value), sort_keys=True, default=str)


def _whole(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list):
        return [_whole(each) for each in value]
    return {key: _whole(each) for key, each in value.items()} if isinstance(value, dict) else value


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
