"""Aligned columns of text for a terminal."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence


def aligned(rows: Sequence[Sequence[str]], left: int | None = None) -> str:
    """One line per row. The first `left` columns are left-aligned, the others right-aligned; None: all left-aligned.

    Control characters are escaped, because names come from users and must not control the terminal.
    """
    shown = [[_printable(cell) for cell in row] for row in rows]
    widths = [max(map(_width, column)) for column in zip(*shown, strict=True)]
    texts = []
    for row in shown:
        cells = []
        for place, (cell, width) in enumerate(zip(row, widths, strict=True)):
            space = " " * (width - _width(cell))
            cells.append(cell + space if left is None or place < left else space + cell)
        texts.append("  ".join(cells).rstrip() + "\n")
    return "".join(texts)


def _printable(text: str) -> str:
    return "".join(each if each.isprintable() else f"\\u{ord(each):04x}" for each in text)


def _width(text: str) -> int:
    """The number of terminal columns."""
    wide = sum(unicodedata.east_asian_width(each) in "WF" for each in text)
    return len(text) + wide - sum(unicodedata.combining(each) > 0 for each in text)
