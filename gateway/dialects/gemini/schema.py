"""Google's `Schema` (OpenAPI 3.0 with upper-case types) as a JSON schema.

Only this way round: requests are written with `parametersJsonSchema` and `responseJsonSchema`, which take JSON
schemas as they are (google-genai 3.4, `types.FunctionDeclaration` and `types.GenerationConfig`).
"""

from __future__ import annotations

from typing import Any

from gateway.dialects import fields
from gateway.dialects.gemini.naming import camel

_RENAMED = {"defs": "$defs", "ref": "$ref"}
_SCHEMAS = frozenset({"properties", "$defs"})
_SIZES = frozenset({"minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties"})


def to_json_schema(schema: dict[str, Any], where: str) -> dict[str, Any]:
    """The JSON schema that says the same. Raises `InvalidRequest` naming the field below `where`."""
    source = camel(schema)
    result: dict[str, Any] = {}
    for key, value in source.items():
        name = _RENAMED.get(key, key)
        at = f"{where}.{key}"
        if name == "type":
            kind = fields.text(source, "type", where + ".")
            if kind and kind != "TYPE_UNSPECIFIED":
                result["type"] = kind.lower()
        elif name in _SCHEMAS and type(value) is dict:
            result[name] = {label: _inner(inner, f"{at}.{label}") for label, inner in value.items()}
        elif name == "anyOf" and type(value) is list:
            result[name] = [_inner(inner, f"{at}[{index}]") for index, inner in enumerate(value)]
        elif name == "items" or (name == "additionalProperties" and type(value) is dict):
            result[name] = _inner(value, at)
        elif name in _SIZES and type(value) is str and value.isdigit():
            # Google writes 64-bit integers as strings.
            result[name] = int(value)
        elif name == "example":
            result["examples"] = [value]
        elif name != "nullable":
            result[name] = value
    return _with_null(result) if source.get("nullable") is True else result


def _inner(schema: object, where: str) -> dict[str, Any]:
    if type(schema) is not dict:
        raise fields.wrong(where, "an object", schema)
    return to_json_schema(schema, where)


def _with_null(schema: dict[str, Any]) -> dict[str, Any]:
    if "type" in schema:
        schema["type"] = [schema["type"], "null"]
    if "anyOf" in schema:
        schema["anyOf"] = [*schema["anyOf"], {"type": "null"}]
    if "enum" in schema:
        schema["enum"] = [*schema["enum"], None]
    return schema
