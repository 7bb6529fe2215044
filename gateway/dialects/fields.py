"""Reads untrusted JSON. A wrong type raises an `InvalidRequest` that names the field and the actual type."""

from __future__ import annotations

from typing import Any

import msgspec

from contract.errors import InvalidRequest, MalformedReply

_decode = msgspec.json.Decoder().decode
# The maximum nesting of a provider's JSON: deeper JSON could be decoded but not encoded again.
MAX_REPLY_DEPTH = 128
# Exceptions from reading a value of an unexpected shape.
WRONG_SHAPE = (LookupError, TypeError, AttributeError, ValueError, OverflowError, RecursionError)
_TYPE_NAMES = {
    str: "a string",
    int: "an integer",
    float: "a number",
    bool: "a boolean",
    list: "an array",
    dict: "an object",
    type(None): "null",
}


# Limits above what any provider accepts. A larger request would delay others while it is parsed and written.
MAX_ITEMS = 10_000
MAX_NUMBERS = 300_000
MAX_PARTS = 20_000
# For one field other than the conversation: tools, a schema, metadata.
MAX_FIELD_BYTES = 2_000_000
MAX_REQUEST_DEPTH = 100
MAX_CHOICES = 128
# A body with more commas is checked for its size before it is decoded.
_MANY_COMMAS = 100_000
_decode_items = msgspec.json.Decoder(list[msgspec.Raw]).decode


def read_json_object(body: bytes) -> dict[str, Any]:
    """The body as an object. Raises `InvalidRequest` with the position of a JSON error or the exceeded limit."""
    try:
        if len(body) > _MANY_COMMAS and body.count(b",") > _MANY_COMMAS:
            _check_size(body)
        value = _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"The body is not valid JSON: {error}") from None
    except RecursionError:
        raise InvalidRequest(_TOO_DEEP) from None
    if type(value) is not dict:
        raise InvalidRequest(f"The body must be a JSON object, not {_TYPE_NAMES[type(value)]}")
    if body.count(b"{") + body.count(b"[") > MAX_REQUEST_DEPTH:
        _check_depth(value)
    return value


_TOO_DEEP = f"The body is nested more than {MAX_REQUEST_DEPTH} deep"


def _check_depth(value: dict[str, Any]) -> None:
    level: list[Any] = [value]
    for _ in range(MAX_REQUEST_DEPTH):
        level = [
            inner
            for each in level
            for inner in (each.values() if type(each) is dict else each)
            if type(inner) is dict or type(inner) is list
        ]
        if not level:
            return
    raise InvalidRequest(_TOO_DEEP)


class _Turn(msgspec.Struct):
    """The fields of a message that are needed to count its parts."""

    content: msgspec.Raw = msgspec.Raw(b"null")
    parts: msgspec.Raw = msgspec.Raw(b"null")


_decode_turn = msgspec.json.Decoder(_Turn).decode
_LONG_FIELDS = (
    "messages",
    "contents",
    "input",
    "requests",
    "system",
    "systemInstruction",
    "system_instruction",
    "prediction",
)
_SHORT_FIELDS = (
    "tools",
    "stop",
    "stop_sequences",
    "metadata",
    "response_format",
    "generationConfig",
    "generation_config",
)
_TURN_FIELDS = ("messages", "contents")
_NOTHING = msgspec.Raw(b"null")
_Body = msgspec.defstruct("_Body", [(name, msgspec.Raw, _NOTHING) for name in (*_LONG_FIELDS, *_SHORT_FIELDS)])
_decode_fields = msgspec.json.Decoder(_Body).decode


def _check_size(body: bytes) -> None:
    """Checks sizes without decoding the values. Raises `InvalidRequest` and `msgspec.DecodeError`."""
    values = _decode_fields(body)
    rest = len(body)
    for name in (*_LONG_FIELDS, *_SHORT_FIELDS):
        raw = getattr(values, name)
        data = memoryview(raw)
        rest -= len(data)
        if name in _SHORT_FIELDS and len(data) > MAX_FIELD_BYTES:
            raise InvalidRequest(f"'{name}' has {len(data)} bytes; at most {MAX_FIELD_BYTES} are accepted", param=name)
        if data[:1].tobytes() == b"[":
            numbers = data[1:64].tobytes().lstrip()[:1].isdigit()
            items = check_count(_decode_items(raw), name, MAX_NUMBERS if numbers else MAX_ITEMS)
            if name in _TURN_FIELDS:
                _count_parts(items, name)
    if rest > MAX_FIELD_BYTES:
        raise InvalidRequest(f"All other fields together have {rest} bytes; at most {MAX_FIELD_BYTES} are accepted")


def _count_parts(turns: list[Any], name: str) -> None:
    parts = 0
    for turn in turns:
        if memoryview(turn)[:1].tobytes() == b"{":
            decoded = _decode_turn(turn)
            parts += sum(
                len(_decode_items(each))
                for each in (decoded.content, decoded.parts)
                if memoryview(each)[:1].tobytes() == b"["
            )
        if parts > MAX_PARTS:
            raise InvalidRequest(f"'{name}' contains more than {MAX_PARTS} parts", param=name)


