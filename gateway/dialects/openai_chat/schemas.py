"""JSON schemas for OpenAI: for tools, and strict ones for responses and calls.

Without `strict` the vendor accepts any schema with an object at the top level. With `strict`, according to its guide to
structured outputs, every property must be required, every object closed, and some keywords are rejected.
"""

from __future__ import annotations

from typing import Any

from gateway.dialects.schemas import MAX_SCHEMA_DEPTH, Budget, Inexpressible, MemoizedFit
from gateway.dialects.tool_schemas import to_object_schema

_REJECTED = frozenset(
    {
        "allOf", "oneOf", "not", "if", "then", "else", "dependentRequired", "dependentSchemas", "minLength",
        "maxLength", "patternProperties", "propertyNames", "minProperties", "maxProperties", "unevaluatedProperties",
        "unevaluatedItems", "contains", "minContains", "maxContains", "uniqueItems", "prefixItems",
    }
)  # fmt: skip


@MemoizedFit
def tool_schema(parameters: dict[str, Any], budget: Budget) -> tuple[dict[str, Any], bool]:
    """A function's parameters, and whether a part was moved to the description."""
    return to_object_schema(parameters, budget)


@MemoizedFit
def strict(schema: dict[str, Any], budget: Budget) -> dict[str, Any] | None:
    """The schema with its objects closed, as `strict` requires; None if the schema allows more than that."""
    if schema.get("type") != "object" or "anyOf" in schema:
        return None
    try:
        closed = _Closer(budget).schema(schema, 0)
    except Inexpressible:
        return None
    return closed if isinstance(closed, dict) else None


class _Closer:
    def __init__(self, budget: Budget) -> None:
        self._budget = budget

    def schema(self, value: Any, depth: int) -> dict[str, Any] | None:
        if not isinstance(value, dict) or depth > MAX_SCHEMA_DEPTH or value.keys() & _REJECTED:
            return None
        self._budget.spend(1 + len(value))
        if "$ref" not in value and not value.keys() & {"type", "anyOf", "enum", "const"}:
            return None
        result = dict(value)
        if value.get("type") == "object" or "properties" in value:
            properties, required = value.get("properties", {}), value.get("required", [])
            if not isinstance(properties, dict) or not isinstance(required, list):
                return None
            closed = value.get("additionalProperties", False if properties else None)
            names = {name for name in required if isinstance(name, str)}
            if closed is not False or names != properties.keys():
                return None
            result["additionalProperties"] = False
        for key in ("properties", "$defs", "definitions"):
            if isinstance(value.get(key), dict):
                inner = {name: self.schema(each, depth + 1) for name, each in value[key].items()}
                if None in inner.values():
                    return None
                result[key] = inner
        for key in ("items", "anyOf"):
            if key in value:
                variants = value[key] if key == "anyOf" and isinstance(value[key], list) else [value[key]]
                closed_variants = [self.schema(each, depth + 1) for each in variants]
                if None in closed_variants:
                    return None
                result[key] = closed_variants if key == "anyOf" else closed_variants[0]
        return result
