"""Classifies the rows of a table: titles above it, column names, field names, or data rows.

A wrong name ("Owner: Deadline" from a form of `Owner, Alice` and `Deadline, 3 May`) states what the document does not.
So the first row counts as column names only with evidence: the file marks it as a header, the columns below contain
numbers and dates and the first row does not, or its cells look like names.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from rag.documents.labels import is_label

_MONEY = r"(?:[$€£¥₹]|EUR|USD|GBP|CHF|JPY)"
_NUMBER = rf"[-+(]?\s?{_MONEY}?\s?-?\d[\d.,'\s]*(?:\s?(?:%|‰|°?[A-Za-z€$£¥µ²³/]{{1,4}}))?\)?-?"
_DATE = r"\d{1,4}[-./]\d{1,2}[-./]\d{1,4}(?:[T ].*)?|\d{1,2}:\d\d(?::\d\d)?(?:\s?[ap]m)?"
_FIGURE = re.compile(rf"{_NUMBER}|{_DATE}|=.*|true|false", re.IGNORECASE)
_ANSWERS = frozenset({"yes", "no", "y", "n", "ja", "nein", "oui", "non", "x", "-"})
_YEAR = re.compile(r"(?:19|20)\d\d(?:[-/](?:19|20)?\d\d)?(?:\s\D+)?|(?:Q[1-4]|H[12])\s?(?:19|20)?\d\d")
_VALUE = re.compile(r".*\S@\S.*|.*://.*|[\d()\s./+-]{6,}", re.DOTALL)
_PHONE_DIGITS = 7
_SENTENCE_WORDS = 4
MAX_NAME = 80
_MAX_TITLES = 5
_MAX_HEADER_ROWS = 3
_MIN_TYPED_SHARE = 0.9
_NOTE = re.compile(
    r"[*†‡¹²³]|(?:notes?|sources?|quellen?|hinweise?|anmerkung(?:en)?|legend|fuente|nota)\b", re.IGNORECASE
)
_LONG_NOTE = 60


class Row(NamedTuple):
    """A row with content. `cells` by column; each cell of a merged block holds the block's text.

    `across`: columns of the same merged cell as the column to their left; `named`: the file marks the row as a header;
    `key`: the file marks the first cell as the row's name.
    """

    number: int
    cells: list[str]
    across: frozenset[int] = frozenset()
    named: bool = False
    key: bool = False

    @property
    def filled(self) -> list[int]:
        """The columns with text; a merged cell counts once."""
        return [place for place, cell in enumerate(self.cells) if cell and place not in self.across]


class TableLayout(NamedTuple):
    """How to write rows: the first `titles` as text, then `header` rows not at all, the rest with `names` or `keys`.

    `keys`: columns whose cell names the cell to its right. `sure`: certain, not only likely.
    """

    titles: int = 0
    header: int = 0
    names: tuple[str, ...] = ()
    keys: tuple[int, ...] = ()
    sure: bool = False


def detect_layout(rows: Sequence[Row], before: TableLayout | None = None) -> TableLayout:
    """Detects the layout of a table from its (first) rows; `before` is the layout of the table above a blank row."""
    titles = _titles(rows)
    body = rows[titles:]
    columns = sorted({place for row in body for place in row.filled})
    continues = before is not None and bool(before.names or before.keys)
    layout = TableLayout(titles)
    if len(body) > 1 and len(columns) > 1:
        layout = _body_layout(body, columns, titles)
        layout = layout if layout.names or layout.sure else _below_sparse_rows(body, columns, titles) or layout
    elif body and len(columns) == 1 and _names_numbers(body, columns[0]):
        layout = TableLayout(titles, 1, tuple(body[0].cells), sure=True)
    if continues and before is not None and not layout.sure and not titles:
        fits = all(place < len(before.names) and before.names[place] for place in columns) if before.names else True
        return (
            TableLayout(names=before.names, keys=before.keys, sure=True)
            if fits and len(columns) > 1
            else TableLayout(titles)
        )
    return layout


def _below_sparse_rows(body: Sequence[Row], columns: Sequence[int], titles: int) -> TableLayout | None:
    """The layout of the table below sparse rows, such as a title with a date beside it (at most half the columns)."""
    for above, row in enumerate(body[:_MAX_TITLES]):
        if len(row.filled) * 2 > len(columns) or len(columns) < 3:
            return None
        below = body[above + 1 :]
        if len(below) > 1 and (layout := _body_layout(below, columns, titles + above + 1)).names:
            return layout
    return None


def side_by_side(rows: Sequence[Row]) -> list[range]:
    """The column ranges of tables beside each other, separated by a blank column; empty for a single table.

    One table may contain a blank column too. The parts are separate tables if they have equal names or a title each.
    """
    filled = {place for row in rows for place, cell in enumerate(row.cells) if cell}
    starts = [place for place in sorted(filled) if place - 1 not in filled]
    ends = [place + 1 for place in sorted(filled) if place + 1 not in filled]
    parts = [range(start, end) for start, end in zip(starts, ends, strict=True)]
    if len(parts) < 2 or len(rows) < 2 or any(len(part) < 2 for part in parts):
        return []
    first, second = ([[_cell(row, place) for place in part] for part in parts] for row in rows[:2])
    titles = all(cells[0] and not any(cells[1:]) for cells in first) and all(map(all, second))
    same = [tuple(cells) for cells in first if all(cells)]
    return parts if titles or (len(same) == len(parts) and len(set(same)) == 1) else []


def _body_layout(body: Sequence[Row], columns: Sequence[int], titles: int) -> TableLayout:
    keys = _keys(body, columns)
    if keys:
        return TableLayout(titles, keys=keys, sure=True)
    header = _header_rows(body)
    first, below = body[0], body[header:]
    if header > 1:
        first = Row(first.number, list(_names(body[:header])), named=any(row.named for row in body[:header]))
    weight = _weight(first, below, columns)
    if below and weight > 0:
        return TableLayout(titles, header, _names(body[:header]), sure=weight > 1)
    # Two columns of text: the first names the second.
    has_keys = len(columns) == 2 and not any(is_value(_cell(row, columns[0])) for row in body)
    return TableLayout(titles, keys=(columns[0],)) if has_keys else TableLayout(titles)


def _titles(rows: Sequence[Row]) -> int:
    """The number of top rows with a single cell, at the left or across the full width, in a wider table."""
    widest = max((len(row.filled) for row in rows), default=0)
    if widest < 2:
        return 0
    left = min(row.filled[0] for row in rows)
    for titles, row in enumerate(rows[: _MAX_TITLES + 1]):
        if len(row.filled) > 1 or (row.filled[0] != left and not row.across):
            return titles
    return 0


def _header_rows(body: Sequence[Row]) -> int:
    """The number of header rows, if there is a header: more than one if a cell spans several cells below it."""
    for rows, (upper, lower) in enumerate(pairwise(body[: _MAX_HEADER_ROWS + 1]), 1):
        if len(body) <= rows + 1 or any(is_value(cell) for cell in lower.cells if cell):
            return rows
        under = [lower.cells[place] for place in lower.filled]
        groups = bool(upper.across) and len(upper.filled) > 1
        blanks = len(upper.filled) < len(under) and len(set(under)) < len(under)
        if not groups and not blanks:
            return rows
    return min(len(body) - 1, _MAX_HEADER_ROWS)


def _names(header: Sequence[Row]) -> tuple[str, ...]:
    """The column names: `2025 Sales` if `2025` is above `Sales`."""
    width = max(len(row.cells) for row in header)
    parts: list[list[str]] = [[] for _ in range(width)]
    for depth, row in enumerate(header):
        last = ""
        for place in range(width):
            cell = row.cells[place] if place < len(row.cells) else ""
            # In a format without merged cells a group's name is only above its first column.
            last = cell or last
            above_others = depth < len(header) - 1 and len(header) > 1
            name = cell or (last if above_others else "")
            if name and name not in parts[place]:
                parts[place].append(name)
    return tuple(" ".join(each)[:MAX_NAME] for each in parts)


def _keys(body: Sequence[Row], columns: Sequence[int]) -> tuple[int, ...]:
    """The key columns, whose cells name the cell to their right, if the table is a form of keys and values."""
    if body[0].named and not all(row.named for row in body):
        return ()
    pairs = tuple(columns[::2])
    first = columns[0]
    colons = sum(1 for row in body if _cell(row, first).endswith((":", "\uff1a")))
    if len(columns) % 2 == 0 and colons * 2 > len(body):
        return pairs
    if all(row.key for row in body):
        return (first,)
    if len(columns) not in {2, 4}:
        return ()
    values = [place for place in columns if place not in pairs]
    keys = [_cell(row, place) for row in body[1:] for place in pairs if _cell(row, place)]
    named = sum(map(is_label, keys))
    head = [_cell(body[0], place) for place in values]
    is_form = bool(keys) and named * 2 >= len(keys) and not any(map(is_label, head))
    return pairs if is_form and all(is_label(_cell(body[0], place)) for place in pairs) else ()


def _weight(first: Row, below: Sequence[Row], columns: Sequence[int]) -> int:
    """The evidence that `first` holds the column names: 0 for none, 2 or more for certain."""
    if first.named and not all(row.named for row in below):
        return 3
    if sum(any(_cell(row, place) for row in below) for place in columns) < 2:
        return 0
    names = ["" if place in first.across else _cell(first, place) for place in columns]
    filled = [name for name in names if name]
    if not below or not filled or len(filled) * 2 < len(columns) + (len(columns) > 2):
        return 0
    years = [name for name in filled if _YEAR.fullmatch(name)]
    if len(set(filled)) < len(filled) or any(is_value(name) for name in filled if name not in years):
        return 0
    typed = [place for place in columns if _is_typed([_cell(row, place) for row in below])]
    if len(years) == 1 and len(filled) > 1 and not typed:
        return 0
    if any(name and name in {_cell(row, place) for row in below} for place, name in zip(columns, names, strict=True)):
        return 0
    labels = sum(map(is_label, filled))
    weight = 0
    # In two columns one number is weak evidence: `Budget, 300` below `Owner, Alice` is no column of budgets.
    if any(_cell(first, place) for place in typed):
        weight += 2 if len(columns) > 2 or len(below) > 1 or labels or columns[0] in typed else 0
    if len(columns) > 2 and len(below) > 1:
        weight += 1
    weight += 2 if labels * 2 > len(filled) else labels > 0 and len(columns) > 2
    return weight + _differs_in_case(filled, below, columns)


def _differs_in_case(names: Sequence[str], below: Sequence[Row], columns: Sequence[int]) -> int:
    """1 if all names are lower case, or all upper case, and fewer than a quarter of the cells below are; else 0."""
    cells = [cell for row in below for place in columns if (cell := _cell(row, place)) and cell.upper() != cell.lower()]
    for has_case in (str.islower, str.isupper):
        if all(map(has_case, names)) and sum(map(has_case, cells)) * 4 < len(cells):
            return 1
    return 0


def _names_numbers(body: Sequence[Row], place: int) -> bool:
    """Whether a one-column table is a name above numbers."""
    first = _cell(body[0], place)
    return not is_value(first) and len(body) > 2 and _is_typed([_cell(row, place) for row in body[1:]])


def _is_typed(cells: Sequence[str]) -> bool:
    filled = [cell for cell in cells if cell]
    return bool(filled) and sum(map(_is_figure, filled)) >= _MIN_TYPED_SHARE * len(filled)


def _is_figure(cell: str) -> bool:
    return cell.lower() in _ANSWERS or _FIGURE.fullmatch(cell) is not None


def is_value(cell: str) -> bool:
    """Whether a cell cannot be a name: a number, a date, an address or a sentence."""
    if len(cell) > MAX_NAME or _FIGURE.fullmatch(cell) or _VALUE.fullmatch(cell):
        return True
    digits = sum(1 for letter in cell if letter.isdigit())
    return digits >= _PHONE_DIGITS or (cell[-1:] in ".!?" and len(cell.split()) >= _SENTENCE_WORDS)


def is_note(row: Row, layout: TableLayout) -> bool:
    """Whether a row is a note about the table: a single cell that spans columns or looks like a note."""
    if len(row.filled) != 1:
        return False
    cell = row.cells[row.filled[0]]
    if row.across:
        return True
    first = next((place for place, name in enumerate(layout.names) if name), 0)
    return row.filled[0] <= first and (len(cell) > _LONG_NOTE or bool(_NOTE.match(cell)))


def _cell(row: Row, place: int) -> str:
    return row.cells[place] if place < len(row.cells) else ""
