"""Reading JSON from outside: each wrong type is an `InvalidRequest` that names the field and what stands there."""

from __future__ import annotations

from typing import Any

import msgspec

from contract.errors import InvalidRequest, MalformedReply

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


# What no provider takes, and what would hold up everybody else while it is read, walked and written.
MOST_ITEMS = 10_000
MOST_NUMBERS = 300_000
MOST_PARTS = 20_000
# Of one field that holds no conversation: tools, a schema, metadata.
MOST_BYTES = 2_000_000
MOST_DEPTH = 100
MOST_CHOICES = 128
# From so many commas on, everything is counted before anything is made of them.
_MANY_COMMAS = 100_000
_decode_items = msgspec.json.Decoder(list[msgspec.Raw]).decode


def read_json_object(body: bytes) -> dict[str, Any]:
    """The body as an object. Raises `InvalidRequest` saying where the JSON breaks, or what there is too much of."""
    try:
        if len(body) > _MANY_COMMAS and body.count(b",") > _MANY_COMMAS:
            _check_size(body)
        value = _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"The body is not valid JSON: {error}") from None
    except RecursionError:
        raise InvalidRequest(_DEEP) from None
    if type(value) is not dict:
        raise InvalidRequest(f"The body must be a JSON object, not {_NAMES[type(value)]}")
    if body.count(b"{") + body.count(b"[") > MOST_DEPTH:
        _check_depth(value)
    return value


_DEEP = f"The body is nested more than {MOST_DEPTH} deep"


def _check_depth(value: dict[str, Any]) -> None:
    level: list[Any] = [value]
    for _ in range(MOST_DEPTH):
        level = [
            inner
            for each in level
            for inner in (each.values() if type(each) is dict else each)
            if type(inner) is dict or type(inner) is list
        ]
        if not level:
            return
    raise InvalidRequest(_DEEP)


class _Turn(msgspec.Struct):
    """As much of a message as it takes to count its parts."""

    content: msgspec.Raw = msgspec.Raw(b"null")
    parts: msgspec.Raw = msgspec.Raw(b"null")


_decode_turn = msgspec.json.Decoder(_Turn).decode
_LONG = ("messages", "contents", "input", "requests", "system", "systemInstruction", "system_instruction", "prediction")
_SHORT = ("tools", "stop", "stop_sequences", "metadata", "response_format", "generationConfig", "generation_config")
_TURNS = ("messages", "contents")
_NOTHING = msgspec.Raw(b"null")
_Body = msgspec.defstruct("_Body", [(name, msgspec.Raw, _NOTHING) for name in (*_LONG, *_SHORT)])
_decode_fields = msgspec.json.Decoder(_Body).decode


def _check_size(body: bytes) -> None:
    """Counts without making anything of what is counted. Raises `InvalidRequest`, and `msgspec.DecodeError`."""
    values = _decode_fields(body)
    rest = len(body)
    for name in (*_LONG, *_SHORT):
        raw = getattr(values, name)
        data = memoryview(raw)
        rest -= len(data)
        if name in _SHORT and len(data) > MOST_BYTES:
            raise InvalidRequest(f"'{name}' has {len(data)} bytes, and at most {MOST_BYTES} are taken", param=name)
        if data[:1].tobytes() == b"[":
            numbers = data[1:64].tobytes().lstrip()[:1].isdigit()
            items = few(_decode_items(raw), name, MOST_NUMBERS if numbers else MOST_ITEMS)
            if name in _TURNS:
                _count_parts(items, name)
    if rest > MOST_BYTES:
        raise InvalidRequest(f"All other fields together have {rest} bytes, and at most {MOST_BYTES} are taken")


def _count_parts(turns: list[Any], name: str) -> None:
    parts = 0
    for turn in turns:
        if memoryview(turn)[:1].tobytes() == b"{":
            found = _decode_turn(turn)
            parts += sum(
                len(_decode_items(each))
                for each in (found.content, found.parts)
                if memoryview(each)[:1].tobytes() == b"["
            )
        if parts > MOST_PARTS:
            raise InvalidRequest(f"'{name}' hold more than {MOST_PARTS} parts together", param=name)


def few(items: list[Any], where: str, most: int = MOST_ITEMS) -> list[Any]:
    """The items, if they are not too many."""
    if len(items) > most:
        raise InvalidRequest(f"'{where}' holds {len(items)} items, and at most {most} are taken", param=where)
    return items


def count(source: dict[str, Any], key: str, where: str = "") -> int | None:
    """How many answers are wanted, or None."""
    value = integer(source, key, where)
    if value is not None and value > MOST_CHOICES:
        raise InvalidRequest(f"'{where}{key}' is {value}, and at most {MOST_CHOICES} are given", param=where + key)
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
    """An array of anything, not too long, or None."""
    value = source.get(key)
    if value is not None and type(value) is not list:
        raise wrong(where + key, "an array", value)
    return value if value is None else few(value, where + key)


def obj(source: dict[str, Any], key: str, where: str = "") -> dict[str, Any] | None:
    """An object, or None."""
    value = source.get(key)
    if value is not None and type(value) is not dict:
        raise wrong(where + key, "an object", value)
    return value


def each_object(items: list[Any], where: str) -> list[dict[str, Any]]:
    """The items, each of which must be an object. `where` is the array's path."""
    for index, item in enumerate(few(items, where)):
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


def must_be_forwarded(error: object) -> bool:
    """Whether an `error` field holds one: some servers always write the field."""
    if isinstance(error, dict):
        return any(must_be_forwarded(each) for each in error.values())
    return bool(error)
