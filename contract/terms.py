"""Content words of a text, normalised for comparison."""

from __future__ import annotations

import re

_WORD = re.compile(r"[^\W_]+(?:[.,]\d+)*")
# Words that occur in any sentence, and question words.
_STOP_WORDS_TEXT = (
    "a about after all also am an and any are as at be been before but by can could did do does doing for from get had "
    "has have having he her here him his how i if in into is it its just like may me might more most much must my no "
    "not of off on once one only or other our out over own please same shall she should so some such tell than that "
    "the their them then there these they this those to too under until up us very want was we were what when where "
    "which while who whom why will with would you your"
)
_STOP_WORDS = frozenset(_STOP_WORDS_TEXT.split())
_SHORTEST_STEM = 3


def terms(text: str) -> list[str]:
    """The words in order, in lower case, without stop words, with English endings removed (`prints` -> `print`)."""
    return [_stem(word) for word in content_words(text)]


def content_words(text: str) -> list[str]:
    """The words in order, in lower case, without stop words, otherwise unchanged."""
    return [word for word in _WORD.findall(text.lower()) if word not in _STOP_WORDS]


def _stem(word: str) -> str:
    """A light stem: equal for singular and plural and for most forms of a verb; never shorter than three letters."""
    if len(word) <= _SHORTEST_STEM or not word.isascii() or word[-1].isdigit():
        return word
    if word.endswith("ies") and len(word) > 4:
        word = word[:-3] + "y"
    elif word.endswith(("sses", "shes", "ches", "xes", "zes")):
        word = word[:-2]
    elif word.endswith("s") and not word.endswith(("ss", "us", "is")):
        word = word[:-1]
    for ending in ("ing", "ed"):
        stem = word.removesuffix(ending)
        if stem != word and len(stem) >= _SHORTEST_STEM:
            word = stem[:-1] if stem[-1] == stem[-2] and stem[-1] not in "lsz" else stem
            break
    # Without the last e, `prices` equals `pricing`, and `change` equals `changed`.
    return word[:-1] if word.endswith("e") and len(word) > _SHORTEST_STEM + 1 else word
