"""The only list of vendors that the simulator supports. Each has a module `wire_NAME` with a `WIRE`."""

from __future__ import annotations

import functools
import importlib
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.simulator.wire import Wire

# The names of their dialects. The first is the default for requests that match no other.
Vendor: TypeAlias = Literal["openai", "anthropic", "gemini"]


@functools.cache
def wires() -> tuple[type[Wire], ...]:
    """The vendors' classes, in the order of the list."""
    names = get_args(Vendor)
    return tuple(importlib.import_module(f"gateway.simulator.wire_{name}").WIRE for name in names)


def find_wire(path: str, headers: Mapping[str, str]) -> Wire:
    """The vendor of a request, by its path and headers."""
    matches = (each.of(path, headers) for each in reversed(wires()))
    wire = next((each for each in matches if each is not None), None)
    assert wire is not None
    return wire


def non_chat_reply(path: str, verb: str, body: dict[str, Any]) -> dict[str, Any] | None:
    """A response without generated text, from the vendor that has the path; else None. Raises `BadRequest`."""
    replies = (each.non_chat_reply(path, verb, body) for each in wires())
    return next((each for each in replies if each is not None), None)


def generates(path_or_verb: str) -> bool:
    """Whether a path, or the verb at its end, generates text."""
    return any(path_or_verb in each.generates for each in wires())
