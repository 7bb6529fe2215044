"""Describes schema keywords that a vendor does not support as text for the description, where the model reads it."""

from __future__ import annotations

from typing import Any

import msgspec

# The maximum length of one description.
MAX_DESCRIPTION_CHARS = 1_000
_encode = msgspec.json.Encoder().encode
_PHRASES = {
    "minimum": "at least {}",
    "maximum": "at most {}",
    "exclusiveMinimum": "more than {}",
    "exclusiveMaximum": "less than {}",
    "multipleOf": "a multiple of {}",
    "minLength": "length at least {}",
    "maxLength": "length at most {}",
    "pattern": "matches the regular expression {}",
    "format": "in the format {}",
    "minItems": "at least {} items",
    "maxItems": "at most {} items",
    "minProperties": "at least {} properties",
    "maxProperties": "at most {} properties",
    "const": "exactly {}",
    "enum": "one of {}",
    "default": "{} by default",
    "examples": "for example {}",
    "prefixItems": "the items in order are {}",
    "additionalProperties": "additional properties are {}",
}


def describe_keywords(keywords: dict[str, Any]) -> tuple[str, int]:
    """The keywords as text for a description, and the text's length before truncation."""
    phrases = []
    for key, value in keywords.items():
        if key == "uniqueItems" and isinstance(value, bool):
            phrases.append("items are unique" if value else "")
        else:
            value_json = _encode(value).decode()
            phrases.append(_PHRASES[key].format(value_json) if key in _PHRASES else f"{key}: {value_json}")
    text = ", ".join(filter(None, phrases))
    text = text[:1].upper() + text[1:]
    cut = text[:MAX_DESCRIPTION_CHARS] + "..." if len(text) > MAX_DESCRIPTION_CHARS else text + "."
    return (cut if text else ""), len(text)


def append_keywords(schema: dict[str, Any], keywords: dict[str, Any]) -> dict[str, Any]:
    """The schema with `keywords` described at the end of its description."""
    text, _ = describe_keywords(keywords)
    return append_description(schema, text)


def append_description(schema: dict[str, Any], text: str) -> dict[str, Any]:
    """The schema with `text` at the end of its description."""
    before = schema.get("description")
    if not text:
        return schema
    return {**schema, "description": f"{before}\n\n{text}" if isinstance(before, str) and before else text}
