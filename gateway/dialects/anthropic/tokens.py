"""`/v1/messages/count_tokens`, read and answered."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from gateway.dialects.anthropic import requests

if TYPE_CHECKING:
    from contract.messages import ChatRequest


def read_count_tokens(body: bytes) -> ChatRequest:
    """A request like any other, but without `max_tokens`."""
    return requests.read(body, counting=True)


def count_tokens_reply(count: int) -> bytes:
    """The body of the answer."""
    return msgspec.json.encode({"input_tokens": count})
