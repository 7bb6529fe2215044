"""Reads and answers `:countTokens`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from gateway.dialects import fields
from gateway.dialects.gemini_generate import requests
from gateway.dialects.gemini_generate.names import camel

if TYPE_CHECKING:
    from contract.dialect import InboundCall
    from contract.messages import ChatRequest


def read_count_tokens(body: bytes, call: InboundCall) -> ChatRequest:
    """Reads contents alone, or a complete request under `generateContentRequest`."""
    source = camel(fields.read_json_object(body))
    inner = fields.obj(source, "generateContentRequest")
    return requests.read_object(inner if inner is not None else source, call)


def count_tokens_reply(count: int) -> bytes:
    """Writes the response body."""
    return msgspec.json.encode({"totalTokens": count})
