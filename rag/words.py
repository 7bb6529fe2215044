"""Splits texts into words for full-text search, normalised so that questions and documents match.

NFKC unifies compatible characters (full-width letters, ligatures, Arabic presentation forms). Invisible marks are
removed. Letters keep their accents and vowel signs; a word with Latin accents is also indexed without them. Scripts
without spaces between words are split into pairs of adjacent characters, as in Lucene's CJK analyzer: a document that
contains a question's words also contains its pairs.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from functools import lru_cache
from itertools import pairwise

from contract.terms import content_words

# Soft hyphens, joiners, direction marks, word joiners; variation selectors; tatweel; Arabic and Hebrew points.
_INVISIBLE = re.compile(
    "[\u00ad\u034f\u061c\u0640\u064b-\u065f\u0670\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7\u06d6-\u06ed"
    "\u200c-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufe00-\ufe0f\ufeff]"
)
_HAN = "\u2e80-\u2fdf\u3005-\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
# Kana, Hangul, Thai, Lao, Tibetan, Burmese, Khmer.
_UNSPACED = (
    f"{_HAN}\u3041-\u309f\u30a1-\u30ff\u1100-\u11ff\uac00-\ud7af"
    "\u0e00-\u0e7f\u0e80-\u0eff\u0f40-\u0fbc\u1000-\u109f\uaa60-\uaa7f\u1780-\u17d3\u17dd"
)
_RUN = re.compile(f"[{_UNSPACED}]+")
_LATIN_ACCENTS = re.compile("[\u00c0-\u024f\u1e00-\u1eff]")
_ONE_HAN = re.compile(f"[{_HAN}]")
# Punctuation, repetition marks and currency symbols of these scripts.
_SIGNS = re.compile("[\u0e2f\u0e3f\u0e5a\u0e5b\u0f3a-\u0f3d\u104a-\u104f\u17d4-\u17d6\u17d8-\u17db\u30fb]+")


def indexed_words(text: str, *, is_query: bool = False) -> list[str]:
    """Returns the words in order, in lower case, without stop words; stemming follows later.

    For a document also each Chinese character on its own, so that a question of one character matches. For a question
    (`is_query`) only characters without neighbours.
    """
    if text.isascii():
        return content_words(text)
    text = _INVISIBLE.sub("", unicodedata.normalize("NFKC", text))
    words: list[str] = []
    place = 0
    for run in _RUN.finditer(text):
        words += _split_spaced(text[place : run.start()])
        for part in _SIGNS.split(run[0]):
            words += _pairs(part, is_query=is_query)
        place = run.end()
    return words + _split_spaced(text[place:])


def _split_spaced(text: str) -> list[str]:
    """Splits text of a script with spaces; combining marks stay with their letters."""
    if text.isascii():
        return content_words(text)
    # The remaining combining marks belong to their letter: Hindi vowels, letters without a composed form.
    if _marks().search(text):
        words = [word.lower() for word in _words_with_marks().findall(text)]
    else:
        words = content_words(text)
    if not _LATIN_ACCENTS.search(text):
        return words
    return [each for word in words for each in dict.fromkeys((word, _plain(word)))]


def _plain(word: str) -> str:
    """A word without its Latin accents."""
    if not _LATIN_ACCENTS.search(word):
        return word
    return "".join(letter for letter in unicodedata.normalize("NFD", word) if not unicodedata.combining(letter))


def _pairs(run: str, *, is_query: bool) -> Iterator[str]:
    """Yields pairs of adjacent characters with their combining marks; for documents single Chinese ones too."""
    letters = _letters_with_marks().findall(run)
    yield from (first + second for first, second in pairwise(letters))
    if len(letters) == 1:
        yield letters[0]
    elif not is_query:
        yield from (letter for letter in letters if _ONE_HAN.match(letter))


@lru_cache(maxsize=1)
def _all_marks() -> str:
    """All combining marks of the Basic Multilingual Plane, as a regex character class."""
    runs: list[list[int]] = []
    for code in range(0x300, 0x10000):
        if unicodedata.category(chr(code)) in {"Mn", "Mc"}:
            if runs and runs[-1][1] == code - 1:
                runs[-1][1] = code
            else:
                runs.append([code, code])
    return "".join(f"\\u{first:04x}-\\u{last:04x}" for first, last in runs)


@lru_cache(maxsize=1)
def _marks() -> re.Pattern[str]:
    return re.compile(f"[{_all_marks()}]")


@lru_cache(maxsize=1)
def _words_with_marks() -> re.Pattern[str]:
    return re.compile(f"[^\\W_](?:[^\\W_]|[{_all_marks()}])*(?:[.,]\\d+)*")


@lru_cache(maxsize=1)
def _letters_with_marks() -> re.Pattern[str]:
    # A vowel that is written before its consonant belongs to that consonant (Thai, Lao).
    return re.compile(f"[\u0e40-\u0e44\u0ec0-\u0ec4]?[^\\W_][{_all_marks()}\u0e33\u0eb3]*")
