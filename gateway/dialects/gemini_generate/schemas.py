"""Converts Gemini's schema format (an OpenAPI subset with types in upper case) to JSON schema, and JSON schema to the
subset that Gemini supports.
"""

from __future__ import annotations

from typing import Any

from gateway.dialects.gemini_generate.names import camel
from gateway.dialects.schema_descriptions import append_keywords
from gateway.dialects.schemas import Budget, Inexpressible, MemoizedFit, SchemaSubset, narrow
from gateway.dialects.tool_schemas import to_object_schema

_NUMBERS = ("minimum", "maximum", "minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties")


def to_json_schema(schema: Any, depth: int = 0) -> Any:
    """The equivalent JSON schema. JSON schema is returned unchanged."""
    if not isinstance(schema, dict) or depth > 64:
        return schema
    converted = dict(camel(schema))
    kind = converted.get("type")
    if kind == "TYPE_UNSPECIFIED":
        del converted["type"]
    elif isinstance(kind, str):
        converted["type"] = kind.lower()
        if converted.pop("nullable", False):
            converted["type"] = [converted["type"], "null"]
            if isinstance(converted.get("enum"), list) and None not in converted["enum"]:
                converted["enum"] = [*converted["enum"], None]
    for name in _NUMBERS:
        # Google writes 64-bit numbers as strings.
        if isinstance(converted.get(name), str) and converted[name].lstrip("-").isdigit():
            converted[name] = int(converted[name])
    order = converted.pop("propertyOrdering", None)
    if isinstance(converted.get("properties"), dict):
        converted["properties"] = {
            key: to_json_schema(each, depth + 1) for key, each in _ordered(converted["properties"], order)
        }
    for key in ("items", "additionalProperties"):
        if key in converted:
            converted[key] = to_json_schema(converted[key], depth + 1)
    if isinstance(converted.get("anyOf"), list):
        converted["anyOf"] = [to_json_schema(each, depth + 1) for each in converted["anyOf"]]
    return converted


def _ordered(properties: dict[str, Any], order: object) -> list[tuple[str, Any]]:
    """The properties in the order of Gemini's `propertyOrdering`; JSON schema uses the order in the object."""
    names = [name for name in order if isinstance(name, str)] if isinstance(order, list) else []
    first = [name for name in dict.fromkeys(names) if name in properties]
    return [(name, properties[name]) for name in [*first, *(key for key in properties if key not in first)]]


# The keywords of `responseJsonSchema` in the vendor's reference; others are accepted but ignored.
_SUBSET = SchemaSubset(
    keywords=frozenset({"minItems", "maxItems", "minimum", "maximum", "prefixItems", "propertyOrdering"}),
    # Formats of strings and numbers in the vendor's guides; some models reject others.
    formats=frozenset({"date-time", "date", "time", "float", "double", "int32", "int64", "enum"}),
    closed=False,
    const=False,
    enum_types=(str, int, float),
)


@MemoizedFit
def response_schema(schema: dict[str, Any], budget: Budget) -> tuple[dict[str, Any], bool]:
    """Another dialect's JSON schema in keywords that Gemini supports, and whether a part was moved to descriptions.


    Raises `Inexpressible`.
    """
    return narrow(schema, _SUBSET, budget)


@MemoizedFit
def tool_schema(parameters: dict[str, Any], budget: Budget) -> tuple[dict[str, Any], bool]:
    """`response_schema` for a function's parameters. If Gemini can't express them, all are moved to the description."""
    schema, moved = to_object_schema(parameters, budget)
    try:
        converted, more = response_schema(schema, budget)
    except Inexpressible:
        return append_keywords({"type": "object"}, {"schema": parameters}), True
    return converted, moved or more
