"""The vendors that the simulator speaks for: the only list of them. Each has a module `wire_NAME` with a `WIRE`."""

from __future__ import annotations

import functools
import importlib
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.simulator.wire import Wire

# By the names of their dialects. The first one's is what no other knows as its own.
Vendor: TypeAlias = Literal["openai", "anthropic", "gemini"]


@functools.cache
def wires() -> tuple[type[Wire], ...]:
    """Their classes, in the order of the list."""
    names = get_args(Vendor)
    return tuple(importlib.import_module(f"gateway.simulator.wire_{name}").WIRE for name in names)


def wire_of(path: str, headers: Mapping[str, str]) -> Wire:
    """Whose request it is, by its path and its headers."""
    found = (each.of(path, headers) for each in reversed(wires()))
    wire = next((each for each in found if each is not None), None)
    assert wire is not None
    return wire


def plain_answer(path: str, verb: str, body: dict[str, Any]) -> dict[str, Any] | None:
    """An answer that is no text of a model, by whichever vendor has the path. Raises `BadRequest`."""
    found = (each.plainly(path, verb, body) for each in wires())
    return next((each for each in found if each is not None), None)


def generates(place: str) -> bool:
    """Whether a path, or the verb at its end, asks for an answer of a model."""
    return any(place in each.generates for each in wires())
