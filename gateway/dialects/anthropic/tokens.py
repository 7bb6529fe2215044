"""Reads and answers `/v1/messages/count_tokens`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from gateway.dialects.anthropic import requests

if TYPE_CHECKING:
    from contract.messages import ChatRequest


def read_count_tokens(body: bytes) -> ChatRequest:
    """Reads a request, in which `max_tokens` is optional."""
    return requests.read(body, counting=True)


def count_tokens_reply(count: int) -> bytes:
    """Writes the response body."""
    return msgspec.json.encode({"input_tokens": count})
