"""Golden invoices: the usage that each dialect's provider gives, in every shape, and what it comes to."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest

from access.ledger.prices import Prices, PriceVendor
from contract.attempt import Attempt
from contract.deltas import Usage
from contract.dialect import Dialect
from contract.exchange import Exchange
from contract.unsettled import Unsettled
from gateway.dialects.anthropic import AnthropicMessages
from gateway.dialects.gemini_generate import GeminiGenerate
from gateway.dialects.openai_chat import OpenAIChat

DIALECTS: dict[str, Dialect] = {"openai": OpenAIChat(), "anthropic": AnthropicMessages(), "gemini": GeminiGenerate()}
PRICES = Prices(
    {},
    {
        "openai": PriceVendor(url="https://api.openai.com/v1"),
        "anthropic": PriceVendor(url="https://api.anthropic.com"),
        "gemini": PriceVendor(url="https://generativelanguage.googleapis.com"),
    },
)
# By hand, from the vendors' lists: dollars for a million tokens.
INVOICES: list[tuple[str, dict[str, Any], str]] = [
    # gpt-4o: 2.50 and 10, kept 1.25.
    ("openai/gpt-4o", {"prompt_tokens": 1000, "completion_tokens": 100}, "0.0035"),
    (
        "openai/gpt-4o",
        {"prompt_tokens": 1000, "completion_tokens": 100, "prompt_tokens_details": {"cached_tokens": 400}},
        "0.003",
    ),
    # o3: 2 and 8, reasoning is among the answer.
    (
        "openai/o3",
        {"prompt_tokens": 10, "completion_tokens": 600, "completion_tokens_details": {"reasoning_tokens": 576}},
        "0.00482",
    ),
    ("openai/gpt-4o", {"prompt_tokens": 5, "completion_tokens": 5, "prompt_tokens_details": None}, "0.0000625"),
    # claude-sonnet-4-5: 3 and 15, kept 0.30, written 3.75 for five minutes and 6 for an hour, a search 0.01.
    ("anthropic/claude-sonnet-4-5", {"input_tokens": 1000, "output_tokens": 100}, "0.0045"),
    (
        "anthropic/claude-sonnet-4-5",
        {"input_tokens": 300, "output_tokens": 100, "cache_read_input_tokens": 500, "cache_creation_input_tokens": 200},
        "0.0033",
    ),
    (
        "anthropic/claude-sonnet-4-5",
        {
            "input_tokens": 300, "output_tokens": 100,
            "cache_read_input_tokens": 500, "cache_creation_input_tokens": 200,
            "cache_creation": {"ephemeral_5m_input_tokens": 100, "ephemeral_1h_input_tokens": 100},
        },
        "0.003525",
    ),
    (
        "anthropic/claude-sonnet-4-5",
        {"input_tokens": 1000, "output_tokens": 100, "server_tool_use": {"web_search_requests": 2}},
        "0.0245",
    ),
    # Beyond 200,000 tokens of prompt, kept ones included: 6 and 22.50, kept 0.60.
    (
        "anthropic/claude-sonnet-4-5",
        {"input_tokens": 100_001, "output_tokens": 1000, "cache_read_input_tokens": 100_000},
        "0.682506",
    ),
    # gemini-2.5-flash: 0.30 and 2.50, sound 1.00, kept 0.03; thoughts are counted beside the answer.
    ("gemini/gemini-2.5-flash", {"promptTokenCount": 1000, "candidatesTokenCount": 100}, "0.00055"),
    (
        "gemini/gemini-2.5-flash",
        {"promptTokenCount": 1000, "candidatesTokenCount": 100, "thoughtsTokenCount": 300},
        "0.0013",
    ),
    (
        "gemini/gemini-2.5-flash",
        {
            "promptTokenCount": 1000, "candidatesTokenCount": 100,
            "promptTokensDetails": [{"modality": "AUDIO", "tokenCount": 900}, {"modality": "TEXT", "tokenCount": 100}],
        },
        "0.00118",
    ),
    ("gemini/gemini-2.5-flash", {"promptTokenCount": 400, "toolUsePromptTokenCount": 600}, "0.0003"),
    # gemini-2.5-flash-image: a picture's tokens 30.
    (
        "gemini/gemini-2.5-flash-image",
        {
            "promptTokenCount": 1000, "candidatesTokenCount": 1300,
            "candidatesTokensDetails": [{"modality": "IMAGE", "tokenCount": 1290}],
        },
        "0.039025",
    ),
    # gemini-2.5-pro: 1.25 and 10, beyond 200,000 tokens 2.50 and 15.
    ("gemini/gemini-2.5-pro", {"promptTokenCount": 200_000, "candidatesTokenCount": 1000}, "0.26"),
    ("gemini/gemini-2.5-pro", {"promptTokenCount": 200_001, "candidatesTokenCount": 1000}, "0.5150025"),
]  # fmt: skip


def body_of(vendor: str, usage: dict[str, Any]) -> bytes:
    """A whole answer with this usage."""
    if vendor == "openai":
        choice = {"index": 0, "message": {"role": "assistant", "content": "Yes."}, "finish_reason": "stop"}
        return json.dumps({"id": "c", "model": "m", "choices": [choice], "usage": usage}).encode()
    if vendor == "anthropic":
        content = [{"type": "text", "text": "Yes."}]
        message = {"id": "m", "type": "message", "role": "assistant", "model": "m", "content": content,
                   "stop_reason": "end_turn", "usage": usage}  # fmt: skip
        return json.dumps(message).encode()
    candidate = {"content": {"role": "model", "parts": [{"text": "Yes."}]}, "finishReason": "STOP"}
    return json.dumps({"candidates": [candidate], "usageMetadata": usage}).encode()


def stream_of(vendor: str, usage: dict[str, Any]) -> bytes:
    """The same as a stream, which says its usage as the vendor does: at its end, at both ends, or with each event."""
    if vendor == "openai":
        first = {
            "id": "c",
            "model": "m",
            "choices": [{"index": 0, "delta": {"content": "Yes."}, "finish_reason": "stop"}],
        }
        last = {"id": "c", "model": "m", "choices": [], "usage": usage}
        return b"".join(b"data: %b\n\n" % json.dumps(each).encode() for each in (first, last)) + b"data: [DONE]\n\n"
    if vendor == "gemini":
        begun = {"candidates": [{"content": {"role": "model", "parts": [{"text": "Y"}]}}],
                 "usageMetadata": {"promptTokenCount": usage["promptTokenCount"]}}  # fmt: skip
        return b"data: %b\n\ndata: %b\n\n" % (json.dumps(begun).encode(), body_of(vendor, usage))
    start = {**usage, "output_tokens": 1}
    ended = {"output_tokens": usage["output_tokens"]} | {k: v for k, v in usage.items() if k == "server_tool_use"}
    events: list[dict[str, Any]] = [
        {"type": "message_start", "message": {"id": "m", "type": "message", "role": "assistant", "model": "m",
                                              "content": [], "usage": start}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Yes."}},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": ended},
        {"type": "message_stop"},
    ]  # fmt: skip
    return b"".join(
        b"event: %b\ndata: %b\n\n" % (str(each["type"]).encode(), json.dumps(each).encode()) for each in events
    )


def read(vendor: str, data: bytes, *, stream: bool) -> Usage:
    """The usage that the dialect's reader makes of it."""
    reader = DIALECTS[vendor].reply_reader(stream=stream)
    deltas = [*reader.feed(data), *reader.finish()]
    usage = [delta.usage for delta in deltas if delta.usage is not None][-1]
    assert usage is not None
    return usage


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize(("target", "usage", "dollars"), INVOICES, ids=[f"{each[0]}-{each[2]}" for each in INVOICES])
def test_invoices(target: str, usage: dict[str, Any], dollars: str, stream: bool) -> None:
    vendor, _, model = target.partition("/")
    found = read(vendor, (stream_of if stream else body_of)(vendor, usage), stream=stream)
    exchange = Exchange("test")
    exchange.attempts.append(Attempt(target, vendor, model, usage=found))
    PRICES.settle(exchange, Unsettled())
    assert exchange.cost == Decimal(dollars)
    assert not exchange.unpriced


@pytest.mark.parametrize(("target", "usage"), [each[:2] for each in INVOICES if each[0].startswith("anthropic")])
def test_what_is_written_is_what_was_read(target: str, usage: dict[str, Any]) -> None:
    from gateway.dialects.anthropic.writers import write_usage

    found = read("anthropic", body_of("anthropic", usage), stream=False)
    assert read("anthropic", body_of("anthropic", write_usage(found)), stream=False) == found
