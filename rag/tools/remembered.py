"""Caches a tool's results."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rag.recent import Recent

if TYPE_CHECKING:
    from contract.caller import Caller
    from contract.tools import ReadingTool

RECENT = 256


class RememberedTool:
    """Implements `contract.tools.ReadingTool` for tools whose results do not depend on the caller."""

    def __init__(self, tool: ReadingTool, keep_s: float) -> None:
        """`keep_s`: the lifetime of a cached result in seconds. Failures are not cached."""
        self.definition = tool.definition
        self._tool = tool
        self._results: Recent[str, str] = Recent(RECENT, keep_s)

    async def call(self, arguments: Mapping[str, Any], caller: Caller | None) -> str:
        """See `ReadingTool.call`."""
        key = json.dumps(arguments, sort_keys=True)
        result = self._results.get(key)
        if result is None:
            result = await self._tool.call(arguments, caller)
            self._results.put(key, result)
        return result
