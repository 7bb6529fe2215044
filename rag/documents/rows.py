"""Tables as text: each row says its columns' names, so that it is understood wherever it is cut."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from rag.chunk import Block
from rag.documents.naming import MAX_NAME, Row, RowForm, form_of, is_note, side_by_side
from rag.documents.pieces import TextBuilder, UnreadableFile
from rag.tables.csv_form import split_rows

MAX_CELLS = 5_000_000
# A cell is whole up to what a spreadsheet holds in one.
_MAX_CELL = 32_768
# So much of a cell is looked at.
_LONGEST = 100_000
# Of a merged cell that is said again in each of its rows and columns.
_MAX_AGAIN = 300
# So much of a CSV file shows what stands between its cells.
_LOOKED_AT = 50_000
_COLONS = ":\uff1a "
# By so many rows it is told what a table is.
_SAMPLE = 100


def csv_blocks(text: str, delimiter: str = "") -> tuple[str, list[Block]]:
    """Rows as paragraphs; without `delimiter` it is found out. Raises `UnreadableFile`."""
    pieces = TextBuilder()
    add_csv(pieces, text, delimiter)
    return pieces.done()


def add_csv(pieces: TextBuilder, text: str, delimiter: str = "") -> None:
    """See `csv_blocks`."""
    first, _, rest = text.partition("\n")
    if first.lower().startswith("sep=") and len(first.rstrip()) == 5:
        # What Excel writes for itself.
        text, delimiter = "\n" + rest, first[4]
    # A cell may be as long as the file is, and is cut as others are.
    csv.field_size_limit(max(len(text), csv.field_size_limit()))
    if not delimiter:
        delimiter, _ = split_rows(text[:_LOOKED_AT], whole=len(text) <= _LOOKED_AT)

    def rows() -> Iterator[Row]:
        for number, cells in enumerate(csv.reader(io.StringIO(text), delimiter=delimiter), 1):
            if any(len(cell) > _MAX_CELL for cell in cells):
                pieces.note(f"a cell of row {number} has more than {_MAX_CELL:,} letters, and its end is not read")
            yield Row(number, list(map(folded, cells)))

    add_rows(pieces, rows())


def folded(cell: str) -> str:
    """A cell's words on one line; of a very long one the beginning."""
    return " ".join(cell[:_LONGEST].split())[:_MAX_CELL]


def again(cell: str) -> str:
    """A merged cell's words where they are said again."""
    return cell if len(cell) <= _MAX_AGAIN else cell[:_MAX_AGAIN].rstrip() + "..."


class _Part(NamedTuple):
    """A table, and the columns of the sheet in which it stands if there are others beside it."""

    columns: range | None
    form: RowForm


class RowCounter:
    """Counts cells. Raises `UnreadableFile` beyond `MAX_CELLS`: a sheet may say that its only row is the millionth."""

    def __init__(self) -> None:
        self._count = 0

    def add(self, cells: int) -> None:
        """Counts a row of that many cells."""
        self._count += max(1, cells)
        if self._count > MAX_CELLS:
            raise UnreadableFile(
                f"it has a table of more than {MAX_CELLS:,} cells: split it, or make it a source of rows"
            )


def add_rows(pieces: TextBuilder, rows: Iterable[Row]) -> None:
    """Says the rows of a sheet or file: `name: value` for each cell where `naming` finds names, else the cells.

    Blank rows end a table; the next one may have names of its own. Raises `UnreadableFile` beyond `MAX_CELLS`.
    """
    counter = RowCounter()
    tables: list[_Part] = []
    waiting: list[Row] = []
    flows = False
    for row in rows:
        counter.add(len(row.cells))
        if not any(row.cells):
            if waiting:
                tables = _say_tables(pieces, waiting, tables)
            waiting, flows = [], False
        elif flows:
            for columns, form in tables:
                if found := _within(row, columns):
                    _say(pieces, found, form)
        else:
            waiting.append(row)
            if len(waiting) == _SAMPLE:
                tables, waiting, flows = _say_tables(pieces, waiting, tables), [], True
    if waiting:
        _say_tables(pieces, waiting, tables)


def _say_tables(pieces: TextBuilder, rows: Sequence[Row], before: Sequence[_Part]) -> list[_Part]:
    """The table of these rows, or those that stand beside each other in them."""
    parts = side_by_side(rows)
    if not parts:
        above = before[0].form if len(before) == 1 else None
        return [_Part(None, _say_table(pieces, rows, above))]
    said = []
    for columns in parts:
        own = [found for row in rows if (found := _within(row, columns))]
        said.append(_Part(columns, _say_table(pieces, own, None)))
    return said


def _within(row: Row, columns: range | None) -> Row | None:
    """A row's cells in some columns; None if there are none."""
    if columns is None:
        return row
    cells = [cell if place in columns else "" for place, cell in enumerate(row.cells[: columns.stop])]
    return row._replace(cells=cells) if any(cells) else None


def _say_table(pieces: TextBuilder, rows: Sequence[Row], before: RowForm | None) -> RowForm:
    form = form_of(rows, before)
    for row in rows[: form.titles]:
        _say_plain(pieces, row)
    below = rows[form.titles + form.header :]
    used = {place for row in below for place, cell in enumerate(row.cells) if cell}
    if any(name and (place not in used or len(name) >= MAX_NAME) for place, name in enumerate(form.names)):
        # A column without any value still has its name, and one of a long name all of it.
        for row in rows[form.titles : form.titles + form.header]:
            _say_plain(pieces, row)
    for row in below:
        _say(pieces, row, form)
    return form


def _say(pieces: TextBuilder, row: Row, form: RowForm) -> None:
    if not (form.names or form.keys) or is_note(row, form):
        _say_plain(pieces, row)
    elif form.keys:
        _say_keys(pieces, row, form.keys)
    else:
        names = form.names
        said = [
            f"{names[place]}: {cell}" if place < len(names) and names[place] else cell
            for place, cell in enumerate(row.cells)
            if cell and (place not in row.across or (place < len(names) and names[place]))
        ]
        pieces.paragraph("; ".join(said), row.number)


def _say_plain(pieces: TextBuilder, row: Row) -> None:
    pieces.paragraph("; ".join(row.cells[place] for place in row.filled), row.number)


def _say_keys(pieces: TextBuilder, row: Row, keys: Sequence[int]) -> None:
    said: list[str] = []
    key = ""
    for place in row.filled:
        cell = row.cells[place]
        if place in keys:
            said += [key] if key else []
            key = cell
        elif key:
            said.append(f"{key.rstrip(_COLONS)}: {cell}")
            key = ""
        else:
            said.append(cell)
    pieces.paragraph("; ".join([*said, *([key] if key else [])]), row.number)
