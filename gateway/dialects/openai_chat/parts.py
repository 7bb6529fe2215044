"""Answers whose content is a list of parts, as Mistral writes it."""

from __future__ import annotations

from typing import Any


def has_parts(choice: object) -> bool:
    """Whether a choice has its content in parts."""
    messages = [choice.get(key) for key in ("delta", "message")] if isinstance(choice, dict) else ()
    return any(isinstance(each, dict) and isinstance(each.get("content"), list) for each in messages)


def flatten(message: dict[str, Any]) -> list[dict[str, Any]]:
    """Makes strings of words and thoughts in parts of their own; returns the references among them.

    Raises `TypeError` for any other part.
    """
    words: list[str] = []
    thoughts: list[str] = []
    references: list[dict[str, Any]] = []
    for part in message["content"]:
        kind = part.get("type") if isinstance(part, dict) else None
        if kind == "text":
            words.append(str(part.get("text") or ""))
        elif kind == "thinking":
            inner = part.get("thinking") or ()
            thoughts += [inner] if isinstance(inner, str) else [str(each.get("text") or "") for each in inner]
        elif kind in ("reference", "tool_reference"):
            references.append(part)
        else:
            raise TypeError("a part of the content that we can't tell")
    message["content"] = "".join(words)
    message["reasoning_content"] = (message.get("reasoning_content") or "") + "".join(thoughts)
    return references
