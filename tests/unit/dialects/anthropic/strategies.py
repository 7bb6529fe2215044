"""Requests and answers that Anthropic's dialect can say, made up."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence

import msgspec
from hypothesis import strategies as st

from contract.deltas import ChoiceDelta, Delta, FinishReason, ToolCallDelta, Usage
from contract.messages import (
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

words = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
some_words = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
name = st.from_regex(r"[a-zA-Z_][a-zA-Z0-9_-]{0,12}", fullmatch=True)
extra = st.none() | st.sampled_from([{"cache_control": {"type": "ephemeral"}}, {"x_new": [1]}])
json_object = st.dictionaries(some_words, words | st.integers(-9, 9) | st.booleans(), max_size=3)

plain = st.builds(Text, words, extra)
image = st.one_of(
    st.builds(Image, url=st.just("https://example.com/a.png"), extra=extra),
    st.builds(Image, data=st.just("QUJD"), media_type=st.just("image/png"), extra=extra),
)
document = st.one_of(
    st.builds(Document, url=st.just("https://example.com/a.pdf"), name=words, extra=extra),
    st.builds(Document, data=st.just("QUJD"), media_type=st.just("application/pdf"), name=words, extra=extra),
    st.builds(Document, text=words, media_type=st.just("text/plain"), extra=st.just({"citations": {"enabled": True}})),
    st.builds(Document, file_id=st.just("file_1")),
)
opaque = st.builds(Opaque, st.just("anthropic"), st.fixed_dictionaries({"type": st.just("hologram"), "x": words}))
result = st.builds(
    ToolResult,
    name,
    st.lists(plain | image | document, max_size=2).map(tuple),
    is_error=st.booleans(),
    extra=extra,
)
ours = st.just("anthropic")
thought = st.builds(Reasoning, words, some_words.filter(lambda text: ":" not in text), signed_by=ours) | st.builds(
    Reasoning, redacted=some_words, signed_by=ours
)
call = st.builds(ToolCall, name, name, json_object.map(lambda value: msgspec.json.encode(value).decode()), extra=extra)


def _joined(pair: tuple[Sequence[Part], Sequence[Part]]) -> tuple[Part, ...]:
    return (*pair[0], *pair[1])


user_parts = st.tuples(st.lists(result, max_size=2), st.lists(plain | image | document | opaque, max_size=3))
assistant_parts = st.tuples(st.lists(thought, max_size=1), st.lists(plain | call | opaque, max_size=3))
turn = st.one_of(
    st.builds(Message, st.just("user"), user_parts.map(_joined), extra=st.none() | st.just({"x_new": 1})),
    st.builds(Message, st.just("assistant"), assistant_parts.map(_joined)),
)
later_system = st.builds(Message, st.just("system"), st.tuples(plain))


@st.composite
def messages(draw: st.DrawFn) -> tuple[Message, ...]:
    """Perhaps a system prompt, then turns; a further system message stands anywhere but first."""
    front = draw(st.lists(st.builds(Text, some_words, extra), max_size=2))
    system = [Message("system", tuple(front))] if front else []
    return _with_own_ids((*system, draw(turn), *draw(st.lists(turn | later_system, max_size=3))))


def _with_own_ids(found: tuple[Message, ...]) -> tuple[Message, ...]:
    """No id of a call comes twice: the vendor would refuse that."""
    numbers = itertools.count()
    return tuple(
        [
            msgspec.structs.replace(
                message,
                parts=tuple(
                    [
                        msgspec.structs.replace(part, id=f"toolu_{next(numbers)}")
                        if isinstance(part, ToolCall)
                        else part
                        for part in message.parts
                    ]
                ),
            )
            for message in found
        ]
    )


schema = st.just({"type": "object", "properties": {"a": {"type": "string"}}})
tool = st.builds(Tool, name, words, schema, st.none() | st.booleans(), extra) | st.just(
    Opaque("anthropic", {"type": "web_search_20250305", "name": "web_search"})
)
choice = st.one_of(
    st.just((None, None)),
    st.just((ToolChoice("none"), None)),
    st.tuples(st.sampled_from([ToolChoice("auto"), ToolChoice("required")]), st.none() | st.booleans()),
    st.tuples(st.builds(ToolChoice, st.just("named"), name), st.none() | st.booleans()),
)
effort = st.sampled_from(["", "low", "xhigh"])
maybe = st.none() | st.booleans()
reasoning = st.one_of(
    st.none(),
    st.just(ReasoningOptions(effort="high")),
    st.builds(ReasoningOptions, effort, enabled=st.just(False)),
    st.builds(ReasoningOptions, effort, st.integers(1024, 4096), enabled=st.just(True), include=st.booleans()),
    st.builds(ReasoningOptions, effort, enabled=st.just(True), include=maybe),
)
number = st.integers(0, 8).map(lambda n: n / 8)


@st.composite
def requests(draw: st.DrawFn) -> ChatRequest:
    """Any request of this dialect."""
    tools = tuple(draw(st.lists(tool, max_size=2)))
    tool_choice, parallel = draw(choice) if tools else (None, None)
    return ChatRequest(
        dialect="anthropic",
        model=draw(some_words),
        messages=draw(messages()),
        tools=tools,
        tool_choice=tool_choice,
        parallel_tool_calls=parallel,
        response_format=draw(st.none() | st.builds(ResponseFormat, st.just("json_schema"), schema)),
        reasoning=draw(reasoning),
        stream=draw(st.booleans()),
        include_usage=True,
        temperature=draw(st.none() | number),
        top_p=draw(st.none() | number),
        top_k=draw(st.none() | st.integers(1, 40)),
        max_tokens=draw(st.integers(0, 9999)),
        stop=tuple(draw(st.lists(some_words, max_size=2))),
        user=draw(words),
        metadata=draw(st.none() | st.just({"x_new": "a"})),
        extra=draw(st.none() | st.just({"service_tier": "auto", "output_config": {"x_new": 1}, "x_new": [1]})),
    )


REASONS: list[FinishReason] = ["stop", "stop_sequence", "length", "tool_calls", "refusal", "pause", "context_window"]


@st.composite
def answers(draw: st.DrawFn) -> list[Delta]:
    """Thoughts, words, then tool calls whose pieces come in any order, as providers of any dialect may send them."""
    pieces = [ChoiceDelta(reasoning=each) for each in draw(st.lists(some_words, max_size=2))]
    if pieces:
        pieces += [ChoiceDelta(signature=each) for each in draw(st.lists(some_words, max_size=1))]
    pieces += [ChoiceDelta(text=each) for each in draw(st.lists(some_words, max_size=3))]
    queues: list[list[ChoiceDelta]] = []
    for index, value in enumerate(draw(st.lists(json_object, max_size=3))):
        text = json.dumps(value, ensure_ascii=False)
        cut = draw(st.integers(0, len(text)))
        first = ToolCallDelta(index, f"call_{index}", f"tool_{index}")
        rest = [ToolCallDelta(index, arguments=text[:cut]), ToolCallDelta(index, arguments=text[cut:])]
        queues.append([ChoiceDelta(tool_calls=(each,)) for each in (first, *rest)])
    while queues:
        number = draw(st.integers(0, len(queues) - 1))
        pieces.append(queues[number].pop(0))
        queues = [queue for queue in queues if queue]
    pieces = pieces or [ChoiceDelta(text="x")]
    finish = draw(st.sampled_from(REASONS))
    end = ChoiceDelta(finish=finish, stop_sequence="END" if finish == "stop_sequence" else "")
    cached = draw(st.integers(0, 9))
    usage = Usage(draw(st.integers(20, 99)), draw(st.integers(10, 99)), cached, cached, draw(st.integers(0, 9)))
    return [*(Delta((piece,), id="msg_1", model="m") for piece in pieces), Delta((end,)), Delta(usage=usage)]
