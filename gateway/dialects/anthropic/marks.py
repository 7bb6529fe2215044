"""Cache marks of callers who speak another dialect: `cache_control`, as LiteLLM, OpenRouter and agents send it.

On parts, messages and tools of OpenAI's dialect they mean Anthropic's own marks, and without them the same prompt is
read anew at its full price each time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.dialects.dropped_params import DroppedParams

# https://docs.anthropic.com/en/docs/build-with-claude/prompt-caching
MOST_MARKS = 4
MARK = "cache_control"
_UNMARKABLE = frozenset({"thinking", "redacted_thinking"})


def carry(extra: dict[str, Any], blocks: list[dict[str, Any]]) -> dict[str, Any]:
    """Puts a mark in `extra` on the last of the blocks that may have one; gives the fields that are left."""
    if MARK not in extra:
        return extra
    mark = extra[MARK]
    for block in reversed(blocks if isinstance(mark, dict) else []):
        if block.get("type") not in _UNMARKABLE:
            block.setdefault(MARK, mark)
            break
    return {key: value for key, value in extra.items() if key != MARK}


def limit(body: dict[str, Any], losses: DroppedParams) -> None:
    """Leaves the last marks where there are more than the vendor takes."""
    marked = list(_marked(body))
    for each in marked[: max(0, len(marked) - MOST_MARKS + (MARK in body))]:
        del each[MARK]
        losses.add_soft(MARK, f"Anthropic takes {MOST_MARKS} marks: the last were kept")


def _marked(body: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """In the vendor's order: tools, system prompt, messages."""
    system = body.get("system")
    lists = [body.get("tools"), system, *(each["content"] for each in body["messages"])]
    for blocks in lists:
        for block in blocks if isinstance(blocks, list) else ():
            inner = block.get("content")
            for within in inner if block.get("type") == "tool_result" and isinstance(inner, list) else ():
                if MARK in within:
                    yield within
            if MARK in block:
                yield block
