"""Masks texts: replaces spans with tags so that the replacement can be reversed exactly."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from guardrails.masking.tags import LITERAL
from guardrails.span import Span, TakenSpans
from guardrails.text_fields import Author, map_text

if TYPE_CHECKING:
    from contract.messages import ChatRequest
    from guardrails.masking.vault import Vault

_MIN_REPEATED = 4
# Names that are also common words: on their own they usually are the word.
_WORDS_TOO = """
    may june april august will mark grace hope faith rose summer dawn angel bill frank rich art drew chase grant jack
    pat rob sue young long little brown black white green king page price best day love moon rice bush park parks field
    fields wood woods hill banks stone cook baker miller smart sharp short small strong swift wise
"""
_ALSO_WORDS = frozenset(_WORDS_TOO.split())
_NAME = re.compile(r"[A-Z\u00c0-\u00de][a-z\u00df-\u00ff'\u2019-]{2,}")


def mask_text(text: str, spans: Sequence[Span], vault: Vault, *, bare: bool = False) -> str:
    """Replaces each of `spans` (ordered, without overlaps) with a tag, so that `vault.reveal` returns `text` again.

    `bare` omits the brackets, for fields that allow only letters.
    """
    parts: list[str] = []
    place = 0
    for span in spans:
        start = span.start
        # A backslash before a tag would be read as part of the tag, so include it in the value.
        while start > place and text[start - 1] == "\\":
            start -= 1
        if start < place:
            continue
        parts += [text[place:start], vault.tag(span.kind, text[start : span.end])]
        place = span.end
    if not parts:
        masked = text
    else:
        parts.append(text[place:])
        masked = "".join(part.strip("<>") if bare and number % 2 else part for number, part in enumerate(parts))
    return _escape_lookalikes(text, masked, vault)


def _escape_lookalikes(text: str, masked: str, vault: Vault) -> str:
    """Ensures that `reveal` returns `text`, even if `text` itself contains something like a tag of the vault."""
    if vault.pattern is None or vault.reveal(masked) == text:
        return masked
    return vault.tag(LITERAL, text)


def literal_spans(text: str, spans: Sequence[Span], vault: Vault) -> list[tuple[int, int]]:
    """The positions in `text`, outside `spans`, that look like an existing tag."""
    if vault.pattern is None:
        return []
    taken = TakenSpans(sorted(spans))
    return [
        match.span()
        for match in vault.pattern.finditer(text)
        if vault.knows(match["name"]) and taken.is_free(match.start(), match.end())
    ]


class Values:
    """Finds all other occurrences, as whole words, of values that were found somewhere in a request.

    Values are indexed by their first word or character, so that one pass over a text finds all of them.
    """

    def __init__(self, kinds: Mapping[str, str]) -> None:
        """`kinds` by value, in order of priority."""
        self._ranks = {value: (rank, kind) for rank, (value, kind) in enumerate(kinds.items())}
        self._lengths: dict[str, set[int]] = {}
        for value in kinds:
            if len(value) >= _MIN_REPEATED and (first := _FIRST.match(value)) is not None:
                self._lengths.setdefault(first[0], set()).add(len(value))

    def find(self, text: str) -> list[Span]:
        """Returns the occurrences in `text`, which may overlap, ordered by the priority of their values."""
        ranked: list[tuple[int, Span]] = []
        for match in _FIRST.finditer(text) if self._lengths else ():
            start = match.start()
            for length in self._lengths.get(match[0], ()):
                end = start + length
                match_rank = self._ranks.get(text[start:end])
                if match_rank is not None and not (_is_word(text[start - 1 : start]) or _is_word(text[end : end + 1])):
                    ranked.append((match_rank[0], Span(start, end, match_rank[1])))
        return [span for _, span in sorted(ranked)]


_FIRST = re.compile(r"\w+|[^\w]")


def _is_word(letter: str) -> bool:
    return letter.isalnum() or letter == "_"


def name_parts(persons: Iterable[str]) -> frozenset[str]:
    """The parts of full names by which people may be called elsewhere: Smith, if there is a Jane Smith."""
    return frozenset(
        word
        for name in persons
        if len(words := name.split()) > 1
        for word in words
        if _NAME.fullmatch(word) and word.lower() not in _ALSO_WORDS
    )


def texts_of(request: ChatRequest) -> list[tuple[str, Author]]:
    """Returns every distinct text of the request with its author, in order."""
    seen: dict[str, Author] = {}

    def note(text: str, author: Author) -> str:
        seen.setdefault(text, author)
        return text

    map_text(request, note)
    return list(seen.items())
