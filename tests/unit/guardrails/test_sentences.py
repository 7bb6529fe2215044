"""Answers released sentence by sentence: nothing is lost or changed by it, nothing is out before it was judged."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.deltas import ChoiceDelta, Delta, ToolCallDelta
from contract.errors import ContentBlocked
from contract.exchange import Exchange
from contract.messages import ChatRequest, Message, Text
from guardrails.brand import BrandJudge
from guardrails.sentences import SentenceGuard, SentenceReply
from guardrails.sentiment import sentiment
from guardrails.verdict import Policy

REQUEST = ChatRequest(dialect="openai", model="m", messages=(Message("user", (Text("Hello"),)),))


class Deltas:
    dialect = "openai"
    streamed = True

    def __init__(self, deltas: Sequence[Delta]) -> None:
        self._deltas = list(deltas)
        self.closed = False

    async def next(self) -> list[Delta] | None:
        return [self._deltas.pop(0)] if self._deltas else None

    async def close(self) -> None:
        self.closed = True


async def nobody(request: ChatRequest, model: str, *, masked: bool = False) -> Deltas:
    raise AssertionError("nobody is asked")


async def drained(reply: SentenceReply) -> list[Delta]:
    deltas: list[Delta] = []
    while (more := await reply.next()) is not None:
        deltas += more
    return deltas


PIECE = st.builds(
    ChoiceDelta,
    index=st.integers(0, 1),
    text=st.text("ab .!\n", max_size=12),
    reasoning=st.text("xy. ", max_size=6),
    tool_calls=st.just(()) | st.just((ToolCallDelta(0, arguments="{}"),)),
)


@given(st.lists(st.lists(PIECE, max_size=2).map(lambda pieces: Delta(tuple(pieces))), max_size=12))
def test_words_are_the_same_and_in_order(deltas: list[Delta]) -> None:
    async def same(text: str) -> str:
        return text

    passed = asyncio.run(drained(SentenceReply(Deltas(deltas), same)))
    for index in (0, 1):
        for field in ("text", "reasoning"):
            want = "".join(getattr(p, field) for d in deltas for p in d.choices if p.index == index)
            assert "".join(getattr(p, field) for d in passed for p in d.choices if p.index == index) == want

        def shape(each: list[Delta], index: int = index) -> list[str]:
            """The words between calls: a call never overtakes the words before it."""
            runs = [""]
            for piece in (piece for delta in each for piece in delta.choices if piece.index == index):
                runs[-1] += piece.text
                runs += [""] * len(piece.tool_calls)
            return runs

        assert shape(passed) == shape(deltas)


@given(st.text("ab .!\n", min_size=1, max_size=80), st.lists(st.integers(1, 9), min_size=1, max_size=20))
def test_what_is_judged_does_not_depend_on_the_pieces(text: str, sizes: list[int]) -> None:
    def judged(pieces: list[str]) -> str:
        seen: list[str] = []

        async def note(part: str) -> str:
            seen.append(part)
            return part

        asyncio.run(drained(SentenceReply(Deltas([Delta((ChoiceDelta(text=each),)) for each in pieces]), note)))
        return "".join(seen)

    pieces: list[str] = []
    place = 0
    while place < len(text):
        size = sizes[len(pieces) % len(sizes)]
        pieces.append(text[place : place + size])
        place += size
    assert judged(pieces) == judged([text]) == text


def _brand(then: str) -> SentenceGuard:
    return SentenceGuard(BrandJudge(["Gatehouse"], ["Acme"]), Policy("brands", {"*": then}))  # type: ignore[dict-item]


async def _through(guard: SentenceGuard, exchange: Exchange, *pieces: str) -> list[str]:
    reply = await guard.check(REQUEST, Deltas([Delta((ChoiceDelta(text=each),)) for each in pieces]), exchange, nobody)
    out: list[str] = []
    try:
        while (more := await reply.next()) is not None:
            out += [piece.text for delta in more for piece in delta.choices]
    except ContentBlocked:
        out.append("BLOCKED")
    return out


def test_a_blocked_sentence_never_gets_out_and_those_before_it_do() -> None:
    pieces = ("It is a product. Gate", "house is ter", "rible. And", " so on.")
    out = asyncio.run(_through(_brand("block"), Exchange("s"), *pieces))
    assert out == ["It is a product. ", "BLOCKED"]


def test_names_are_masked_or_noted() -> None:
    exchange = Exchange("s")
    assert "".join(asyncio.run(_through(_brand("mask"), exchange, "Acme is great. Gatehouse too."))) == (
        "[COMPETITOR] is great. Gatehouse too."
    )
    assert "".join(asyncio.run(_through(_brand("flag"), exchange, "Acme is great."))) == "Acme is great."
    assert [(each.rule, each.action) for each in exchange.findings] == [("competitor", "mask"), ("competitor", "flag")]


@pytest.mark.parametrize(
    ("sentence", "name", "side"),
    [
        ("Gatehouse is not good.", "Gatehouse", -1),
        ("Gatehouse is slow, but Acme is fast.", "Gatehouse", -1),
        ("Gatehouse is slow, but Acme is fast.", "Acme", 1),
        ("Acme is better than Gatehouse.", "Gatehouse", -1),
        ("Acme is better than Gatehouse.", "Acme", 1),
        ("Unlike Gatehouse, Acme never crashes.", "Gatehouse", -1),
        ("Unlike Gatehouse, Acme never crashes.", "Acme", 1),
        ("You should switch to Acme.", "Acme", 1),
        ("Many customers complain about Gatehouse.", "Gatehouse", -1),
        ("Gatehouse was founded in 2020.", "Gatehouse", 0),
        ("Gatehouse doesn't have any problems.", "Gatehouse", 1),
        ("I would avoid Gatehouse; Acme is fine.", "Gatehouse", -1),
    ],
)
def test_which_way_a_sentence_leans(sentence: str, name: str, side: int) -> None:
    start = sentence.index(name)
    leans = sentiment(sentence, start, start + len(name))
    assert (leans > 0) - (leans < 0) == side
