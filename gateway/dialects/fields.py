"""Reading JSON from outside: each wrong type is an `InvalidRequest` that names the field and what stands there."""

from __future__ import annotations

from typing import Any

import msgspec

from gateway.contract.errors import InvalidRequest, MalformedReply

_decode = msgspec.json.Decoder().decode
# How deep a provider's JSON may be nested: what is deeper could be read here and not be written again.
MAX_DEPTH = 128
# What reading a value of another shape than was expected may raise.
WRONG_SHAPE = (LookupError, TypeError, AttributeError, ValueError, OverflowError, RecursionError)
_NAMES = {
    str: "a string",
    int: "an integer",
    float: "a number",
    bool: "a boolean",
    list: "an array",
    dict: "an object",
    type(None): "null",
}


def read_json_object(body: bytes) -> dict[str, Any]:
    """The body as an object. Raises `InvalidRequest` saying where the JSON breaks."""
    try:
        value = _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"The body is not valid JSON: {error}") from None
    except RecursionError:
        raise InvalidRequest("The body is nested too deeply") from None
    if type(value) is not dict:
        raise InvalidRequest(f"The body must be a JSON object, not {_NAMES[type(value)]}")
    return value


def wrong(where: str, expected: str, value: object) -> InvalidRequest:
    """The error for a value of the wrong type at `where`."""
    return InvalidRequest(f"'{where}' must be {expected}, not {_NAMES.get(type(value), 'that')}", param=where)


def missing(where: str) -> InvalidRequest:
    """The error for a required field."""
    return InvalidRequest(f"'{where}' is missing", param=where)


def text(source: dict[str, Any], key: str, where: str = "") -> str | None:
    """A string, or None when absent or null. `where` is the path of `source` with its trailing dot, if any."""
    value = source.get(key)
    if value is not None and type(value) is not str:
        raise wrong(where + key, "a string", value)
    return value


def required_text(source: dict[str, Any], key: str, where: str = "") -> str:
    """A string that must be there."""
    value = text(source, key, where)
    if value is None:
        raise missing(where + key)
    return value


def number(source: dict[str, Any], key: str, where: str = "") -> float | None:
    """An integer or a float, or None."""
    value = source.get(key)
    if value is not None and type(value) is not float and type(value) is not int:
        raise wrong(where + key, "a number", value)
    return value


def integer(source: dict[str, Any], key: str, where: str = "") -> int | None:
    """An integer (2.0 counts as 2), or None."""
    value = source.get(key)
    if type(value) is float and value.is_integer():
        return int(value)
    if value is not None and type(value) is not int:
        raise wrong(where + key, "an integer", value)
    return value


def boolean(source: dict[str, Any], key: str, where: str = "") -> bool | None:
    """True, False, or None."""
    value = source.get(key)
    if value is not None and type(value) is not bool:
        raise wrong(where + key, "a boolean", value)
    return value


def array(source: dict[str, Any], key: str, where: str = "") -> list[Any] | None:
    """An array of anything, or None."""
    value = source.get(key)
    if value is not None and type(value) is not list:
        raise wrong(where + key, "an array", value)
    return value


def obj(source: dict[str, Any], key: str, where: str = "") -> dict[str, Any] | None:
    """An object, or None."""
    value = source.get(key)
    if value is not None and type(value) is not dict:
        raise wrong(where + key, "an object", value)
    return value


def each_object(items: list[Any], where: str) -> list[dict[str, Any]]:
    """The items, each of which must be an object. `where` is the array's path."""
    for index, item in enumerate(items):
        if type(item) is not dict:
            raise wrong(f"{where}[{index}]", "an object", item)
    return items


def rest(source: dict[str, Any], known: frozenset[str]) -> dict[str, Any] | None:
    """The fields that are not known, or None when there are none."""
    if source.keys() <= known:
        return None
    return {key: value for key, value in source.items() if key not in known}


def words(value: object) -> str:
    """A provider's string; null says nothing. Raises `TypeError` for any other value: the reply is malformed."""
    if value is None:
        return ""
    if type(value) is str:
        return value
    raise TypeError(f"a string was expected, not {_NAMES.get(type(value), 'that')}")


def read_reply_json(data: bytes | msgspec.Raw, what: str) -> Any:
    """A provider's JSON. Raises `MalformedReply` for none, and for one that is nested too deeply."""
    try:
        value = _decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise MalformedReply(f"{what} is not JSON") from None
    data = bytes(data)
    if too_deep(value, data.count(b"[") + data.count(b"{")):
        raise MalformedReply(f"{what} is nested too deeply")
    return value


def too_deep(value: object, brackets: int) -> bool:
    """Whether decoded JSON, of a text with so many opening brackets, is nested deeper than MAX_DEPTH."""
    if brackets <= MAX_DEPTH:
        return False
    level = [value]
    for _ in range(MAX_DEPTH):
        inner: list[object] = []
        for each in level:
            if type(each) is dict:
                inner += [found for found in each.values() if type(found) is dict or type(found) is list]
            elif type(each) is list:
                inner += [found for found in each if type(found) is dict or type(found) is list]
        if not inner:
            return False
        level = inner
    return True


def says_something(error: object) -> bool:
    """Whether an `error` field holds one: some servers always write the field."""
    if isinstance(error, dict):
        return any(says_something(each) for each in error.values())
    return bool(error)
