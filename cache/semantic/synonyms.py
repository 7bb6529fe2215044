"""Synonyms: words that can replace each other without changing a question. One group per line."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from contract.terms import terms

_FILE = Path(__file__).with_name("synonyms.txt")


@lru_cache(maxsize=1)
def _groups_of() -> dict[str, set[int]]:
    groups: dict[str, set[int]] = {}
    for number, group in enumerate(_FILE.read_text("utf-8").splitlines()):
        for word in group.split():
            for form in {word, (terms(word) or [word])[0]}:
                groups.setdefault(form, set()).add(number)
    return groups


def synonymous(one: str, other: str) -> bool:
    """Whether two lower-case words are in the same group."""
    groups = _groups_of()
    ones = groups.get(one) or groups.get((terms(one) or [one])[0])
    others = groups.get(other) or groups.get((terms(other) or [other])[0])
    return ones is not None and others is not None and not ones.isdisjoint(others)
