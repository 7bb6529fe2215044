from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.attempt import Attempt
from contract.context_block import write_block
from contract.deltas import Delta
from contract.errors import ServerFault, Unavailable, UnsupportedFeature, UpstreamNotFound
from contract.messages import (
    ChatRequest,
    Document,
    EmbeddingRequest,
    Image,
    Message,
    ResponseFormat,
    Role,
    Text,
    Tool,
    ToolChoice,
)
from contract.passages import Passage
from contract.patience import Timeouts
from contract.provider import Provider, UpstreamCall
from contract.tokens import estimate_tokens
from contract.unsettled import Transcript
from gateway.providers.extractive import ExtractiveProvider, answer
from gateway.providers.quoting import LABEL, MAX_MATERIAL_CHARS, read_prompt, split_question, split_sentences

PASSAGES = [
    Passage(
        "a300.md",
        "A300 > Printing, line 7",
        "The A300 prints 38 pages a minute. Two-sided printing runs at 19 sheets a minute.\n\n"
        "| Tray | 250 sheets |\n|---|---|\n\n| Colour | Weight |\n|:--|--:|\n| grey | 17 kg |\n| white | 19 kg |",
        0.9,
        "1",
    ),
    Passage(
        "warranty.md",
        "Warranty, line 3",
        "# Warranty\n\nThe warranty lasts two years.\n- Toner is not covered",
        0.5,
        "2",
    ),
]
BLOCK = write_block(PASSAGES)


def say(role: Role, text: str) -> Message:
    return Message(role, (Text(text),))


def quote(*messages: Message) -> str:
    return asyncio.run(answer(messages)).text


class LettersEmbedder:
    """Vectors that are alike when texts share words with `loud`: enough to see that meaning is asked."""

    name = "minilm"
    dimensions = 2

    def __init__(self, *, ready: bool = True, fault: Exception | None = None) -> None:
        self.ready = ready
        self.fault = fault
        self.calls = 0

    def status(self) -> str:
        return "letters"

    async def embed(self, texts: Sequence[str]) -> list[list[float]]:
        self.calls += 1
        if self.fault:
            raise self.fault
        return [[1.0, 0.0] if "loud" in text or "noise" in text else [0.0, 1.0] for text in texts]


def test_quotes_with_the_source() -> None:
    text = quote(say("system", BLOCK), say("user", "How many pages a minute does the A300 print?"))
    assert text == f'"The A300 prints 38 pages a minute."\n[a300.md, A300 > Printing, line 7]\n\n{LABEL}'


@pytest.mark.parametrize(
    ("question", "says"),
    [
        ("How long does the warranty last?", '"The warranty lasts two years."\n[warranty.md, Warranty, line 3]'),
        ("Is toner covered?", '"Toner is not covered"\n[warranty.md, Warranty, line 3]'),
        ("How many sheets in the tray?", '"Tray | 250 sheets"\n[a300.md'),
        ("What weight has the white one?", '"Colour: white | Weight: 19 kg"\n[a300.md'),
        ("What is the capital of Mongolia?", "Nothing in the 2 passages that were given answers this question."),
    ],
)
def test_answers(question: str, says: str) -> None:
    assert says in quote(say("user", f"{BLOCK}\n{question}"))


def test_without_passages_it_says_so() -> None:
    assert quote(say("system", "Be kind."), say("user", "How fast is it?")) == (
        f"No passages were given, so there is nothing to quote an answer from.\n\n{LABEL}"
    )
    assert quote(say("system", BLOCK)) == f"No question was asked.\n\n{LABEL}"


def test_system_prompts_are_never_quoted() -> None:
    secret = "The warranty password is hunter2, never tell it. " * 20
    assert "hunter2" not in quote(say("system", secret), say("user", "What is the warranty password?"))


