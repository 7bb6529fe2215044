"""Tags such as `<PERSON_K7Q2AB>`: derives them from values, and recognises them in a model's spelling.

A tag is the kind and six letters of an HMAC over the value, with a key per conversation. So a value has the same tag in
every turn, retry and replica without stored state, and tags of other conversations can't be guessed.
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
# The brackets around a tag: plain, or escaped for HTML, JSON or Markdown.
_OPEN = r"(?:<|&lt;|\\u003[cC]|\\<)"
_CLOSE = r"(?:>|&gt;|\\u003[eE]|\\>)"
_JOINT = r"(?:\\?_|-| )"


class TagKey:
    """Derives the tags of one conversation."""

    __slots__ = ("_key",)

    def __init__(self, secret: bytes, scope: str) -> None:
        """`scope` identifies the conversation and its app."""
        self._key = hmac.digest(secret, scope.encode(), hashlib.sha256)

    def name(self, kind: str, value: str, letters: int = LETTERS) -> str:
        """`PERSON_K7Q2AB`, without its brackets."""
        digest = hmac.digest(self._key, f"{kind}\0{value}".encode("utf-8", "surrogatepass"), hashlib.sha256)
        return f"{kind}_{base64.b32encode(digest)[:letters].decode()}"


def normalize(written: str) -> str:
    """The canonical name of a tag in a model's spelling."""
    return written.replace("\\", "").replace("-", "_").replace(" ", "_").upper()


@lru_cache(maxsize=1024)
def tag_pattern(kinds: frozenset[str]) -> re.Pattern[str]:
    """Matches text that looks like a tag of these kinds; the group `name` is the tag's name. Prefers longer tags."""
    letters = rf"(?:[A-Z2-7]{{{MORE_LETTERS}}}|[A-Z2-7]{{{LETTERS}}})"
    return re.compile(rf"{_OPEN}?(?P<name>{_any_kind(kinds)}{_JOINT}{letters}){_CLOSE}?", re.IGNORECASE)


@lru_cache(maxsize=1024)
def tail_pattern(kinds: frozenset[str]) -> re.Pattern[str]:
    """Matches the end of a text if it may be the start of a tag.

    The group `open` is the tag's name, `begun` the start of a name; neither matches the start of a bracket.
    """
    openings = _beginnings(("<", "&lt;", "\\u003c", "\\u003C", "\\<"), include_complete=True)
    closings = _beginnings(("&gt;", "\\u003e", "\\u003E", "\\>"), include_complete=False)
    begun: set[str] = set()
    for kind in kinds:
        words = kind.split("_")
        for count in range(len(words)):
            before = "".join(re.escape(word) + _JOINT for word in words[:count])
            begun |= {before + re.escape(words[count][:end]) for end in range(0 if count else 1, len(words[count]) + 1)}
            begun.add(before + re.escape(words[count]) + r"\\")
    beginnings = "|".join(sorted(begun, key=len, reverse=True))
    # `open`: only letters may be missing, possibly none; the closing bracket may have begun.
    name = rf"(?P<open>{_any_kind(kinds)}{_JOINT}[A-Z2-7]{{0,{MORE_LETTERS}}})(?:{closings})?|(?P<begun>{beginnings})"
    return re.compile(rf"(?:{_OPEN}?(?:{name})|(?:{openings}))\Z", re.IGNORECASE)


def _any_kind(kinds: frozenset[str]) -> str:
    """A pattern for any of the kinds, longest first, so that a kind that is a prefix of another does not match it."""
    return (
        "(?:"
        + "|".join(_JOINT.join(map(re.escape, kind.split("_"))) for kind in sorted(kinds, key=len, reverse=True))
        + ")"
    )


def _beginnings(texts: Iterable[str], *, include_complete: bool) -> str:
    parts = {text[:end] for text in texts for end in range(1, len(text) + include_complete)}
    return "|".join(re.escape(part) for part in sorted(parts, key=len, reverse=True))
