"""The seam of tools of the gateway's own, which a model calls to fetch its context."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from contract.caller import Caller
    from contract.messages import Tool


class ReadingTool(Protocol):
    """One tool. It only reads."""

    definition: Tool

    async def call(self, arguments: Mapping[str, Any], caller: Caller | None) -> str:
        """What it found. Raises `FetchFailed` or `ValueError`: the message goes to the model."""
        ...
