"""A text put together from headings and paragraphs, with the blocks that say where each stands."""

from __future__ import annotations

from rag.chunk import Block
from rag.encodings import clean


class UnreadableFile(Exception):
    """A file that can't be read; the text says why."""


class TextBuilder:
    """Takes pieces in order; `done` gives the text and its blocks."""

    def __init__(self) -> None:
        self._texts: list[str] = []
        self._blocks: list[Block] = []
        self._length = 0
        self.notes: list[str] = []
        self.why_empty = ""

    def note(self, text: str) -> None:
        """What the report says of the document besides: what of it was left out or guessed."""
        if text not in self.notes:
            self.notes.append(text)

    def heading(self, level: int, title: str, line: int) -> None:
        """A heading of level 1 to 6."""
        self._add(title, line, level)

    def paragraph(self, text: str, line: int) -> None:
        """A paragraph; `line` is whatever counts places in the document: lines, rows, paragraphs."""
        if text.strip():
            self._add(text, line, 0)

    def _add(self, text: str, line: int, level: int) -> None:
        text = clean(text)
        start = self._length + (2 if self._texts else 0)
        self._length = start + len(text)
        self._texts.append(text)
        self._blocks.append(Block(start, self._length, line, level, text if level else ""))

    def done(self) -> tuple[str, list[Block]]:
        """The text, its pieces two line breaks apart, and the blocks."""
        return "\n\n".join(self._texts), self._blocks
