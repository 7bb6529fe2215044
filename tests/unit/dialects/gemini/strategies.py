"""Requests and answers that Gemini's dialect can say, made up."""

from __future__ import annotations

import itertools
import json

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
    ResponseFormat,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)

words = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
some_words = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
name = st.from_regex(r"[a-zA-Z][a-zA-Z0-9]{0,12}", fullmatch=True)
extra = st.none() | st.dictionaries(name.map("x".__add__), st.integers(-9, 9) | words, min_size=1, max_size=2)
base64_text = st.from_regex(r"[A-Za-z0-9+/]{8}", fullmatch=True)
json_object = st.dictionaries(words, words | st.integers(-9, 9) | st.booleans(), max_size=3)
arguments = json_object.map(lambda value: json.dumps(value, ensure_ascii=False, separators=(",", ":")))
plain = st.builds(Text, words)

user_part: st.SearchStrategy[Part] = st.one_of(
    st.builds(Text, words, extra),
    st.builds(Image, data=base64_text, media_type=st.just("image/png"), extra=extra),
    st.builds(Image, url=st.just("https://example.com/a.png"), media_type=st.just("image/png"), extra=extra),
    st.builds(Audio, base64_text, st.sampled_from(["wav", "mp3"]), extra),
    st.builds(Document, data=base64_text, media_type=st.just("application/pdf"), extra=extra),
    st.builds(Document, url=st.just("gs://bucket/a.pdf"), media_type=st.just("application/pdf")),
    st.builds(Opaque, st.just("gemini"), st.fixed_dictionaries({"executableCode": json_object})),
)
model_part: st.SearchStrategy[Part] = st.one_of(
    plain,
    st.builds(Text, words, signature=base64_text),
    st.builds(Reasoning, words) | st.builds(Reasoning, words, base64_text, signed_by=st.just("gemini")),
)


@st.composite
def conversations(draw: st.DrawFn) -> tuple[Message, ...]:
    """A system prompt perhaps, then turns; calls are followed by their results in any order."""
    messages = [Message("system", (Text(draw(some_words)),))] if draw(st.booleans()) else []
    made = 0
    for _ in range(draw(st.integers(0, 2))):
        messages.append(Message("user", tuple(draw(st.lists(user_part, min_size=1, max_size=3)))))
        parts = draw(st.lists(model_part, min_size=1, max_size=3))
        calls = []
        for _ in range(draw(st.integers(0, 2))):
            signature = draw(st.just("") | base64_text)
            calls.append(ToolCall(f"id_{made}", draw(name), draw(arguments), signature, draw(extra)))
            made += 1
        messages.append(Message("assistant", (*parts, *calls)))
        if calls:
            results = [_result(draw, call) for call in draw(st.permutations(calls))]
            messages.append(Message("user", tuple(results)))
    messages.append(Message("user", (draw(plain),)))
    return tuple(messages)


def _result(draw: st.DrawFn, call: ToolCall) -> ToolResult:
    text = draw(some_words.filter(lambda t: not t.strip().startswith("{")) | json_object.filter(_is_plain).map(_dump))
    return ToolResult(call.id, (Text(text),), call.name, is_error=draw(st.booleans()) and not text.startswith("{"))


def _is_plain(value: dict[str, str | int]) -> bool:
    """An object that isn't one of those that stand for words."""
    return value.keys() not in ({"output"}, {"error"})


