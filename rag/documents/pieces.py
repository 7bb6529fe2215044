"""Builds a text from headings and paragraphs, with a block for the position of each."""

from __future__ import annotations

from rag.chunk import Block
from rag.encodings import clean


class UnreadableFile(Exception):
    """A file can't be read; the message gives the reason."""


class TextBuilder:
    """Collects headings and paragraphs in order; `done` returns the text and its blocks."""

    def __init__(self) -> None:
        self._texts: list[str] = []
        self._blocks: list[Block] = []
        self._length = 0
        self.notes: list[str] = []
        self.why_empty = ""

    def note(self, text: str) -> None:
        """Adds a note to the ingest report: a part of the document that was skipped or guessed."""
        if text not in self.notes:
            self.notes.append(text)

    def heading(self, level: int, title: str, line: int) -> None:
        """Adds a heading of level 1 to 6."""
        self._add(title, line, level)

    def paragraph(self, text: str, line: int) -> None:
        """Adds a paragraph; `line` counts the document's lines, rows or paragraphs, by format."""
        if text.strip():
            self._add(text, line, 0)

    def _add(self, text: str, line: int, level: int) -> None:
        text = clean(text)
        start = self._length + (2 if self._texts else 0)
        self._length = start + len(text)
        self._texts.append(text)
        self._blocks.append(Block(start, self._length, line, level, text if level else ""))

    def done(self) -> tuple[str, list[Block]]:
        """Returns the text, its pieces separated by blank lines, and the blocks."""
        return "\n\n".join(self._texts), self._blocks
