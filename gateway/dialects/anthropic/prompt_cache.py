"""Adds Anthropic's cache breakpoints to requests without them: the vendor caches a prompt up to a breakpoint."""

from __future__ import annotations

from typing import Any

# About 1024 tokens, the minimum that the vendor caches.
MIN_CHARS = 4096
_EPHEMERAL = {"type": "ephemeral"}
_CACHEABLE = frozenset({"text", "image", "document", "tool_use", "tool_result"})


def add_breakpoints(body: dict[str, Any]) -> None:
    """Adds breakpoints after the stable prefixes: after tools and system prompt, and before the last message.

    Only if the prefix is long enough to be cached. A request with its own breakpoints is not changed.
    """
    system, tools, messages = body.get("system"), body.get("tools") or [], body["messages"]
    if isinstance(system, str):
        system = [{"type": "text", "text": system}]
    if any(map(_has_breakpoint, [tools, system or [], *(each["content"] for each in messages)])):
        return
    head = _text_length(tools) + _text_length(system)
    if head >= MIN_CHARS:
        if system:
            body["system"] = [*system[:-1], {**system[-1], "cache_control": _EPHEMERAL}]
        else:
            body["tools"] = [*tools[:-1], {**tools[-1], "cache_control": _EPHEMERAL}]
    if len(messages) > 1 and head + _text_length(messages[:-1]) >= MIN_CHARS:
        before = messages[-2]
        content = before["content"]
        if isinstance(content, str):
            content = [{"type": "text", "text": content}]
        if content and content[-1].get("type") in _CACHEABLE:
            cached = {**before, "content": [*content[:-1], {**content[-1], "cache_control": _EPHEMERAL}]}
            body["messages"] = [*messages[:-2], cached, messages[-1]]


def _has_breakpoint(parts: Any) -> bool:
    return isinstance(parts, list) and any(isinstance(each, dict) and "cache_control" in each for each in parts)


def _text_length(value: Any) -> int:
    if isinstance(value, str):
        return len(value)
    if isinstance(value, dict):
        return sum(map(_text_length, value.values()))
    return sum(map(_text_length, value)) if isinstance(value, list) else 0
