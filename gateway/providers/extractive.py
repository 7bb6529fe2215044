"""The built-in model `extractive`, which quotes passages, and the embedding model `minilm`. No key, no network."""

from __future__ import annotations

import asyncio
import secrets
from typing import Literal

from pydantic import Field

from config.providers import ProviderBase, ProviderParts
from contract.attempt import TraceNames
from contract.deltas import ChoiceDelta, Delta, FinishReason, Usage
from contract.embedding import Embeds
from contract.errors import GatehouseError, ServerFault, UnsupportedFeature, UpstreamNotFound
from contract.held import check_held
from contract.messages import ChatRequest, Document, DroppedParam, EmbeddingRequest, Embeddings, Message, Text
from contract.provider import UpstreamCall
from contract.tokens import estimate_tokens
from contract.work import WorkPool
from gateway.providers.quoting import (
    ExtractiveAnswer,
    Prompt,
    Scored,
    Sentence,
    choose,
    rank,
    read_prompt,
    split_sentences,
    write_answer,
)

MODEL = "extractive"
DIALECT = "extractive"
_CHAT_TRACE = TraceNames("gatehouse.extractive")
_EMBEDDINGS_TRACE = TraceNames("gatehouse.extractive", "embeddings")
# Embeddings only improve the ranking. If the embedder is busy with documents, term overlap is used instead.
_EMBED_TIMEOUT_S = 1.0
# Parameters of generative models that have no effect on quotes.
_IGNORED_PARAMS = (
    "temperature", "top_p", "top_k", "seed", "presence_penalty", "frequency_penalty", "reasoning",
)  # fmt: skip


async def answer(
    messages: tuple[Message, ...], embedder: Embeds | None = None, pool: WorkPool | None = None
) -> ExtractiveAnswer:
    """Quotes the sentences that answer the last user question.

    Ranks them by embeddings if an embedder is ready, else by terms. `pool` provides threads that parse the prompt;
    without it the prompt is parsed on the event loop.
    """
    prompt, sentences, scored = await _read_in_pool(messages, pool) if pool is not None else _read(messages)
    similarities = None
    if scored and prompt.question and embedder is not None and embedder.ready:
        similarities = await _similarities(prompt.question, scored, embedder)
    return write_answer(prompt, rank(prompt.question, scored, similarities) if sentences else [])


async def _read_in_pool(messages: tuple[Message, ...], pool: WorkPool) -> tuple[Prompt, list[Sentence], list[Scored]]:
    # The model has no caller to be fair between, so each call counts as its own caller.
    return await pool.run(str(id(messages)), _read, messages)


class ExtractiveConfig(ProviderBase):
    """The built-in model that quotes documents: no key, no network, no options."""

    free = True

    kind: Literal["extractive"] = Field(description="The built-in model that quotes your documents.")

    async def build(self, name: str, parts: ProviderParts) -> ExtractiveProvider:
        """See `ProviderBase.build`."""
        return ExtractiveProvider(name, parts.embedder(), parts.quotes)


class ExtractiveProvider:
    """Implements `contract.provider.Provider` in this process, so it is always trusted."""

    dialect = DIALECT
    trusted = True

    def __init__(self, name: str, embedder: Embeds | None = None, pool: WorkPool | None = None) -> None:
        self.name = name
        self._pool = pool
        self._embedder = embedder

    async def open(self, request: ChatRequest, call: UpstreamCall) -> ExtractiveReply:
        """See `Provider.open`. Raises `UnsupportedFeature`, and `UpstreamNotFound` for another model's name."""
        if call.model != MODEL:
            raise UpstreamNotFound(f"The built-in provider has the model '{MODEL}', not '{call.model}'")
        refuse_unsupported(request)
        call.attempt.dialect, call.attempt.traced_as = DIALECT, _CHAT_TRACE
        call.attempt.losses += tuple(
            DroppedParam(field, "has no effect on quotes")
            for field in _IGNORED_PARAMS
            if getattr(request, field) is not None
        )
        result = await answer(request.messages, self._embedder, self._pool)
        call.attempt.status = 200
        return ExtractiveReply(_deltas(request, call.model, result), streamed=call.stream)

    async def embed(self, request: EmbeddingRequest, call: UpstreamCall) -> Embeddings:
        """Returns 384 numbers per text. Raises `UnsupportedFeature` without a model or for other dimensions."""
        embedder = self._embedder
        if embedder is None:
            raise UnsupportedFeature("The built-in provider runs without an embedding model", param="model")
        if call.model != embedder.name:
            raise UpstreamNotFound(f"The built-in embedding model is '{embedder.name}', not '{call.model}'")
        if request.dimensions not in (None, embedder.dimensions):
            raise UnsupportedFeature(f"'{embedder.name}' has {embedder.dimensions} dimensions", param="dimensions")
        try:
            vectors = await embedder.embed(request.texts)
        except GatehouseError as error:
            raise ServerFault(error.message) from error
        call.attempt.dialect, call.attempt.traced_as = DIALECT, _EMBEDDINGS_TRACE
        call.attempt.status = 200
        return Embeddings(vectors, embedder.name, sum(map(estimate_tokens, request.texts)))

    async def close(self) -> None:
        """Does nothing: the embedder's owner closes it."""


