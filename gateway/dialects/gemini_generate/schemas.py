"""Gemini's own schema, an OpenAPI subset with types in upper case, read as JSON schema; and what it takes of the
latter.
"""

from __future__ import annotations

from typing import Any

from gateway.dialects.gemini_generate.names import camel
from gateway.dialects.schema_words import with_words
from gateway.dialects.schemas import Budget, Inexpressible, MemoizedFit, SchemaSubset, narrow
from gateway.dialects.tool_schemas import object_at_top

_NUMBERS = ("minimum", "maximum", "minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties")


def to_json_schema(schema: Any, depth: int = 0) -> Any:
    """A JSON schema that says the same. What is JSON schema already passes as it is."""
    if not isinstance(schema, dict) or depth > 64:
        return schema
    found = dict(camel(schema))
    kind = found.get("type")
    if kind == "TYPE_UNSPECIFIED":
        del found["type"]
    elif isinstance(kind, str):
        found["type"] = kind.lower()
        if found.pop("nullable", False):
            found["type"] = [found["type"], "null"]
            if isinstance(found.get("enum"), list) and None not in found["enum"]:
                found["enum"] = [*found["enum"], None]
    for name in _NUMBERS:
        # Google writes 64-bit numbers as strings.
        if isinstance(found.get(name), str) and found[name].lstrip("-").isdigit():
            found[name] = int(found[name])
    order = found.pop("propertyOrdering", None)
    if isinstance(found.get("properties"), dict):
        found["properties"] = {
            key: to_json_schema(each, depth + 1) for key, each in _ordered(found["properties"], order)
        }
    for key in ("items", "additionalProperties"):
        if key in found:
            found[key] = to_json_schema(found[key], depth + 1)
    if isinstance(found.get("anyOf"), list):
        found["anyOf"] = [to_json_schema(each, depth + 1) for each in found["anyOf"]]
    return found


def _ordered(properties: dict[str, Any], order: object) -> list[tuple[str, Any]]:
    """The properties in Gemini's own order; in JSON schema the order in which they stand says the same."""
    names = [name for name in order if isinstance(name, str)] if isinstance(order, list) else []
    first = [name for name in dict.fromkeys(names) if name in properties]
    return [(name, properties[name]) for name in [*first, *(key for key in properties if key not in first)]]


# What `responseJsonSchema` takes, as the vendor's reference lists it; the rest is not refused but left unread.
_SUBSET = SchemaSubset(
    keywords=frozenset({"minItems", "maxItems", "minimum", "maximum", "prefixItems", "propertyOrdering"}),
    # Of strings and of numbers, as the vendor's guides list them; others are refused by some models.
    formats=frozenset({"date-time", "date", "time", "float", "double", "int32", "int64", "enum"}),
    closed=False,
    const=False,
    enum_types=(str, int, float),
)


@MemoizedFit
def readable(schema: dict[str, Any], budget: Budget) -> tuple[dict[str, Any], bool]:
    """A JSON schema of another dialect in keywords that Gemini reads, and whether a part of it is said in words only.

    Raises `Inexpressible`.
    """
    return narrow(schema, _SUBSET, budget)


@MemoizedFit
def of_tool(parameters: dict[str, Any], budget: Budget) -> tuple[dict[str, Any], bool]:
    """The same for a function's parameters; all of them in words where Gemini could not read any."""
    schema, said = object_at_top(parameters, budget)
    try:
        found, more = readable(schema, budget)
    except Inexpressible:
        return with_words({"type": "object"}, {"schema": parameters}), True
    return found, said or more
