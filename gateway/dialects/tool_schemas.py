"""The parameters of a tool for a vendor who wants an object at the top, and JSON schema of today.

OpenAI and Anthropic refuse `anyOf`, `oneOf`, `allOf`, `enum` and `not` at the top, as their errors say, and Anthropic
all that is no valid JSON schema of 2020-12.
"""

from __future__ import annotations

import contextlib
from typing import Any

from gateway.dialects.schema_words import with_words
from gateway.dialects.schemas import MOST_DEPTH, Budget, Inexpressible, merged, resolve

_REFUSED = ("anyOf", "oneOf", "allOf", "enum", "not", "const", "if", "then", "else")


def object_at_top(schema: dict[str, Any], budget: Budget) -> tuple[dict[str, Any], bool]:
    """The parameters as a plain object, and whether something was said in the description instead.

    Of alternatives all properties may be given, and those must be that each of them wants.
    """
    found = _resolved(schema)
    kind = found.get("type")
    if not isinstance(kind, str):
        found = {**found, "type": "object"}
    if not any(key in found for key in _REFUSED):
        return found, False
    with contextlib.suppress(Inexpressible):
        found = merged(found, schema, budget)
    left = {key: found[key] for key in _REFUSED if key in found}
    found = {key: value for key, value in found.items() if key not in left}
    for key in ("anyOf", "oneOf"):
        if isinstance(left.get(key), list):
            with contextlib.suppress(Inexpressible):
                found, left[key] = _joined(found, left[key], schema, budget)
    return (with_words(found, left), True) if left else (found, False)


def _resolved(schema: dict[str, Any]) -> dict[str, Any]:
    """With what it refers to at the top in its place."""
    found = schema
    for _ in range(MOST_DEPTH):
        if "$ref" not in found:
            return found
        try:
            inner = resolve(schema, found["$ref"])
        except Inexpressible:
            return found
        if not isinstance(inner, dict):
            return found
        found = {**inner, **{key: value for key, value in found.items() if key != "$ref"}}
    return {key: value for key, value in found.items() if key != "$ref"}


def _joined(
    found: dict[str, Any], variants: list[Any], root: dict[str, Any], budget: Budget
) -> tuple[dict[str, Any], list[list[str] | Any]]:
    """The object with the properties of all variants, and what each of them wants, for the description."""
    properties = dict(found["properties"]) if isinstance(found.get("properties"), dict) else {}
    wanted: list[set[str]] = []
    told: list[Any] = []
    for variant in variants:
        each = _variant(variant, root, budget)
        budget.spend(1 + len(each))
        names = each.get("required")
        required = [name for name in names if isinstance(name, str)] if isinstance(names, list) else []
        own = each.get("properties")
        for name, said in (own if isinstance(own, dict) else {}).items():
            before = properties.setdefault(name, said)
            if before != said:
                known = before["anyOf"] if isinstance(before, dict) and before.keys() == {"anyOf"} else [before]
                budget.spend(len(known))
                properties[name] = {"anyOf": known if said in known else [*known, said]}
        wanted.append(set(required))
        told.append({"required": required} if required or isinstance(own, dict) else variant)
    if properties:
        found = {**found, "properties": properties}
    always = set.intersection(*wanted) if wanted else set()
    before = found.get("required") if isinstance(found.get("required"), list) else []
    required = [*(before or []), *sorted(always - set(before or []))]
    return ({**found, "required": required} if required else found), told


def _variant(variant: Any, root: dict[str, Any], budget: Budget) -> dict[str, Any]:
    try:
        if isinstance(variant, dict) and "$ref" in variant:
            variant = resolve(root, variant["$ref"])
        return merged(variant, root, budget) if isinstance(variant, dict) else {}
    except Inexpressible:
        return {}


def as_2020_12(schema: dict[str, Any], budget: Budget) -> dict[str, Any]:
    """The schema with what older drafts wrote otherwise in today's words; the same where there is none of it."""
    try:
        found = _Today(budget).schema(schema, 0)
    except Inexpressible:
        return schema
    return found if isinstance(found, dict) else schema


# Where schemas stand within a schema: one, a list of them, or a map to them.
_ONE = frozenset(
    {"additionalProperties", "items", "contains", "not", "if", "then", "else", "propertyNames", "additionalItems"}
)
_MANY = frozenset({"anyOf", "oneOf", "allOf", "prefixItems", "items"})
_NAMED = frozenset({"properties", "patternProperties", "$defs", "definitions", "dependentSchemas"})
_BOUNDS = {"exclusiveMinimum": "minimum", "exclusiveMaximum": "maximum"}


class _Today:
    def __init__(self, budget: Budget) -> None:
        self._budget = budget

    def schema(self, value: Any, depth: int) -> Any:
        if not isinstance(value, dict) or depth > MOST_DEPTH:
            return value
        self._budget.spend(1 + len(value))
        found: dict[str, Any] = {}
        for key, inner in value.items():
            if key in _ONE and isinstance(inner, dict):
                found[key] = self.schema(inner, depth + 1)
            elif key in _MANY and isinstance(inner, list):
                found[key] = [self.schema(each, depth + 1) for each in inner]
            elif key in _NAMED and isinstance(inner, dict):
                found[key] = {name: self.schema(each, depth + 1) for name, each in inner.items()}
            else:
                found[key] = inner
        return _today(found)


def _today(found: dict[str, Any]) -> dict[str, Any]:
    """One schema. Drafts before 2020-12 wrote tuples as `items`, before 6 exclusive bounds as a boolean."""
    if isinstance(found.get("items"), list):
        found["prefixItems"] = found.pop("items")
        if "additionalItems" in found:
            found["items"] = found.pop("additionalItems")
    for bound, limit in _BOUNDS.items():
        if isinstance(found.get(bound), bool) and found.pop(bound) and limit in found:
            found[bound] = found.pop(limit)
    if "required" in found and not isinstance(found["required"], list):
        # Draft 3 said it of each property.
        del found["required"]
    return found
