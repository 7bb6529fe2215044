"""Whether two questions may have the same answer, as far as their words can say: the reasons why not.

An embedding takes "How do I enable it?" and "How do I disable it?" for the same. What turns a question into another one
is compared here word by word: numbers, units, dates, names, negation, direction, what is asked for, and content words
that stand in each other's place.
"""

from __future__ import annotations

import re
from collections import Counter
from difflib import SequenceMatcher
from functools import lru_cache

import msgspec

from cache.semantic.opposites import opposite
from cache.semantic.synonyms import synonymous
from gateway.contract.terms import terms

_TOKEN = re.compile(r"[^\W_]+(?:[.,:'\u2019_/+#@-]+[^\W_]+)*[+#%\u00b0\u20ac$\u00a3]?|[%\u20ac$\u00a3<>=]+")
_NUMBER = re.compile(r"\d+(?:[.,:]\d+)*")
_WORDS_OF_NUMBERS = dict(
    zip(
        "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
        "eighteen nineteen twenty thirty forty fifty sixty seventy eighty ninety hundred thousand million billion first "
        "second third fourth fifth sixth seventh eighth ninth tenth half twice double triple once".split(),
        "0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 30 40 50 60 70 80 90 100 1000 1000000 1000000000 1 2 3 4 5 6 7 "
        "8 9 10 0.5 2 2 3 1".split(),
        strict=True,
    )
)
# Not numbers most of the time.
_SELDOM_NUMBERS = frozenset({"one", "first", "second", "once", "half", "double"})
_DATES = frozenset(
    "january february march april may june july august september october november december jan feb mar apr jun jul aug sep "
    "sept oct nov dec monday tuesday wednesday thursday friday saturday sunday januar februar m\u00e4rz mai juni juli oktober "
    "dezember montag dienstag mittwoch donnerstag freitag samstag sonntag christmas easter q1 q2 q3 q4".split()
) - {"may", "march", "mar"}
_UNITS = frozenset(
    "mm cm m km inch inches foot feet yard yards mile miles meter meters metre metres kilometer kilometers mg g kg gram "
    "grams kilogram kilograms pound pounds ounce ounces ton tons ml l liter liters litre litres gallon gallons cup cups "
    "second seconds minute minutes hour hours day days week weeks month months year years ms celsius fahrenheit kelvin "
    "dollar dollars euro euros yen usd eur gbp chf byte bytes kb mb gb tb bit bits watt watts kw kwh volt volts amp amps "
    "percent % \u20ac $ \u00a3 ppm rpm mph kmh".split()
)
_NEGATIONS = frozenset(
    "not no never without none neither nor cannot can't won't don't doesn't didn't isn't aren't wasn't weren't shouldn't "
    "wouldn't couldn't hasn't haven't hadn't mustn't nobody nothing nowhere hardly except unless lacks lack unable nicht kein "
    "keine keinen keiner ohne nie niemals pas jamais sans aucun aucune nunca sin ning\u00fan ninguna".split()
)
_DIRECTIONS = frozenset("from to into onto than before after over under by against via between towards for of on with vs".split())
_ASKS = {
    "who": "who", "whom": "who", "whose": "who", "when": "when", "where": "where", "why": "why", "wer": "who", "wann": "when",
    "wo": "where", "warum": "why", "qui": "who", "quand": "when", "o\u00f9": "where", "pourquoi": "why", "qui\u00e9n": "who",
    "cu\u00e1ndo": "when", "d\u00f3nde": "where",
}  # fmt: skip
_HOW_MUCH = {
    "many": "count", "much": "amount", "long": "duration", "far": "distance", "often": "frequency", "old": "age",
    "tall": "height", "big": "size", "fast": "speed", "deep": "depth", "high": "height",
}  # fmt: skip
# Little words whose exchange says nothing; a content word is what is none of these.
_LITTLE = frozenset(
    "a an the this that these those is are was were be been being am do does did can could may might will would shall should "
    "must have has had i you we they he she it its me us them my your our their his her there here of to in on at by for "
    "from with as into about over and or but if then than so such very also just please tell explain describe give show let "
    "know want need like get got make what which how who when where why whether any some all each every more most much many "
    "one way ways possible able using use used via when while".split()
)


class Analysis(msgspec.Struct, frozen=True):
    """A question as it is compared."""

    tokens: tuple[str, ...]
    content: tuple[str, ...]
    stems: tuple[str, ...]
    numbers: tuple[str, ...]
    units: frozenset[str]
    dates: frozenset[str]
    names: frozenset[str]
    negations: int
    asks: str


@lru_cache(maxsize=4096)
def analyse(question: str) -> Analysis:
    """The parts of a question that must agree."""
    raw = _TOKEN.findall(question[:2000].replace("\u2019", "'"))
    tokens = tuple(token.lower() for token in raw)
    content = tuple(token for token in tokens if token not in _LITTLE)
    numbers = [number for token in tokens for number in _numbers(token)]
    return Analysis(
        tokens,
        content,
        tuple(_stem(token) for token in content),
        tuple(sorted(numbers)),
        frozenset(_unit(token) for token in tokens if token in _UNITS),
        frozenset(token[:3] for token in tokens if token in _DATES),
        frozenset(_names(raw)),
        sum(token in _NEGATIONS or token.endswith("n't") for token in tokens),
        _asks(tokens),
    )


