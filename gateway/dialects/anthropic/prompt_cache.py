"""Anthropic keeps the prefix of a prompt up to a mark: marks where the caller has placed none."""

from __future__ import annotations

from typing import Any

# About the 1024 tokens below which nothing is kept.
LEAST_LETTERS = 4096
_MARK = {"type": "ephemeral"}
_MARKABLE = frozenset({"text", "image", "document", "tool_use", "tool_result"})


def place_marks(body: dict[str, Any]) -> None:
    """Marks the end of what stays the same: of tools and system prompt, and of the turns before the last message.

    Only where it is long enough to be kept. A caller's own marks are left as they are, and no others are added.
    """
    system, tools, messages = body.get("system"), body.get("tools") or [], body["messages"]
    if isinstance(system, str):
        system = [{"type": "text", "text": system}]
    if _marked(tools) or _marked(system or []) or any(_marked(each["content"]) for each in messages):
        return
    head = _letters(tools) + _letters(system)
    if head >= LEAST_LETTERS:
        if system:
            body["system"] = [*system[:-1], {**system[-1], "cache_control": _MARK}]
        else:
            body["tools"] = [*tools[:-1], {**tools[-1], "cache_control": _MARK}]
    if len(messages) > 1 and head + _letters(messages[:-1]) >= LEAST_LETTERS:
        before = messages[-2]
        content = before["content"]
        if isinstance(content, str):
            content = [{"type": "text", "text": content}]
        if content and content[-1].get("type") in _MARKABLE:
            marked = {**before, "content": [*content[:-1], {**content[-1], "cache_control": _MARK}]}
            body["messages"] = [*messages[:-2], marked, messages[-1]]


def _marked(parts: Any) -> bool:
    return isinstance(parts, list) and any(isinstance(each, dict) and "cache_control" in each for each in parts)


def _letters(value: Any) -> int:
    if isinstance(value, str):
        return len(value)
    if isinstance(value, dict):
        return sum(map(_letters, value.values()))
    return sum(map(_letters, value)) if isinstance(value, list) else 0
