"""Cache breakpoints of callers in another dialect: `cache_control`, as LiteLLM, OpenRouter and agents send it.

On parts, messages and tools of OpenAI's dialect they mean Anthropic's breakpoints. Without them every request would pay
the full price for the same prompt.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.dialects.dropped_params import DroppedParams

# https://docs.anthropic.com/en/docs/build-with-claude/prompt-caching
MAX_BREAKPOINTS = 4
CACHE_CONTROL = "cache_control"
_NOT_CACHEABLE = frozenset({"thinking", "redacted_thinking"})


def move_breakpoint(extra: dict[str, Any], blocks: list[dict[str, Any]]) -> dict[str, Any]:
    """Moves a breakpoint in `extra` to the last block that may have one; returns the other fields of `extra`."""
    if CACHE_CONTROL not in extra:
        return extra
    breakpoint_ = extra[CACHE_CONTROL]
    for block in reversed(blocks if isinstance(breakpoint_, dict) else []):
        if block.get("type") not in _NOT_CACHEABLE:
            block.setdefault(CACHE_CONTROL, breakpoint_)
            break
    return {key: value for key, value in extra.items() if key != CACHE_CONTROL}


def limit_breakpoints(body: dict[str, Any], losses: DroppedParams) -> None:
    """Removes the first breakpoints if there are more than the vendor accepts."""
    blocks_with_breakpoint = list(_find_breakpoints(body))
    surplus = len(blocks_with_breakpoint) - MAX_BREAKPOINTS + (CACHE_CONTROL in body)
    for block in blocks_with_breakpoint[: max(0, surplus)]:
        del block[CACHE_CONTROL]
        losses.add_soft(CACHE_CONTROL, f"Anthropic accepts {MAX_BREAKPOINTS} cache breakpoints: the last were sent")


def _find_breakpoints(body: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The blocks with a breakpoint, in the vendor's order: tools, system prompt, messages."""
    system = body.get("system")
    lists = [body.get("tools"), system, *(each["content"] for each in body["messages"])]
    for blocks in lists:
        for block in blocks if isinstance(blocks, list) else ():
            inner = block.get("content")
            for within in inner if block.get("type") == "tool_result" and isinstance(inner, list) else ():
                if CACHE_CONTROL in within:
                    yield within
            if CACHE_CONTROL in block:
                yield block
