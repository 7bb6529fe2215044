"""Finds decisive differences in the words of two questions, which rule out that they share an answer.

An embedding treats "How do I enable it?" and "How do I disable it?" as equal. This module compares the words that
change the meaning: numbers, units, dates, names, negation, direction, what is asked for, and replaced content words.
"""

from __future__ import annotations

import re
from collections import Counter
from difflib import SequenceMatcher
from functools import lru_cache
from pathlib import Path

import msgspec

from cache.semantic.opposites import opposite
from cache.semantic.synonyms import synonymous
from contract.terms import terms

# Words, and symbols with a meaning: operators, currencies, emoji. Punctuation is ignored.
_TOKEN = re.compile(
    r"[^\W_]+(?:[.,:'\u2019_/+#@-]+[^\W_]+)*[+#%\u00b0\u20ac$\u00a3]?"
    r"|(?<=\d\s)[-\u2212\u2013](?=\s\d)"
    r"|[^\w\s.,;:!?'\"()\[\]{}`\u2026\u2018\u2019\u201c\u201d\u00ab\u00bb\u00bf\u00a1-]+"
)
_SENTENCE_BEGINS = re.compile(r"(?:^|[.?!:]\s+|\n\s*)([^\W_]+)")
_NUMBER = re.compile(r"\d+(?:[.,:]\d+)*")


class _Words(msgspec.Struct, frozen=True):
    """Word classes: `little` words may differ without a change of meaning, the others may not."""

    numbers: dict[str, str]
    dates: frozenset[str]
    units: frozenset[str]
    negations: frozenset[str]
    directions: frozenset[str]
    turning: frozenset[str]
    little: frozenset[str]
    asks: dict[str, str]
    how: dict[str, str]
    mine: frozenset[str]
    yours: frozenset[str]


_WORDS = msgspec.json.decode(Path(__file__).with_name("words.json").read_bytes(), type=_Words)
# Nouns that imply a question word: "What is the way to" asks how.
_IMPLIED_QUESTION = {
    "way": "how", "ways": "how", "steps": "how", "procedure": "how", "process": "how", "method": "how", "reason": "why",
    "reasons": "why", "cause": "why", "time": "when", "date": "when", "place": "where", "location": "where",
    "person": "who", "number": "count", "amount": "amount",
}  # fmt: skip
_NEVER_NAMES = _WORDS.little | _WORDS.negations | _WORDS.dates | _WORDS.units
# Number words that usually are no numbers.
_RARELY_NUMBERS = frozenset({"one", "first", "second", "once", "half", "double"})


class Analysis(msgspec.Struct, frozen=True):
    """The features of a question that are compared."""

    tokens: tuple[str, ...]
    content: tuple[str, ...]
    stems: tuple[str, ...]
    numbers: tuple[str, ...]
    units: frozenset[str]
    dates: frozenset[str]
    names: frozenset[str]
    negations: int
    asks: str
    whose: str
    possessive: bool


@lru_cache(maxsize=2048)
def analyse(question: str) -> Analysis:
    """Extracts the features of a question."""
    text = question[:2000].replace("\u2019", "'")
    raw = [token.removesuffix("'s") for token in _TOKEN.findall(text)]
    begins = {match[1] for match in _SENTENCE_BEGINS.finditer(text)}
    tokens = tuple(token.lower() for token in raw)
    content = tuple(token for token in tokens if token not in _WORDS.little)
    numbers = [number for token in tokens for number in _numbers(token)]
    return Analysis(
        tokens,
        content,
        tuple(_stem(token) for token in content),
        tuple(sorted(numbers)),
        frozenset(_unit(token) for token in tokens if token in _WORDS.units),
        frozenset(token[:3] for token in tokens if token in _WORDS.dates),
        frozenset(_names(raw, begins)),
        sum(token in _WORDS.negations or token.endswith("n't") for token in tokens),
        _asks(tokens),
        _whose(tokens),
        "'s " in text,
    )


def _stem(token: str) -> str:
    # Do not stem compound names.
    return (terms(token) or [token])[0] if token.isalpha() else token


def _numbers(token: str) -> list[str]:
    if token in _WORDS.numbers and token not in _RARELY_NUMBERS:
        return [_WORDS.numbers[token]]
    return [digits.replace(",", "") for digits in _NUMBER.findall(token)]


def _unit(token: str) -> str:
    return token[:-1] if token.endswith("s") and len(token) > 2 else token


def _names(raw: list[str], begins: set[str]) -> list[str]:
    """Tokens that look like names; a capital at the start of a sentence does not count."""
    names = []
    for place, token in enumerate(raw):
        is_odd = any(each.isupper() for each in token[1:]) or any(each.isdigit() for each in token) or "_" in token
        if (is_odd and any(each.isalpha() for each in token)) or (place and token[0].isupper() and token not in begins):
            low = token.lower()
            if (
                low not in _WORDS.little
                and low not in _WORDS.negations
                and low not in _WORDS.dates
                and low not in _WORDS.units
            ):
                names.append(low)
    return names


def _whose(tokens: tuple[str, ...]) -> str:
    """`mine` or `yours`, by the possessives in the question; empty for both or neither."""
    mine, yours = not _WORDS.mine.isdisjoint(tokens), not _WORDS.yours.isdisjoint(tokens)
    return "" if mine == yours else "mine" if mine else "yours"


def _asks(words: tuple[str, ...]) -> str:
    for word, after in zip(words, (*words[1:], ""), strict=False):
        if word == "how":
            return _WORDS.how.get(after, "how")
        if word in _WORDS.asks:
            return _WORDS.asks[word]
        if word in ("what", "which"):
            return next((_IMPLIED_QUESTION[each] for each in words if each in _IMPLIED_QUESTION), "")
    return ""


