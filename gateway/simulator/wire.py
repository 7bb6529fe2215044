"""The interface of the vendors' modules, and the error for a bad request."""

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
    """A request that the vendor would reject; `field` is the field that its error names."""

    def __init__(self, message: str, field: str = "", status: int = 400) -> None:
        super().__init__(message)
        self.message = message
        self.field = field
        self.status = status


class ParsedEvent(NamedTuple):
    """The text of an event or a body (with reasoning and calls), and its usage, if any."""

    text: str
    usage: Tokens | None


class Wire(Protocol):
    """One vendor's wire format."""

    name: str
    """The dialect's name."""
    missing_key: tuple[int, str]
    """Status and message for a request without a key."""
    key_headers: tuple[str, ...]
    """The headers in which the vendor accepts a key."""
    ends: int
    """The number of last frames in a stream that are the vendor's end marker."""
    generates: ClassVar[frozenset[str]]
    """The paths, or the verbs at their ends, that generate text."""
    prelude: int = 0
    """The number of events before the first text."""
    overloaded: int = 503
    """The vendor's status for overload."""
    key_in_query: bool = False
    """Whether `?key=` counts as a key."""
    floods: ClassVar[Mapping[str, bytes]]
    """Events with text, calls, choices and parts, to be sent endlessly; `@` is the number."""
    endless: ClassVar[Mapping[str, tuple[bytes, bytes]]]
    """The start of an endless buffered body, and the part that is repeated."""

    @classmethod
    def of(cls, path: str, headers: Mapping[str, str]) -> Self | None:
        """The wire format if the request is this vendor's, else None."""
        ...

    def split_path(self, path: str, query: str) -> tuple[str, str, str]:
        """The path without its model, and the model and the verb in it, if any. Raises `BadRequest`."""
        return path, "", ""

    @classmethod
    def non_chat_reply(cls, path: str, verb: str, body: dict[str, Any]) -> dict[str, Any] | None:
        """A response without generated text, such as embeddings; None for other paths. Raises `BadRequest`."""
        return None

    def join_frames(self, frames: list[bytes], query: str) -> bytes | None:
        """The frames of a stream as one body, if the query does not request events; else None."""
        return None

    def read(self, body: dict[str, Any], model: str, stream: bool) -> SimulatedRequest:
        """Reads a request. `model` and `stream` are from the path, if it contains them. Raises `BadRequest`."""
        ...

    def body(
        self, request: SimulatedRequest, choice: SimulatedAnswer, count: Tokens, behaviour: Behaviour
    ) -> dict[str, Any]:
        """The body of a buffered response."""
        ...

    def events(
        self, request: SimulatedRequest, choice: SimulatedAnswer, count: Tokens, behaviour: Behaviour
    ) -> list[bytes]:
        """The frames of a stream, including the vendor's end marker."""
        ...

    def parse_event(self, event: dict[str, Any]) -> ParsedEvent:
        """Parses an event or a body of `events` or `body`."""
        ...

    def headers(self, serial: str) -> dict[str, str]:
        """The headers that the vendor adds to every reply."""
        ...

    def error(self, status: int, message: str, kind: str = "", after_s: int = 0) -> dict[str, Any]:
        """The body of an error; `kind` is the field at fault, or `context` for a prompt that is too long."""
        ...

    def error_event(self, status: int = 0) -> bytes:
        """An error within a stream; `status` is the equivalent HTTP status."""
        ...

    def models(self, model: str) -> dict[str, Any]:
        """The list of models, or one model if `model` is set."""
        ...


def dump(value: Any) -> bytes:
    """Compact JSON in UTF-8."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def vector(text: str, size: int = 8) -> list[float]:
    """Numbers in [-0.5, 0.5] that depend only on the text."""
    noise = hashlib.shake_128(text.encode("utf-8", "replace")).digest(size)
    return [round(byte / 255 - 0.5, 6) for byte in noise]


def text_of(content: Any) -> str:
    """The text of a message's content in OpenAI's or Anthropic's format."""
    if isinstance(content, str):
        return content
    return "".join(part.get("text") or "" for part in content or () if isinstance(part, dict))


def find_wrong_type(body: dict[str, Any], kinds: Mapping[str, tuple[type, ...]]) -> tuple[str, str, str] | None:
    """The first field with a wrong type: its name, the expected and the actual type."""
    for name, allowed in kinds.items():
        value = body.get(name)
        fits = isinstance(value, allowed) and (bool in allowed or not isinstance(value, bool))
        if value is not None and not fits:
            return name, KIND_NAMES[allowed[0]], KIND_NAMES.get(type(value), "null")
    return None
