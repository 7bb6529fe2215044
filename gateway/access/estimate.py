"""How much a request may take, before anybody knows: for reserving, never for billing."""

from __future__ import annotations

import msgspec

from gateway.contract.messages import ChatRequest, EmbeddingRequest
from gateway.contract.prompt_tokens import prompt_tokens
from gateway.contract.tokens import estimate_tokens

# What an answer is taken for by limits of tokens where the request names no bound.
USUAL_ANSWER = 1_000
# The estimate is within a fifth on what people write; odd signs may double it.
_AT_MOST, _AT_LEAST = 2, 64


class Size(msgspec.Struct, frozen=True, gc=False):
    """Tokens: of the prompt as estimated, and of the answers as bounded (None: the request names no bound)."""

    prompt: int
    answers: int | None
    count: int = 1

    @property
    def prompt_bound(self) -> int:
        """More than the prompt has."""
        return _AT_MOST * self.prompt + _AT_LEAST

    def answer_bound(self, otherwise: int) -> int:
        """More than the answers have; `otherwise` is one answer's where the request names none."""
        return self.answers if self.answers is not None else otherwise * self.count


def size_of(request: ChatRequest | EmbeddingRequest) -> Size:
    """About the size of `request`."""
    if isinstance(request, EmbeddingRequest):
        return Size(sum(map(estimate_tokens, request.texts)) + sum(map(len, request.tokens)), 0)
    return size_with(prompt_tokens(request), request)


def size_with(prompt: int, request: ChatRequest) -> Size:
    """The size of a request whose prompt is known already."""
    count = max(1, request.n or 1)
    answers = request.max_tokens * count if request.max_tokens is not None else None
    return Size(prompt, answers, count)
