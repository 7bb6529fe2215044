"""Numbers, names and mails that stand next to each other with nothing between them: each is found as what it is."""

from __future__ import annotations

import itertools

import pytest

from guardrails.personal.patterns import find, resolve
from guardrails.personal.search import PersonalSearch
from guardrails.personal.tagger_thread import TaggerThread
from guardrails.span import Span

PIECES = [
    ("+49 171 2345678", "PHONE"),
    ("4242 4242 4242 4242", "CARD"),
    ("jane.doe@example.org", "EMAIL"),
    ("DE89 3704 0044 0532 0130 00", "IBAN"),
    ("5500-0000-0000-0004", "CARD"),
]


@pytest.mark.parametrize("pieces", list(itertools.permutations(PIECES, 2)), ids=str)
@pytest.mark.parametrize("between", [" ", ", ", " / ", "\n"])
def test_each_is_found(pieces: tuple[tuple[str, str], ...], between: str) -> None:
    text = between.join(value for value, _ in pieces)
    found = [(text[span.start : span.end], span.kind) for span in resolve(find(text))]
    assert found == list(pieces)


@pytest.mark.parametrize("after", ["12/25 123", "12 25", "exp 12/25"])
def test_a_card_with_its_date_behind_it(after: str) -> None:
    text = f"card 4111 1111 1111 1111 {after}"
    assert ("4111 1111 1111 1111", "CARD") in [(text[span.start : span.end], span.kind) for span in resolve(find(text))]


class Greedy:
    """A tagger that takes the whole text for one name."""

    def tag(self, text: str) -> list[Span]:
        return [Span(0, len(text), "PERSON")]


@pytest.mark.parametrize(
    ("text", "persons"),
    [
        ("Jane Doe jane.doe@example.org", ["Jane Doe"]),
        ("jane.doe@example.org, Jane Doe", ["Jane Doe"]),
        ("Jane Doe <jane.doe@example.org> Bob", ["Jane Doe", "Bob"]),
        ("jane.doe@example.org", []),
        ("- jane.doe@example.org -", []),
        ("Jane Doe", ["Jane Doe"]),
    ],
)
def test_what_a_name_shares_with_a_form_is_the_forms(text: str, persons: list[str]) -> None:
    search = PersonalSearch(frozenset({"EMAIL", "PERSON"}), thread=TaggerThread(Greedy()))
    found = search.search(text)
    assert [text[span.start : span.end] for span in found if span.kind == "PERSON"] == persons
    assert all(a.end <= b.start for a, b in itertools.pairwise(found))
