"""Function calls: ids where Google gave none, names where only an id is known, arguments as an object."""

from __future__ import annotations

from typing import Any

import msgspec

from gateway.dialects import fields

_decode = msgspec.json.Decoder().decode
RAW_ARGUMENTS = "_raw"


class CallBook:
    """The calls of one conversation in their order, so that each result finds its call.

    Calls without an id are named `call_0`, `call_1`, ... A result without an id belongs to the first call of its name
    that has no result yet.
    """

    __slots__ = ("_count", "_names", "_open")

    def __init__(self) -> None:
        self._names: dict[str, str] = {}
        self._open: dict[str, str] = {}
        self._count = 0

    def call(self, call_id: str, name: str) -> str:
        """Notes a call and gives its id."""
        call_id = call_id or self._new_id()
        self._names[call_id] = name
        self._open[call_id] = name
        return call_id

    def result(self, call_id: str, name: str) -> tuple[str, str]:
        """The id and the name of the call that a result answers; an empty name when it can't be known."""
        if not call_id:
            matches = (open_id for open_id, open_name in self._open.items() if open_name == name)
            call_id = next(matches, "") or self._new_id()
        self._open.pop(call_id, None)
        return call_id, name or self._names.get(call_id, "")

    def _new_id(self) -> str:
        while True:
            call_id = f"call_{self._count}"
            self._count += 1
            if call_id not in self._names:
                return call_id


def arguments_object(arguments: str) -> msgspec.Raw | dict[str, str]:
    """The JSON text of a call's arguments as the object that Google wants, unchanged.

    Text that is no JSON object is kept whole under `_raw`.
    """
    if not arguments.strip():
        return {}
    if is_json_object(arguments):
        return msgspec.Raw(arguments.encode())
    return {RAW_ARGUMENTS: arguments}


def is_json_object(text: str) -> bool:
    """Whether the text is one JSON object."""
    if not text.lstrip().startswith("{"):
        return False
    try:
        _decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return False
    return True


def arguments_text(args: dict[str, Any] | None) -> str:
    """The JSON text of an object of arguments."""
    return msgspec.json.encode(args).decode() if args else "{}"


def read_name(source: dict[str, Any], where: str) -> str:
    """A function's name, which must not be empty."""
    name = fields.required_text(source, "name", where)
    if not name:
        raise fields.missing(where + "name")
    return name
