"""Tests that every dialect must pass. Derive a test class from `DialectConformance` and set its `dialect`.

    class TestEcho(DialectConformance):
        dialect = Echo()
        end = b'"done":true'

Only tests may import this module, because it needs pytest and hypothesis.
"""

from __future__ import annotations

import contextlib
import itertools
import json
from typing import Any, ClassVar

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contract.deltas import ChoiceDelta, Delta, FinishReason, ToolCallDelta, Usage
from contract.dialect import Dialect, InboundCall, WireOptions
from contract.errors import IncompleteReply, InvalidRequest, MalformedReply, ServerFault, UpstreamError
from contract.messages import (
    ChatRequest,
    Document,
    EmbeddingRequest,
    Image,
    Message,
    Part,
    Text,
    Tool,
    ToolCall,
    ToolResult,
)
from gateway.dialects.collect import Collector
from gateway.dialects.fitting import FIRST_WORDS

REQUEST = ChatRequest(dialect="openai", model="m", messages=(Message("user", (Text("hi"),)),))
_KEYS = ("AIzaSyA-0123456789abcdefghijklmnop", "sk-ant-api03-0123456789abcdef", "sk-proj-0123456789abcdef")
# Each inheriting class runs every test, so the checks for slowness are off.
quick = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.differing_executors])

words = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
json_object = st.dictionaries(words, words | st.integers(-9, 9) | st.booleans(), max_size=3)


@st.composite
def answers(draw: st.DrawFn) -> list[Delta]:
    """One choice as a provider may stream it. Tool calls may be interleaved; their arguments are objects."""
    usage = Usage(draw(st.integers(10, 99)), draw(st.integers(10, 99)), cache_read=draw(st.integers(0, 5)))
    pieces = [ChoiceDelta(reasoning=each) for each in draw(st.lists(words, max_size=2))]
    pieces += [ChoiceDelta(text=each) for each in draw(st.lists(words, max_size=4))]
    calls: list[list[ChoiceDelta]] = []
    for index, arguments in enumerate(draw(st.lists(json_object, max_size=3))):
        text = json.dumps(arguments, ensure_ascii=False)
        cut = draw(st.integers(0, len(text)))
        start = ToolCallDelta(index, f"call_{index}", f"tool_{index}", text[:cut])
        calls.append(
            [ChoiceDelta(tool_calls=(start,)), ChoiceDelta(tool_calls=(ToolCallDelta(index, arguments=text[cut:]),))]
        )
    interleaved: bool = draw(st.booleans())
    if calls and interleaved:
        # The starts of all calls, then their ends.
        pieces += [call[0] for call in calls] + [call[1] for call in calls]
    else:
        pieces += [piece for call in calls for piece in call]
    if not pieces:
        pieces = [ChoiceDelta(text="x")]
    finish: FinishReason = "tool_calls" if calls else draw(st.sampled_from(["stop", "length"]))
    deltas = [Delta((piece,), id="id-1", model="m") for piece in pieces]
    return [*deltas, Delta((ChoiceDelta(finish=finish),)), Delta(usage=usage)]


NAMES = [
    "model", "messages", "role", "content", "type", "text", "contents", "parts", "tools", "function", "name", "system",
    "max_tokens", "choices", "delta", "index", "finish_reason", "usage", "candidates", "finishReason", "error", "id",
    "message", "content_block", "stop_reason", "functionCall", "usageMetadata", "inlineData", "source", "tool_calls",
]  # fmt: skip
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES) | words, inner, max_size=4),
    max_leaves=12,
)

tool = st.builds(Tool, st.just("lookup"), words, st.just({"type": "object", "properties": {"a": {"type": "string"}}}))
call = st.builds(
    ToolCall, st.just("call_1"), st.just("lookup"), json_object.map(lambda each: msgspec.json.encode(each).decode())
)
result = st.builds(
    ToolResult, st.just("call_1"), st.tuples(st.builds(Text, words.filter(lambda t: not t.startswith("{"))))
)
picture = st.builds(Image, data=st.just("QUJD"), media_type=st.just("image/png"))
pdf = st.builds(Document, data=st.just("QUJD"), media_type=st.just("application/pdf"))
plain = st.builds(Text, words)


