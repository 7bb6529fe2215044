"""Gemini's own schema, an OpenAPI subset with types in upper case, read as JSON schema."""

from __future__ import annotations

from typing import Any

_NUMBERS = ("minimum", "maximum", "minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties")


def to_json_schema(schema: Any, depth: int = 0) -> Any:
    """A JSON schema that says the same. What is JSON schema already passes as it is."""
    if not isinstance(schema, dict) or depth > 64:
        return schema
    found = dict(schema)
    kind = found.get("type")
    if isinstance(kind, str):
        found["type"] = kind.lower()
        if found.pop("nullable", False):
            found["type"] = [found["type"], "null"]
    found.pop("propertyOrdering", None)
    found.pop("property_ordering", None)
    for name in _NUMBERS:
        # Google writes 64-bit numbers as strings.
        if isinstance(found.get(name), str) and found[name].lstrip("-").isdigit():
            found[name] = int(found[name])
    if isinstance(found.get("properties"), dict):
        found["properties"] = {key: to_json_schema(each, depth + 1) for key, each in found["properties"].items()}
    for key in ("items", "additionalProperties"):
        if key in found:
            found[key] = to_json_schema(found[key], depth + 1)
    if isinstance(found.get("anyOf"), list):
        found["anyOf"] = [to_json_schema(each, depth + 1) for each in found["anyOf"]]
    return found
