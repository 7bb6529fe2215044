"""Pairs of opposite words, which change the meaning of a question."""

from __future__ import annotations

from pathlib import Path

_PREFIXES = ("un", "in", "im", "ir", "il", "dis", "non", "de", "mis", "anti", "a")
_ENDINGS = ("ing", "ed", "es", "s", "e", "d", "er", "ers", "ion", "ions", "ation", "ations")


def _forms(word: str) -> set[str]:
    """A word and its possible base forms."""
    forms = {word}
    for ending in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            forms |= {word.removesuffix(ending), word.removesuffix(ending) + "e"}
    return forms


OPPOSITES: dict[str, set[str]] = {}
for _pair in Path(__file__).with_name("opposites.txt").read_text("utf-8").splitlines():
    _one, _other = _pair.split()
    OPPOSITES.setdefault(_one, set()).add(_other)
    OPPOSITES.setdefault(_other, set()).add(_one)


def opposite(one: str, other: str) -> bool:
    """Whether two lower-case words are opposites."""
    if one == other:
        return False
    ones, others = _forms(one), _forms(other)
    if any(not others.isdisjoint(OPPOSITES.get(form, ())) for form in ones):
        return True
    short, long = sorted((one, other), key=len)
    return any(long == prefix + short for prefix in _PREFIXES) or (
        short.endswith("ful") and long == short.removesuffix("ful") + "less"
    )
