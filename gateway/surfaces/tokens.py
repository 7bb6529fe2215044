"""Counting tokens without a model: Anthropic's `count_tokens`, Gemini's `:countTokens`.

The count is an estimate, within about a fifth of the vendors' own; the header `x-gatehouse-estimated` says so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from gateway.contract.messages import Document, Image, Reasoning, Text, ToolCall, ToolResult
from gateway.contract.tokens import estimate_tokens
from gateway.surfaces.conduct import conduct
from gateway.surfaces.headers import reply_headers

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.contract.exchange import Exchange
    from gateway.contract.messages import ChatRequest, Part
    from gateway.runtime import Runtime
    from gateway.surfaces.conduct import WritesErrors
    from gateway.surfaces.http import HttpCall

TOKENS_PER_MESSAGE = 4
TOKENS_PER_IMAGE = 1_500  # what Anthropic and OpenAI bill for a picture of about a megapixel
BYTES_PER_DOCUMENT_TOKEN = 8


class TokenSurface:
    """One endpoint."""

    def __init__(self, runtime: Runtime, surface: str, dialect: WritesErrors, write: Callable[[int], bytes]) -> None:
        self._runtime = runtime
        self._surface = surface
        self._dialect = dialect
        self._write = write

    async def serve(self, call: HttpCall, read: Callable[[bytes], ChatRequest]) -> None:
        """Answers one HTTP request."""

        async def answer(call: HttpCall, exchange: Exchange) -> None:
            with self._runtime.borrow() as engine:
                exchange.config = engine.digest
                engine.pipeline.identify(call.key(), exchange)
                request = read(await call.read_body(engine.max_body))
                engine.pipeline.admit(request.model, exchange)
                body = self._write(prompt_tokens(request))
                exchange.status = 200
                exchange.outcome = "ok"
                headers = reply_headers(exchange, "application/json")
                headers.append((b"x-gatehouse-estimated", b"true"))
                await call.respond(200, headers, body)

        await conduct(self._runtime, call, self._surface, self._dialect, answer)


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
