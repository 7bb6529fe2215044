"""Finds the subject of a question, and prefers sentences about exactly that subject.

A general sentence is often more similar to a question than the one that answers it: "every machine has two years of
warranty" is more similar to "how long is the warranty on a drum?" than "drums are not covered". The rules use no
domain vocabulary.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import msgspec

from contract.terms import terms

# The word after `how` names a measure; it is not the subject of the question.
_MEASURE = re.compile(r"\bhow\s+(\w+)", re.IGNORECASE)
_LIMIT = re.compile(
    r"\b(?:not|no|never|none|neither|nor|only|except\w*|exclud\w*|unless|without|however|cannot|\w+n['\u2019]t)\b",
    re.IGNORECASE,
)
_WHETHER = re.compile(
    r"\s*(?:can|could|may|might|must|should|shall|will|would|is|are|was|were|do|does|did|has|have)\b", re.IGNORECASE
)
_BACK = re.compile(r"(?:this|that|these|those|it|they)\b", re.IGNORECASE)
_REFERS = re.compile(r"\b(?:it|they|these|those|this|that|one)\b", re.IGNORECASE)
_BUT = re.compile(r"(?:however|but|except|unless)\b", re.IGNORECASE)
_PRODUCT = re.compile(r"\b([a-z]{1,8})-?(\d+)([a-z]{0,3})\b", re.IGNORECASE)
_VERSION = re.compile(r"\b(?:version|release|edition|v\.?)\s?(\d+(?:\.\d+)*)\b", re.IGNORECASE)
_YEAR = re.compile(r"\b((?:19|20)\d\d)\b")


class Subject(msgspec.Struct, frozen=True):
    """The terms of a question. `identifiers` maps a kind (model number, version, year) to the question's values."""

    terms: frozenset[str]
    identifiers: dict[str, frozenset[str]]
    is_yes_no: bool
    """Whether it is a yes/no question."""


class SentenceCandidate(msgspec.Struct, frozen=True):
    """A sentence and the question's terms in it (`own_terms`), and in it or its headings (`section_terms`)."""

    place: int
    score: float
    own_terms: frozenset[str]
    section_terms: frozenset[str]
    is_limiting: bool
    section: tuple[str, str]
    refers_back: bool = False
    """Whether it refers to something in another sentence: `For trucks it is 80`."""


def read_subject(question: str) -> Subject:
    """The subject of a question."""
    measures = {stem for word in _MEASURE.findall(question) for stem in terms(word)}
    return Subject(
        frozenset(terms(question)) - measures, _identifiers(question), _WHETHER.match(question.strip()) is not None
    )


def candidate(subject: Subject, place: int, score: float, text: str, section: tuple[str, str]) -> SentenceCandidate:
    """`section` is the document and the headings of the sentence `text`."""
    own_terms = subject.terms & frozenset(terms(text))
    section_terms = own_terms | subject.terms & frozenset(terms(" ".join(section)))
    is_limiting, refers_back = _LIMIT.search(text) is not None, _REFERS.search(text) is not None
    return SentenceCandidate(place, score, own_terms, section_terms, is_limiting, section, refers_back)


def is_about_another(subject: Subject, text: str, section: tuple[str, str]) -> bool:
    """Whether a sentence is only about another model, version or year than the one in the question."""
    if not subject.identifiers:
        return False
    text_identifiers, section_identifiers = _identifiers(text), _identifiers(" ".join(section))
    for kind, values in subject.identifiers.items():
        if values.isdisjoint(text_identifiers.get(kind) or section_identifiers.get(kind) or values):
            return True
    return False


