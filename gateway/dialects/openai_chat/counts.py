"""Reads token usage and log probabilities of OpenAI and compatible servers."""

from __future__ import annotations

from typing import Any

import msgspec

from contract.deltas import TokenLogprob, Usage


class _PromptDetails(msgspec.Struct, gc=False):
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None
    cache_creation_input_tokens: int | None = None  # Alibaba's Model Studio
    audio_tokens: int | None = None


class _CompletionDetails(msgspec.Struct, gc=False):
    reasoning_tokens: int | None = None
    audio_tokens: int | None = None


class _Usage(msgspec.Struct, gc=False):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    total_tokens: int | None = None
    prompt_tokens_details: _PromptDetails | None = None
    completion_tokens_details: _CompletionDetails | None = None
    prompt_cache_hit_tokens: int | None = None  # DeepSeek: api-docs.deepseek.com/api/create-chat-completion
    cached_tokens: int | None = None  # Moonshot: platform.kimi.ai/docs/api/chat
    cache_read_input_tokens: int | None = None  # LiteLLM, and others that pass on Anthropic's fields
    cache_creation_input_tokens: int | None = None


_decode_usage = msgspec.json.Decoder(_Usage).decode


def read_usage(usage: msgspec.Raw) -> Usage:
    """Reads the usage. Raises `msgspec.ValidationError`."""
    return _read_usage(_decode_usage(usage))


def convert_usage(usage: dict[str, Any]) -> Usage:
    """Reads decoded usage, in which numbers may be strings."""
    return _read_usage(msgspec.convert(usage, _Usage, strict=False))


def read_logprobs(logprobs: dict[str, Any]) -> tuple[TokenLogprob, ...]:
    """Reads the `logprobs` of a choice."""
    tokens = logprobs.get("content")
    if not isinstance(tokens, list):
        return ()
    return tuple([_read_token(token) for token in tokens if isinstance(token, dict)])


def _read_token(token: dict[str, Any]) -> TokenLogprob:
    data = token.get("bytes")
    return TokenLogprob(
        str(token.get("token", "")),
        float(token.get("logprob") or 0.0),
        tuple([_read_token(other) for other in token.get("top_logprobs") or ()]),
        tuple(data) if isinstance(data, list) else None,
    )


def _read_usage(usage: _Usage) -> Usage:
    """Reads the usage. OpenAI's fields have priority if a server repeats a count in several fields."""
    prompt = usage.prompt_tokens_details or _NO_PROMPT
    completion = usage.completion_tokens_details or _NO_COMPLETION
    input_tokens, output_tokens = usage.prompt_tokens or 0, usage.completion_tokens or 0
    reasoning = completion.reasoning_tokens or 0
    read = (
        prompt.cached_tokens
        or usage.prompt_cache_hit_tokens
        or usage.cached_tokens
        or usage.cache_read_input_tokens
        or 0
    )
    written = prompt.cache_write_tokens or prompt.cache_creation_input_tokens or usage.cache_creation_input_tokens or 0
    uncounted = (usage.total_tokens or 0) - input_tokens - output_tokens
    if uncounted > 0:
        if uncounted == read + written:
            # The server counts like Anthropic: the prompt tokens exclude cached ones.
            input_tokens += uncounted
        else:
            # xAI and Google count and bill reasoning separately from the output; Google omits its count.
            output_tokens += uncounted
            reasoning = max(reasoning, uncounted)
    return Usage(
        input=input_tokens,
        output=output_tokens,
        cache_read=read,
        cache_write=written,
        reasoning=reasoning,
        audio_input=prompt.audio_tokens or 0,
        audio_output=completion.audio_tokens or 0,
    )


_NO_PROMPT = _PromptDetails()
_NO_COMPLETION = _CompletionDetails()
