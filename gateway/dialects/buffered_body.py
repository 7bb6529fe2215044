"""A reply that is one JSON body: collects it, and extracts the text of an incomplete one."""

from __future__ import annotations

import functools
import json
import re
from typing import TYPE_CHECKING, ClassVar

import msgspec

from contract.errors import IncompleteReply

if TYPE_CHECKING:
    from contract.deltas import Delta

BOM = b"\xef\xbb\xbf"
_STRING = rb'"([^"\\]*(?:\\.[^"\\]*)*)'
# The fields of the three vendors' bodies that contain text; `input` and `args` are arguments as objects.
_TEXT_FIELDS = ("content", "reasoning_content", "reasoning", "refusal", "text", "thinking", "arguments")
_STREAM_END = b"data: [DONE]"
_INCOMPLETE_ESCAPE = re.compile(rb"\\u[0-9a-fA-F]{0,3}$")


class BufferedBody:
    """The base of readers of buffered replies. `done` says that the body has been read."""

    __slots__ = ("_parts", "done")
    text_fields: ClassVar[tuple[str, ...]] = ()
    """Further text fields of this dialect. Their received text is billed, even if the response was cut off."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self.done = False

    def feed(self, data: bytes) -> list[Delta]:
        """Collects without output."""
        self._parts.append(data)
        return []

    def unread(self) -> str | None:
        """See `ReplyReader.unread`."""
        body = b"".join(self._parts)
        return None if self.done or not body.strip() or _is_json(body) else find_text(body, self.text_fields)

    def body(self) -> bytes:
        """The complete body. Raises `IncompleteReply` if it is empty."""
        body = b"".join(self._parts).removeprefix(BOM)
        if not body.strip():
            raise IncompleteReply("The provider sent an empty body")
        if body.rstrip().endswith(_STREAM_END):
            # Some servers end every response like a stream.
            body = body.rstrip().removesuffix(_STREAM_END)
        return body


def _is_json(body: bytes) -> bool:
    """Whether the body is valid JSON: then it is complete, and an error or a response of another dialect."""
    try:
        msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError):
        return False
    return True


def find_text(body: bytes, fields: tuple[str, ...] = ()) -> str:
    """A model's text in a body that may end anywhere. `fields` are text fields besides those of the three vendors."""
    return "".join(
        _unescape(match[1]) if match[1] is not None else match[2].decode("utf-8", "ignore")
        for match in _text_pattern(fields).finditer(body)
    )


@functools.cache
def _text_pattern(fields: tuple[str, ...]) -> re.Pattern[bytes]:
    names = "|".join(map(re.escape, (*_TEXT_FIELDS, *fields))).encode()
    return re.compile(rb'"(?:' + names + rb')"\s*:\s*' + _STRING + rb'|"(?:input|args)"\s*:\s*\{([^}]*)', re.DOTALL)


def _unescape(text: bytes) -> str:
    text = _INCOMPLETE_ESCAPE.sub(b"", text)
    if b"\\" not in text:
        return text.decode("utf-8", "ignore")
    try:
        return str(json.loads(b'"%b"' % text.decode("utf-8", "ignore").encode(), strict=False))
    except ValueError:
        return text.decode("utf-8", "ignore")