def prefer(
    subject: Subject, chosen: Sequence[SentenceCandidate], candidates: Sequence[SentenceCandidate]
) -> list[SentenceCandidate]:
    """The candidates to quote, best first, given those `chosen` by score.

    A sentence that lacks a term of the question is replaced by one that has it. A sentence that limits another one
    is added after it or, for a yes/no question, before it.
    """
    selected: dict[int, SentenceCandidate] = {}
    for each in chosen:
        better = [other for other in candidates if _is_closer(other, each)]
        if better:
            each = max(better, key=lambda other: (len(other.section_terms), other.is_limiting, other.score))
        limiting = [other for other in candidates if not each.is_limiting and _limits(other, each, subject)]
        beside = [max(limiting, key=lambda other: other.score)] if limiting else []
        alone = not (better or beside or each.is_limiting)
        special = [other for other in candidates if _adds_a_term(other, each)] if alone else []
        before = [max(special, key=lambda other: (len(other.section_terms), other.score))] if special else []
        for one in [*before, *beside, each] if subject.is_yes_no else [*before, each, *beside]:
            selected.setdefault(one.place, one)
    return list(selected.values())


def continues_sentence(after: str) -> bool:
    """Whether a sentence limits the one before it, so that both must be quoted together."""
    return _BUT.match(after) is not None or (_BACK.match(after) is not None and _LIMIT.search(after) is not None)


def _is_closer(other: SentenceCandidate, each: SentenceCandidate) -> bool:
    """Whether `other` has a term of the question that `each` lacks, and is on the same topic."""
    more = other.own_terms - each.section_terms
    if not more:
        # A heading may contain the term: `Alaska and Hawaii`.
        in_heading = other.section_terms - each.section_terms
        headed = other.section[0] == each.section[0] and _special_case(other, each, in_heading)
        return headed and 2 * len(other.section_terms) >= len(each.section_terms)
    if other.section_terms > each.section_terms:
        return True
    # A model number is the topic of a document. Other terms may be in an exception or a special case.
    if other.section[0] != each.section[0] or all(any(map(str.isdigit, thing)) for thing in more):
        return False
    if _special_case(other, each, more) and 2 * len(other.section_terms) >= len(each.section_terms):
        return True
    related = not other.section_terms.isdisjoint(each.section_terms) or other.section == each.section
    return other.is_limiting and related and len(other.section_terms) >= len(each.section_terms) - 1


def _adds_a_term(other: SentenceCandidate, each: SentenceCandidate) -> bool:
    """Whether `other` is about a term that the general statement `each` lacks, so that both are quoted."""
    more = other.own_terms - each.section_terms
    if not more or other.section[0] != each.section[0] or all(any(map(str.isdigit, thing)) for thing in more):
        return False
    return other.refers_back or other.section == each.section


def _special_case(other: SentenceCandidate, each: SentenceCandidate, more: frozenset[str]) -> bool:
    """Whether `other` is under a subheading of `each`'s section that contains one of `more`."""
    below = other.section[1].removeprefix(f"{each.section[1]} > ")
    return bool(each.section[1]) and below != other.section[1] and not more.isdisjoint(terms(below))


def _limits(other: SentenceCandidate, each: SentenceCandidate, subject: Subject) -> bool:
    """Whether `other` limits `each`: it has the same terms or, for a yes/no question, an additional one."""
    if not other.is_limiting:
        return False
    if len(other.own_terms) > 1 and other.own_terms >= each.own_terms:
        return True
    return subject.is_yes_no and other.section[0] == each.section[0] and bool(other.own_terms - each.section_terms)


def _identifiers(text: str) -> dict[str, frozenset[str]]:
    """The values of each kind of identifier. `A300` and `A200` are of one kind, `A4` is of another."""
    values_by_kind: dict[str, set[str]] = {}
    for prefix, digits, suffix in _PRODUCT.findall(text):
        if prefix.lower() != "v":
            kind = f"{prefix.lower()} {len(digits)}"
            values_by_kind.setdefault(kind, set()).add(f"{int(digits)}{suffix.lower()}")
    for version in _VERSION.findall(text):
        values_by_kind.setdefault("version", set()).add(version)
    for year in _YEAR.findall(text):
        values_by_kind.setdefault("year", set()).add(year)
    return {kind: frozenset(values) for kind, values in values_by_kind.items()}
