"""What the vendors' modules have in common: the seam, and the error that a bad request gets."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple, Protocol, Self

from gateway.simulator.answers import SimulatedAnswer, SimulatedRequest, Tokens
from gateway.simulator.behaviours import Behaviour

CREATED = 1_767_225_600
KIND_NAMES = {bool: "boolean", int: "integer", float: "number", str: "string", list: "array", dict: "object"}


class BadRequest(Exception):
    """A request that the vendor would refuse with 400; `field` is what it would name."""

    def __init__(self, message: str, field: str = "", status: int = 400) -> None:
        super().__init__(message)
        self.message = message
        self.field = field
        self.status = status


class ParsedEvent(NamedTuple):
    """What an event, or a whole body, has said: words, thoughts and calls, and its usage if it names one."""

    words: str
    usage: Tokens | None


class Wire(Protocol):
    """One vendor's format."""

    name: str
    """The dialect."""
    keyless: tuple[int, str]
    """Status and message for a request without a key."""
    key_headers: tuple[str, ...]
    """Where the vendor reads a key."""
    ends: int
    """How many of the last frames of a stream are the vendor's own end."""
    generates: ClassVar[frozenset[str]]
    """The paths, or the verbs at their ends, that ask for an answer of a model."""
    prelude: int = 0
    """How many of an answer's first events come before the first word."""
    overloaded: int = 503
    """The status of a vendor that has too much to do."""
    key_in_query: bool = False
    """Whether `?key=` counts as a key."""
    floods: ClassVar[Mapping[str, bytes]]
    """An event of words, calls, choices and parts, to be sent without end; `@` is its number."""
    endless: ClassVar[Mapping[str, tuple[bytes, bytes]]]
    """How a whole answer begins that never ends, and what then comes again and again."""

    @classmethod
    def of(cls, path: str, headers: Mapping[str, str]) -> Self | None:
        """The format of a request of this vendor's; None for another's."""
        ...

    def place(self, path: str, query: str) -> tuple[str, str, str]:
        """The path without its model; the model and the verb, if they stand in it. Raises `BadRequest`."""
        return path, "", ""

    @classmethod
    def plainly(cls, path: str, verb: str, body: dict[str, Any]) -> dict[str, Any] | None:
        """An answer that is no text of a model, such as embeddings; None for another path. Raises `BadRequest`."""
        return None

    def unframed(self, frames: list[bytes], query: str) -> bytes | None:
        """A stream's frames as one body, where the query asks for no events; None where they are events always."""
        return None

    def read(self, body: dict[str, Any], model: str, stream: bool) -> SimulatedRequest:
        """Raises `BadRequest`. `model` and `stream` are from the path, where the vendor has them there."""
        ...

    def whole(
        self, asked: SimulatedRequest, given: SimulatedAnswer, count: Tokens, behaviour: Behaviour
    ) -> dict[str, Any]:
        """The body of an answer."""
        ...

    def events(
        self, asked: SimulatedRequest, given: SimulatedAnswer, count: Tokens, behaviour: Behaviour
    ) -> list[bytes]:
        """The frames of a stream, the vendor's own end included."""
        ...

    def hear(self, event: dict[str, Any]) -> ParsedEvent:
        """Reads an event or a body of `events` or `whole` again."""
        ...

    def headers(self, serial: str) -> dict[str, str]:
        """What the vendor adds to every reply."""
        ...

    def error(self, status: int, message: str, kind: str = "", after_s: int = 0) -> dict[str, Any]:
        """The body of an error; `kind` is the field at fault, or `context` for a prompt that is too long."""
        ...

    def error_event(self, status: int = 0) -> bytes:
        """An error within a stream; `status` is what it would have been before it."""
        ...

    def models(self, model: str) -> dict[str, Any]:
        """The list of models, or one of them if `model` is named."""
        ...


def dump(value: Any) -> bytes:
    """Compact JSON in UTF-8."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def vector(text: str, size: int = 8) -> list[float]:
    """Numbers in [-0.5, 0.5] that depend on nothing but the text."""
    noise = hashlib.shake_128(text.encode("utf-8", "replace")).digest(size)
    return [round(byte / 255 - 0.5, 6) for byte in noise]


def text_of(content: Any) -> str:
    """The words of a message's content in OpenAI's or Anthropic's form."""
    if isinstance(content, str):
        return content
    return "".join(part.get("text") or "" for part in content or () if isinstance(part, dict))


def first_wrong(body: dict[str, Any], kinds: Mapping[str, tuple[type, ...]]) -> tuple[str, str, str] | None:
    """The first field whose value is of none of its kinds: its name, what was expected, and what was given."""
    for name, allowed in kinds.items():
        value = body.get(name)
        fits = isinstance(value, allowed) and (bool in allowed or not isinstance(value, bool))
        if value is not None and not fits:
            return name, KIND_NAMES[allowed[0]], KIND_NAMES.get(type(value), "null")
    return None
