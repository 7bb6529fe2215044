"""Translates the choice of tools for another vendor."""

from __future__ import annotations

import msgspec

from contract.errors import UnsupportedFeature
from contract.messages import ChatRequest, Tool, ToolChoice


def only_allowed(request: ChatRequest) -> ChatRequest:
    """The request with only the tools that its choice allows, which every vendor supports."""
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
    """Checks a request that is sent without tools. Raises `UnsupportedFeature` if it forces a tool call."""
    choice = request.tool_choice
    if choice is not None and choice.mode in ("required", "named"):
        reason = "none of the tools can be sent to this model" if request.tools else "the request has no tools"
        raise UnsupportedFeature(f"'tool_choice' forces a tool call, but {reason}", param="tool_choice")
