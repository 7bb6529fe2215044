"""Markdown: its tables said row by row with their columns' names, in as many lines as they have."""

from __future__ import annotations

import re

from rag.documents.rows import folded

_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")
_RULE = re.compile(r" {0,3}\|?[ \t]*:?-+:?[ \t]*(?:\|[ \t]*:?-+:?[ \t]*)*\|?[ \t]*")
_CELL = re.compile(r"(?:[^|\\`]|\\.|`[^`\n]*`|`|\\)*")
_MOST_OF_A_LINE = 100_000


def tables_said(text: str) -> str:
    """The text with `| Pump | 9 |` below `| Part | Price |` as `Part: Pump; Price: 9`; the names' lines are blank."""
    if "|" not in text or "-" not in text:
        return text
    lines = text.split("\n")
    fence, at = "", 0
    while at < len(lines):
        line = lines[at]
        if found := _FENCE.match(line):
            if not fence:
                fence = found[1]
            elif found[1].startswith(fence):
                fence = ""
        elif not fence and _begins(lines, at):
            at = _say(lines, at)
            continue
        at += 1
    return "\n".join(lines)


def _begins(lines: list[str], at: int) -> bool:
    """Whether a table with at least one row begins there."""
    if at + 2 >= len(lines) or "|" not in lines[at] or "-" not in lines[at + 1] or len(lines[at + 1]) > _MOST_OF_A_LINE:
        return False
    names = _cells(lines[at])
    rule = lines[at + 1]
    return "|" in lines[at + 2] and _RULE.fullmatch(rule) is not None and len(_cells(rule)) == len(names)


def _say(lines: list[str], at: int) -> int:
    names = [folded(name)[:80] for name in _cells(lines[at])]
    lines[at] = lines[at + 1] = ""
    at += 2
    while at < len(lines) and "|" in lines[at]:
        cells = _cells(lines[at])
        said = [
            f"{names[place]}: {cell}" if place < len(names) and names[place] else cell
            for place, cell in enumerate(cells)
            if cell
        ]
        lines[at] = "; ".join(said)
        at += 1
    return at


def _cells(line: str) -> list[str]:
    """The cells of a row; a stroke behind a backslash or in code is none between cells."""
    line = line.strip()[:_MOST_OF_A_LINE]
    cells, place = [], int(line.startswith("|"))
    while place <= len(line):
        found = _CELL.match(line, place)
        assert found is not None
        cells.append(found[0].strip().replace("\\|", "|"))
        place = found.end() + 1
    return cells[:-1] if len(cells) > 1 and line.endswith("|") and not cells[-1] else cells
