"""Word and Excel files."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from typing import Any

from rag.chunk import Block
from rag.documents.pieces import Pieces
from rag.documents.rows import add_rows

MAX_COLUMNS = 1000
_HEADING = re.compile(r"(?:heading|überschrift|titre|título|titolo|kop)\s*([1-6])", re.IGNORECASE)


def docx_blocks(data: bytes) -> tuple[str, list[Block]]:
    """Headings by their style, paragraphs, and the rows of tables, in order; a line's number counts paragraphs.

    The elements are read as they stand: the library looks up each one's style and neighbours again, which takes the
    square of their number.
    """
    import docx
    from docx.oxml.ns import qn

    document: Any = docx.Document(io.BytesIO(data))
    names: dict[str, str] = {str(style.style_id): str(style.name) for style in document.styles}
    pieces = Pieces()
    inner = (each for each in document.element.body if each.tag in {qn("w:p"), qn("w:tbl")})
    for number, item in enumerate(inner, 1):
        if item.tag == qn("w:tbl"):
            add_rows(pieces, _table_rows(item))
            continue
        style = names.get(str(item.style), "")
        heading = _HEADING.match(style)
        text = str(item.text)
        if text.strip() and (heading is not None or style.lower() == "title"):
            pieces.heading(int(heading[1]) if heading is not None else 1, " ".join(text.split()), number)
        else:
            pieces.paragraph(text, number)
    return pieces.done()


def _table_rows(table: Any) -> Iterator[list[str]]:
    """The cells of each row; one that spans columns or rows stands in each of them."""
    above: list[str] = []
    for row in table.tr_lst:
        cells: list[str] = []
        for cell in row.tc_lst:
            place = len(cells)
            if place >= MAX_COLUMNS:
                break
            goes_on = cell.vMerge == "continue" and place < len(above)
            text = above[place] if goes_on else "\n".join(str(each.text) for each in cell.p_lst)
            cells += [text] * max(1, min(int(cell.grid_span), MAX_COLUMNS - place))
        above = cells
        yield cells


def xlsx_blocks(data: bytes) -> tuple[str, list[Block]]:
    """Sheets as headings, rows as paragraphs; a line's number is the row's."""
    import openpyxl  # type: ignore[import-untyped]

    book: Any = openpyxl.load_workbook(io.BytesIO(data), read_only=True, data_only=True)
    pieces = Pieces()
    try:
        for sheet in book.worksheets:
            pieces.heading(1, str(sheet.title), 1)
            # What a sheet says of its own size is often wrong, and may be a million rows of 16,384 cells.
            sheet.reset_dimensions()
            add_rows(pieces, sheet.iter_rows(values_only=True))
    finally:
        book.close()
    return pieces.done()
