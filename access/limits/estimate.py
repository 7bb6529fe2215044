"""How much a request may take, before anybody knows: for reserving, never for billing."""

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

# What an answer is taken for by limits of tokens where the request names no bound.
USUAL_ANSWER = 1_000
# The estimate is within a fifth on what people write; odd signs may double it.
_AT_MOST, _AT_LEAST = 2, 64
# No model writes more, whatever is asked for.
_MOST_ANSWERS = 1_000_000_000
# Of a longer text the estimate knows the beginning only.
_WHOLLY_READ = 64 * 1024
# What the estimate does not know of, in tokens: only what is reserved has it.
_PICTURE = 2_000
_SHARP_PICTURE = 8_000
_LINKED = 100_000  # a document that only its provider can see
_LONGEST_DOCUMENT = 1_000_000
_SERVER_TOOL = 10_000  # what a tool of the provider's own may add
_SEARCHES = 5
_MOST_SEARCHES = 100
# Characters of base64 for a token.
_PER_TOKEN = {"wav": 320, "pcm16": 320}
_PER_TOKEN_OF_SOUND = 32
_PER_TOKEN_OF_DOCUMENT = 4
_PER_TOKEN_OF_WHAT_IS_SEALED = 3


class Size(msgspec.Struct, frozen=True, gc=False):
    """Tokens: of the prompt as estimated, and of the answers as bounded (None: the request names no bound).

    `most` is more than the prompt has. `thoughts` are for providers that want them beside the answer, `searches` what
    the provider may search of the web, `tier` the service tier that is asked for.
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
        """More than the prompt has."""
        return (self.most or _AT_MOST * self.prompt) + _AT_LEAST

    def answer_bound(self, otherwise: int) -> int:
        """More than the answers have; `otherwise` is one answer's where the request names none."""
        return self.answers if self.answers is not None else otherwise * self.count


def size_of(request: ChatRequest | EmbeddingRequest) -> Size:
    """About the size of `request`."""
    count = _Count()
    if isinstance(request, EmbeddingRequest):
        given = sum(map(len, request.tokens))
        prompt = sum(map(count, request.texts)) + given
        return Size(prompt, 0, 1, count.most + _AT_MOST * given)
    prompt = prompt_tokens(request, count)
    return size_with(prompt, count.most + _AT_MOST * (prompt - count.estimated) + _unseen(request), request)


def size_with(prompt: int, most: int, request: ChatRequest) -> Size:
    """The size of a request whose prompt has been measured already: as estimated, and at most."""
    extra = request.extra
    count = max(1, request.n or 1)
    if extra is not None:
        count = max(count, _whole(extra.get("best_of"), _MOST_ANSWERS))
    asked = request.max_tokens
    # Some servers take -1 for no bound.
    answers = min(asked * count, _MOST_ANSWERS) if asked is not None and asked > 0 else None
    thoughts = min(thinking_budget(request.reasoning), _MOST_ANSWERS) if request.reasoning is not None else 0
    searches = _searches(request) if request.tools or extra is not None else 0
    return Size(prompt, answers, min(count, _MOST_ANSWERS), most, thoughts, searches, asked_tier(extra))


class _Count:
    """Estimates texts, and sums up what they have at most."""

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
    if length > _WHOLLY_READ:
        size = length if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
        # Whatever its beginning is like: letters at random are half a token each.
        return max(_AT_MOST * tokens, 3 * size // 5)
    most = max(_AT_MOST * tokens, length // 3)
    # Rare signs are up to a token a byte.
    return most if text.isascii() else most + (len(text.encode("utf-8", "surrogatepass")) - length) // 2


def _unseen(request: ChatRequest) -> int:
    """At most so many tokens of what the estimate does not look at."""
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
        total += len(msgspec.json.encode(extra)) // _PER_TOKEN_OF_WHAT_IS_SEALED
        if "cachedContent" in extra:
            total += _LINKED
        if "web_search_options" in extra:
            total += _SERVER_TOOL
    return total


def _of_message(message: Message) -> int:
    extra = len(msgspec.json.encode(message.extra)) if message.extra is not None else 0
    return (extra + len(message.name)) // _PER_TOKEN_OF_WHAT_IS_SEALED


def _of_part(part: Part) -> int:
    if isinstance(part, Image):
        return _SHARP_PICTURE if part.detail == "original" else _PICTURE
    if isinstance(part, Document):
        if part.text:
            return 0
        return min(len(part.data) // _PER_TOKEN_OF_DOCUMENT, _LONGEST_DOCUMENT) if part.data else _LINKED
    if isinstance(part, Audio):
        return len(part.data) // _PER_TOKEN.get(part.format, _PER_TOKEN_OF_SOUND)
    if isinstance(part, Opaque):
        return _of_opaque(part.value)
    if isinstance(part, Reasoning):
        return (len(part.redacted) + len(part.signature)) // _PER_TOKEN_OF_WHAT_IS_SEALED
    if isinstance(part, ToolCall):
        return len(part.signature) // _PER_TOKEN_OF_WHAT_IS_SEALED
    if isinstance(part, ToolResult):
        return sum([_of_part(inner) for inner in part.parts])
    return 0


def _of_opaque(value: dict[str, Any]) -> int:
    written = msgspec.json.encode(value)
    linked = _LINKED if b"file" in written and len(written) < 4096 else 0
    return len(written) // _PER_TOKEN_OF_WHAT_IS_SEALED + linked


def _searches(request: ChatRequest) -> int:
    found = _SEARCHES if request.extra is not None and "web_search_options" in request.extra else 0
    for tool in request.tools:
        if isinstance(tool, Opaque) and b"earch" in msgspec.json.encode(tool.value):
            found += _whole(tool.value.get("max_uses"), _MOST_SEARCHES) or _SEARCHES
    return found


def _whole(value: object, most: int) -> int:
    return min(max(0, value), most) if isinstance(value, int) else 0
