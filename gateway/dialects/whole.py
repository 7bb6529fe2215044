"""A reply that is one JSON body: collected until its end, and what is known of it when the end does not come."""

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
# Where the three vendors' bodies have a model's words; `input` and `args` are arguments that are no string.
_WORDS = ("content", "reasoning_content", "reasoning", "refusal", "text", "thinking", "arguments")
_STREAMS_END = b"data: [DONE]"
_HALF_ESCAPE = re.compile(rb"\\u[0-9a-fA-F]{0,3}$")


class WholeBody:
    """What the readers of whole replies share. `done` says that the body has been read."""

    __slots__ = ("_parts", "done")
    words: ClassVar[tuple[str, ...]] = ()
    """Fields that hold words in this dialect alone: what of them has come is billed, though the answer broke off."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self.done = False

    def feed(self, data: bytes) -> list[Delta]:
        """Collects."""
        self._parts.append(data)
        return []

    def unread(self) -> str | None:
        """See `ReplyReader.unread`."""
        body = b"".join(self._parts)
        return None if self.done or not body.strip() or _is_json(body) else words_within(body, self.words)

    def body(self) -> bytes:
        """All of it. Raises `IncompleteReply` for nothing."""
        body = b"".join(self._parts).removeprefix(BOM)
        if not body.strip():
            raise IncompleteReply("The provider answered with an empty body")
        if body.rstrip().endswith(_STREAMS_END):
            # Some servers end every answer as if it were a stream.
            body = body.rstrip().removesuffix(_STREAMS_END)
        return body


def _is_json(body: bytes) -> bool:
    """Whether it came whole: then it is an error, or no answer of this dialect, and nobody has cut it."""
    try:
        msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError):
        return False
    return True


def words_within(body: bytes, fields: tuple[str, ...] = ()) -> str:
    """A model's words in a body that may end anywhere. `fields` hold words beside those that the three vendors have."""
    return "".join(
        _unescape(found[1]) if found[1] is not None else found[2].decode("utf-8", "ignore")
        for found in _form(fields).finditer(body)
    )


@functools.cache
def _form(fields: tuple[str, ...]) -> re.Pattern[bytes]:
    names = "|".join(map(re.escape, (*_WORDS, *fields))).encode()
    return re.compile(rb'"(?:' + names + rb')"\s*:\s*' + _STRING + rb'|"(?:input|args)"\s*:\s*\{([^}]*)', re.DOTALL)


def _unescape(text: bytes) -> str:
    text = _HALF_ESCAPE.sub(b"", text)
    if b"\\" not in text:
        return text.decode("utf-8", "ignore")
    try:
        return str(json.loads(b'"%b"' % text.decode("utf-8", "ignore").encode(), strict=False))
    except ValueError:
        return text.decode("utf-8", "ignore")
