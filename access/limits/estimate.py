"""Estimates the size of a request: for reservations, never for billing."""

from __future__ import annotations

from typing import Any

import msgspec

from contract.messages import (
    Audio,
    ChatRequest,
    Document,
    EmbeddingRequest,
    Image,
    Message,
    Opaque,
    Part,
    Reasoning,
    Text,
    ToolCall,
    ToolResult,
)
from contract.prompt_tokens import prompt_tokens
from contract.service_tier import asked_tier
from contract.thinking_budget import thinking_budget
from contract.tokens import estimate_tokens

# The output tokens that token limits assume if the request sets no `max_tokens`.
USUAL_ANSWER = 1_000
# The estimate is within 20 % for ordinary text; unusual characters may double the true count.
_AT_MOST, _AT_LEAST = 2, 64
# More than any model writes.
_MOST_ANSWERS = 1_000_000_000
# The estimate reads only the beginning of a longer text.
_FULLY_READ = 64 * 1024
# Tokens of content that the estimate can't read; they count only for reservations.
_PICTURE = 2_000
_SHARP_PICTURE = 8_000
_LINKED = 100_000  # a document that only the provider can read
_LONGEST_DOCUMENT = 1_000_000
_SERVER_TOOL = 10_000  # what a provider's built-in tool may add
_SEARCHES = 5
_MOST_SEARCHES = 100
# Characters of base64 per token.
_PER_TOKEN = {"wav": 320, "pcm16": 320}
_PER_TOKEN_OF_AUDIO = 32
_PER_TOKEN_OF_DOCUMENT = 4
_PER_TOKEN_OF_OPAQUE = 3


class Size(msgspec.Struct, frozen=True, gc=False):
    """Tokens: the estimate of the prompt, and the bound on the responses (None: the request sets no bound).

    `most` is an upper bound of the prompt. `thoughts` is the reasoning budget, for providers that add it to the output;
    `searches` the most web searches by the provider, `tier` the requested service tier.
    """

    prompt: int
    answers: int | None
    count: int = 1
    most: int = 0
    thoughts: int = 0
    searches: int = 0
    tier: str = ""

    @property
    def prompt_bound(self) -> int:
        """An upper bound of the prompt's tokens."""
        return (self.most or _AT_MOST * self.prompt) + _AT_LEAST

    def answer_bound(self, otherwise: int) -> int:
        """An upper bound of the output tokens; `otherwise` is the bound of one response if the request sets none."""
        return self.answers if self.answers is not None else otherwise * self.count


def size_of(request: ChatRequest | EmbeddingRequest) -> Size:
    """The estimated size of `request`."""
    count = _Count()
    if isinstance(request, EmbeddingRequest):
        given = sum(map(len, request.tokens))
        prompt = sum(map(count, request.texts)) + given
        return Size(prompt, 0, 1, count.most + _AT_MOST * given)
    prompt = prompt_tokens(request, count)
    return size_with(prompt, count.most + _AT_MOST * (prompt - count.estimated) + _unseen(request), request)


def size_with(prompt: int, most: int, request: ChatRequest) -> Size:
    """The size of a request whose prompt is already measured: `prompt` is the estimate, `most` the upper bound."""
    extra = request.extra
    count = max(1, request.n or 1)
    if extra is not None:
        count = max(count, _whole(extra.get("best_of"), _MOST_ANSWERS))
    asked = request.max_tokens
    # Some servers accept -1 for no bound.
    answers = min(asked * count, _MOST_ANSWERS) if asked is not None and asked > 0 else None
    thoughts = min(thinking_budget(request.reasoning), _MOST_ANSWERS) if request.reasoning is not None else 0
    searches = _searches(request) if request.tools or extra is not None else 0
    return Size(prompt, answers, min(count, _MOST_ANSWERS), most, thoughts, searches, asked_tier(extra))


class _Count:
    """Estimates the tokens of texts, and sums up their upper bounds."""

    __slots__ = ("estimated", "most")

    def __init__(self) -> None:
        self.estimated = 0
        self.most = 0

    def __call__(self, text: str) -> int:
        tokens = estimate_tokens(text)
        self.estimated += tokens
        self.most += _most(text, tokens)
        return tokens


def _most(text: str, tokens: int) -> int:
    length = len(text)
    if length > _FULLY_READ:
        size = length if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
        # The rest may differ from the beginning: random characters are half a token each.
        return max(_AT_MOST * tokens, 3 * size // 5)
    most = max(_AT_MOST * tokens, length // 3)
    # Rare characters take up to a token per byte.
    return most if text.isascii() else most + (len(text.encode("utf-8", "surrogatepass")) - length) // 2


def _unseen(request: ChatRequest) -> int:
    """An upper bound of the tokens in content that the estimate does not read."""
    total = 0
    for message in request.messages:
        for part in message.parts:
            if type(part) is not Text:
                total += _of_part(part)
        if message.extra is not None or message.name:
            total += _of_message(message)
    for tool in request.tools:
        if isinstance(tool, Opaque):
            total += _SERVER_TOOL
    extra = request.extra
    if extra is not None:
        total += len(msgspec.json.encode(extra)) // _PER_TOKEN_OF_OPAQUE
        if "cachedContent" in extra:
            total += _LINKED
        if "web_search_options" in extra:
            total += _SERVER_TOOL
    return total


def _of_message(message: Message) -> int:
    extra = len(msgspec.json.encode(message.extra)) if message.extra is not None else 0
    return (extra + len(message.name)) // _PER_TOKEN_OF_OPAQUE


def _of_part(part: Part) -> int:
    if isinstance(part, Image):
        return _SHARP_PICTURE if part.detail == "original" else _PICTURE
    if isinstance(part, Document):
        if part.text:
            return 0
        return min(len(part.data) // _PER_TOKEN_OF_DOCUMENT, _LONGEST_DOCUMENT) if part.data else _LINKED
    if isinstance(part, Audio):
        return len(part.data) // _PER_TOKEN.get(part.format, _PER_TOKEN_OF_AUDIO)
    if isinstance(part, Opaque):
        return _of_opaque(part.value)
    if isinstance(part, Reasoning):
        return (len(part.redacted) + len(part.signature)) // _PER_TOKEN_OF_OPAQUE
    if isinstance(part, ToolCall):
        return len(part.signature) // _PER_TOKEN_OF_OPAQUE
    if isinstance(part, ToolResult):
        return sum([_of_part(inner) for inner in part.parts])
    return 0


def _of_opaque(value: dict[str, Any]) -> int:
    written = msgspec.json.encode(value)
    linked = _LINKED if b"file" in written and len(written) < 4096 else 0
    return len(written) // _PER_TOKEN_OF_OPAQUE + linked


def _searches(request: ChatRequest) -> int:
    found = _SEARCHES if request.extra is not None and "web_search_options" in request.extra else 0
    for tool in request.tools:
        if isinstance(tool, Opaque) and b"earch" in msgspec.json.encode(tool.value):
            found += _whole(tool.value.get("max_uses"), _MOST_SEARCHES) or _SEARCHES
    return found


def _whole(value: object, most: int) -> int:
    return min(max(0, value), most) if isinstance(value, int) else 0
