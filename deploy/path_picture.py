"""Draws `docs/concepts/architecture.svg`: the path of a request and the layers of the packages.

The steps are the table at the top of `gateway/engine/pipeline.py`, and `Pipeline.handle` must call them in that order;
the floors are those that `tests/architecture/floors.py` holds every import to.

`python deploy/path_picture.py` draws it again.
"""

from __future__ import annotations

import ast
import re
import sys
from html import escape
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
PIPELINE = ROOT / "gateway/engine/pipeline.py"
PICTURE = ROOT / "docs/concepts/architecture.svg"
# What `Pipeline.handle` calls for each step of its table.
CALLS = {
    "admit": "_admit",
    "guard input": "open",
    "look up": "lookup",
    "route": "_resolve_route",
    "context": "construct",
    "dispatch": "_answer",
    "guard output": "_check_output",
}
_ROW = re.compile(r"    (?P<name>\S+(?: \S+)*)  +(?P<what>\S.*?)(?:  +(?P<where>\S.*))?\Z")
_GREY, _INK = "#4a5568", "#1a202c"
_FONT = 'font-family="Helvetica, Arial, DejaVu Sans, sans-serif"'
_WIDTH, _LEFT, _RIGHT = 1150, 30, 730
_STEP, _FIRST, _WIDE = 68, 92, 660


class Step(NamedTuple):
    """One row of the table: its name, what happens, and the packages that do it."""

    name: str
    what: str
    where: str


def steps() -> list[Step]:
    """Returns the steps of the path in order. Raises `ValueError` if the code calls them in another order."""
    tree = ast.parse(PIPELINE.read_text())
    found: list[Step] = []
    for line in (ast.get_docstring(tree, clean=False) or "").split("\n"):
        if line.startswith(" " * 18) and line.strip() and found:
            last = found[-1]
            what, _, where = (part.strip() for part in re.sub(r"  +", "\t", line.strip()).partition("\t"))
            found[-1] = Step(last.name, f"{last.what} {what}", where or last.where)
        elif row := _ROW.match(line):
            found.append(Step(row["name"], row["what"], row["where"] or ""))
    called = _calls_of_handle(tree)
    order = [step.name for step in found if step.name in CALLS]
    if order != list(CALLS) or [name for name in called if name in CALLS.values()] != list(CALLS.values()):
        raise ValueError(f"the table has the order {order}, but `handle` calls {called}")
    return found


def _calls_of_handle(tree: ast.Module) -> list[str]:
    """Returns the names that `Pipeline.handle` calls, from top to bottom."""
    handle = next(node for node in ast.walk(tree) if isinstance(node, ast.AsyncFunctionDef) and node.name == "handle")
    calls = [node for node in ast.walk(handle) if isinstance(node, ast.Call)]
    calls.sort(key=lambda call: (call.func.end_lineno or 0, call.func.end_col_offset or 0))
    names = [getattr(call.func, "attr", getattr(call.func, "id", "")) for call in calls]
    return list(dict.fromkeys(names))


def floors() -> list[tuple[str, ...]]:
    """Returns the layers from the import test, top down, without planned packages."""
    sys.path.insert(0, str(ROOT))
    from tests.architecture.floors import FLOORS, PLANNED

    there = [tuple(room for room in floor if room not in PLANNED) for floor in FLOORS]
    return [floor for floor in there if floor]