def turns(
    system: Text, users: list[list[Part]], calls: list[ToolCall], results: list[ToolResult]
) -> tuple[Message, ...]:
    """A system message, then users and assistants in turn. A call is followed by its result."""
    messages = [Message("system", (system,))]
    for number, parts in enumerate(users):
        messages.append(Message("user", tuple(parts)))
        if number < len(calls) and results:
            messages.append(Message("assistant", (Text("let me see"), calls[number])))
            messages.append(Message("user", (results[0],)))
        messages.append(Message("assistant", (Text("well"),)))
    return (*messages, Message("user", (Text("so?"),)))


def conversations(part: st.SearchStrategy[Part], *, calls: bool = True) -> st.SearchStrategy[tuple[Message, ...]]:
    """Conversations whose user messages contain such parts."""
    max_calls = 1 if calls else 0
    users = st.lists(st.lists(part, min_size=1, max_size=3), max_size=2)
    return st.builds(turns, plain, users, st.lists(call, max_size=max_calls), st.lists(result, max_size=max_calls))


conversation = conversations(plain | picture | pdf)


def content(messages: tuple[Message, ...]) -> list[Any]:
    """The content of the messages, independent of turn boundaries, because dialects merge and split turns."""
    items: list[Any] = []
    for message in messages:
        for part in message.parts:
            if isinstance(part, Text):
                # Blank text is skipped because Anthropic rejects it. A first assistant turn gets a user turn before it.
                has_text = part.text.strip() and part.text != FIRST_WORDS
                items += [("text", message.role, part.text)] if has_text else []
            elif isinstance(part, ToolCall):
                items.append(("call", part.id, part.name, json.loads(part.arguments)))
            elif isinstance(part, ToolResult):
                texts = [p.text for p in part.parts if isinstance(p, Text) and p.text.strip()]
                items.append(("result", part.call_id, "".join(texts)))
            else:
                items.append((type(part).__name__, getattr(part, "data", ""), getattr(part, "media_type", "")))
    return items


def summary(deltas: list[Delta]) -> Any:
    """The content of a response, independent of how it is split into deltas."""
    collector = Collector()
    collector.feed(deltas)
    return [
        collector.usage,
        [
            (
                each.index,
                each.text,
                each.reasoning,
                each.finish,
                [(call.id, call.name, json.loads(call.arguments or "{}")) for call in each.tool_calls],
            )
            for each in collector.choices()
        ],
    ]


def written(dialect: Dialect, deltas: list[Delta], *, stream: bool) -> bytes:
    """A response in the dialect."""
    request = msgspec.structs.replace(REQUEST, stream=stream, include_usage=True)
    writer = dialect.reply_writer(request, reply_id="id-1", raw=False)
    return b"".join([writer.feed([delta]) for delta in deltas]) + writer.finish()


def read(dialect: Dialect, pieces: list[bytes], *, stream: bool) -> list[Delta]:
    """The deltas of a response whose bytes arrive in these pieces."""
    reader = dialect.reply_reader(stream=stream)
    return [delta for piece in pieces for delta in reader.feed(piece)] + reader.finish()


def split(data: bytes, places: list[int]) -> list[bytes]:
    """Splits the data at these positions (modulo its length)."""
    edges = [0, *sorted({place % len(data) for place in places}), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(edges)]


