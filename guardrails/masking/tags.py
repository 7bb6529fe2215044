"""Tags such as `<PERSON_K7Q2AB>`: what stands for a value, and how it is recognised however a model writes it.

A tag is the kind and six letters of an HMAC over the value, under a key of the conversation: the same value has the
same tag in every turn, retry and replica, nothing has to be kept for that, and nobody can guess the tag of another's.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Iterable
from functools import lru_cache

LETTERS = 6
MORE_LETTERS = 10
LITERAL = "LITERAL"
# What may stand before and after a tag and belongs to it: angle brackets, also as HTML, JSON and Markdown escape them.
_OPEN = r"(?:<|&lt;|\\u003[cC]|\\<)"
_CLOSE = r"(?:>|&gt;|\\u003[eE]|\\>)"
_JOINT = r"(?:\\?_|-| )"


class TagKey:
    """Makes the tags of one conversation."""

    __slots__ = ("_key",)

    def __init__(self, secret: bytes, scope: str) -> None:
        """`scope` names the conversation and whose it is."""
        self._key = hmac.digest(secret, scope.encode(), hashlib.sha256)

    def name(self, kind: str, value: str, letters: int = LETTERS) -> str:
        """`PERSON_K7Q2AB`, without its brackets."""
        digest = hmac.digest(self._key, f"{kind}\0{value}".encode("utf-8", "surrogatepass"), hashlib.sha256)
        return f"{kind}_{base64.b32encode(digest)[:letters].decode()}"


def normal(written: str) -> str:
    """The name of a tag as a model may have written it."""
    return written.replace("\\", "").replace("-", "_").replace(" ", "_").upper()


@lru_cache(maxsize=1024)
def tag_form(kinds: frozenset[str]) -> re.Pattern[str]:
    """Finds what is written like a tag of these kinds; the group `name` is the tag's name. Longer tags come first."""
    letters = rf"(?:[A-Z2-7]{{{MORE_LETTERS}}}|[A-Z2-7]{{{LETTERS}}})"
    return re.compile(rf"{_OPEN}?(?P<name>{_whole(kinds)}{_JOINT}{letters}){_CLOSE}?", re.IGNORECASE)


@lru_cache(maxsize=1024)
def tail_form(kinds: frozenset[str]) -> re.Pattern[str]:
    """Finds an end of a text that may be the beginning of such a tag; `open` is its name, or
    `begun` the beginning of one; neither for the beginning of a bracket."""
    openings = _beginnings(("<", "&lt;", "\\u003c", "\\u003C", "\\<"), whole=True)
    closings = _beginnings(("&gt;", "\\u003e", "\\u003E", "\\>"), whole=False)
    begun: set[str] = set()
    for kind in kinds:
        words = kind.split("_")
        for count in range(len(words)):
            before = "".join(re.escape(word) + _JOINT for word in words[:count])
            begun |= {before + re.escape(words[count][:end]) for end in range(0 if count else 1, len(words[count]) + 1)}
            begun.add(before + re.escape(words[count]) + r"\\")
    beginnings = "|".join(sorted(begun, key=len, reverse=True))
    # `open`: nothing but letters is missing, and none need be; what closes the tag may have begun.
    name = rf"(?P<open>{_whole(kinds)}{_JOINT}[A-Z2-7]{{0,{MORE_LETTERS}}})(?:{closings})?|(?P<begun>{beginnings})"
    return re.compile(rf"(?:{_OPEN}?(?:{name})|(?:{openings}))\Z", re.IGNORECASE)


def _whole(kinds: frozenset[str]) -> str:
    """Any of the kinds, longest first: US_SSN must not be taken for another that it begins with."""
    return (
        "(?:"
        + "|".join(_JOINT.join(map(re.escape, kind.split("_"))) for kind in sorted(kinds, key=len, reverse=True))
        + ")"
    )


def _beginnings(texts: Iterable[str], *, whole: bool) -> str:
    parts = {text[:end] for text in texts for end in range(1, len(text) + whole)}
    return "|".join(re.escape(part) for part in sorted(parts, key=len, reverse=True))
