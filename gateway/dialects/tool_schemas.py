"""Converts tool parameters for vendors that require an object at the top level, and current JSON schema.

OpenAI and Anthropic reject `anyOf`, `oneOf`, `allOf`, `enum` and `not` at the top level, according to their errors.
Anthropic also rejects what is not valid JSON schema 2020-12.
"""

from __future__ import annotations

import contextlib
from typing import Any

from gateway.dialects.schema_descriptions import append_keywords
from gateway.dialects.schemas import MAX_SCHEMA_DEPTH, Budget, Inexpressible, merge_all_of, resolve

_REJECTED = ("anyOf", "oneOf", "allOf", "enum", "not", "const", "if", "then", "else")


def to_object_schema(schema: dict[str, Any], budget: Budget) -> tuple[dict[str, Any], bool]:
    """The parameters as a plain object, and whether a part was moved to the description.

    Alternatives are merged: all their properties are allowed, and those that all alternatives require are required.
    """
    converted = _resolve_top(schema)
    kind = converted.get("type")
    if not isinstance(kind, str):
        converted = {**converted, "type": "object"}
    if not any(key in converted for key in _REJECTED):
        return converted, False
    with contextlib.suppress(Inexpressible):
        converted = merge_all_of(converted, schema, budget)
    left = {key: converted[key] for key in _REJECTED if key in converted}
    converted = {key: value for key, value in converted.items() if key not in left}
    for key in ("anyOf", "oneOf"):
        if isinstance(left.get(key), list):
            with contextlib.suppress(Inexpressible):
                converted, left[key] = _merge_variants(converted, left[key], schema, budget)
    return (append_keywords(converted, left), True) if left else (converted, False)


def _resolve_top(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema with a top-level reference replaced by its target."""
    resolved = schema
    for _ in range(MAX_SCHEMA_DEPTH):
        if "$ref" not in resolved:
            return resolved
        try:
            inner = resolve(schema, resolved["$ref"])
        except Inexpressible:
            return resolved
        if not isinstance(inner, dict):
            return resolved
        resolved = {**inner, **{key: value for key, value in resolved.items() if key != "$ref"}}
    return {key: value for key, value in resolved.items() if key != "$ref"}


def _merge_variants(
    merged: dict[str, Any], variants: list[Any], root: dict[str, Any], budget: Budget
) -> tuple[dict[str, Any], list[list[str] | Any]]:
    """The object with the properties of all variants, and each variant's requirements, for the description."""
    properties = dict(merged["properties"]) if isinstance(merged.get("properties"), dict) else {}
    required_names: list[set[str]] = []
    descriptions: list[Any] = []
    for variant in variants:
        each = _variant(variant, root, budget)
        budget.spend(1 + len(each))
        names = each.get("required")
        required = [name for name in names if isinstance(name, str)] if isinstance(names, list) else []
        own = each.get("properties")
        for name, definition in (own if isinstance(own, dict) else {}).items():
            before = properties.setdefault(name, definition)
            if before != definition:
                known = before["anyOf"] if isinstance(before, dict) and before.keys() == {"anyOf"} else [before]
                budget.spend(len(known))
                properties[name] = {"anyOf": known if definition in known else [*known, definition]}
        required_names.append(set(required))
        descriptions.append({"required": required} if required or isinstance(own, dict) else variant)
    if properties:
        merged = {**merged, "properties": properties}
    always = set.intersection(*required_names) if required_names else set()
    before = merged.get("required") if isinstance(merged.get("required"), list) else []
    required = [*(before or []), *sorted(always - set(before or []))]
    return ({**merged, "required": required} if required else merged), descriptions


def _variant(variant: Any, root: dict[str, Any], budget: Budget) -> dict[str, Any]:
    try:
        if isinstance(variant, dict) and "$ref" in variant:
            variant = resolve(root, variant["$ref"])
        return merge_all_of(variant, root, budget) if isinstance(variant, dict) else {}
    except Inexpressible:
        return {}


def as_2020_12(schema: dict[str, Any], budget: Budget) -> dict[str, Any]:
    """The schema with keywords of older drafts updated; unchanged if there are none."""
    try:
        updated = _DraftUpdater(budget).schema(schema, 0)
    except Inexpressible:
        return schema
    return updated if isinstance(updated, dict) else schema


# Keywords that contain schemas: one, a list, or a map.
_SCHEMA_KEYWORDS = frozenset(
    {"additionalProperties", "items", "contains", "not", "if", "then", "else", "propertyNames", "additionalItems"}
)
_LIST_KEYWORDS = frozenset({"anyOf", "oneOf", "allOf", "prefixItems", "items"})
_MAP_KEYWORDS = frozenset({"properties", "patternProperties", "$defs", "definitions", "dependentSchemas"})
_BOUNDS = {"exclusiveMinimum": "minimum", "exclusiveMaximum": "maximum"}


class _DraftUpdater:
    def __init__(self, budget: Budget) -> None:
        self._budget = budget

    def schema(self, value: Any, depth: int) -> Any:
        if not isinstance(value, dict) or depth > MAX_SCHEMA_DEPTH:
            return value
        self._budget.spend(1 + len(value))
        updated: dict[str, Any] = {}
        for key, inner in value.items():
            if key in _SCHEMA_KEYWORDS and isinstance(inner, dict):
                updated[key] = self.schema(inner, depth + 1)
            elif key in _LIST_KEYWORDS and isinstance(inner, list):
                updated[key] = [self.schema(each, depth + 1) for each in inner]
            elif key in _MAP_KEYWORDS and isinstance(inner, dict):
                updated[key] = {name: self.schema(each, depth + 1) for name, each in inner.items()}
            else:
                updated[key] = inner
        return _update_draft(updated)


def _update_draft(schema: dict[str, Any]) -> dict[str, Any]:
    """Updates one schema. Drafts before 2020-12 wrote tuples as `items`; draft 4 wrote exclusive bounds as booleans."""
    if isinstance(schema.get("items"), list):
        schema["prefixItems"] = schema.pop("items")
        if "additionalItems" in schema:
            schema["items"] = schema.pop("additionalItems")
    for bound, limit in _BOUNDS.items():
        if isinstance(schema.get(bound), bool) and schema.pop(bound) and limit in schema:
            schema[bound] = schema.pop(limit)
    if "required" in schema and not isinstance(schema["required"], list):
        # Draft 3 had `required` as a boolean in each property.
        del schema["required"]
    return schema
