"""What a question asks about, and which of several sentences speak of that very thing.

A general sentence is often nearer to a question than the one that answers it: "every machine has two years of warranty"
is nearer to "how long is the warranty on a drum?" than "drums are not covered". No word of any field is known here.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import msgspec

from contract.terms import terms

# What comes after `how` asks for a measure; it is not what the question is about.
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
    """The things that a question names; `marks` are model numbers, versions and years by their kinds."""

    things: frozenset[str]
    marks: dict[str, frozenset[str]]
    whether: bool
    """Whether yes or no is asked for."""


class SentenceCandidate(msgspec.Struct, frozen=True):
    """A sentence as far as the question goes: the things that it names, and those that its headings name too."""

    place: int
    score: float
    named: frozenset[str]
    held: frozenset[str]
    limits: bool
    section: tuple[str, str]
    back: bool = False
    """Whether it speaks of what another sentence has named: `For trucks it is 80`."""


def subject_of(question: str) -> Subject:
    """What is asked about."""
    measures = {stem for word in _MEASURE.findall(question) for stem in terms(word)}
    return Subject(
        frozenset(terms(question)) - measures, _marks(question), _WHETHER.match(question.strip()) is not None
    )


def candidate(subject: Subject, place: int, score: float, text: str, section: tuple[str, str]) -> SentenceCandidate:
    """`section` is the document and the headings under which the sentence `text` stands."""
    named = subject.things & frozenset(terms(text))
    held = named | subject.things & frozenset(terms(" ".join(section)))
    return SentenceCandidate(
        place, score, named, held, _LIMIT.search(text) is not None, section, _REFERS.search(text) is not None
    )


def of_another(subject: Subject, text: str, section: tuple[str, str]) -> bool:
    """Whether a sentence speaks of another model, version or year than the one asked for, and not of that one too."""
    if not subject.marks:
        return False
    said, above = _marks(text), _marks(" ".join(section))
    for kind, asked in subject.marks.items():
        found = said.get(kind) or above.get(kind) or asked
        if asked.isdisjoint(found):
            return True
    return False


def prefer(
    subject: Subject, chosen: Sequence[SentenceCandidate], among: Sequence[SentenceCandidate]
) -> list[SentenceCandidate]:
    """The candidates to quote for those `chosen` by their scores, best first.

    One that leaves out a thing of the question gives way to one that names it; one that limits what another says of
    the same things stands beside it, before it where yes or no is asked for.
    """
    made: dict[int, SentenceCandidate] = {}
    for each in chosen:
        better = [other for other in among if _speaks_closer(other, each)]
        if better:
            each = max(better, key=lambda other: (len(other.held), other.limits, other.score))
        limiting = [other for other in among if not each.limits and _limits(other, each, subject)]
        beside = [max(limiting, key=lambda other: other.score)] if limiting else []
        alone = not (better or beside or each.limits)
        special = [other for other in among if _adds_a_thing(other, each)] if alone else []
        before = [max(special, key=lambda other: (len(other.held), other.score))] if special else []
        for one in [*before, *beside, each] if subject.whether else [*before, each, *beside]:
            made.setdefault(one.place, one)
    return list(made.values())


def continues_sentence(after: str) -> bool:
    """Whether a sentence limits the one before it, which is not to be read without it."""
    return _BUT.match(after) is not None or (_BACK.match(after) is not None and _LIMIT.search(after) is not None)


def _speaks_closer(other: SentenceCandidate, each: SentenceCandidate) -> bool:
    """Whether `other` names a thing of the question that `each` says nothing of, on the same matter."""
    more = other.named - each.held
    if not more:
        # A heading may name it: `Alaska and Hawaii`.
        headed = other.section[0] == each.section[0] and _special_case(other, each, other.held - each.held)
        return headed and 2 * len(other.held) >= len(each.held)
    if other.held > each.held:
        return True
    # A model's number is what a whole document is about; other things are what an exception or a special case names.
    if other.section[0] != each.section[0] or all(any(map(str.isdigit, thing)) for thing in more):
        return False
    if _special_case(other, each, more) and 2 * len(other.held) >= len(each.held):
        return True
    related = not other.held.isdisjoint(each.held) or other.section == each.section
    return other.limits and related and len(other.held) >= len(each.held) - 1


def _adds_a_thing(other: SentenceCandidate, each: SentenceCandidate) -> bool:
    """Whether `other` says of a thing of the question, which `each` leaves out, what `each` says of all: beside it."""
    more = other.named - each.held
    if not more or other.section[0] != each.section[0] or all(any(map(str.isdigit, thing)) for thing in more):
        return False
    return other.back or other.section == each.section


def _special_case(other: SentenceCandidate, each: SentenceCandidate, more: frozenset[str]) -> bool:
    """Whether `other` stands under a heading within the section of `each`, and that heading names one of `more`."""
    below = other.section[1].removeprefix(f"{each.section[1]} > ")
    return bool(each.section[1]) and below != other.section[1] and not more.isdisjoint(terms(below))


def _limits(other: SentenceCandidate, each: SentenceCandidate, subject: Subject) -> bool:
    """Whether `other` limits what `each` says: of the same things, or, where yes or no is asked for, of another one."""
    if not other.limits:
        return False
    if len(other.named) > 1 and other.named >= each.named:
        return True
    return subject.whether and other.section[0] == each.section[0] and bool(other.named - each.held)


def _marks(text: str) -> dict[str, frozenset[str]]:
    """Each kind with its values: `A300` is of the same kind as `A200`, and of another than `A4`."""
    found: dict[str, set[str]] = {}
    for letters, digits, rest in _PRODUCT.findall(text):
        if letters.lower() != "v":
            kind = f"{letters.lower()} {len(digits)}"
            found.setdefault(kind, set()).add(f"{int(digits)}{rest.lower()}")
    for version in _VERSION.findall(text):
        found.setdefault("version", set()).add(version)
    for year in _YEAR.findall(text):
        found.setdefault("year", set()).add(year)
    return {kind: frozenset(values) for kind, values in found.items()}
