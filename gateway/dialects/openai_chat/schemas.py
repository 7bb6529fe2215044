"""JSON schemas for OpenAI: those of tools, and which of them it can hold answers and calls to.

Without `strict` the vendor takes any schema that is an object at the top. With it, as its guide to structured outputs
says, every property must be required and every object closed, and some keywords are refused.
"""

from __future__ import annotations

from typing import Any

from gateway.dialects.schemas import MOST_DEPTH, Budget, Inexpressible, MemoizedFit
from gateway.dialects.tool_schemas import object_at_top

_REFUSED = frozenset(
    {
        "allOf", "oneOf", "not", "if", "then", "else", "dependentRequired", "dependentSchemas", "minLength",
        "maxLength", "patternProperties", "propertyNames", "minProperties", "maxProperties", "unevaluatedProperties",
        "unevaluatedItems", "contains", "minContains", "maxContains", "uniqueItems", "prefixItems",
    }
)  # fmt: skip


@MemoizedFit
def of_tool(parameters: dict[str, Any], budget: Budget) -> tuple[dict[str, Any], bool]:
    """A function's parameters, and whether a part of them is said in words only."""
    return object_at_top(parameters, budget)


@MemoizedFit
def strict(schema: dict[str, Any], budget: Budget) -> dict[str, Any] | None:
    """The schema with its objects closed, as strictness wants it; None where it allows more than that."""
    if schema.get("type") != "object" or "anyOf" in schema:
        return None
    try:
        found = _Closer(budget).schema(schema, 0)
    except Inexpressible:
        return None
    return found if isinstance(found, dict) else None


class _Closer:
    def __init__(self, budget: Budget) -> None:
        self._budget = budget

    def schema(self, value: Any, depth: int) -> dict[str, Any] | None:
        if not isinstance(value, dict) or depth > MOST_DEPTH or value.keys() & _REFUSED:
            return None
        self._budget.spend(1 + len(value))
        if "$ref" not in value and not value.keys() & {"type", "anyOf", "enum", "const"}:
            return None
        found = dict(value)
        if value.get("type") == "object" or "properties" in value:
            properties, required = value.get("properties", {}), value.get("required", [])
            if not isinstance(properties, dict) or not isinstance(required, list):
                return None
            closed = value.get("additionalProperties", False if properties else None)
            names = {name for name in required if isinstance(name, str)}
            if closed is not False or names != properties.keys():
                return None
            found["additionalProperties"] = False
        for key in ("properties", "$defs", "definitions"):
            if isinstance(value.get(key), dict):
                inner = {name: self.schema(each, depth + 1) for name, each in value[key].items()}
                if None in inner.values():
                    return None
                found[key] = inner
        for key in ("items", "anyOf"):
            if key in value:
                given = value[key] if key == "anyOf" and isinstance(value[key], list) else [value[key]]
                each_found = [self.schema(each, depth + 1) for each in given]
                if None in each_found:
                    return None
                found[key] = each_found if key == "anyOf" else each_found[0]
        return found
