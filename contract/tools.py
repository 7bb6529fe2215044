"""The interface of the gateway's tools, which a model calls to fetch context."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from contract.caller import Caller
    from contract.messages import Tool


class ReadingTool(Protocol):
    """One read-only tool."""

    definition: Tool

    async def call(self, arguments: Mapping[str, Any], caller: Caller | None) -> str:
        """The result as text. Raises `FetchFailed` or `ValueError`: the message goes to the model."""
        ...
