"""The tools of one pipeline: offers them to the model and calls them within limits."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from contract.messages import ChatRequest, Tool
from contract.tools import ReadingTool
from rag.tools.fetch import FetchFailed

if TYPE_CHECKING:
    from contract.exchange import Exchange

CALL_TIMEOUT_S = 30.0


class ToolBox:
    """Implements `contract.phases.GatewayTools`."""

    def __init__(self, tools: Sequence[ReadingTool], steps: int) -> None:
        """`steps`: how many rounds of calls a model may make before it must answer."""
        self._tools = {tool.definition.name: tool for tool in tools}
        self.steps = steps
        self.definitions = tuple(tool.definition for tool in tools)

    def offer(self, request: ChatRequest) -> tuple[ChatRequest, frozenset[str]]:
        """See `GatewayTools.offer`."""
        if (request.tool_choice is not None and request.tool_choice.mode == "none") or (request.n or 1) > 1:
            return request, frozenset()
        used = {tool.name for tool in request.tools if isinstance(tool, Tool)}
        ours = tuple(tool.definition for name, tool in self._tools.items() if name not in used)
        offered = msgspec.structs.replace(request, tools=(*request.tools, *ours)) if ours else request
        return offered, frozenset(tool.name for tool in ours)

    def only(self, names: tuple[str, ...]) -> ToolBox:
        """See `GatewayTools.only`."""
        # The name of an MCP server's tool starts with the server's name.
        return ToolBox([tool for tool in self._tools.values() if _is_of(tool.definition.name, names)], self.steps)

    async def call(self, name: str, arguments: str, exchange: Exchange) -> str:
        """See `GatewayTools.call`."""
        started = time.perf_counter()
        outcome = "ok"
        try:
            values = msgspec.json.decode(arguments or "{}")
            if not isinstance(values, dict):
                raise ValueError("arguments must be a JSON object")
            async with asyncio.timeout(CALL_TIMEOUT_S):
                return await self._tools[name].call(values, exchange.caller)
        except (FetchFailed, ValueError, msgspec.DecodeError) as error:
            outcome = type(error).__name__
            return f"The tool failed: {error}"
        except TimeoutError:
            outcome = "timeout"
            return "The tool failed: it took too long"
        finally:
            exchange.record("tool", started, {"tool": name, "outcome": outcome})


def _is_of(tool: str, names: tuple[str, ...]) -> bool:
    return tool in names or tool.startswith(tuple(f"{name}_" for name in names))
