"""The words by which a text is found: the same for a question and a document, however each is written.

Compatible forms are one (NFKC: full-width letters, ligatures, Arabic presentation forms), marks that nobody sees are
left out, and letters keep their accents and vowel signs; a word with Latin accents is found without them too. Scripts
that put no space between words are cut into pairs of neighbouring letters, as in Lucene's CJK analyzer: a pair of a
question stands in the document wherever its words do.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from functools import lru_cache
from itertools import pairwise

from contract.terms import content_words

# Soft hyphens, joiners, marks of direction, word joiners; variation selectors; tatweel and points of Arabic and Hebrew.
_UNSEEN = re.compile(
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
# Signs of these scripts that end sentences, repeat or stand for money.
_SIGNS = re.compile("[\u0e2f\u0e3f\u0e5a\u0e5b\u0f3a-\u0f3d\u104a-\u104f\u17d4-\u17d6\u17d8-\u17db\u30fb]+")


def indexed_words(text: str, *, asked: bool = False) -> list[str]:
    """The words in order, in lower case, without stop words; endings are taken off later.

    A text has its Chinese letters alone besides, so that a question of a single one finds them; a question (`asked`)
    has them only where they stand alone.
    """
    if text.isascii():
        return content_words(text)
    text = _UNSEEN.sub("", unicodedata.normalize("NFKC", text))
    found: list[str] = []
    place = 0
    for run in _RUN.finditer(text):
        found += _spaced(text[place : run.start()])
        for part in _SIGNS.split(run[0]):
            found += _pairs(part, asked=asked)
        place = run.end()
    return found + _spaced(text[place:])


def _spaced(text: str) -> list[str]:
    """Words between spaces, their marks with them."""
    if text.isascii():
        return content_words(text)
    # What is left of marks belongs to its letter: the vowels of Hindi, dots that no single sign has.
    if _marks().search(text):
        words = [word.lower() for word in _words_with_marks().findall(text)]
    else:
        words = content_words(text)
    if not _LATIN_ACCENTS.search(text):
        return words
    return [each for word in words for each in dict.fromkeys((word, _plain(word)))]


def _plain(word: str) -> str:
    """Without its accents, if they are Latin."""
    if not _LATIN_ACCENTS.search(word):
        return word
    return "".join(letter for letter in unicodedata.normalize("NFD", word) if not unicodedata.combining(letter))


def _pairs(run: str, *, asked: bool) -> Iterator[str]:
    """Pairs of neighbouring letters, each with its vowels and tones; Chinese letters alone as well."""
    letters = _letters_with_marks().findall(run)
    yield from (first + second for first, second in pairwise(letters))
    if len(letters) == 1:
        yield letters[0]
    elif not asked:
        yield from (letter for letter in letters if _ONE_HAN.match(letter))


@lru_cache(maxsize=1)
def _all_marks() -> str:
    """All combining marks of the first plane, as they stand in brackets."""
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
    # A vowel that is written before its consonant belongs to it (Thai, Lao).
    return re.compile(f"[\u0e40-\u0e44\u0ec0-\u0ec4]?[^\\W_][{_all_marks()}\u0e33\u0eb3]*")