def disagreement(one: str, other: str) -> str:
    """Why two questions can't be equivalent; empty if no difference is found."""
    a, b = analyse(one), analyse(other)
    if a.tokens == b.tokens:
        return "" if a.tokens or one == other else "no words"
    if not (a.content and b.content and any(map(_has_text, a.content)) and any(map(_has_text, b.content))):
        return "no words"
    if a.numbers != b.numbers:
        return "numbers"
    if a.units != b.units:
        return "units"
    if a.dates != b.dates:
        return "dates"
    if a.negations % 2 != b.negations % 2:
        return "negation"
    if a.asks and b.asks and a.asks != b.asks:
        return "what is asked for"
    if a.whose != b.whose and a.whose and b.whose:
        return "whose"
    if not _names_agree(a, b):
        return "names"
    return _opposed(a, b) or _turned(a, b) or _replaced(a, b)


def _has_text(token: str) -> bool:
    return any(map(str.isalnum, token))


def _names_agree(a: Analysis, b: Analysis) -> bool:
    return all(_mentions(name, b) for name in a.names) and all(_mentions(name, a) for name in b.names)


def _mentions(name: str, other: Analysis) -> bool:
    if name in other.tokens:
        return True
    if name.isalpha():
        return any(token.isalpha() and _is_similar(name, token) for token in other.content)
    # `datasets.load` may be written as `load`, and `a.b()` as `b`.
    return any(
        not token.isalpha() and (token.endswith(f".{name}") or name.endswith(f".{token}")) for token in other.content
    )


def _opposed(a: Analysis, b: Analysis) -> str:
    only_a, only_b = set(a.tokens) - set(b.tokens), set(b.tokens) - set(a.tokens)
    if any(opposite(x, y) and not synonymous(x, y) for x in only_a for y in only_b if len(x) > 2 and len(y) > 2):
        return "opposites"
    return ""


def _turned(a: Analysis, b: Analysis) -> str:
    """The same words in another order, or with swapped words after a preposition."""
    # "The tray's colour" and "the colour of the tray" have the same meaning.
    if a.stems != b.stems and a.possessive == b.possessive and Counter(a.stems) == Counter(b.stems):
        moved = [place for place, (x, y) in enumerate(zip(a.stems, b.stems, strict=True)) if x != y]
        if len(moved) == 2:
            return "order"
    behind_a, behind_b = _behind(a), _behind(b)
    known_a, known_b = set(a.stems), set(b.stems)
    for preposition in behind_a.keys() & behind_b.keys():
        x, y = behind_a[preposition], behind_b[preposition]
        if x != y and x in known_b and y in known_a and preposition in _WORDS.turning and len(known_a ^ known_b) <= 2:
            return "direction"
    return ""


def _behind(analysis: Analysis) -> dict[str, str]:
    """The first content word after each preposition."""
    words: dict[str, str] = {}
    waiting: list[str] = []
    for token in analysis.tokens:
        if token in _WORDS.directions:
            waiting.append(token)
        elif token not in _WORDS.little:
            for preposition in waiting:
                words.setdefault(preposition, _stem(token))
            waiting = []
    return words


def _replaced(a: Analysis, b: Analysis) -> str:
    """A content word that replaces another, while the words around it are the same."""
    matcher = SequenceMatcher(None, a.tokens, b.tokens, autojunk=False)
    changes = [block for block in matcher.get_opcodes() if block[0] != "equal"]
    same = sum(block.size for block in matcher.get_matching_blocks())
    if 2 * same < _MIN_OVERLAP * (len(a.tokens) + len(b.tokens)):
        return ""
    left, right = set(a.stems), set(b.stems)
    if left == right:
        return ""
    if (left < right or right < left) and len(left ^ right) <= _FEW:
        # One question adds a condition, another kind, or a second topic.
        return "an added word"
    replaced = reworded = 0
    for _, a_from, a_to, b_from, b_to in changes:
        x = [token for token in a.tokens[a_from:a_to] if token not in _WORDS.little]
        y = [token for token in b.tokens[b_from:b_to] if token not in _WORDS.little]
        reworded += bool(x or y)
        replaced += len(x) == len(y) == 1 and not _is_similar(x[0], y[0])
    # If many words differ, an unknown word may be part of a paraphrase.
    return "a replaced word" if replaced and (reworded < _MUCH or _EACH * replaced > reworded) else ""


_MIN_OVERLAP = 0.6
_MUCH = 4
_EACH = 3
_FEW = 2


def _is_similar(one: str, other: str) -> bool:
    """Whether two words have the same stem, are synonyms, or share a long prefix."""
    if _stem(one) == _stem(other) or synonymous(one, other):
        return True
    common = 0
    for x, y in zip(one, other, strict=False):
        if x != y:
            break
        common += 1
    return common >= 4 and common >= 0.6 * max(len(one), len(other))


def shape(one: str, other: str) -> tuple[float, ...]:
    """The verifier's features besides the cosine: overlap of words, and counts of words in only one question."""
    a, b = analyse(one), analyse(other)
    left, right = set(a.stems), set(b.stems)
    common = len(left & right)
    union = len(left | right) or 1
    only_a, only_b = len(left - right), len(right - left)
    return (
        common / union,
        common / max(1, min(len(left), len(right))),
        min(only_a, 6) / 6,
        min(only_b, 6) / 6,
        min(len(a.tokens), len(b.tokens)) / max(1, max(len(a.tokens), len(b.tokens))),
        float(only_a == 0 or only_b == 0),
        float(a.asks == b.asks),
    )
