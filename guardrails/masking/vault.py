"""Which tag stands for which value, for one request; it goes with the request and is shared with no other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

from guardrails.masking.tags import LITERAL, MORE_LETTERS, TagKey, normal, tag_form, tail_form

if TYPE_CHECKING:
    import re

# As long as a tag can get with all its brackets escaped, and a little more.
LONGEST_TAG = 64


class Vault:
    """Gives tags, and knows what stands behind those it gave."""

    __slots__ = ("_begun", "_key", "_kinds", "_names", "_tail", "_unsaved", "_values", "form")

    def __init__(self, key: TagKey) -> None:
        self._key = key
        self._values: dict[str, str] = {}  # name -> value
        self._names: dict[tuple[str, str], str] = {}  # (kind, value) -> name
        self._unsaved: set[str] = set()
        self._kinds: frozenset[str] = frozenset()
        self._begun: set[str] | None = None
        self.form: re.Pattern[str] | None = None
        self._tail: re.Pattern[str] | None = None

    def __len__(self) -> int:
        return len(self._values)

    def tag(self, kind: str, value: str) -> str:
        """The tag of `value`, with its brackets. Two values that would share one both get longer tags."""
        name = self._names.get((kind, value))
        if name is None:
            name = self._key.name(kind, value)
            if self._values.get(name, value) != value:
                name = self._key.name(kind, value, MORE_LETTERS)
            self._names[kind, value] = name
            self._values[name] = value
            self._unsaved.add(name)
            self._learn(kind)
        return f"<{name}>"

    def recall(self, values: Mapping[str, str]) -> None:
        """Takes back what an earlier turn gave: tag names and their values."""
        for name, value in values.items():
            kind = name.rpartition("_")[0]
            self._values[name] = value
            self._names[kind, value] = name
            self._learn(kind)

    def unsaved(self) -> dict[str, str]:
        """Tag names and values given since this was last asked."""
        values = {name: self._values[name] for name in self._unsaved}
        self._unsaved.clear()
        return values

    def _learn(self, kind: str) -> None:
        self._begun = None
        if kind not in self._kinds:
            self._kinds |= {kind}
            self.form = tag_form(self._kinds)
            self._tail = None

    def values(self) -> dict[str, str]:
        """Each value with its tag, without those that only stood for the look of a tag."""
        return {value: f"<{name}>" for (kind, value), name in self._names.items() if kind != LITERAL}

    def knows(self, written: str) -> bool:
        """Whether a text written like a tag is one that was given here."""
        return self._resolve(normal(written)) is not None

    def _resolve(self, name: str) -> tuple[str, int] | None:
        """The value and how many letters too many were taken for the tag."""
        value = self._values.get(name)
        if value is not None:
            return value, 0
        # Ten letters may be a tag of six and the word that follows it.
        for excess in range(1, 5):
            value = self._values.get(name[:-excess])
            if value is not None:
                return value, excess
        return None

    def reveal(self, text: str, escape: Callable[[str], str] | None = None) -> str:
        """`text` with each tag of this vault replaced by its value, written by `escape` if given."""
        if self.form is None:
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
        """Every tag of this vault in `text`: where it begins and ends, its value, and whether a bracket closes it."""
        assert self.form is not None
        place = 0
        while (match := self.form.search(text, place)) is not None:
            resolved = self._resolve(normal(match["name"]))
            if resolved is None:
                # Only looks like one; the real one may begin within it.
                place = match.start() + 1
                continue
            value, excess = resolved
            # Letters that don't belong to the tag may belong to the next.
            place = match.end("name") - excess if excess else match.end()
            yield match.start(), place, value, place > match.end("name")

    def tail(self, text: str) -> int:
        """Where in `text` an end begins that may become a tag of this vault; its length when none does."""
        if self.form is None:
            return len(text)
        if self._tail is None:
            self._tail = tail_form(self._kinds)
        if self._begun is None:
            self._begun = {name[:end] for name in self._values for end in range(1, len(name) + 1)}
        place = max(0, len(text) - LONGEST_TAG)
        rest = place
        for start, end, _, closed in self._tags(text[place:]):
            if not closed and place + end == len(text):
                return place + start
            rest = place + (end if closed else start)
        place = rest
        while (match := self._tail.search(text, place)) is not None:
            name = match["open"] or match["begun"]
            if name is None or normal(name) in self._begun:
                return match.start()
            place = match.start() + 1
        return len(text)
