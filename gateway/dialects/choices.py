"""The choice of tools in the words of another vendor."""

from __future__ import annotations

import msgspec

from contract.errors import UnsupportedFeature
from contract.messages import ChatRequest, Tool, ToolChoice


def only_allowed(request: ChatRequest) -> ChatRequest:
    """The request with those tools only that its choice allows: every vendor understands that."""
    choice = request.tool_choice
    if choice is None or not choice.allowed:
        return request
    allowed = frozenset(choice.allowed)
    return msgspec.structs.replace(
        request,
        tools=tuple([tool for tool in request.tools if isinstance(tool, Tool) and tool.name in allowed]),
        tool_choice=ToolChoice(choice.mode),
    )


def check_unforced(request: ChatRequest) -> None:
    """For a request that is sent without tools. Raises `UnsupportedFeature` where a call of one is forced."""
    choice = request.tool_choice
    if choice is not None and choice.mode in ("required", "named"):
        why = "of those that were given none can be sent to this model" if request.tools else "there are none"
        raise UnsupportedFeature(f"'tool_choice' forces a call of a tool, and {why}", param="tool_choice")