def _stem(token: str) -> str:
    return (terms(token) or [token])[0]


def _numbers(token: str) -> list[str]:
    if token in _WORDS_OF_NUMBERS and token not in _SELDOM_NUMBERS:
        return [_WORDS_OF_NUMBERS[token]]
    return [found.replace(",", "") for found in _NUMBER.findall(token)]


def _unit(token: str) -> str:
    return token[:-1] if token.endswith("s") and len(token) > 2 else token


def _names(raw: list[str]) -> list[str]:
    """Tokens that look like names, but for the first of a sentence."""
    found = []
    for place, token in enumerate(raw):
        odd = any(each.isupper() for each in token[1:]) or any(each.isdigit() for each in token) or "_" in token
        if (odd and any(each.isalpha() for each in token)) or (place and token[0].isupper() and token != "I"):
            low = token.lower().removesuffix("'s")
            if low not in _LITTLE and low not in _DATES and low not in _UNITS:
                found.append(low)
    return found


def _asks(tokens: tuple[str, ...]) -> str:
    for token, after in zip(tokens, (*tokens[1:], ""), strict=True):
        if token == "how" and after in _HOW_MUCH:
            return _HOW_MUCH[after]
        if token in _ASKS:
            return _ASKS[token]
    return ""


def disagreement(one: str, other: str) -> str:
    """Why the two can't be the same question; empty when nothing says so."""
    a, b = analyse(one), analyse(other)
    if a.tokens == b.tokens:
        return ""
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
    if not _names_agree(a, b):
        return "names"
    return _opposed(a, b) or _turned(a, b) or _replaced(a, b)


def _names_agree(a: Analysis, b: Analysis) -> bool:
    return all(name in b.tokens or _stem(name) in b.stems for name in a.names) and all(
        name in a.tokens or _stem(name) in a.stems for name in b.names
    )


def _opposed(a: Analysis, b: Analysis) -> str:
    only_a, only_b = set(a.tokens) - set(b.tokens), set(b.tokens) - set(a.tokens)
    if any(opposite(x, y) and not synonymous(x, y) for x in only_a for y in only_b if len(x) > 2 and len(y) > 2):
        return "opposites"
    return ""


def _turned(a: Analysis, b: Analysis) -> str:
    """The same words in another order, or another word behind the same preposition."""
    if a.stems != b.stems and Counter(a.stems) == Counter(b.stems):
        moved = [place for place, (x, y) in enumerate(zip(a.stems, b.stems, strict=True)) if x != y]
        if len(moved) == 2:
            return "order"
    behind_a, behind_b = _behind(a), _behind(b)
    known_a, known_b = set(a.stems), set(b.stems)
    for preposition in behind_a.keys() & behind_b.keys():
        x, y = behind_a[preposition], behind_b[preposition]
        if x != y and x in known_b and y in known_a and preposition in _TURNING:
            return "direction"
    return ""


_TURNING = frozenset("from to into onto than before after over under against towards by".split())


def _behind(analysis: Analysis) -> dict[str, str]:
    """The first content word behind each preposition."""
    found: dict[str, str] = {}
    waiting: list[str] = []
    for token in analysis.tokens:
        if token in _DIRECTIONS:
            waiting.append(token)
        elif token not in _LITTLE:
            for preposition in waiting:
                found.setdefault(preposition, _stem(token))
            waiting = []
    return found


def _replaced(a: Analysis, b: Analysis) -> str:
    """One content word in the place of another, where all around them stays as it is."""
    matcher = SequenceMatcher(None, a.tokens, b.tokens, autojunk=False)
    changes = [block for block in matcher.get_opcodes() if block[0] != "equal"]
    same = sum(block.size for block in matcher.get_matching_blocks())
    if 2 * same < _MOSTLY_THE_SAME * (len(a.tokens) + len(b.tokens)):
        return ""
    for _, a_from, a_to, b_from, b_to in changes:
        x = [token for token in a.tokens[a_from:a_to] if token not in _LITTLE]
        y = [token for token in b.tokens[b_from:b_to] if token not in _LITTLE]
        if len(x) == len(y) == 1 and not _alike(x[0], y[0]):
            return "a replaced word"
        if (not x) != (not y) and len(x) + len(y) == 1 and len(changes) == 1:
            return "an added word"
    return ""


_MOSTLY_THE_SAME = 0.6


def _alike(one: str, other: str) -> bool:
    """Forms of one word: the same stem, or a long beginning in common."""
    if _stem(one) == _stem(other) or synonymous(one, other):
        return True
    common = 0
    for x, y in zip(one, other, strict=False):
        if x != y:
            break
        common += 1
    return common >= 4 and common >= 0.6 * max(len(one), len(other))


def shape(one: str, other: str) -> tuple[float, ...]:
    """What a verifier looks at beside the likeness of the two: shares of words, counts of what only one of them has."""
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
