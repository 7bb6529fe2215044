"""Estimates the tokens of a prompt: its messages, images and tools."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import msgspec

from contract.messages import ChatRequest, Document, Image, Opaque, Part, Reasoning, Refusal, Text, ToolCall, ToolResult
from contract.tokens import estimate_tokens

TOKENS_PER_MESSAGE = 4
TOKENS_PER_IMAGE = 1_500  # what Anthropic and OpenAI bill for an image of about a megapixel
BYTES_PER_DOCUMENT_TOKEN = 8


MANY_MESSAGES = 100
_COUNTED_CHARS = 1_000_000
_LEAST_TOKENS_PER_CHAR = 0.2


class _Sampled:
    """Counts a million characters, and extrapolates the rest, so as not to block the event loop."""

    def __init__(self, count: Callable[[str], int]) -> None:
        self._count = count
        self._chars = 0
        self._tokens = 0

    def __call__(self, text: str) -> int:
        if self._chars > _COUNTED_CHARS:
            return round(len(text) * max(_LEAST_TOKENS_PER_CHAR, self._tokens / self._chars))
        tokens = self._count(text)
        self._chars += len(text)
        self._tokens += tokens
        return tokens


def prompt_tokens(request: ChatRequest, count: Callable[[str], int] = estimate_tokens) -> int:
    """The estimated tokens of a request's messages and tools. `count` is called for each text."""
    total = 0
    if len(request.messages) > MANY_MESSAGES:
        count = _Sampled(count)
    for message in request.messages:
        total += TOKENS_PER_MESSAGE + sum([_part_tokens(part, count) for part in message.parts])
    for tool in request.tools:
        total += count(msgspec.json.encode(tool).decode())
    if request.response_format is not None and request.response_format.schema is not None:
        total += count(msgspec.json.encode(request.response_format.schema).decode())
    return total


def _part_tokens(part: Part, count: Callable[[str], int]) -> int:
    if isinstance(part, (Text, Reasoning, Refusal)):
        return count(part.text)
    if isinstance(part, ToolCall):
        return count(part.name) + count(part.arguments)
    if isinstance(part, ToolResult):
        return sum([_part_tokens(inner, count) for inner in part.parts])
    if isinstance(part, Image):
        return TOKENS_PER_IMAGE
    if isinstance(part, Document):
        return count(part.text) if part.text else len(part.data) // BYTES_PER_DOCUMENT_TOKEN
    return sum([count(text) for text in _texts(part.value)]) if isinstance(part, Opaque) else 0


def _texts(value: object) -> Iterator[str]:
    """The text in an opaque part, such as a search result, without binary data."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, each in value.items():
            if key not in _BYTES:
                yield from _texts(each)
    elif isinstance(value, list):
        for each in value:
            yield from _texts(each)


_BYTES = frozenset({"data", "signature", "encrypted_content", "encrypted_index", "thoughtSignature", "cache_control"})