class ExtractiveReply:
    """A complete response, with one delta per paragraph."""

    dialect = DIALECT

    def __init__(self, deltas: list[Delta], *, streamed: bool) -> None:
        self.streamed = streamed
        self._batches = [[delta] for delta in deltas] if streamed else [deltas]
        self._batches.reverse()

    async def next(self) -> list[Delta] | None:
        """See `Reply.next`."""
        return self._batches.pop() if self._batches else None

    async def close(self) -> None:
        """See `Reply.close`."""
        self._batches.clear()


def refuse_unsupported(request: ChatRequest) -> None:
    """Raises `UnsupportedFeature` for the first field that a quoting model can't support."""
    for name, value in (request.extra or {}).items():
        if value is not None:
            check_held(name)
    fault = _unsupported(request)
    if fault:
        field, feature = fault
        raise UnsupportedFeature(
            f"The built-in model '{MODEL}' only quotes passages and does not support {feature}. Use a language model.",
            param=field,
        )


def _unsupported(request: ChatRequest) -> tuple[str, str] | None:
    if request.tools and not (request.tool_choice and request.tool_choice.mode == "none"):
        return "tools", "tools"
    if request.response_format and request.response_format.kind != "text":
        return "response_format", "JSON output"
    if request.n is not None and request.n != 1:
        return "n", "more than one choice"
    if request.logprobs:
        return "logprobs", "logprobs"
    if request.top_logprobs:
        return "top_logprobs", "logprobs"
    for index, message in enumerate(request.messages):
        if message.role != "user":
            continue
        for part in message.parts:
            if not isinstance(part, Text) and not (isinstance(part, Document) and part.text):
                return f"messages[{index}].content", f"{type(part).__name__.lower()} parts"
    return None


def _read(messages: tuple[Message, ...]) -> tuple[Prompt, list[Sentence], list[Scored]]:
    prompt = read_prompt(messages)
    sentences = split_sentences(prompt.passages)
    return prompt, sentences, choose(prompt, sentences)


async def _similarities(question: str, scored: list[Scored], embedder: Embeds) -> list[float] | None:
    """Each sentence's cosine to the question; None when the embedder fails or takes too long."""
    try:
        async with asyncio.timeout(_EMBED_TIMEOUT_S):
            vectors = await embedder.embed([question, *(each.sentence.embedded_text for each in scored)])
    except (GatehouseError, TimeoutError):
        return None
    question_vector, *rest = vectors
    return [sum(a * b for a, b in zip(question_vector, vector, strict=True)) for vector in rest]


def _deltas(request: ChatRequest, model: str, result: ExtractiveAnswer) -> list[Delta]:
    identity = f"{MODEL}-{secrets.token_hex(12)}"
    text, finish, stopped_by = _limit(result.text, request)
    pieces = _split_paragraphs(text)
    deltas = [Delta((ChoiceDelta(text=piece),), id=identity, model=model) for piece in pieces]
    read = sum(estimate_tokens(message.text) for message in request.messages)
    usage = Usage(input=read, output=estimate_tokens(text))
    end = ChoiceDelta(finish=finish, stop_sequence=stopped_by)
    return [*deltas, Delta((end,), usage=usage, id=identity, model=model)]


def _limit(text: str, request: ChatRequest) -> tuple[str, FinishReason, str]:
    """The text up to the first stop sequence or `max_tokens`, the finish reason, and the stop sequence."""
    finish: FinishReason = "stop"
    stopped_by = ""
    matches = [(at, stop) for stop in request.stop if stop and (at := text.find(stop)) >= 0]
    if matches:
        at, stopped_by = min(matches)
        text, finish = text[:at], "stop_sequence"
    if request.max_tokens is not None and estimate_tokens(text) > request.max_tokens:
        low, high = 0, len(text)
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if estimate_tokens(text[:middle]) <= request.max_tokens else (low, middle - 1)
        text, finish, stopped_by = text[:low], "length", ""
    return text, finish, stopped_by


def _split_paragraphs(text: str) -> list[str]:
    """Splits the text after each blank line; the pieces join to the same text."""
    return [piece for piece in text.replace("\n\n", "\n\n\0").split("\0") if piece]
