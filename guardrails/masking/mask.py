"""One request's masking: its texts searched, what was found replaced by tags, and the way back."""

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

_LEAST_REPEATED = 4
# Names that are words as well: alone they are more often the word.
_WORDS_TOO = """
    may june april august will mark grace hope faith rose summer dawn angel bill frank rich art drew chase grant jack
    pat rob sue young long little brown black white green king page price best day love moon rice bush park parks field
    fields wood woods hill banks stone cook baker miller smart sharp short small strong swift wise
"""
_ALSO_WORDS = frozenset(_WORDS_TOO.split())
_NAME = re.compile(r"[A-Z\u00c0-\u00de][a-z\u00df-\u00ff'\u2019-]{2,}")


def mask_text(text: str, spans: Sequence[Span], vault: Vault, *, bare: bool = False) -> str:
    """`text` with a tag for each of `spans` (by place, without overlaps), so that `vault.reveal` gives `text` again.

    `bare` leaves the brackets away, for fields that allow letters only.
    """
    parts: list[str] = []
    place = 0
    for span in spans:
        start = span.start
        # A backslash before a tag would be taken for the tag's own: it becomes part of the value.
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
    """Makes sure that the way back leads to `text`, even if `text` itself holds what looks like a tag of the vault."""
    if vault.form is None or vault.reveal(masked) == text:
        return masked
    return vault.tag(LITERAL, text)


def literal_spans(text: str, spans: Sequence[Span], vault: Vault) -> list[tuple[int, int]]:
    """Where `text`, outside `spans`, is written like a tag that was given."""
    if vault.form is None:
        return []
    taken = TakenSpans(sorted(spans))
    return [
        match.span()
        for match in vault.form.finditer(text)
        if vault.knows(match["name"]) and taken.is_free(match.start(), match.end())
    ]


class Values:
    """Values that were found somewhere in a request, found wherever else they stand as whole words.

    Each is known by its first word or sign, so that a text is read once, however many values there are.
    """

    def __init__(self, kinds: Mapping[str, str]) -> None:
        """`kinds` by value, the ones that go first before others."""
        self._ranks = {value: (rank, kind) for rank, (value, kind) in enumerate(kinds.items())}
        self._lengths: dict[str, set[int]] = {}
        for value in kinds:
            if len(value) >= _LEAST_REPEATED and (first := _FIRST.match(value)) is not None:
                self._lengths.setdefault(first[0], set()).add(len(value))

    def find(self, text: str) -> list[Span]:
        """Where values stand in `text`, overlapping as they do; those of the values that go first come first."""
        found: list[tuple[int, Span]] = []
        for match in _FIRST.finditer(text) if self._lengths else ():
            start = match.start()
            for length in self._lengths.get(match[0], ()):
                end = start + length
                known = self._ranks.get(text[start:end])
                if known is not None and not (_is_word(text[start - 1 : start]) or _is_word(text[end : end + 1])):
                    found.append((known[0], Span(start, end, known[1])))
        return [span for _, span in sorted(found)]


_FIRST = re.compile(r"\w+|[^\w]")


def _is_word(letter: str) -> bool:
    return letter.isalnum() or letter == "_"


def name_parts(persons: Iterable[str]) -> frozenset[str]:
    """The words by which people with these full names may be called elsewhere: Smith, where there is a Jane Smith."""
    return frozenset(
        word
        for name in persons
        if len(words := name.split()) > 1
        for word in words
        if _NAME.fullmatch(word) and word.lower() not in _ALSO_WORDS
    )


def texts_of(request: ChatRequest) -> list[tuple[str, Author]]:
    """Every text of the request with its author, each once, in order."""
    seen: dict[str, Author] = {}

    def note(text: str, author: Author) -> str:
        seen.setdefault(text, author)
        return text

    map_text(request, note)
    return list(seen.items())
