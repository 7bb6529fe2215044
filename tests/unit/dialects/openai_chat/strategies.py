"""Requests and answers that OpenAI's dialect can say, made up."""

from __future__ import annotations

import msgspec
from hypothesis import strategies as st

from contract.deltas import ChoiceDelta, Delta, FinishReason, ToolCallDelta, Usage
from contract.messages import (
    Audio,
    ChatRequest,
    Document,
    Image,
    Message,
    Opaque,
    Part,
    Reasoning,
    ReasoningOptions,
    Refusal,
    ResponseFormat,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)

words = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
some_words = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
name = st.from_regex(r"[a-zA-Z_][a-zA-Z0-9_-]{0,12}", fullmatch=True)
extra = st.none() | st.dictionaries(name.map("x_".__add__), st.integers() | words, min_size=1, max_size=2)
base64_text = st.from_regex(r"[A-Za-z0-9+/]{4,16}", fullmatch=True)

user_part: st.SearchStrategy[Part] = st.one_of(
    st.builds(Text, words, extra),
    st.builds(Image, url=st.just("https://example.com/a.png"), detail=st.sampled_from(["", "low"]), extra=extra),
    st.builds(Image, data=base64_text, media_type=st.just("image/png"), extra=extra),
    st.builds(Audio, base64_text, st.sampled_from(["wav", "mp3"]), extra),
    st.builds(Document, data=base64_text, media_type=st.just("application/pdf"), name=words),
    st.builds(Opaque, st.just("openai"), st.fixed_dictionaries({"type": st.just("hologram"), "x": words})),
)
tool_call = st.builds(ToolCall, some_words, some_words, words, extra=extra)
plain = st.builds(Text, words)


def _assistant(parts: tuple[list[Reasoning], list[Text], list[Refusal], list[ToolCall]]) -> Message:
    thoughts, text, refusal, calls = parts
    return Message("assistant", (*thoughts, *text, *refusal, *calls))


message = st.one_of(
    st.builds(Message, st.sampled_from(["system", "developer"]), st.tuples(plain), st.just("") | name, extra),
    st.builds(Message, st.just("user"), st.lists(user_part, min_size=1, max_size=3).map(tuple), st.just("") | name),
    st.tuples(
        st.lists(st.builds(Reasoning, some_words), max_size=1),
        st.lists(plain, min_size=1, max_size=1),
        st.lists(st.builds(Refusal, some_words), max_size=1),
        st.lists(tool_call, max_size=3),
    ).map(_assistant),
    st.builds(
        Message,
        st.just("tool"),
        st.tuples(st.builds(ToolResult, some_words, st.tuples(plain))),
    ),
)
schema = st.fixed_dictionaries({"type": st.just("object"), "properties": st.just({"a": {"type": "string"}})})
response_format = st.one_of(
    st.builds(ResponseFormat, st.sampled_from(["text", "json"])),
    st.builds(ResponseFormat, st.just("json_schema"), schema, name, words, st.none() | st.booleans()),
)
finite = st.floats(-2, 2, allow_nan=False)
some_request = st.builds(
    ChatRequest,
    dialect=st.just("openai"),
    model=some_words,
    messages=st.lists(message, min_size=1, max_size=4).map(tuple),
    tools=st.lists(
        st.builds(Tool, name, words, st.none() | schema, st.none() | st.booleans(), extra)
        | st.builds(Opaque, st.just("openai"), st.just({"type": "custom", "custom": {"name": "x"}})),
        max_size=2,
    ).map(tuple),
    tool_choice=st.none()
    | st.builds(ToolChoice, st.sampled_from(["auto", "none", "required"]))
    | st.builds(ToolChoice, st.just("named"), name),
    parallel_tool_calls=st.none() | st.booleans(),
    response_format=st.none() | response_format,
    reasoning=st.none() | st.builds(ReasoningOptions, effort=st.sampled_from(["low", "high"])),
    temperature=st.none() | finite,
    top_p=st.none() | finite,
    max_tokens=st.none() | st.integers(1, 9999),
    stop=st.lists(some_words, max_size=3).map(tuple),
    seed=st.none() | st.integers(-(2**60), 2**60),
    n=st.none() | st.integers(1, 4),
    presence_penalty=st.none() | finite,
    frequency_penalty=st.none() | finite,
    logprobs=st.none() | st.booleans(),
    top_logprobs=st.none() | st.integers(0, 20),
    user=words,
    metadata=st.none() | st.dictionaries(words, words, max_size=2),
    extra=extra,
)


def _without_choice(asked: ChatRequest) -> ChatRequest:
    """Without tools there is nothing to choose: the vendor would refuse it."""
    return asked if asked.tools else msgspec.structs.replace(asked, tool_choice=None, parallel_tool_calls=None)


request = some_request.map(_without_choice)

piece = st.one_of(
    st.builds(ChoiceDelta, index=st.integers(0, 1), text=some_words),
    st.builds(ChoiceDelta, index=st.integers(0, 1), reasoning=some_words),
    st.builds(
        ChoiceDelta,
        index=st.integers(0, 1),
        tool_calls=st.tuples(
            st.integers(0, 2).flatmap(
                lambda index: st.builds(
                    ToolCallDelta,
                    index=st.just(index),
                    id=st.just(f"call_{index}"),
                    name=st.just(f"tool_{index}"),
                    arguments=words,
                )
            )
        ),
    ),
)
usage = st.builds(
    Usage, st.integers(0, 999), st.integers(0, 999), st.integers(0, 9), st.integers(0, 9), st.integers(0, 9)
)


REASONS: list[FinishReason] = ["stop", "length", "tool_calls", "content_filter"]


@st.composite
def answers(draw: st.DrawFn) -> list[Delta]:
    """Deltas of one or two choices, each of which finishes, then usage."""
    pieces = draw(st.lists(piece, min_size=1, max_size=8))
    deltas = [Delta((each,), id="chatcmpl-1", model="m") for each in pieces]
    for index in sorted({each.index for each in pieces}):
        reason = draw(st.sampled_from(REASONS))
        deltas.append(Delta((ChoiceDelta(index=index, finish=reason),)))
    deltas.append(Delta(usage=draw(usage)))
    return deltas