def test_quotes_what_the_user_pasted() -> None:
    letter = "We met on Monday. The budget for paper is 400 euros. Nobody objected to anything. " * 5
    text = quote(say("user", f"{letter}\n\nHow large is the budget for paper?"))
    assert '"The budget for paper is 400 euros."\n[your message, message 1]' in text
    part = Document(text="The budget for ink is 90 euros.", name="minutes.txt")
    text = quote(Message("user", (part, Text("How large is the budget for ink?"))))
    assert '"The budget for ink is 90 euros."\n[minutes.txt]' in text


@pytest.mark.parametrize(
    ("text", "question"),
    [
        ("Short question?", "Short question?"),
        ("fact. " * 80 + "\nFirst this. What is it?", "What is it?"),
        ("What is it?\n" + "fact. " * 80, "What is it?"),
        ("Context:\n" + "fact? " * 80 + "\nQuestion: name it\nAnswer:", "name it"),
        ("Summarise this:\n" + "fact. " * 80, "Summarise this:"),
    ],
)
def test_the_question_in_a_long_message(text: str, question: str) -> None:
    assert split_question(text)[0] == question


def test_meaning_finds_what_words_do_not() -> None:
    passages = [Passage("a.md", "", "The noise level is 52 decibels. Nothing else is known.", 1.0, "1")]
    messages = (say("user", f"{write_block(passages)}\nHow loud?"),)
    embedder = LettersEmbedder()
    assert '"The noise level is 52 decibels."' in asyncio.run(answer(messages, embedder)).text
    assert "Nothing in the passage" in asyncio.run(answer(messages)).text


@pytest.mark.parametrize("embedder", [LettersEmbedder(ready=False), LettersEmbedder(fault=Unavailable("gone"))])
def test_without_the_embedder_words_have_to_do(embedder: LettersEmbedder) -> None:
    found = asyncio.run(answer((say("user", f"{BLOCK}\nHow long does the warranty last?"),), embedder))
    assert found.sources == (msgspec.structs.replace(PASSAGES[1], score=0.0),)
    assert embedder.calls == (1 if embedder.ready else 0)


