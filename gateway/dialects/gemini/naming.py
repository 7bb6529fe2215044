"""Google's JSON takes every field in camelCase and in snake_case; inside we know camelCase only."""

from __future__ import annotations

import re
from typing import Any

_MODEL_GENERATION = re.compile(r"gemini-(\d+)")


def camel(source: dict[str, Any]) -> dict[str, Any]:
    """The object with its own fields in camelCase; what stands inside them is left alone."""
    for key in source:
        if "_" in key:
            return {_camel_word(name): value for name, value in source.items()}
    return source


def _camel_word(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join([word[:1].upper() + word[1:] for word in others]) if first else name


def overlay(wire: dict[str, Any], extra: dict[str, Any]) -> dict[str, Any]:
    """Puts `extra` onto `wire`, objects within objects; `wire` is changed, `extra` is not."""
    for key, value in extra.items():
        before = wire.get(key)
        if isinstance(before, dict) and isinstance(value, dict):
            wire[key] = overlay(dict(before), value)
        else:
            wire[key] = value
    return wire


def model_generation(model: str) -> int | None:
    """The 3 of `gemini-3-pro`; None for a model that is not so named."""
    found = _MODEL_GENERATION.search(model)
    return int(found[1]) if found else None


def model_path(model: str, version: str, verb: str) -> str:
    """`/v1beta/models/MODEL:VERB`. A model that names its own collection (`tunedModels/x`) keeps it."""
    place = model if "/" in model else f"models/{model}"
    return f"/{version or 'v1beta'}/{_quote(place)}:{verb}"


def bare_model(model: str) -> str:
    """The model without `models/` before it."""
    return model.removeprefix("models/")


_PLAIN = re.compile(r"[A-Za-z0-9._~@/-]*\Z")


def _quote(place: str) -> str:
    if _PLAIN.match(place):
        return place
    return "".join([c if _PLAIN.match(c) else "".join([f"%{byte:02X}" for byte in c.encode()]) for c in place])