def check_count(items: list[Any], where: str, limit: int = MAX_ITEMS) -> list[Any]:
    """Returns the items. Raises `InvalidRequest` if there are too many."""
    if len(items) > limit:
        raise InvalidRequest(f"'{where}' contains {len(items)} items; at most {limit} are accepted", param=where)
    return items


def count(source: dict[str, Any], key: str, where: str = "") -> int | None:
    """The number of requested choices, or None."""
    value = integer(source, key, where)
    if value is not None and value > MAX_CHOICES:
        raise InvalidRequest(f"'{where}{key}' is {value}; at most {MAX_CHOICES} are supported", param=where + key)
    return value


def wrong_type(where: str, expected: str, value: object) -> InvalidRequest:
    """The error for a value of the wrong type at `where`."""
    actual = _TYPE_NAMES.get(type(value), "another type")
    return InvalidRequest(f"'{where}' must be {expected}, not {actual}", param=where)


def missing(where: str) -> InvalidRequest:
    """The error for a required field."""
    return InvalidRequest(f"'{where}' is missing", param=where)


def text(source: dict[str, Any], key: str, where: str = "") -> str | None:
    """A string, or None when absent or null. `where` is the path of `source` with its trailing dot, if any."""
    value = source.get(key)
    if value is not None and type(value) is not str:
        raise wrong_type(where + key, "a string", value)
    return value


def required_text(source: dict[str, Any], key: str, where: str = "") -> str:
    """A required string."""
    value = text(source, key, where)
    if value is None:
        raise missing(where + key)
    return value


def number(source: dict[str, Any], key: str, where: str = "") -> float | None:
    """An integer or a float, or None."""
    value = source.get(key)
    if value is not None and type(value) is not float and type(value) is not int:
        raise wrong_type(where + key, "a number", value)
    return value


def integer(source: dict[str, Any], key: str, where: str = "") -> int | None:
    """An integer (2.0 counts as 2), or None."""
    value = source.get(key)
    if type(value) is float and value.is_integer():
        return int(value)
    if value is not None and type(value) is not int:
        raise wrong_type(where + key, "an integer", value)
    return value


def boolean(source: dict[str, Any], key: str, where: str = "") -> bool | None:
    """True, False, or None."""
    value = source.get(key)
    if value is not None and type(value) is not bool:
        raise wrong_type(where + key, "a boolean", value)
    return value


def array(source: dict[str, Any], key: str, where: str = "") -> list[Any] | None:
    """An array of anything, not too long, or None."""
    value = source.get(key)
    if value is not None and type(value) is not list:
        raise wrong_type(where + key, "an array", value)
    return value if value is None else check_count(value, where + key)


def obj(source: dict[str, Any], key: str, where: str = "") -> dict[str, Any] | None:
    """An object, or None."""
    value = source.get(key)
    if value is not None and type(value) is not dict:
        raise wrong_type(where + key, "an object", value)
    return value


def each_object(items: list[Any], where: str) -> list[dict[str, Any]]:
    """The items, each of which must be an object. `where` is the array's path."""
    for index, item in enumerate(check_count(items, where)):
        if type(item) is not dict:
            raise wrong_type(f"{where}[{index}]", "an object", item)
    return items


def rest(source: dict[str, Any], known: frozenset[str]) -> dict[str, Any] | None:
    """The unknown fields, or None if there are none."""
    if source.keys() <= known:
        return None
    return {key: value for key, value in source.items() if key not in known}


def reply_text(value: object) -> str:
    """A provider's string; empty for null. Raises `TypeError` for any other value: the reply is malformed."""
    if value is None:
        return ""
    if type(value) is str:
        return value
    raise TypeError(f"expected a string, not {_TYPE_NAMES.get(type(value), 'another type')}")


def read_reply_json(data: bytes | msgspec.Raw, what: str) -> Any:
    """A provider's JSON. Raises `MalformedReply` if it is invalid or nested too deeply."""
    try:
        value = _decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise MalformedReply(f"{what} is not JSON") from None
    data = bytes(data)
    if too_deep(value, data.count(b"[") + data.count(b"{")):
        raise MalformedReply(f"{what} is nested too deeply")
    return value


def too_deep(value: object, brackets: int) -> bool:
    """Whether decoded JSON is nested deeper than MAX_REPLY_DEPTH. `brackets` counts opening brackets in its text."""
    if brackets <= MAX_REPLY_DEPTH:
        return False
    level = [value]
    for _ in range(MAX_REPLY_DEPTH):
        inner: list[object] = []
        for each in level:
            if type(each) is dict:
                inner += [item for item in each.values() if type(item) is dict or type(item) is list]
            elif type(each) is list:
                inner += [item for item in each if type(item) is dict or type(item) is list]
        if not inner:
            return False
        level = inner
    return True


def is_error(error: object) -> bool:
    """Whether an `error` field contains an error: some servers always write the field."""
    if isinstance(error, dict):
        return any(is_error(each) for each in error.values())
    return bool(error)