class DialectConformance:
    """The tests. A class excludes what its dialect can't express (tool calls, images) from the strategies."""

    dialect: ClassVar[Dialect]
    end: ClassVar[bytes]
    """The start of the dialect's end of stream: a stream that ends before it is incomplete."""
    answers: ClassVar[st.SearchStrategy[list[Delta]]] = answers()
    """Responses that the dialect can express."""
    conversation: ClassVar[st.SearchStrategy[tuple[Message, ...]]] = conversation
    """Conversations that the dialect can express."""
    tools: ClassVar[st.SearchStrategy[list[Tool]]] = st.lists(tool, max_size=1)
    """The tools that a request may have; `st.just([])` for a dialect without tools."""
    declares_tools: ClassVar[bool] = False
    """Whether the dialect requires declarations for tools of earlier turns, and adds missing ones."""
    embedded: ClassVar[bytes] = b""

    """A response with two embeddings, if the dialect has embeddings."""

    def check_body(self, body: bytes) -> None:
        """Validates a buffered response, for instance with the vendor's SDK."""

    def test_its_facts_are_set(self) -> None:
        """The attributes that other components read."""
        dialect = self.dialect
        assert dialect.name
        assert dialect.traced_as.provider
        assert dialect.traced_as.operation
        assert dialect.usual_endpoint("http://127.0.0.1:1").base_url.startswith("http://127.0.0.1:1")

    @quick
    @given(data=st.data(), places=st.lists(st.integers(0, 9999), max_size=12))
    def test_streams_survive_being_written_split_and_read(self, data: st.DataObject, places: list[int]) -> None:
        """Any split of the bytes results in the same deltas."""
        deltas = data.draw(self.answers)
        pieces = split(written(self.dialect, deltas, stream=True), places)
        assert summary(read(self.dialect, pieces, stream=True)) == summary(deltas)

    @quick
    @given(data=st.data())
    def test_buffered_responses_survive_and_are_valid(self, data: st.DataObject) -> None:
        """After a write and a read, the content is the same."""
        deltas = data.draw(self.answers)
        body = written(self.dialect, deltas, stream=False)
        self.check_body(body)
        assert summary(read(self.dialect, [body], stream=False)) == summary(deltas)

    @quick
    @given(data=st.data(), place=st.integers(0, 99_999))
    def test_a_cut_stream_is_never_a_clean_end(self, data: st.DataObject, place: int) -> None:
        """Wherever it is cut before its end marker."""
        stream = written(self.dialect, data.draw(self.answers), stream=True)
        end = stream.rfind(self.end)
        assert end >= 0
        with pytest.raises((IncompleteReply, MalformedReply, UpstreamError)):
            read(self.dialect, [stream[: place % end]], stream=True)

    @quick
    @given(data=st.data(), place=st.integers(0, 99_999))
    def test_a_cut_body_is_never_a_complete_response(self, data: st.DataObject, place: int) -> None:
        """Wherever it is cut."""
        body = written(self.dialect, data.draw(self.answers), stream=False)
        with pytest.raises(UpstreamError):
            read(self.dialect, [body[: place % len(body)]], stream=False)

    def test_the_text_of_a_cut_body_is_known(self) -> None:
        """It is billed although the caller does not get it: see `BufferedBody.text_fields`."""
        deltas = [Delta((ChoiceDelta(text="one two three"),)), Delta((ChoiceDelta(finish="stop"),), usage=Usage(1, 3))]
        body = written(self.dialect, deltas, stream=False)
        reader = self.dialect.reply_reader(stream=False)
        reader.feed(body[: body.index(b"two") + 3])
        assert "one two" in (reader.unread() or "")

    @quick
    @given(data=st.data(), count=st.integers(0, 9))
    def test_a_failed_stream_never_ends_cleanly(self, data: st.DataObject, count: int) -> None:
        """The dialect's error event replaces the end, and is read as an error."""
        request = msgspec.structs.replace(REQUEST, stream=True, include_usage=True)
        writer = self.dialect.reply_writer(request, reply_id="id-1", raw=False)
        start = b"".join([writer.feed([delta]) for delta in data.draw(self.answers)[:-2][:count]])
        with pytest.raises(UpstreamError):
            read(self.dialect, [start, writer.fail(ServerFault("It broke"), "req_1")], stream=True)

    @quick
    @given(data=st.data())
    def test_a_keep_alive_has_no_content(self, data: st.DataObject) -> None:
        """It may come before a stream, while a provider is silent."""
        deltas = data.draw(self.answers)
        stream = written(self.dialect, deltas, stream=True)
        assert summary(read(self.dialect, [self.dialect.sign_of_life, stream], stream=True)) == summary(deltas)

    @quick
    @given(data=st.binary(max_size=300), stream=st.booleans())
    def test_any_bytes_are_a_response_or_an_upstream_error(self, data: bytes, stream: bool) -> None:
        """Nothing else is raised, whatever a provider sends."""
        with contextlib.suppress(UpstreamError):
            read(self.dialect, [data], stream=stream)
        with contextlib.suppress(UpstreamError):
            read(self.dialect, [b"data: " + data + b"\n\n"], stream=True)

    @quick
    @given(value=JSON)
    def test_any_json_is_read_or_refused_clearly(self, value: Any) -> None:
        """Nothing else is raised, whatever a caller or a provider sends."""
        body = json.dumps(value).encode()
        with contextlib.suppress(InvalidRequest):
            self.dialect.read_request(body, InboundCall("m"))
        with contextlib.suppress(UpstreamError):
            read(self.dialect, [body], stream=False)
        with contextlib.suppress(UpstreamError):
            read(self.dialect, [b"event: message_start\ndata: " + body + b"\n\n"], stream=True)
        for status in (400, 429, 500):
            assert isinstance(self.dialect.read_error(status, {}, body), UpstreamError)

    @pytest.mark.parametrize("origin", ["openai", "anthropic", "gemini", ""])
    @quick
    @given(data=st.data())
    def test_a_conversation_of_any_dialect_keeps_its_content(self, origin: str, data: st.DataObject) -> None:
        """`origin` is the dialect of the conversation; empty for this dialect."""
        messages, tools = data.draw(self.conversation), tuple(data.draw(self.tools))
        origin = origin or self.dialect.name
        request = ChatRequest(dialect=origin, model="m", messages=messages, tools=tools, max_tokens=50)
        wire = self.dialect.write_request(request, WireOptions("m", stream=True))
        got = self.dialect.read_request(wire.body, InboundCall("m", stream=True))
        assert content(got.messages) == content(messages)
        names = [each.name for each in tools]
        if self.declares_tools and origin != self.dialect.name and not tools:
            names = list({part.name: None for each in messages for part in each.parts if isinstance(part, ToolCall)})
        assert [each.name for each in got.tools if isinstance(each, Tool)] == names
        assert got.max_tokens == 50
        assert got.dialect == self.dialect.name

    def test_no_key_reaches_the_caller_in_an_error(self) -> None:
        """Some vendors repeat the key in an error."""
        for secret in (
            "AIzaSyA-0123456789abcdefghijklmnop",
            "sk-ant-api03-0123456789abcdef",
            "sk-proj-0123456789abcdef",
        ):
            for message in (f"bad url https://x/y?key={secret}", f"the header 'Bearer {secret}' is wrong", secret):
                error = {"type": "error", "error": {"message": message, "type": "invalid_request_error"}}
                assert secret not in self.dialect.read_error(400, {}, json.dumps(error).encode()).message

    def test_deeply_nested_errors_are_errors(self) -> None:
        """Whatever the depth."""
        body = b'{"error":' + b"[" * 50_000 + b"]" * 50_000 + b"}"
        assert isinstance(self.dialect.read_error(500, {}, body), UpstreamError)

    def test_an_error_says_what_happened(self) -> None:
        """The body contains the message, and the dialect reads it as an error again."""
        body = self.dialect.write_error(InvalidRequest("The teapot is empty"), "req_1")
        assert b"The teapot is empty" in body
        assert "The teapot is empty" in self.dialect.read_error(400, {}, body).message

    @quick
    @given(data=st.binary(max_size=200) | JSON.map(lambda value: json.dumps(value).encode()))
    def test_embeddings_are_written_and_read(self, data: bytes) -> None:
        """If the dialect has embeddings."""
        side = self.dialect.embeddings
        if side is None:
            return
        request = EmbeddingRequest(dialect=self.dialect.name, model="m", texts=("a", "b"))
        wire = side.write_embed_request(request, WireOptions("m", stream=False))
        assert wire.path.startswith("/")
        assert json.loads(wire.body)
        assert len(side.read_embed_reply(self.embedded).vectors) == 2
        with contextlib.suppress(MalformedReply):
            side.read_embed_reply(data)
