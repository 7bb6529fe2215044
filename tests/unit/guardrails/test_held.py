"""A held answer that was mended is written anew, in any dialect."""

from __future__ import annotations

import asyncio
import json

import pytest

from contract.deltas import ChoiceDelta, Delta
from contract.messages import ChatRequest
from gateway.dialects.anthropic import AnthropicMessages
from gateway.dialects.gemini_generate import GeminiGenerate
from gateway.dialects.openai_chat import OpenAIChat
from guardrails.judges.guard import HeldAnswer, hold


class _Reply:
    """A provider's reply with raw bytes."""

    streamed = True

    def __init__(self, dialect: str, texts: list[str]) -> None:
        self.dialect = dialect
        self._batches = [[Delta((ChoiceDelta(text=text),), raw=b"{}")] for text in texts]
        self._batches.append([Delta((ChoiceDelta(finish="stop"),), raw=b"{}")])

    async def next(self) -> list[Delta] | None:
        return self._batches.pop(0) if self._batches else None

    async def close(self) -> None:
        """Nothing is open."""


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("dialect", [OpenAIChat(), AnthropicMessages(), GeminiGenerate()], ids=lambda each: each.name)
def test_the_mended_words_reach_the_caller(dialect: OpenAIChat, stream: bool) -> None:
    async def run() -> HeldAnswer:
        return (await hold(_Reply(dialect.name, ["{'a'", ": 1", "}"]))).with_texts({0: '{"a": 1}'})

    mended = asyncio.run(run())
    # This is how a surface decides whether the provider's bytes may go on.
    assert mended.dialect != dialect.name
    request = ChatRequest(dialect=dialect.name, model="m", messages=(), stream=stream)
    writer = dialect.reply_writer(request, reply_id="r", raw=False)
    deltas = asyncio.run(mended.next())
    assert deltas is not None
    told = writer.feed(deltas) + writer.finish()
    assert json.dumps({"a": 1}).replace('"', '\\"').encode() in told
    assert b"{'a'" not in told
