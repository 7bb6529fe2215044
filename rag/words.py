"""The words by which a text is found, in every script.

Chinese, Japanese and Korean are written without spaces, or with endings grown to their words: they are found by pairs
of signs that follow each other, as Lucene's CJKAnalyzer has it, and documents by each single sign too. A word with
accents is found with them and without.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

from gateway.contract.terms import content_words

# Hiragana and Katakana, Han with its extensions, Hangul. Half-width forms are made full before.
_SIGNS = (
    "\u3041-\u3096\u30a1-\u30fa\u30fc\u3005-\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uac00-\ud7a3"
    "\U00020000-\U0003ffff"
)
_RUN = re.compile(f"[{_SIGNS}]+")
_HANGUL = re.compile("[\uac00-\ud7a3]")
_LATIN_ACCENTS = re.compile("[\u00c0-\u024f\u1e00-\u1eff]")


def words_to_keep(text: str) -> list[str]:
    """Those that a document is found by."""
    return list(_words(text, single=True))


def words_to_find(question: str) -> list[str]:
    """Those that a question looks for."""
    return list(_words(question, single=False))


def _words(text: str, *, single: bool) -> Iterator[str]:
    if text.isascii():
        yield from content_words(text)
        return
    for word in content_words(unicodedata.normalize("NFKC", text)):
        if not _RUN.search(word):
            yield word
            if _LATIN_ACCENTS.search(word):
                yield _plain(word)
            continue
        end = 0
        for run in _RUN.finditer(word):
            # What stands between the runs is a word of another script: `GPU显存`.
            yield from filter(None, (word[end : run.start()],))
            yield from _pairs(run[0], single=single)
            end = run.end()
        yield from filter(None, (word[end:],))


def _pairs(run: str, *, single: bool) -> Iterator[str]:
    yield from (run[place : place + 2] for place in range(len(run) - 1))
    if len(run) == 1 or (single and not _HANGUL.match(run)):
        yield from run


def _plain(word: str) -> str:
    return "".join(letter for letter in unicodedata.normalize("NFD", word) if not unicodedata.combining(letter))
