"""What the three vendors' modules have in common: the seam, and the error that a bad request gets."""

from __future__ import annotations

import hashlib
import json
from typing import Any, Protocol

from gateway.simulator.answers import Answer, Asked, Tokens
from gateway.simulator.behaviours import Behaviour

CREATED = 1_767_225_600


class BadRequest(Exception):
    """A request that the vendor would refuse with 400; `field` is what it would name."""

    def __init__(self, message: str, field: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.field = field


class Wire(Protocol):
    """One vendor's format."""

    def read(self, body: dict[str, Any], model: str, stream: bool) -> Asked:
        """Raises `BadRequest`. `model` and `stream` are from the path, where the vendor has them there."""
        ...

    def whole(self, asked: Asked, given: Answer, count: Tokens, behaviour: Behaviour) -> dict[str, Any]:
        """The body of an answer."""
        ...

    def events(self, asked: Asked, given: Answer, count: Tokens, behaviour: Behaviour) -> list[bytes]:
        """The frames of a stream, the vendor's own end included."""
        ...

    def ends(self) -> int:
        """How many of the last frames are the vendor's own end."""
        ...

    def error(self, status: int, message: str, kind: str = "") -> dict[str, Any]:
        """The body of an error; `kind` `context` is the error for a prompt that is too long."""
        ...

    def error_event(self) -> bytes:
        """An error within a stream."""
        ...


def dump(value: Any) -> bytes:
    """Compact JSON in UTF-8."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def vector(text: str, size: int = 8) -> list[float]:
    """Numbers that depend on nothing but the text."""
    noise = hashlib.sha256(text.encode("utf-8", "replace")).digest()
    return [round(noise[place % 32] / 255 - 0.5, 6) for place in range(size)]


def text_of(content: Any) -> str:
    """The words of a message's content in OpenAI's or Anthropic's form."""
    if isinstance(content, str):
        return content
    return "".join(part.get("text") or "" for part in content or () if isinstance(part, dict))
