"""A tool that does not ask the same twice."""

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
    """Implements `contract.tools.ReadingTool`, for tools that give every caller the same."""

    def __init__(self, tool: ReadingTool, keep_s: float) -> None:
        """`keep_s`: for how long a result is given again. A failure is not kept."""
        self.definition = tool.definition
        self._tool = tool
        self._results: Recent[str, str] = Recent(RECENT, keep_s)

    async def call(self, arguments: Mapping[str, Any], caller: Caller | None) -> str:
        """See `ReadingTool.call`."""
        key = json.dumps(arguments, sort_keys=True)
        known = self._results.get(key)
        if known is None:
            known = await self._tool.call(arguments, caller)
            self._results.put(key, known)
        return known
