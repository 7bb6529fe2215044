"""What bounds a tool: how much it fetches and says, and whose turn its work takes."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from contract.caller import Caller

MAX_RESULT = 8_000
"""Letters of a result."""
MAX_FETCHED = 1_000_000
"""Bytes of an answer."""


def turn_of(caller: Caller | None) -> str:
    """Whose turn the work of a call takes in a pool of threads."""
    return caller.app if caller is not None else ""