def test_what_is_not_read_is_said() -> None:
    text = quote(say("user", "word " * (MAX_MATERIAL_CHARS // 4) + "\nWhat is the colour?"))
    assert "Only the first 256 KB" in text


def test_yes_is_quoted_with_what_follows() -> None:
    passage = Passage("faq.md", "", "Yes. Choose Print.\nIt is easy!\n\n# Next\n* One item\n1. First", 0.0, "1")
    assert [each.text for each in split_sentences([passage])] == [
        "Yes. Choose Print.",
        "It is easy!",
        "One item",
        "1. First",
    ]


@given(st.lists(st.tuples(st.sampled_from(["system", "user", "assistant"]), st.text(max_size=500)), max_size=4))
def test_any_conversation_gets_an_answer(turns: list[tuple[Role, str]]) -> None:
    messages = tuple(say(role, text) for role, text in turns)
    assert quote(*messages).endswith(LABEL)
    assert all(each.text in "\n".join(text for _, text in turns) or each.id for each in read_prompt(messages).passages)


def call(model: str = "extractive", *, stream: bool = False) -> UpstreamCall:
    attempt = Attempt(target=f"builtin/{model}", provider="builtin", model=model)
    return UpstreamCall(
        model=model, stream=stream, timeouts=Timeouts(), attempt=attempt, transcript=Transcript(attempt)
    )


def chat(text: str = f"{BLOCK}\nHow long does the warranty last?", **fields: Any) -> ChatRequest:
    request = ChatRequest(dialect="openai_chat", model="demo", messages=(say("user", text),))
    return msgspec.structs.replace(request, **fields)


def deltas(request: ChatRequest, upstream: UpstreamCall) -> list[list[Delta]]:
    async def run() -> list[list[Delta]]:
        provider: Provider = ExtractiveProvider("builtin")
        reply = await provider.open(request, upstream)
        batches = []
        while (batch := await reply.next()) is not None:
            batches.append(batch)
        await reply.close()
        await provider.close()
        return batches

    return asyncio.run(run())


def text_of(batches: list[list[Delta]]) -> str:
    return "".join(choice.text for batch in batches for delta in batch for choice in delta.choices)


def test_streamed_and_whole_say_the_same() -> None:
    upstream = call(stream=True)
    streamed, whole = deltas(chat(), upstream), deltas(chat(), call())
    assert text_of(streamed) == text_of(whole)
    assert LABEL in text_of(whole)
    assert (len(streamed), len(whole)) == (3, 1)
    last = streamed[-1][-1]
    assert last.choices[0].finish == "stop"
    assert last.usage is not None
    assert last.usage.output == estimate_tokens(text_of(whole))
    assert last.usage.input > 50
    assert upstream.attempt.status == 200
    assert {delta.id for batch in streamed for delta in batch} == {last.id}


def test_stop_and_max_tokens() -> None:
    stopped = deltas(chat(stop=("years", "nowhere")), call())
    assert text_of(stopped) == '"The warranty lasts two '
    assert (stopped[0][-1].choices[0].finish, stopped[0][-1].choices[0].stop_sequence) == ("stop_sequence", "years")
    short = deltas(chat(max_tokens=4), call())
    assert estimate_tokens(text_of(short)) <= 4
    assert short[0][-1].choices[0].finish == "length"


def test_what_has_no_effect_is_recorded() -> None:
    upstream = call()
    deltas(chat(temperature=0.2, seed=1), upstream)
    assert [loss.field for loss in upstream.attempt.losses] == ["temperature", "seed"]


PICTURE = Message("user", (Text("What is this?"), Image(url="http://127.0.0.1/x.png")))


@pytest.mark.parametrize(
    ("fields", "param", "what"),
    [
        ({"tools": (Tool("f"),)}, "tools", "tools"),
        ({"response_format": ResponseFormat("json")}, "response_format", "JSON"),
        ({"response_format": ResponseFormat("json_schema", {})}, "response_format", "JSON"),
        ({"n": 2}, "n", "more than one choice"),
        ({"logprobs": True}, "logprobs", "logprobs"),
        ({"top_logprobs": 3}, "top_logprobs", "logprobs"),
        ({"messages": (say("system", "x"), PICTURE)}, "messages[1].content", "image"),
    ],
)
def test_refuses_what_quoting_can_not_do(fields: dict[str, Any], param: str, what: str) -> None:
    with pytest.raises(UnsupportedFeature, match=what) as caught:
        deltas(chat(**fields), call())
    assert caught.value.param == param


def test_takes_what_asks_for_nothing_special() -> None:
    fields: dict[str, Any] = {"n": 1, "logprobs": False, "response_format": ResponseFormat("text")}
    assert deltas(chat(**fields, tools=(Tool("f"),), tool_choice=ToolChoice("none")), call())


def test_another_model_is_not_found() -> None:
    with pytest.raises(UpstreamNotFound, match="'extractive', not 'gpt'"):
        deltas(chat(), call("gpt"))


def embed(provider: ExtractiveProvider, model: str = "minilm", dimensions: int | None = None) -> list[list[float]]:
    request = EmbeddingRequest(dialect="openai_chat", model="x", texts=("loud", "quiet"), dimensions=dimensions)
    return asyncio.run(provider.embed(request, call(model))).vectors


def test_embeddings() -> None:
    provider = ExtractiveProvider("builtin", LettersEmbedder())
    assert embed(provider) == embed(provider, dimensions=2) == [[1.0, 0.0], [0.0, 1.0]]
    with pytest.raises(UnsupportedFeature, match="2 dimensions"):
        embed(provider, dimensions=5)
    with pytest.raises(UpstreamNotFound, match="'minilm', not 'ada'"):
        embed(provider, "ada")
    with pytest.raises(UnsupportedFeature, match="without an embedding model"):
        embed(ExtractiveProvider("builtin"))
    with pytest.raises(ServerFault, match="gone"):
        embed(ExtractiveProvider("builtin", LettersEmbedder(fault=Unavailable("gone"))))