def _dump(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


schema = st.fixed_dictionaries({"type": st.just("object"), "properties": st.just({"a": {"type": "string"}})})
finite = st.floats(-2, 2, allow_nan=False)
thinking = st.one_of(
    st.builds(ReasoningOptions, budget_tokens=st.integers(-1, 9999), include=st.none() | st.booleans()),
    st.builds(ReasoningOptions, effort=st.sampled_from(["low", "medium", "high"]), include=st.none() | st.booleans()),
)
request = st.builds(
    ChatRequest,
    dialect=st.just("gemini"),
    model=st.just("m"),
    messages=conversations(),
    tools=st.one_of(
        st.lists(st.builds(Tool, name, words, st.none() | schema, extra=extra), max_size=2).map(tuple),
        st.just((Opaque("gemini", {"googleSearch": {}}),)),
    ),
    tool_choice=st.none()
    | st.builds(ToolChoice, st.sampled_from(["auto", "none", "required"]))
    | st.builds(ToolChoice, st.just("named"), name),
    response_format=st.none()
    | st.builds(ResponseFormat, st.sampled_from(["text", "json"]))
    | st.builds(ResponseFormat, st.just("json_schema"), schema),
    reasoning=st.none() | thinking,
    stream=st.booleans(),
    include_usage=st.just(True),
    temperature=st.none() | finite,
    top_p=st.none() | finite,
    top_k=st.none() | st.integers(1, 40),
    max_tokens=st.none() | st.integers(1, 9999),
    stop=st.lists(some_words, max_size=3).map(tuple),
    seed=st.none() | st.integers(-(2**31), 2**31),
    n=st.none() | st.integers(1, 4),
    presence_penalty=st.none() | finite,
    frequency_penalty=st.none() | finite,
    logprobs=st.none() | st.booleans(),
    top_logprobs=st.none() | st.integers(0, 20),
    extra=extra
    | st.just({"safetySettings": [], "cachedContent": "c/1", "generationConfig": {"mediaResolution": "LOW"}}),
)

usage = st.builds(
    lambda prompt, said, thought, cached: Usage(prompt + cached, said + thought, cached, 0, thought),
    st.integers(0, 999),
    st.integers(0, 999),
    st.integers(0, 99),
    st.integers(0, 99),
)
REASONS: list[FinishReason] = ["stop", "length", "content_filter", "malformed", "error"]


@st.composite
def answers(draw: st.DrawFn) -> list[Delta]:
    """Deltas of one or two choices; the pieces of all tool calls are interleaved in any way, each call's in order."""
    queues: list[list[ChoiceDelta]] = []
    count = draw(st.integers(1, 2))
    ends = []
    for index in range(count):
        queues.append([ChoiceDelta(index, text=text) for text in draw(st.lists(some_words, min_size=1, max_size=3))])
        queues.append([ChoiceDelta(index, reasoning=text) for text in draw(st.lists(some_words, max_size=2))])
        calls = draw(st.lists(arguments, max_size=3))
        queues += [_call(draw, index, number, text) for number, text in enumerate(calls)]
        finish = "tool_calls" if calls else draw(st.sampled_from(REASONS))
        ends.append(ChoiceDelta(index, finish=finish))
    pieces = []
    while any(queues):
        pieces.append(draw(st.sampled_from([queue for queue in queues if queue])).pop(0))
    deltas = [Delta((piece,), id="r-1", model="m") for piece in [*_calls_begin_in_order(pieces), *ends]]
    return [*deltas, Delta(usage=draw(usage))]


def _call(draw: st.DrawFn, index: int, number: int, text: str) -> list[ChoiceDelta]:
    # Equal edges make empty pieces, as providers send them.
    edges = [0, *sorted(draw(st.lists(st.integers(0, len(text)), max_size=2))), len(text)]
    found = []
    for piece, (start, end) in enumerate(itertools.pairwise(edges)):
        first = ("c" + str(number), "tool" + str(number)) if piece == 0 else ("", "")
        found.append(ChoiceDelta(index, tool_calls=(ToolCallDelta(number, *first, text[start:end]),)))
    return found


def _calls_begin_in_order(pieces: list[ChoiceDelta]) -> list[ChoiceDelta]:
    """Providers number calls as they begin: renumbers them so."""
    numbers: dict[tuple[int, int], int] = {}
    found = []
    for piece in pieces:
        if not piece.tool_calls:
            found.append(piece)
            continue
        (call,) = piece.tool_calls
        key = (piece.index, call.index)
        if key not in numbers:
            numbers[key] = sum(1 for each in numbers if each[0] == piece.index)
        renumbered = ToolCallDelta(numbers[key], call.id, call.name, call.arguments)
        found.append(ChoiceDelta(piece.index, tool_calls=(renumbered,)))
    return found
