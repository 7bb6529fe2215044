"""Source lines for error messages, with the characters of secrets replaced by dots."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, get_args, get_origin

from config.document import Path, TextRange, YamlDocument
from config.findings import SECRET_NAMES, mask_looks, names_a_secret
from config.secret import Secret
from config.shape import ConfigNode, holds_secret, is_section

_KEY = re.compile(r"""([\w.-]+)["']?\s*:\s*""")
_VALUE = re.compile(r"""(?:\$\{[^{}]*\}|"[^"]*"?|'[^']*'?|\[[^\]]*\]?|\{[^}]*\}?|[^,}\]]*)""")
_LABEL = re.compile(r"(?<=[&*!])[^\s,\[\]{}]{6,}")
# The default of a reference may be a secret; its name is not.
_WORDS = re.compile(r"(?P<reference>\$\{(?:\w+|file:[^{}]*)\}|\$\{\w+:-|os\.environ/\w+)|[\w.~+/=-]+")
# What people write: words, model names, versions, dates, addresses. A part never mixes letters and digits.
_PART = r"(?:[A-Z]?[a-z]{1,20}|[A-Z]{1,20}|[0-9]{1,4})"
_PROSE = re.compile(rf"[-/._=+~]*{_PART}(?:[-/._=+~]+{_PART})*[-/._=+~]*")
_MOST_DIGITS = 8


class MaskedLines:
    """The lines of one file, with secrets masked."""

    def __init__(self, text: str, document: YamlDocument, nodes: Iterable[ConfigNode], known: frozenset[str]) -> None:
        """`known` are the keys that some struct has and that never hold a secret."""
        self._lines = [line.rstrip("\r") for line in text.split("\n")]
        self._known = known
        self._document = document
        self._parsed = document.data is not None
        types = {node.path: node for node in nodes}
        # Names that people choose (of providers, apps, headers, ...) do not announce a secret, unless the value is not
        # the mapping that an entry needs: then the line with the name is missing, and this is a key of the entry.
        chosen_names = {
            (*node.path, key)
            for node in types.values()
            if get_origin(node.annotation) is dict and isinstance(node.value, dict)
            for key, value in node.value.items()
            if isinstance(value, dict) or not is_section(get_args(node.annotation)[1])
        }

        def announced(path: Path) -> bool:
            return any(
                isinstance(part, str) and self._names_secret(part) and path[: depth + 1] not in chosen_names
                for depth, part in enumerate(path)
            )

        def is_known(path: Path) -> bool:
            """Whether a struct defines the value: then its type decides, whatever the keys above it."""
            known = next((types[path[:end]] for end in range(len(path), 0, -1) if path[:end] in types), None)
            return known is not None and (known.path == path or known.annotation is Any)

        def is_secret(path: Path) -> bool:
            return (path in types and holds_secret(types[path].annotation)) if is_known(path) else announced(path)

        self._hidden: list[TextRange] = [span for path, span in document.scalars if is_secret(path)]
        # A stray colon turns a secret into a key.
        self._hidden += [
            span
            for path, span in document.names
            if (path in types and types[path].annotation is Secret) or (not is_known(path) and announced(path))
        ]

        # The value of an unknown key may be a secret that was indented wrongly.
        self._doubtful: list[TextRange] = [
            span
            for path, span in document.scalars
            if path not in types and path[:-1] in types and is_section(types[path[:-1]].annotation)
        ]

    def line(self, number: int) -> str:
        """Line `number`, counted from 0; empty beyond the end."""
        if not 0 <= number < len(self._lines):
            return ""
        line = self._lines[number]
        if self._parsed and not any(span.line <= number <= span.end_line for span in self._document.unread):
            # Positions are known; only comments, anchors, aliases and tags can still contain a secret.
            written, mark, comment = line.partition("#")
            line = _LABEL.sub(lambda label: _dots(label[0]), written) + mark + self._unread(comment, prose=True)
        else:
            line = self._unread(line)
        for span in self._hidden:
            if span.line <= number <= span.end_line:
                first = span.column if number == span.line else 0
                last = span.end_column if number == span.end_line else len(line)
                line = line[:first] + _dots(line[first:last]) + line[last:]
        for span in self._doubtful:
            if span.line <= number <= span.end_line:
                first = span.column if number == span.line else 0
                last = span.end_column if number == span.end_line else len(line)
                line = line[:first] + self._long_words_hidden(line[first:last], prose=True) + line[last:]
        return mask_looks(line)

    def _names_secret(self, key: str) -> bool:
        return key not in self._known and names_a_secret(key)

    def _unread(self, line: str, *, prose: bool = False) -> str:
        """Masks text that was not parsed: values of keys that announce a secret, and all longer words.

        Ordinary words stay visible in `prose` and on lines with keys: only a line without keys may continue a secret.
        """
        prose = prose or _KEY.search(line) is not None
        for key in _KEY.finditer(line):
            value = _VALUE.match(line, key.end())
            if value and self._names_secret(key[1]):
                line = line[: value.start()] + _dots(value[0]) + line[value.end() :]
        return self._long_words_hidden(line, prose=prose)

    def _long_words_hidden(self, text: str, *, prose: bool) -> str:
        def shown(word: re.Match[str]) -> str:
            return word[0] if word["reference"] or self._is_harmless(word[0], prose=prose) else _dots(word[0])

        return _WORDS.sub(shown, text)

    def _is_harmless(self, word: str, *, prose: bool) -> bool:
        if len(word) < 8 or word in self._known or word in SECRET_NAMES:
            return True
        return prose and _PROSE.fullmatch(word) is not None and sum(map(str.isdigit, word)) <= _MOST_DIGITS


def _dots(text: str) -> str:
    """Dots for every word; references stay visible, because they only name the place of the secret."""
    return _WORDS.sub(lambda word: word[0] if word["reference"] else "•" * len(word[0]), text)
