"""Finds listed words and phrases, such as project names, with their inflections."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Literal

from pydantic import Field

from config.guardrails import KindName
from config.struct import Flag
from guardrails.span import Span, resolve
from guardrails.spans import TextGuardrail

_ENDINGS = r"(?:'s|\u2019s|s'|s|es|ed|d|ing|er|ers|ly|'|\u2019|en|n|e|ern|in|innen)?"


class KeywordsConfig(TextGuardrail):
    """Your own words and phrases, with their inflections."""

    kind: Literal["keywords"] = Field(description="Your own words and phrases, with their inflections.")
    lists: dict[KindName, tuple[str, ...]] = Field(
        min_length=1,
        description="Words and phrases, by a name for each list.",
        examples=["{project: [Bluebird]}"],
    )
    exact: Flag = Field(default=False, description="Whether to match only the exact words, without inflections.")

    def finder(self) -> KeywordFinder:
        """See `TextGuardrail.finder`."""
        return KeywordFinder(self.lists, exact=self.exact)


class KeywordFinder:
    """Finds listed words and phrases, ignoring case and whitespace; with `exact` without other endings."""

    def __init__(
        self, lists: Mapping[str, Sequence[str]], *, exact: bool = False, order: Mapping[str, int] | None = None
    ) -> None:
        """`lists` by name, which becomes the kind of a span.

        `order` decides between equal spans that overlap: the kind with the lower number wins.
        """
        self._order = order
        ending = "" if exact else _ENDINGS
        self._patterns = {
            name: re.compile(rf"(?<!\w)(?:{'|'.join(_pattern(word) for word in words)}){ending}(?!\w)", re.IGNORECASE)
            for name, words in lists.items()
            if words
        }

    def find(self, text: str) -> list[Span]:
        """Returns spans whose kind is the list's name."""
        return resolve(
            [Span(*match.span(), name) for name, pattern in self._patterns.items() for match in pattern.finditer(text)],
            self._order,
        )


def _pattern(word: str) -> str:
    word = unicodedata.normalize("NFC", word.strip())
    parts = [re.escape(part) for part in word.split()]
    # The last letter may change before an ending: party, parties; drive, driving.
    if parts and len(word) > 4 and word[-1] in "ye" and word[-2].isalpha():
        parts[-1] = parts[-1][:-1] + rf"(?:{word[-1]}|{'ie' if word[-1] == 'y' else ''})"
    return r"[\s\-_]+".join(parts)
