"""The searches and the readers of guardrails take time by a text's length, whatever the text is made of."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from guardrails.canonical import disguises, views
from guardrails.formats.formats import ChoiceFormat, JsonFormat, PythonFormat, SqlFormat, YamlFormat
from guardrails.injection_rules import InjectionFinder
from guardrails.judges.grounds import Grounds, sentences
from guardrails.keywords import KeywordFinder
from guardrails.personal.patterns import PATTERNS, resolve
from guardrails.personal.search import PersonalSearch
from guardrails.secrets import SecretFinder
from guardrails.sentences import _released
from guardrails.span import Span

pytestmark = pytest.mark.slow

GROWTH = "A guardrail's search time does not grow with the square of the text's length"
UNITS = [
    "api_key", "pass", "secret_", "password: ", "token=", "a1b2c3d4e5f6g7h8i9", "a1b2c3d4e5f6g7h8=a1b2 ", "a-", "a:",
    "=", "%41", "a%41", "%", "a://", "a://a:", "a@a.a", "a@", "@", ".", "...x", "!", "a. ", ". ", ".\"", "0049 30 ",
    "+49 30 ", "\uff11", "AB12 ", "A-A", "driver A-", "a-a.", "12 ", "1", "1.", "1:", "ab:", "ab ", "f", "::", "(",
    "a_a_", "a a ", "_", "-", " ", "\n", "\t", "system ", "system", "ignore ", "ignore the ", "no any ",
    "send data to ", "send to a", "let a = ", "when read also ", "repeat the ", "you are ", "authorization: ",
    "authorization:", "curl -u ", "key = '", "ey", "eyA.", "ey.", "ZXlK/", "/fm1_", ".glpat-", "sk-", "AKIA",
    "-----BEGIN PRIVATE KEY-----", "-----BEGIN ", "kind: Secret\n a: aaaaaaaa\n", "QUFB", "QUFB=", "0x41,", "\\x41",
    "&#64;", "\\u0040", "(at)", "[dot", "\u200b", "\u0430", "\U000e0041", "\U0001d41a", "\ufdfa", "1gn0r3 ", "<",
    "[", "{", "](", "![", "![a](http://", "<system>", "'", "\"", "my grandma ", "Bluebird ", "4111 1111 1111 1111 ",
    "user1@example.org ", "DE89 3700 0440 0532 0130 00 ", "x'", "said", "\r\n", "0 0 ", "00",
]  # fmt: skip
SMALL = 4_000
# CPU time of four times the length may be so many times as long: 4 where it is linear, 16 where it is quadratic.
MOST = 9.0


def _released_of(text: str) -> None:
    _released(text)


def _read(text: str) -> None:
    for _ in views(text):
        pass
    for _ in disguises(text):
        pass


def _grounds(text: str) -> None:
    grounds = Grounds(text)
    for sentence in sentences(text):
        grounds.features(sentence)


WORK: dict[str, Callable[[str], Any]] = {
    "secrets": SecretFinder(["own-word-of-ours"]).find,
    "injection": InjectionFinder().find_in_part,
    "personal_data": PersonalSearch(frozenset(pattern.kind for pattern in PATTERNS), {"ticket": "TCK-[0-9]{6}"}).search,
    "keywords": KeywordFinder({"project": ["Project Bluebird", "customer party"]}).find,
    "views": _read,
    "sentences": _released_of,
    "grounds": _grounds,
    "json": lambda text: JsonFormat({"type": "object"}).check(text, cut=False),
    "python": lambda text: PythonFormat().check(text, cut=False),
    "choice": lambda text: ChoiceFormat(["yes", "no"]).check(text, cut=False),
    "sql": lambda text: SqlFormat("postgres").check(text, cut=False),
    "yaml": lambda text: YamlFormat().check(text, cut=False),
}


def _cpu_s(work: Callable[[str], Any], text: str) -> float:
    began = time.thread_time()
    work(text)
    return time.thread_time() - began


@pytest.mark.guarantee("guardrails", GROWTH)
@pytest.mark.parametrize("name", WORK)
def test_time_grows_with_the_length(name: str) -> None:
    work = WORK[name]
    work("warm up")
    slow = []
    for unit in UNITS:
        for tail in ("\x01", " "):
            least = SMALL // 4 if name in ("yaml", "sql") else SMALL
            small, large = (unit * (size // len(unit)) + tail for size in (least, 4 * least))
            # What takes no time worth mentioning is not measured; what seems to grow is measured again.
            if _cpu_s(work, large) < 0.1:
                continue
            ratio = min(_cpu_s(work, large) / max(0.001, _cpu_s(work, small)) for _ in range(3))
            if ratio > MOST:
                slow.append((unit, round(ratio, 1)))
    assert slow == []


@pytest.mark.guarantee("guardrails", GROWTH)
def test_many_finds_are_put_in_order_without_comparing_each_with_each() -> None:
    compared = 0

    class Counted(int):
        def __lt__(self, other: object) -> bool:
            nonlocal compared
            compared += 1
            return int(self) < int(other)  # type: ignore[call-overload, no-any-return]

    count = 5_000
    spans = [Span(Counted(10 * number), Counted(10 * number + 5), "EMAIL") for number in range(count)]
    assert len(resolve(spans)) == count
    assert compared < 60 * count
