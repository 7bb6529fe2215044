"""Thought signatures in the fields of Google's OpenAI-compatible endpoint.

`extra_content: {"google": {"thought_signature": "..."}}` at a tool call or a message
(https://ai.google.dev/gemini-api/docs/thought-signatures).
"""

from __future__ import annotations

from typing import Any


def split_signature(content: object) -> tuple[str, dict[str, Any] | None]:
    """(signature, the rest of the `extra_content`)."""
    if not isinstance(content, dict):
        return "", None
    google = content.get("google")
    signature = google.get("thought_signature") if isinstance(google, dict) else None
    if not isinstance(google, dict) or not isinstance(signature, str) or not signature:
        return "", content
    rest = {key: value for key, value in google.items() if key != "thought_signature"}
    others = {key: value for key, value in content.items() if key != "google"}
    return signature, {**others, "google": rest} if rest else others or None


def add_signature(signature: str, content: object = None) -> dict[str, Any]:
    """The `extra_content` with a signature; the inverse of `split_signature`."""
    rest = content if isinstance(content, dict) else {}
    google = rest.get("google")
    inner = google if isinstance(google, dict) else {}
    return {**rest, "google": {**inner, "thought_signature": signature}}


def pop_signature(fields: dict[str, Any] | None) -> tuple[str, dict[str, Any] | None]:
    """(signature, all other fields), from the extra fields of a call or a message."""
    if not fields or "extra_content" not in fields:
        return "", fields
    signature, content = split_signature(fields["extra_content"])
    if not signature:
        return "", fields
    rest = {key: value for key, value in fields.items() if key != "extra_content"}
    if content:
        rest["extra_content"] = content
    return signature, rest or None
