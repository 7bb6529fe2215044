"""Writes tables as text: each row repeats its column names, so that every chunk is self-contained."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from rag.chunk import Block
from rag.documents.naming import MAX_NAME, Row, TableLayout, detect_layout, is_note, side_by_side
from rag.documents.pieces import TextBuilder, UnreadableFile
from rag.tables.csv_format import split_rows

MAX_CELLS = 5_000_000
# The maximum cell length of a spreadsheet; longer cells are cut.
_MAX_CELL = 32_768
# Characters of a cell that are processed.
_MAX_RAW_CELL = 100_000
# Characters of a merged cell that are repeated in each of its rows and columns.
_MAX_REPEATED = 300
# Characters of a CSV file that are sampled to detect its delimiter.
_SAMPLE_CHARACTERS = 50_000
_COLONS = ":\uff1a "
# Rows that are sampled to detect a table's layout.
_SAMPLE = 100


def csv_blocks(text: str, delimiter: str = "") -> tuple[str, list[Block]]:
    """Returns the rows as paragraphs; detects `delimiter` if it is empty. Raises `UnreadableFile`."""
    pieces = TextBuilder()
    add_csv(pieces, text, delimiter)
    return pieces.done()


def add_csv(pieces: TextBuilder, text: str, delimiter: str = "") -> None:
    """See `csv_blocks`."""
    first, _, rest = text.partition("\n")
    if first.lower().startswith("sep=") and len(first.rstrip()) == 5:
        # A delimiter hint that Excel writes.
        text, delimiter = "\n" + rest, first[4]
    # A cell may be as long as the file; it is cut like other cells.
    csv.field_size_limit(max(len(text), csv.field_size_limit()))
    if not delimiter:
        delimiter, _ = split_rows(text[:_SAMPLE_CHARACTERS], is_complete=len(text) <= _SAMPLE_CHARACTERS)

    def rows() -> Iterator[Row]:
        for number, cells in enumerate(csv.reader(io.StringIO(text), delimiter=delimiter), 1):
            if any(len(cell) > _MAX_CELL for cell in cells):
                pieces.note(f"a cell of row {number} has more than {_MAX_CELL:,} characters; the rest is not read")
            yield Row(number, list(map(fold_whitespace, cells)))

    add_rows(pieces, rows())


def fold_whitespace(cell: str) -> str:
    """A cell's text on one line, cut to the maximum cell length."""
    return " ".join(cell[:_MAX_RAW_CELL].split())[:_MAX_CELL]


def shorten_repeated(cell: str) -> str:
    """A merged cell's text for its repetitions, cut to a maximum length."""
    return cell if len(cell) <= _MAX_REPEATED else cell[:_MAX_REPEATED].rstrip() + "..."


class _Part(NamedTuple):
    """A table's layout, and its columns in the sheet if there are other tables beside it."""

    columns: range | None
    layout: TableLayout


class RowCounter:
    """Counts cells. Raises `UnreadableFile` above `MAX_CELLS`: a sheet may number its only row as the millionth."""

    def __init__(self) -> None:
        self._count = 0

    def add(self, cells: int) -> None:
        """Adds a row with that many cells."""
        self._count += max(1, cells)
        if self._count > MAX_CELLS:
            raise UnreadableFile(
                f"it has a table of more than {MAX_CELLS:,} cells: split it, or configure it as a table source"
            )


def add_rows(pieces: TextBuilder, rows: Iterable[Row]) -> None:
    """Writes the rows of a sheet or file: `name: value` for each cell if `naming` finds names, else the cells.

    A blank row ends a table; the next table may have its own names. Raises `UnreadableFile` above `MAX_CELLS`.
    """
    counter = RowCounter()
    tables: list[_Part] = []
    sample: list[Row] = []
    is_detected = False
    for row in rows:
        counter.add(len(row.cells))
        if not any(row.cells):
            if sample:
                tables = _write_tables(pieces, sample, tables)
            sample, is_detected = [], False
        elif is_detected:
            for columns, layout in tables:
                if part := _within(row, columns):
                    _write(pieces, part, layout)
        else:
            sample.append(row)
            if len(sample) == _SAMPLE:
                tables, sample, is_detected = _write_tables(pieces, sample, tables), [], True
    if sample:
        _write_tables(pieces, sample, tables)


def _write_tables(pieces: TextBuilder, rows: Sequence[Row], before: Sequence[_Part]) -> list[_Part]:
    """Writes the table in these rows, or the tables beside each other."""
    parts = side_by_side(rows)
    if not parts:
        above = before[0].layout if len(before) == 1 else None
        return [_Part(None, _write_table(pieces, rows, above))]
    tables = []
    for columns in parts:
        own = [part for row in rows if (part := _within(row, columns))]
        tables.append(_Part(columns, _write_table(pieces, own, None)))
    return tables


def _within(row: Row, columns: range | None) -> Row | None:
    """The row with only its cells in `columns`; None if all of them are empty."""
    if columns is None:
        return row
    cells = [cell if place in columns else "" for place, cell in enumerate(row.cells[: columns.stop])]
    return row._replace(cells=cells) if any(cells) else None


def _write_table(pieces: TextBuilder, rows: Sequence[Row], before: TableLayout | None) -> TableLayout:
    layout = detect_layout(rows, before)
    for row in rows[: layout.titles]:
        _write_plain(pieces, row)
    below = rows[layout.titles + layout.header :]
    used = {place for row in below for place, cell in enumerate(row.cells) if cell}
    if any(name and (place not in used or len(name) >= MAX_NAME) for place, name in enumerate(layout.names)):
        # Keep the full names if a column has no values or its name was cut.
        for row in rows[layout.titles : layout.titles + layout.header]:
            _write_plain(pieces, row)
    for row in below:
        _write(pieces, row, layout)
    return layout


def _write(pieces: TextBuilder, row: Row, layout: TableLayout) -> None:
    if not (layout.names or layout.keys) or is_note(row, layout):
        _write_plain(pieces, row)
    elif layout.keys:
        _write_keys(pieces, row, layout.keys)
    else:
        names = layout.names
        values = [
            f"{names[place]}: {cell}" if place < len(names) and names[place] else cell
            for place, cell in enumerate(row.cells)
            if cell and (place not in row.across or (place < len(names) and names[place]))
        ]
        pieces.paragraph("; ".join(values), row.number)


def _write_plain(pieces: TextBuilder, row: Row) -> None:
    pieces.paragraph("; ".join(row.cells[place] for place in row.filled), row.number)


def _write_keys(pieces: TextBuilder, row: Row, keys: Sequence[int]) -> None:
    values: list[str] = []
    key = ""
    for place in row.filled:
        cell = row.cells[place]
        if place in keys:
            values += [key] if key else []
            key = cell
        elif key:
            values.append(f"{key.rstrip(_COLONS)}: {cell}")
            key = ""
        else:
            values.append(cell)
    pieces.paragraph("; ".join([*values, *([key] if key else [])]), row.number)
