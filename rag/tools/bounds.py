"""Limits of a tool: the size of its downloads and results, and the queue for its work."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from contract.caller import Caller

MAX_RESULT = 8_000
"""Characters of a result."""
MAX_FETCHED = 1_000_000
"""Bytes of a response."""


def turn_of(caller: Caller | None) -> str:
    """The queue of a call's work in a thread pool: one per app."""
    return caller.app if caller is not None else ""
