"""What attempts have used where their providers did not say: an answer that was cut, a caller that left."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from access.limits.estimate import size_of
from contract.deltas import Usage
from contract.messages import ChatRequest, EmbeddingRequest
from contract.tokens import estimate_tokens

if TYPE_CHECKING:
    from contract.attempt import Attempt
    from contract.exchange import Exchange


# We went away, and the provider may have gone on: it bills the prompt at least.
_GIVEN_UP = frozenset({"cancelled", "timeout"})


def complete_usage(exchange: Exchange) -> None:
    """Counts for ourselves what was generated of answers that ended early, or whose provider counts nothing."""
    for attempt in exchange.attempts:
        if attempt.asked is not None:
            _complete(attempt)
            attempt.asked, attempt.said = None, []


def _complete(attempt: Attempt) -> None:
    heard = bool(attempt.said) or attempt.usage is not None
    ended_well = bool(attempt.ended) and not attempt.error
    if attempt.usage is not None and ended_well and not _counts_nothing(attempt):
        return
    if not heard and not ended_well and not (attempt.sent and attempt.error in _GIVEN_UP):
        return  # it failed before it said anything: nobody bills for that
    usage = attempt.usage or Usage()
    output = usage.output
    if not (output and ended_well):
        output = max(output, estimate_tokens("".join(attempt.said)))
    prompt = usage.input
    if not prompt and isinstance(attempt.asked, ChatRequest | EmbeddingRequest):
        prompt = size_of(attempt.asked).prompt
    attempt.estimated = attempt.usage is None or (prompt, output) != (usage.input, usage.output)
    attempt.usage = msgspec.structs.replace(usage, input=prompt, output=output)


def _counts_nothing(attempt: Attempt) -> bool:
    """Whether its provider counts nothing of an answer with words, or of its prompt: a field is filled with zeros."""
    usage = attempt.usage
    if usage is None:
        return True
    said = any(attempt.said)
    return said and not (usage.input and usage.output)