def picture() -> str:
    """Returns the SVG."""
    rows, storeys = steps(), floors()
    height = _FIRST + _STEP * (len(rows) + 1) + 30
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" height="{height}" '
        f'{_FONT} role="img" aria-label="The path of a request and the floors of the house">',
        '<defs><marker id="tip" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0 0 L10 5 L0 10 z" fill="#4a5568"/></marker></defs>',
        f'<rect width="{_WIDTH}" height="{height}" fill="#ffffff"/>',
        _text(_LEFT, 34, "The path of a request", 19, weight="bold"),
        _text(_LEFT, 56, "Pipeline.handle, top to bottom; a phase that the config leaves out does nothing", 12.5),
        _text(_RIGHT, 34, "The floors of the house", 19, weight="bold"),
        _text(_RIGHT, 56, "imports run down; rooms of one floor don't know each other", 12.5),
        *_path(rows),
        *_house(storeys),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _path(rows: list[Step]) -> list[str]:
    parts = []
    for number, step in enumerate(rows):
        top = _FIRST + number * _STEP
        guard = step.name.startswith("guard")
        parts.append(
            _box(_LEFT, top, _WIDE, _STEP - 16, "#fdf0e3" if guard else "#e8f0fb", "#c9772b" if guard else "#3b6fb6")
        )
        lines = _wrapped(step.what, 52)
        parts.append(_text(_LEFT + 14, top + 31, step.name, 15, weight="bold"))
        first = top + 31 - 8 * (len(lines) - 1)
        parts += [_text(_LEFT + 136, first + 15 * line, words, 12) for line, words in enumerate(lines)]
        where = step.where.split(", ")
        first = top + 31 - 7 * (len(where) - 1)
        parts += [
            _text(_LEFT + _WIDE - 12, first + 14 * line, words, 11, anchor="end", fill=_GREY)
            for line, words in enumerate(where)
        ]
        parts.append(_arrow(_LEFT + 60, top + _STEP - 16, top + _STEP))
    top = _FIRST + len(rows) * _STEP
    parts.append(_box(_LEFT, top, _WIDE, _STEP - 16, "#e9f6ec", "#3f8f57"))
    parts.append(_text(_LEFT + 14, top + 31, "settle", 15, weight="bold"))
    parts.append(_text(_LEFT + 136, top + 31, "its cost, its row, its ticket: once, however it ended", 12))
    parts.append(_text(_LEFT + _WIDE - 12, top + 31, "gateway/surfaces/request.py", 11, anchor="end", fill=_GREY))
    return parts


def _house(storeys: list[tuple[str, ...]]) -> list[str]:
    parts = []
    step = 60
    for number, rooms in enumerate(storeys):
        top = _FIRST + number * step
        width = (390 - 8 * (len(rooms) - 1)) / len(rooms)
        for place, room in enumerate(rooms):
            left = _RIGHT + place * (width + 8)
            parts.append(_box(left, top, width, step - 16, "#f4f5f7", "#8a94a6"))
            size = 13 if len(rooms) < 3 else 11.5
            parts.append(_text(left + width / 2, top + 27, room, size, anchor="middle"))
        if number < len(storeys) - 1:
            parts.append(_arrow(_RIGHT + 195, top + step - 16, top + step))
    return parts


def _box(left: float, top: float, width: float, height: float, fill: str, stroke: str) -> str:
    place = f'x="{left:g}" y="{top:g}" width="{width:.1f}" height="{height:g}"'
    return f'<rect {place} rx="6" fill="{fill}" stroke="{stroke}"/>'


def _text(
    left: float,
    base: float,
    words: str,
    size: float,
    weight: str = "normal",
    anchor: str = "start",
    fill: str = "#1a202c",
) -> str:
    return (
        f'<text x="{left:g}" y="{base:g}" font-size="{size:g}" font-weight="{weight}" text-anchor="{anchor}" '
        f'fill="{fill}">{escape(words)}</text>'
    )


def _arrow(left: float, top: float, bottom: float) -> str:
    return (
        f'<line x1="{left:g}" y1="{top:g}" x2="{left:g}" y2="{bottom:g}" stroke="#4a5568" stroke-width="1.5" '
        'marker-end="url(#tip)"/>'
    )


def _wrapped(words: str, letters: int) -> list[str]:
    lines = [""]
    for word in words.split():
        if len(lines[-1]) + len(word) >= letters and lines[-1]:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return lines


if __name__ == "__main__":
    PICTURE.write_text(picture())
