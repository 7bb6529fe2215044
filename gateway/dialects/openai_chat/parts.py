"""Responses whose content is a list of parts, as Mistral writes it."""

from __future__ import annotations

from typing import Any


def has_parts(choice: object) -> bool:
    """Whether a choice's content is a list of parts."""
    messages = [choice.get(key) for key in ("delta", "message")] if isinstance(choice, dict) else ()
    return any(isinstance(each, dict) and isinstance(each.get("content"), list) for each in messages)


def flatten(message: dict[str, Any]) -> list[dict[str, Any]]:
    """Joins text and reasoning parts to strings, in place; returns the references.

    Raises `TypeError` for any other part.
    """
    texts: list[str] = []
    reasoning: list[str] = []
    references: list[dict[str, Any]] = []
    for part in message["content"]:
        kind = part.get("type") if isinstance(part, dict) else None
        if kind == "text":
            texts.append(str(part.get("text") or ""))
        elif kind == "thinking":
            inner = part.get("thinking") or ()
            reasoning += [inner] if isinstance(inner, str) else [str(each.get("text") or "") for each in inner]
        elif kind in ("reference", "tool_reference"):
            references.append(part)
        else:
            raise TypeError("an unknown type of content part")
    message["content"] = "".join(texts)
    message["reasoning_content"] = (message.get("reasoning_content") or "") + "".join(reasoning)
    return references
