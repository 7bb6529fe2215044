"""Field names: like Google, the gateway reads camelCase and snake_case, and writes camelCase."""

from __future__ import annotations

import re
from typing import Any

from gateway.dialects import fields

_UNDERSCORE = re.compile(r"_([a-z0-9])")


def camel(source: dict[str, Any]) -> dict[str, Any]:
    """The object with its own keys (not nested ones) in camelCase."""
    if not any("_" in key for key in source):
        return source
    return {_UNDERSCORE.sub(lambda match: match[1].upper(), key): value for key, value in source.items()}


def inner(source: dict[str, Any], key: str, where: str = "") -> dict[str, Any] | None:
    """The nested object at `key` in camelCase, or None."""
    value = fields.obj(source, key, where)
    return None if value is None else camel(value)
