"""What OpenAI's replies count: tokens, and how likely each was."""

from __future__ import annotations

from typing import Any

import msgspec

from gateway.contract.deltas import TokenLogprob, Usage


class _PromptDetails(msgspec.Struct, gc=False):
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None
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


_decode_usage = msgspec.json.Decoder(_Usage).decode


def read_usage(usage: msgspec.Raw) -> Usage:
    """Raises `msgspec.ValidationError`."""
    return _read_usage(_decode_usage(usage))


def convert_usage(usage: dict[str, Any]) -> Usage:
    """The same of what is decoded already, with numbers that are strings."""
    return _read_usage(msgspec.convert(usage, _Usage, strict=False))


def read_logprobs(logprobs: dict[str, Any]) -> tuple[TokenLogprob, ...]:
    """The `logprobs` of a choice."""
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
    prompt = usage.prompt_tokens_details or _NO_PROMPT
    completion = usage.completion_tokens_details or _NO_COMPLETION
    asked, answered = usage.prompt_tokens or 0, usage.completion_tokens or 0
    thought = completion.reasoning_tokens or 0
    if thought and usage.total_tokens == asked + answered + thought:
        # xAI counts thoughts beside the answer, and bills them.
        answered += thought
    return Usage(
        input=asked,
        output=answered,
        cache_read=prompt.cached_tokens or 0,
        cache_write=prompt.cache_write_tokens or 0,
        reasoning=thought,
        audio_input=prompt.audio_tokens or 0,
        audio_output=completion.audio_tokens or 0,
    )


_NO_PROMPT = _PromptDetails()
_NO_COMPLETION = _CompletionDetails()
