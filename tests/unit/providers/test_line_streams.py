"""A dialect whose streams are lines of JSON: its content type tells them from a whole answer."""

from __future__ import annotations

import asyncio
import json

import pytest

from contract.attempt import Attempt
from contract.deltas import Delta
from contract.dialect import Dialect, ReplyReader
from contract.endpoint import Endpoint
from contract.messages import ChatRequest, Message, Text
from contract.patience import Timeouts
from contract.provider import UpstreamCall
from contract.unsettled import Transcript
from gateway.dialects.openai_chat import OpenAIChat
from gateway.providers.credentials import Credentials
from gateway.providers.remote import RemoteProvider
from tests.reports.vendors import Upstream, openai_reply, response

LINES = "application/x-ndjson"


class InLines(OpenAIChat):
    """OpenAI's events, a line each."""

    name = "lines"
    stream_type = LINES

    def reply_reader(self, *, stream: bool) -> ReplyReader:
        return LineReader(super().reply_reader(stream=True)) if stream else super().reply_reader(stream=False)


class LineReader:
    """Makes server-sent events of lines."""

    def __init__(self, events: ReplyReader) -> None:
        self._events = events

    @property
    def done(self) -> bool:
        return self._events.done

    def feed(self, data: bytes) -> list[Delta]:
        lines = [line for line in data.split(b"\n") if line]
        return self._events.feed(b"".join(b"data: " + line + b"\n\n" for line in lines))

    def finish(self) -> list[Delta]:
        return self._events.finish()

    def unread(self) -> str | None:
        return self._events.unread()


def said(dialect: Dialect, answer: bytes, *, stream: bool) -> tuple[str, bool]:
    """The words of an answer, and whether it was taken for a stream."""
    upstream = Upstream(lambda _: answer)
    asked = ChatRequest(dialect="openai", model="m", messages=(Message("user", (Text("Hello?"),)),), stream=stream)

    async def run() -> tuple[str, bool]:
        provider = RemoteProvider("p", dialect, Endpoint(upstream.url), Credentials(("key",)))
        try:
            attempt = Attempt("p/m", "p", "m")
            call = UpstreamCall("m", stream, Timeouts(), attempt, Transcript(attempt))
            reply = await provider.open(asked, call)
            words = ""
            while (deltas := await reply.next()) is not None:
                words += "".join(choice.text for delta in deltas for choice in delta.choices)
            await reply.close()
            return words, reply.streamed
        finally:
            await provider.close()

    try:
        return asyncio.run(run())
    finally:
        upstream.close()


def lines(*words: str) -> bytes:
    events = [{"choices": [{"index": 0, "delta": {"content": word}}]} for word in words]
    events.append({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    return b"".join(json.dumps(each).encode() + b"\n" for each in events)


def test_lines_are_a_stream() -> None:
    assert said(InLines(), response(lines("one ", "two"), LINES), stream=True) == ("one two", True)


@pytest.mark.parametrize("dialect", [InLines(), OpenAIChat()])
@pytest.mark.parametrize("kind", ["application/json", "text/event-stream", "text/plain"])
def test_a_whole_answer_to_a_stream_is_still_one(dialect: Dialect, kind: str) -> None:
    assert said(dialect, response(openai_reply("whole"), kind), stream=True) == ("whole", False)
