"""Tables as text: each row says its columns' names, so that it is understood wherever it is cut."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence

from rag.chunk import Block
from rag.documents.pieces import Pieces, Unreadable

MAX_CELLS = 5_000_000
_MAX_CELL = 1000
# So much of a cell is looked at.
_LONGEST = 100_000


def csv_blocks(text: str, delimiter: str = "") -> tuple[str, list[Block]]:
    """Rows as paragraphs; without `delimiter` it is found out. Raises `Unreadable`."""
    if not delimiter:
        try:
            delimiter = csv.Sniffer().sniff(text[:8192], ",;\t|").delimiter
        except csv.Error:
            delimiter = ","
    # A cell may be as long as the file is, and is cut as others are.
    csv.field_size_limit(max(len(text), csv.field_size_limit()))
    pieces = Pieces()
    add_rows(pieces, csv.reader(io.StringIO(text), delimiter=delimiter))
    return pieces.done()


def add_rows(pieces: Pieces, rows: Iterable[Sequence[object]]) -> None:
    """The first row that holds anything names the columns; every other becomes `name: value` for each cell.

    A row that is the only one is text. Raises `Unreadable` beyond `MAX_CELLS`.
    """
    names: list[str] = []
    named_at, said, count = 0, False, 0
    for number, row in enumerate(rows, 1):
        # A sheet may say that its only row is the one of a number without end.
        count += max(1, len(row))
        if count > MAX_CELLS:
            raise Unreadable(f"it has a table of more than {MAX_CELLS:,} cells: split it, or make it a source of rows")
        cells = ["" if cell is None else " ".join(str(cell)[:_LONGEST].split())[:_MAX_CELL] for cell in row]
        if not any(cells):
            continue
        if not names:
            names, named_at = cells, number
            continue
        said = True
        named = [
            f"{names[place]}: {cell}" if place < len(names) and names[place] else cell
            for place, cell in enumerate(cells)
            if cell
        ]
        pieces.paragraph("; ".join(named), number)
    if names and not said:
        pieces.paragraph("; ".join(filter(None, names)), named_at)
