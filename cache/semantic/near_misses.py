"""Generates near misses: questions that look like others but mean something else, for training and evaluation."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence

from cache.semantic.opposites import OPPOSITES
from cache.semantic.synonyms import synonymous
from cache.semantic.verify import analyse

_WORD = re.compile(r"[A-Za-z]+")
_AUXILIARIES = re.compile(r"\b(is|are|was|were|can|could|does|do|did|should|will|would|may|must|has|have)\b")


def number(text: str, draw: random.Random, others: Sequence[str]) -> str | None:
    """Changes a number."""
    matches = list(re.finditer(r"\d+", text))
    if not matches:
        return None
    match = draw.choice(matches)
    value = int(match[0][:9])
    return f"{text[: match.start()]}{value + draw.choice((1, 2, 5, 10, 100))}{text[match.end() :]}"


def negation(text: str, draw: random.Random, others: Sequence[str]) -> str | None:
    """Adds or removes a negation."""
    if match := re.search(r"\b(?:not|never) ", text):
        return text[: match.start()] + text[match.end() :]
    matches = list(_AUXILIARIES.finditer(text))
    if not matches:
        return None
    match = matches[0] if draw.random() < 0.7 else draw.choice(matches)
    return f"{text[: match.end()]} not{text[match.end() :]}"


def direction(text: str, draw: random.Random, others: Sequence[str]) -> str | None:
    """Swaps the two sides of a preposition."""
    match = re.search(r"([\w`.-]{4,}) (to|from|than|into|before|after|over) (?:the |a |an )?([\w`.-]{4,})", text)
    if match is None or len(set(analyse(f"{match[1]} {match[3]}").stems)) < 2:
        return None
    return f"{text[: match.start(1)]}{match[3]}{text[match.end(1) : match.start(3)]}{match[1]}{text[match.end(3) :]}"


def name(text: str, draw: random.Random, others: Sequence[str]) -> str | None:
    """Replaces a name with one from another question."""
    own = sorted(analyse(text).names)
    theirs = [each for each in analyse(draw.choice(others)).names if each not in own]
    if not own or not theirs:
        return None
    old, new = draw.choice(own), draw.choice(sorted(theirs))
    return re.sub(re.escape(old), lambda match: new.capitalize() if match[0][0].isupper() else new, text, flags=re.I)


def opposite(text: str, draw: random.Random, others: Sequence[str]) -> str | None:
    """Replaces a word with its opposite."""
    # Short words are mostly parts of phrases: log in, on-the-fly.
    matches = [match for match in _WORD.finditer(text) if len(match[0]) > 3 and match[0].lower() in OPPOSITES]
    if not matches:
        return None
    match = draw.choice(matches)
    new = draw.choice(sorted(OPPOSITES[match[0].lower()]))
    return f"{text[: match.start()]}{new.capitalize() if match[0][0].isupper() else new}{text[match.end() :]}"


def word(text: str, draw: random.Random, others: Sequence[str]) -> str | None:
    """Replaces a content word with one from another question."""
    own = [each for each in analyse(text).content if each.isalpha() and len(each) > 3]
    theirs = [
        each for each in analyse(draw.choice(others)).content if each.isalpha() and len(each) > 3 and each not in own
    ]
    if not own or not theirs:
        return None
    old = draw.choice(own)
    return re.sub(rf"\b{re.escape(old)}\b", draw.choice(theirs), text, count=1, flags=re.I)


KINDS: dict[str, Callable[[str, random.Random, Sequence[str]], str | None]] = {
    "number": number,
    "negation": negation,
    "direction": direction,
    "name": name,
    "opposite": opposite,
    "word": word,
}


def _is_near_miss(kind: str, text: str, miss: str) -> bool:
    """Whether the meaning changed: an inflection or a synonym of a word is no near miss."""
    if kind == "word":
        a, b = set(analyse(text).content), set(analyse(miss).content)
        return not any(synonymous(x, y) for x in a - b for y in b - a) and analyse(text).stems != analyse(miss).stems
    return miss != text and (kind == "negation" or analyse(text).stems != analyse(miss).stems)


def near_misses(texts: Sequence[str], seed: int = 0) -> list[tuple[str, str, str]]:
    """Returns (kind, text, near miss) for each text and each kind that applies to it."""
    draw = random.Random(seed)
    generated = []
    for text in texts:
        for kind, make in KINDS.items():
            miss = make(text, draw, texts)
            if miss is not None and _is_near_miss(kind, text, miss):
                generated.append((kind, text, miss))
    return generated
