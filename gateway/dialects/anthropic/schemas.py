"""JSON schemas for Anthropic: those of tools, and those that an answer or a strict tool is held to.

The subset of the latter is that of the vendor's own SDK (`anthropic.lib._parse._transform`) and of its guide to
structured outputs: closed objects, no bounds of numbers and lengths, nothing recursive.
"""

from __future__ import annotations

from typing import Any

from gateway.dialects.schemas import Budget, MemoizedFit, SchemaSubset, narrow
from gateway.dialects.tool_schemas import as_2020_12, object_at_top

_SUBSET = SchemaSubset(
    keywords=frozenset(),
    formats=frozenset({"date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid"}),
    closed=True,
    const=True,
    enum_types=(str, int, float, bool),
)


@MemoizedFit
def enforceable(schema: dict[str, Any], budget: Budget) -> tuple[dict[str, Any], bool]:
    """The schema as one that the vendor holds an answer to, and whether a part of it is said in words only.

    Raises `Inexpressible`.
    """
    return narrow(schema, _SUBSET, budget)


@MemoizedFit
def of_tool(parameters: dict[str, Any], budget: Budget) -> tuple[dict[str, Any], bool]:
    """A tool's `input_schema`, and whether a part of it is said in words only."""
    return object_at_top(as_2020_12(parameters, budget), budget)
