"""Markdown: flattens tables to rows of `name: value`, with the same number of lines."""

from __future__ import annotations

import re

from rag.documents.naming import MAX_NAME
from rag.documents.rows import fold_whitespace

_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")
_RULE = re.compile(r" {0,3}\|?[ \t]*:?-+:?[ \t]*(?:\|[ \t]*:?-+:?[ \t]*)*\|?[ \t]*")
_CELL = re.compile(r"(?:[^|\\`]|\\.|`[^`\n]*`|`|\\)*")
_MAX_LINE = 100_000


def flatten_tables(text: str) -> str:
    """Rewrites `| Pump | 9 |` below `| Part | Price |` as `Part: Pump; Price: 9` and blanks the header lines."""
    if "|" not in text or "-" not in text:
        return text
    lines = text.split("\n")
    fence, at = "", 0
    while at < len(lines):
        line = lines[at]
        if match := _FENCE.match(line):
            if not fence:
                fence = match[1]
            elif match[1].startswith(fence):
                fence = ""
        elif not fence and _starts_table(lines, at):
            at = _flatten(lines, at)
            continue
        at += 1
    return "\n".join(lines)


def _starts_table(lines: list[str], at: int) -> bool:
    """Whether a table with at least one row starts at line `at`."""
    if at + 2 >= len(lines) or "|" not in lines[at] or "-" not in lines[at + 1] or len(lines[at + 1]) > _MAX_LINE:
        return False
    names = _cells(lines[at])
    rule = lines[at + 1]
    return "|" in lines[at + 2] and _RULE.fullmatch(rule) is not None and len(_cells(rule)) == len(names)


def _flatten(lines: list[str], at: int) -> int:
    names = [fold_whitespace(name) for name in _cells(lines[at])]
    first = at
    lines[at] = lines[at + 1] = ""
    used: set[int] = set()
    at += 2
    while at < len(lines) and "|" in lines[at]:
        cells = _cells(lines[at])
        values = [
            f"{names[place][:MAX_NAME]}: {cell}" if place < len(names) and names[place] else cell
            for place, cell in enumerate(cells)
            if cell
        ]
        used.update(place for place, cell in enumerate(cells) if cell)
        lines[at] = "; ".join(values)
        at += 1
    if any(name and (place not in used or len(name) > MAX_NAME) for place, name in enumerate(names)):
        # Keep the full names if a column has no values or its name was cut.
        lines[first] = "; ".join(filter(None, names))
    return at


def _cells(line: str) -> list[str]:
    """The cells of a row; an escaped `|` or one in code does not separate cells."""
    line = line.strip()[:_MAX_LINE]
    cells, place = [], int(line.startswith("|"))
    while place <= len(line):
        match = _CELL.match(line, place)
        assert match is not None
        cells.append(match[0].strip().replace("\\|", "|"))
        place = match.end() + 1
    return cells[:-1] if len(cells) > 1 and line.endswith("|") and not cells[-1] else cells
