"""About how many tokens a whole prompt takes: its messages, pictures and tools."""

from __future__ import annotations

import msgspec

from gateway.contract.messages import ChatRequest, Document, Image, Part, Reasoning, Text, ToolCall, ToolResult
from gateway.contract.tokens import estimate_tokens

TOKENS_PER_MESSAGE = 4
TOKENS_PER_IMAGE = 1_500  # what Anthropic and OpenAI bill for a picture of about a megapixel
BYTES_PER_DOCUMENT_TOKEN = 8


def prompt_tokens(request: ChatRequest) -> int:
    """The estimated tokens of a request's messages and tools."""
    total = 0
    for message in request.messages:
        total += TOKENS_PER_MESSAGE + sum(_part_tokens(part) for part in message.parts)
    for tool in request.tools:
        total += estimate_tokens(msgspec.json.encode(tool).decode())
    return total


def _part_tokens(part: Part) -> int:
    if isinstance(part, (Text, Reasoning)):
        return estimate_tokens(part.text)
    if isinstance(part, ToolCall):
        return estimate_tokens(part.name) + estimate_tokens(part.arguments)
    if isinstance(part, ToolResult):
        return sum(_part_tokens(inner) for inner in part.parts)
    if isinstance(part, Image):
        return TOKENS_PER_IMAGE
    if isinstance(part, Document):
        return estimate_tokens(part.text) if part.text else len(part.data) // BYTES_PER_DOCUMENT_TOKEN
    return 0
