"""Tables as text: each row says its columns' names, so that it is understood wherever it is cut."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence

from rag.chunk import Block
from rag.documents.pieces import Pieces

MAX_ROWS = 50_000
_MAX_CELL = 1000


def csv_blocks(text: str, delimiter: str = "") -> tuple[str, list[Block]]:
    """Rows as paragraphs; without `delimiter` it is found out."""
    if not delimiter:
        try:
            delimiter = csv.Sniffer().sniff(text[:8192], ",;\t|").delimiter
        except csv.Error:
            delimiter = ","
    pieces = Pieces()
    add_rows(pieces, csv.reader(io.StringIO(text), delimiter=delimiter))
    return pieces.done()


def add_rows(pieces: Pieces, rows: Iterable[Sequence[object]]) -> None:
    """The first row that holds anything names the columns; every other becomes `name: value` for each cell."""
    names: list[str] = []
    for number, row in enumerate(rows, 1):
        cells = ["" if cell is None else " ".join(str(cell).split())[:_MAX_CELL] for cell in row]
        if not any(cells):
            continue
        if not names:
            names = cells
            continue
        named = [
            f"{names[place]}: {cell}" if place < len(names) and names[place] else cell
            for place, cell in enumerate(cells)
            if cell
        ]
        pieces.paragraph("; ".join(named), number)
        if number >= MAX_ROWS:
            break
