"""Finders at work on streams: nothing found gets out, nothing else is lost, whatever the pieces."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contract.deltas import ChoiceDelta, Delta, ToolCallDelta
from contract.errors import ContentBlocked
from contract.exchange import Exchange
from guardrails.personal.patterns import PATTERNS, find, resolve
from guardrails.personal.search import PersonalSearch
from guardrails.secrets import SecretFinder
from guardrails.span import Span
from guardrails.spans import redact
from guardrails.stream import SpanFilter
from guardrails.verdict import Policy

KINDS = frozenset(pattern.kind for pattern in PATTERNS)
WORDS = [
    "jane@doe.example",
    " +49 171 2345678 ",
    " ",
    "Hello, ",
    "the pump ",
    "\n",
    "4111 1111 1111 1111",
    " x" * 60,
    "12 ",
    "@",
    "é",
]


class _Finder:
    def find(self, text: str) -> list[Span]:
        return resolve(find(text))


def _words(deltas: list[Delta]) -> str:
    return "".join(piece.text for delta in deltas for piece in delta.choices)


def _stream(text: str, places: list[int], policy: Policy, exchange: Exchange) -> list[Delta]:
    cuts = [0, *sorted({min(place, len(text)) for place in places}), len(text)]
    span_filter = SpanFilter(_Finder(), policy, exchange)
    deltas: list[Delta] = []
    for start, end in itertools.pairwise(cuts):
        deltas += span_filter.feed([Delta((ChoiceDelta(text=text[start:end]),))])
    deltas += span_filter.feed([Delta((ChoiceDelta(finish="stop"),))])
    return deltas + span_filter.finish()


@given(st.lists(st.sampled_from(WORDS), max_size=10).map(" ".join), st.lists(st.integers(0, 400)))
@settings(max_examples=400)
def test_any_split_gives_what_the_whole_would(text: str, places: list[int]) -> None:
    policy = Policy("leaks", {"*": "mask"})
    told = _words(_stream(text, places, policy, Exchange("s")))
    assert told == redact(text, resolve(find(text)), policy)
    assert "jane@doe" not in told


@given(st.lists(st.sampled_from(WORDS), max_size=10).map(" ".join), st.lists(st.integers(0, 400)))
def test_flags_hold_nothing_back(text: str, places: list[int]) -> None:
    assert _words(_stream(text, places, Policy("leaks", {"*": "flag"}), Exchange("s"))) == text
    assert _words(_stream(text, places, Policy("leaks", {"*": "block"}, shadow=True), Exchange("s"))) == text


def test_a_block_ends_the_stream_before_any_of_it_is_out() -> None:
    exchange = Exchange("s")
    span_filter = SpanFilter(_Finder(), Policy("leaks", {"*": "block"}), exchange)
    told = ""
    with pytest.raises(ContentBlocked):
        for letter in "x" * 200 + " write to jane@doe.example please, " + "y" * 200:
            told += _words(span_filter.feed([Delta((ChoiceDelta(text=letter),))]))
    assert "jane" not in told
    assert [(each.guardrail, each.rule, each.action) for each in exchange.findings] == [("leaks", "EMAIL", "block")]


def test_arguments_of_tools_and_every_choice_are_seen() -> None:
    span_filter = SpanFilter(_Finder(), Policy("leaks", {"*": "mask"}), Exchange("s"))
    call = ToolCallDelta(0, "c", "f", '{"to": "jane@doe.example"}')
    deltas = span_filter.feed(
        [Delta((ChoiceDelta(0, tool_calls=(call,)), ChoiceDelta(1, "jane@doe.example"), ChoiceDelta(0, finish="stop")))]
    )
    deltas += span_filter.finish()
    assert "jane" not in str(deltas)
    assert "[EMAIL]" in "".join(c.arguments for d in deltas for p in d.choices for c in p.tool_calls)
    assert "[EMAIL]" in "".join(p.text for d in deltas for p in d.choices if p.index == 1)


def test_the_callers_own_values_may_pass() -> None:
    span_filter = SpanFilter(
        _Finder(), Policy("leaks", {"*": "mask"}), Exchange("s"), allowed={"jane@doe.example"}.__contains__
    )
    deltas = span_filter.feed([Delta((ChoiceDelta(text="jane@doe.example john@doe.example", finish="stop"),))])
    assert _words(deltas + span_filter.finish()) == "jane@doe.example [EMAIL]"


def test_a_search_remembers_no_text() -> None:
    search = PersonalSearch(KINDS)
    assert search.search("jane@doe.example")
    assert "jane" not in str(vars(search))


@pytest.mark.guarantee("guardrails", "A guardrail does not search a growing stream again with every token")
def test_what_goes_on_growing_is_not_searched_anew_with_every_token() -> None:
    searched = 0

    class Counting:
        def find(self, text: str) -> list[Span]:
            nonlocal searched
            searched += len(text)
            return SecretFinder().find(text)

    text = "-----BEGIN PRIVATE KEY-----\n" + "MIIEvQIBADANBgkqhkiG9w0BAQEFAASC\n" * 500
    span_filter = SpanFilter(Counting(), Policy("secrets", {"*": "mask"}), Exchange("s"))
    told = ""
    for place in range(0, len(text), 4):
        told += _words(span_filter.feed([Delta((ChoiceDelta(text=text[place : place + 4]),))]))
    told += _words(span_filter.feed([Delta((ChoiceDelta(finish="stop"),))]) + span_filter.finish())
    assert "[PRIVATE_KEY]" in told
    assert "MIIE" not in told
    assert searched < 30 * len(text)
