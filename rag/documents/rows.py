"""Tables as text: each row says its columns' names, so that it is understood wherever it is cut."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence

from rag.chunk import Block
from rag.documents.naming import Form, Row, form_of, is_note
from rag.documents.pieces import Pieces, Unreadable
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
    """Rows as paragraphs; without `delimiter` it is found out. Raises `Unreadable`."""
    pieces = Pieces()
    add_csv(pieces, text, delimiter)
    return pieces.done()


def add_csv(pieces: Pieces, text: str, delimiter: str = "") -> None:
    """See `csv_blocks`."""
    first, _, rest = text.partition("\n")
    if first.lower().startswith("sep=") and len(first.rstrip()) == 5:
        # What Excel writes for itself.
        text, delimiter = "\n" + rest, first[4]
    # A cell may be as long as the file is, and is cut as others are.
    csv.field_size_limit(max(len(text), csv.field_size_limit()))
    if not delimiter:
        delimiter, _ = split_rows(text[:_LOOKED_AT], whole=len(text) <= _LOOKED_AT)
    rows = csv.reader(io.StringIO(text), delimiter=delimiter)
    add_rows(pieces, (Row(number, list(map(folded, cells))) for number, cells in enumerate(rows, 1)))


def folded(cell: str) -> str:
    """A cell's words on one line; of a very long one the beginning."""
    return " ".join(cell[:_LONGEST].split())[:_MAX_CELL]


def again(cell: str) -> str:
    """A merged cell's words where they are said again."""
    return cell if len(cell) <= _MAX_AGAIN else cell[:_MAX_AGAIN].rstrip() + "..."


class RowCounter:
    """Counts cells. Raises `Unreadable` beyond `MAX_CELLS`: a sheet may say that its only row is the millionth."""

    def __init__(self) -> None:
        self._count = 0

    def add(self, cells: int) -> None:
        """Counts a row of that many cells."""
        self._count += max(1, cells)
        if self._count > MAX_CELLS:
            raise Unreadable(f"it has a table of more than {MAX_CELLS:,} cells: split it, or make it a source of rows")


def add_rows(pieces: Pieces, rows: Iterable[Row]) -> None:
    """Says the rows of a sheet or file: `name: value` for each cell where `naming` finds names, else the cells.

    Blank rows end a table; the next one may have names of its own. Raises `Unreadable` beyond `MAX_CELLS`.
    """
    counter = RowCounter()
    form: Form | None = None
    waiting: list[Row] = []
    flows = False
    for row in rows:
        counter.add(len(row.cells))
        if not any(row.cells):
            if waiting:
                form = _say_table(pieces, waiting, form)
            waiting, flows = [], False
        elif flows and form is not None:
            _say(pieces, row, form)
        else:
            waiting.append(row)
            if len(waiting) == _SAMPLE:
                form, waiting, flows = _say_table(pieces, waiting, form), [], True
    if waiting:
        _say_table(pieces, waiting, form)


def _say_table(pieces: Pieces, rows: Sequence[Row], before: Form | None) -> Form:
    form = form_of(rows, before)
    for row in rows[: form.titles]:
        _say_plain(pieces, row)
    for row in rows[form.titles + form.header :]:
        _say(pieces, row, form)
    return form


def _say(pieces: Pieces, row: Row, form: Form) -> None:
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


def _say_plain(pieces: Pieces, row: Row) -> None:
    pieces.paragraph("; ".join(row.cells[place] for place in row.filled), row.number)


def _say_keys(pieces: Pieces, row: Row, keys: Sequence[int]) -> None:
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
