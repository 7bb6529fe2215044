"""What of a schema a vendor has no keyword for, in words for the description, where the model reads it."""

from __future__ import annotations

from typing import Any

import msgspec

# Of one description.
MOST_WORDS = 1_000
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
    "prefixItems": "the items one after the other are {}",
    "additionalProperties": "further properties are {}",
}


def in_words(keywords: dict[str, Any]) -> tuple[str, int]:
    """Keywords and their values for a description, and how long they are if nothing is cut off."""
    said = []
    for key, value in keywords.items():
        if key == "uniqueItems" and isinstance(value, bool):
            said.append("no item twice" if value else "")
        else:
            text = _encode(value).decode()
            said.append(_PHRASES[key].format(text) if key in _PHRASES else f"{key}: {text}")
    words = ", ".join(filter(None, said))
    words = words[:1].upper() + words[1:]
    cut = words[:MOST_WORDS] + "..." if len(words) > MOST_WORDS else words + "."
    return (cut if words else ""), len(words)


def with_words(schema: dict[str, Any], keywords: dict[str, Any]) -> dict[str, Any]:
    """The schema with what `keywords` say at the end of its description."""
    words, _ = in_words(keywords)
    return with_description(schema, words)


def with_description(schema: dict[str, Any], words: str) -> dict[str, Any]:
    """The schema with `words` at the end of its description."""
    before = schema.get("description")
    if not words:
        return schema
    return {**schema, "description": f"{before}\n\n{words}" if isinstance(before, str) and before else words}
