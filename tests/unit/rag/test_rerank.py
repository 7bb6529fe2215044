"""Candidates in a better order, and no harm where what orders them fails."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from contract.errors import Unavailable
from contract.messages import ChatRequest, Message, Text
from contract.passages import Passage
from rag.rerank import ModelReranker, SentenceReranker
from rag.rewrite import Rewriter, needs_rewriting
from tests.unit.rag.letters import LetterVectors

PASSAGES = [Passage("a", "1", "aaa bbb. ccc", 0.9, "a"), Passage("b", "1", "xyz.\nqqqq.", 0.5, "b")]


def saying(words: str | Exception) -> Callable[..., object]:
    async def ask(request: ChatRequest, model: str) -> str:
        if isinstance(words, Exception):
            raise words
        return words

    return ask


def order(reranker: ModelReranker | SentenceReranker, question: str, words: str | Exception = "") -> list[str]:
    ask = saying(words)
    return [each.source for each in asyncio.run(reranker.rerank(question, PASSAGES, ask))]  # type: ignore[arg-type]


def test_by_single_sentences() -> None:
    assert order(SentenceReranker(LetterVectors()), "qqqq") == ["b", "a"]
    assert order(SentenceReranker(LetterVectors()), "aaabbb") == ["a", "b"]


@pytest.mark.parametrize(
    ("words", "want"),
    [
        ("[2, 1]", ["b", "a"]),
        ("The order is [2].", ["b"]),
        ("[9, 2, 2]", ["b"]),
        ("I can't say", ["a", "b"]),
        (Unavailable("away"), ["a", "b"]),
    ],
)
def test_by_a_model(words: str | Exception, want: list[str]) -> None:
    assert order(ModelReranker("m"), "q", words) == want


def turns(*texts: str) -> list[Message]:
    return [Message(("user", "assistant")[place % 2], (Text(text),)) for place, text in enumerate(texts)]


@pytest.mark.parametrize(
    ("conversation", "needs"),
    [
        (("How about Emily Doe?",), False),
        (("When did John Doe buy something?", "May.", "How about Emily Doe?"), True),
        (("Tell me of the A300.", "It prints.", "How long does it take to print one hundred pages in colour?"), True),
        (("Hi", "Hello", "List the medals of the Norwegian biathlon team at Olympic games since 1990"), False),
        (("Wann kam der Zug?", "Um acht.", "Und der nächste?"), True),
    ],
)
def test_only_follow_ups_need_rewriting(conversation: tuple[str, ...], needs: bool) -> None:
    assert needs_rewriting(turns(*conversation)) is needs


@pytest.mark.parametrize("words", ["", "no JSON", '{"question": ""}', '{"question": 3}', Unavailable("away")])
def test_without_a_model_that_answers_the_rules_do(words: str | Exception) -> None:
    conversation = turns("When did John Doe last buy a bicycle?", "In May.", "And what colour was it?")
    made = asyncio.run(Rewriter("m").standalone(conversation, saying(words)))  # type: ignore[arg-type]
    assert made.how == "rules"
    assert made.question.startswith("And what colour was it? (")
    assert "bicycle" in made.question


def test_a_slow_model_is_not_waited_for() -> None:
    async def ask(request: ChatRequest, model: str) -> str:
        await asyncio.sleep(30)
        return ""

    made = asyncio.run(Rewriter("m", 0.05).standalone(turns("About pumps?", "Yes.", "And those?"), ask))
    assert made.how == "rules"
