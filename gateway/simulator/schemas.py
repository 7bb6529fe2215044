"""Generates a small value for a JSON schema: objects, arrays, strings, numbers, enums, references."""

from __future__ import annotations

from typing import Any

_DEEP = 4  # from this depth on only required properties, so that recursive schemas terminate
_DEEPEST = 24


def fit(schema: Any, root: Any = None, depth: int = 0) -> Any:
    """A value for `schema`. `root` is the document for its `$ref`s, by default the schema itself."""
    if not isinstance(schema, dict) or depth > _DEEPEST:
        return None
    root = schema if root is None else root
    if "$ref" in schema:
        return fit(_resolve(str(schema["$ref"]), root), root, depth + 1)
    if "const" in schema:
        return schema["const"]
    if schema.get("enum"):
        return schema["enum"][0]
    for key in ("anyOf", "oneOf"):
        if schema.get(key):
            return fit(schema[key][0], root, depth + 1)
    if schema.get("allOf"):
        return fit(_merged(schema["allOf"], root), root, depth + 1)
    return _fit_kind(schema, root, depth)


def _fit_kind(schema: dict[str, Any], root: Any, depth: int) -> Any:
    kind = schema.get("type") or ("array" if "items" in schema else "object")
    kind = str(kind[0] if isinstance(kind, list) else kind).lower()  # Gemini's schemas use upper case
    if kind == "object":
        required = schema.get("required") or []
        properties = schema.get("properties") or {}
        return {
            name: fit(each, root, depth + 1) for name, each in properties.items() if depth < _DEEP or name in required
        }
    if kind == "array":
        least = int(schema.get("minItems") or 0)
        if depth >= _DEEP and not least:
            return []
        return [fit(schema.get("items") or {"type": "string"}, root, depth + 1) for _ in range(max(1, least))]
    if kind == "string":
        longest = schema.get("maxLength")
        return "text".ljust(int(schema.get("minLength") or 0), "x")[: None if longest is None else int(longest)]
    if kind in ("integer", "number"):
        return _number(schema, 7 if kind == "integer" else 1.5)
    return True if kind == "boolean" else None


def _number(schema: dict[str, Any], usual: float) -> float:
    """`usual`, or the nearest number within the limits."""
    lowest, highest = schema.get("minimum"), schema.get("maximum")
    if lowest is not None and usual < lowest:
        return lowest  # type: ignore[no-any-return]
    if highest is not None and usual > highest:
        return highest  # type: ignore[no-any-return]
    return usual


def _resolve(reference: str, root: Any) -> Any:
    """Resolves a reference such as `#/$defs/Name`; an empty schema if it is missing."""
    target = root
    for step in reference.removeprefix("#").strip("/").split("/"):
        if step:
            target = target.get(step.replace("~1", "/").replace("~0", "~")) if isinstance(target, dict) else None
    return target if isinstance(target, dict) else {}


def _merged(schemas: list[Any], root: Any) -> dict[str, Any]:
    merged: dict[str, Any] = {"type": "object"}
    for each in schemas:
        schema = _resolve(str(each["$ref"]), root) if isinstance(each, dict) and "$ref" in each else each
        if isinstance(schema, dict):
            properties = {**merged.get("properties", {}), **(schema.get("properties") or {})}
            required = [*merged.get("required", []), *(schema.get("required") or [])]
            merged = {**merged, **schema, "properties": properties, "required": required}
    return merged
