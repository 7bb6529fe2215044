"""Word and Excel files."""

from __future__ import annotations

import io
import re
from typing import Any

from rag.chunk import Block
from rag.documents.pieces import Pieces
from rag.documents.rows import add_rows

_HEADING = re.compile(r"(?:heading|überschrift|titre|título|titolo|kop)\s*([1-6])", re.IGNORECASE)


def docx_blocks(data: bytes) -> tuple[str, list[Block]]:
    """Headings by their style, paragraphs, and the rows of tables, in order; a line's number counts paragraphs."""
    import docx

    document: Any = docx.Document(io.BytesIO(data))
    pieces = Pieces()
    for number, item in enumerate(document.iter_inner_content(), 1):
        if hasattr(item, "rows"):
            add_rows(pieces, ([cell.text for cell in row.cells] for row in item.rows))
            continue
        style = str(item.style.name) if item.style is not None else ""
        heading = _HEADING.match(style)
        text = str(item.text)
        if text.strip() and (heading is not None or style.lower() == "title"):
            pieces.heading(int(heading[1]) if heading is not None else 1, " ".join(text.split()), number)
        else:
            pieces.paragraph(text, number)
    return pieces.done()


def xlsx_blocks(data: bytes) -> tuple[str, list[Block]]:
    """Sheets as headings, rows as paragraphs; a line's number is the row's."""
    import openpyxl  # type: ignore[import-untyped]

    book: Any = openpyxl.load_workbook(io.BytesIO(data), read_only=True, data_only=True)
    pieces = Pieces()
    try:
        for sheet in book.worksheets:
            pieces.heading(1, str(sheet.title), 1)
            add_rows(pieces, sheet.iter_rows(values_only=True))
    finally:
        book.close()
    return pieces.done()
