"""Maps tags to values for one request; never shared between requests."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

from guardrails.masking.tags import LITERAL, MORE_LETTERS, TagKey, normalize, tag_pattern, tail_pattern

if TYPE_CHECKING:
    import re

# An upper bound for the length of a tag with escaped brackets.
MAX_TAG = 64


class Vault:
    """Creates tags and resolves them to their values."""

    __slots__ = ("_begun", "_key", "_kinds", "_names", "_tail", "_unsaved", "_values", "pattern")

    def __init__(self, key: TagKey) -> None:
        self._key = key
        self._values: dict[str, str] = {}  # name -> value
        self._names: dict[tuple[str, str], str] = {}  # (kind, value) -> name
        self._unsaved: set[str] = set()
        self._kinds: frozenset[str] = frozenset()
        self._begun: set[str] | None = None
        self.pattern: re.Pattern[str] | None = None
        self._tail: re.Pattern[str] | None = None

    def __len__(self) -> int:
        return len(self._values)

    def tag(self, kind: str, value: str) -> str:
        """Returns the tag of `value` with its brackets. A value whose tag is already in use gets a longer one."""
        name = self._names.get((kind, value))
        if name is None:
            name = self._key.name(kind, value)
            if self._values.get(name, value) != value:
                name = self._key.name(kind, value, MORE_LETTERS)
            self._names[kind, value] = name
            self._values[name] = value
            self._unsaved.add(name)
            self._add_kind(kind)
        return f"<{name}>"

    def restore(self, values: Mapping[str, str]) -> None:
        """Adds values of earlier turns by tag name."""
        for name, value in values.items():
            kind = name.rpartition("_")[0]
            self._values[name] = value
            self._names[kind, value] = name
            self._add_kind(kind)

    def take_unsaved(self) -> dict[str, str]:
        """Returns the values added since the last call, by tag name."""
        values = {name: self._values[name] for name in self._unsaved}
        self._unsaved.clear()
        return values

    def _add_kind(self, kind: str) -> None:
        self._begun = None
        if kind not in self._kinds:
            self._kinds |= {kind}
            self.pattern = tag_pattern(self._kinds)
            self._tail = None

    def values(self) -> dict[str, str]:
        """Each value with its tag, without literals (text that only looked like a tag)."""
        return {value: f"<{name}>" for (kind, value), name in self._names.items() if kind != LITERAL}

    def knows(self, written: str) -> bool:
        """Whether a text that looks like a tag is a tag of this vault."""
        return self._resolve(normalize(written)) is not None

    def _resolve(self, name: str) -> tuple[str, int] | None:
        """The value of a tag, and the number of excess letters in the match."""
        value = self._values.get(name)
        if value is not None:
            return value, 0
        # A match of ten letters may be a six-letter tag followed by a word.
        for excess in range(1, 5):
            value = self._values.get(name[:-excess])
            if value is not None:
                return value, excess
        return None

    def reveal(self, text: str, escape: Callable[[str], str] | None = None) -> str:
        """Replaces each tag of this vault in `text` by its value, passed through `escape` if given."""
        if self.pattern is None:
            return text
        parts: list[str] = []
        place = 0
        for start, end, value, _ in self._tags(text):
            parts += [text[place:start], escape(value) if escape is not None else value]
            place = end
        if not parts:
            return text
        parts.append(text[place:])
        return "".join(parts)

    def _tags(self, text: str) -> Iterator[tuple[int, int, str, bool]]:
        """Yields every tag of this vault in `text`: its start, end and value, and whether it has a closing bracket."""
        assert self.pattern is not None
        place = 0
        while (match := self.pattern.search(text, place)) is not None:
            resolved = self._resolve(normalize(match["name"]))
            if resolved is None:
                # Not a tag of this vault, but a real one may start within the match.
                place = match.start() + 1
                continue
            value, excess = resolved
            # Excess letters may belong to the next tag.
            place = match.end("name") - excess if excess else match.end()
            yield match.start(), place, value, place > match.end("name")

    def tail(self, text: str) -> int:
        """The position in `text` from which the end may become a tag of this vault; its length if there is none."""
        if self.pattern is None:
            return len(text)
        if self._tail is None:
            self._tail = tail_pattern(self._kinds)
        if self._begun is None:
            self._begun = {name[:end] for name in self._values for end in range(1, len(name) + 1)}
        place = max(0, len(text) - MAX_TAG)
        rest = place
        for start, end, _, closed in self._tags(text[place:]):
            if not closed and place + end == len(text):
                return place + start
            rest = place + (end if closed else start)
        place = rest
        while (match := self._tail.search(text, place)) is not None:
            name = match["open"] or match["begun"]
            if name is None or normalize(name) in self._begun:
                return match.start()
            place = match.start() + 1
        return len(text)
