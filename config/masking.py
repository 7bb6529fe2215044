"""Source lines as errors show them: the secrets that stand in them replaced by dots, all else in its place."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import get_origin

from config.document import Document, Span
from config.findings import mask_looks, names_a_secret
from config.shape import Spot, holds_secret

_KEY = re.compile(r"""([\w.-]+)["']?\s*:\s*""")
_VALUE = re.compile(r"""(?:\$\{[^{}]*\}|"[^"]*"?|'[^']*'?|\[[^\]]*\]?|\{[^}]*\}?|[^,}\]]*)""")
_WORDS = re.compile(r"(?P<reference>\$\{(?:\w+|file:[^{}]*)\}|os\.environ/\w+)|[\w.~+/=-]+")


class MaskedLines:
    """The lines of one file, safe to show."""

    def __init__(self, text: str, document: Document, spots: Iterable[Spot], known: frozenset[str]) -> None:
        """`known` are the keys that some struct has and that hold no secret."""
        self._lines = [line.rstrip("\r") for line in text.split("\n")]
        self._known = known
        self._parsed = document.data is not None
        listed = list(spots)
        secret_paths = {spot.path for spot in listed if holds_secret(spot.annotation)}
        # Names that people give (of providers, apps, ...) announce nothing.
        given = {
            (*s.path, key) for s in listed if get_origin(s.annotation) is dict and isinstance(s.value, dict)
            for key in s.value
        }  # fmt: skip
        self._hidden: list[Span] = [
            span
            for path, span, _ in document.scalars
            if path in secret_paths
            or any(
                isinstance(part, str) and self._names_secret(part) and path[: depth + 1] not in given
                for depth, part in enumerate(path)
            )
        ]

    def line(self, number: int) -> str:
        """Line `number`, counted from 0; empty beyond the end."""
        if not 0 <= number < len(self._lines):
            return ""
        line = self._lines[number]
        if self._parsed:
            # Places are known; only a comment may still hold anything.
            written, mark, comment = line.partition(" #")
            line = written + mark + self._by_text(comment)
        else:
            line = self._by_text(line)
        for span in self._hidden:
            if span.line <= number <= span.end_line:
                first = span.column if number == span.line else 0
                last = span.end_column if number == span.end_line else len(line)
                line = line[:first] + _dots(line[first:last]) + line[last:]
        return mask_looks(line)

    def _names_secret(self, key: str) -> bool:
        return key not in self._known and names_a_secret(key)

    def _by_text(self, line: str) -> str:
        """Masks what stands behind a key that announces a secret, in a line that could not be parsed."""
        for key in _KEY.finditer(line):
            value = _VALUE.match(line, key.end())
            if value and self._names_secret(key[1]):
                line = line[: value.start()] + _dots(value[0]) + line[value.end() :]
        return line


def _dots(text: str) -> str:
    """Dots for every word; references stay, for they only say where the secret is."""
    return _WORDS.sub(lambda word: word[0] if word["reference"] else "•" * len(word[0]), text)
