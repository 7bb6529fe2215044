"""JSON schemas for Anthropic: for tools, and enforced ones for responses and strict tools.

The subset for enforced schemas is that of the vendor's SDK (`anthropic.lib._parse._transform`) and of its guide to
structured outputs: closed objects, no limits on numbers and lengths, no recursion.
"""

from __future__ import annotations

from typing import Any

from gateway.dialects.schemas import Budget, MemoizedFit, SchemaSubset, narrow
from gateway.dialects.tool_schemas import as_2020_12, to_object_schema

_SUBSET = SchemaSubset(
    keywords=frozenset(),
    formats=frozenset({"date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid"}),
    closed=True,
    const=True,
    enum_types=(str, int, float, bool),
)


@MemoizedFit
def strict_schema(schema: dict[str, Any], budget: Budget) -> tuple[dict[str, Any], bool]:
    """A schema that the vendor can enforce, and whether a part was moved to descriptions.


    Raises `Inexpressible`.
    """
    return narrow(schema, _SUBSET, budget)


@MemoizedFit
def tool_schema(parameters: dict[str, Any], budget: Budget) -> tuple[dict[str, Any], bool]:
    """A tool's `input_schema`, and whether a part was moved to the description."""
    return to_object_schema(as_2020_12(parameters, budget), budget)
