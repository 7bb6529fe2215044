"""Excel files: the visible sheets, rows with their column names, merged cells repeated in each of their rows."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from typing import Any

from rag.documents.cell_formats import format_value
from rag.documents.naming import Row
from rag.documents.pieces import TextBuilder
from rag.documents.rows import RowCounter, add_rows, fold_whitespace, shorten_repeated
from rag.documents.sheet_parts import sheet_annotations, to_transitional

MAX_COLUMNS = 16_384
MAX_MERGED = 100_000
_MERGED = re.compile(rb"<(?:\w+:)?mergeCell\s[^>]*?\bref=[\"']\$?([A-Z]{1,3})\$?(\d{1,7}):\$?([A-Z]{1,3})\$?(\d{1,7})")
_PIECE = 1 << 20
_MAX_TAG = 200
# Limits for repeating a merged block in each of its cells; a block may cover a whole sheet.
_MAX_REPEATED_ROWS = 10_000
_MAX_REPEATED_COLUMNS = 256


def add_sheets(pieces: TextBuilder, data: bytes) -> None:
    """Adds sheets as headings and rows as paragraphs; the line number is the row number.

    Hidden sheets are skipped and named in a note. Hidden rows and columns are read: filters and outlines hide them.
    """
    import openpyxl  # type: ignore[import-untyped]

    book: Any = openpyxl.load_workbook(io.BytesIO(to_transitional(data)), read_only=True, data_only=True)
    hidden: list[str] = []
    try:
        for sheet in book.worksheets:
            if sheet.sheet_state != "visible":
                hidden.append(str(sheet.title))
                continue
            pieces.heading(1, str(sheet.title), 1)
            reader = _SheetReader(book, sheet)
            add_rows(pieces, reader.rows())
            for text in sheet_annotations(book._archive, str(sheet._worksheet_path).lstrip("/")):
                pieces.paragraph(text, reader.last + 1)
            if reader.uncomputed:
                pieces.note(
                    f"sheet '{sheet.title}': {reader.uncomputed} formulas have no stored result, so the formulas "
                    "themselves are read: open the file in a spreadsheet program and save it"
                )
        if book.chartsheets:
            pieces.note(f"{len(book.chartsheets)} chart sheets are not read")
    finally:
        book.close()
    if hidden:
        pieces.note(f"hidden sheets are not read: {', '.join(hidden)[:300]}")


class _SheetReader:
    """The rows of one sheet. Ignores the size that a sheet declares, because it is often wrong."""

    def __init__(self, book: Any, sheet: Any) -> None:
        self._book = book
        self._sheet = sheet
        self._blocks = _merged(sheet)
        self._formats: dict[int, tuple[str, bool]] = {}
        self.uncomputed = 0
        self.last = 0

    def rows(self) -> Iterator[Row]:
        """Yields each row of the file, and one blank row for each gap in the row numbers."""
        counter = RowCounter()
        blocks = sorted(self._blocks, key=lambda block: block[1], reverse=True)
        open_: list[tuple[tuple[int, int, int, int], str]] = []
        with self._sheet._get_source() as source:
            for number, row_cells in self._parsed(source):
                for _ in range(min(number - self.last - 1, 1)):
                    yield Row(self.last + 1, [])
                counter.add(max(0, number - self.last - 1))
                self.last = number
                cells: list[str] = [""] * (row_cells[-1]["column"] if row_cells else 0)
                bold: list[bool] = []
                for each in row_cells:
                    text, is_bold = self._text(each)
                    if 0 < each["column"] <= MAX_COLUMNS:
                        cells[each["column"] - 1] = text
                    bold += [is_bold] if text else []
                open_ = [each for each in open_ if each[0][3] >= number]
                while blocks and blocks[-1][1] <= number:
                    block = blocks.pop()
                    at = block[0] - 1
                    text = cells[at] if block[1] == number and at < len(cells) else ""
                    if text and block[3] - block[1] < _MAX_REPEATED_ROWS:
                        open_.append((block, text))
                own = any(cells)
                across = _spread(cells, open_, number)
                if not own and any(cells):
                    # The row contains only the rest of blocks that start above it.
                    continue
                key = len(bold) > 1 and bold[0] and not any(bold[1:])
                yield Row(number, cells, across, named=bool(bold) and all(bold), key=key)

    def _parsed(self, source: Any) -> Iterator[tuple[int, list[dict[str, Any]]]]:
        from openpyxl.worksheet._reader import ROW_TAG  # type: ignore[import-untyped]
        from openpyxl.xml.functions import iterparse  # type: ignore[import-untyped]

        parser = _parser(self, self._book, self._sheet, source)
        for _, element in iterparse(source):
            if element.tag == ROW_TAG:
                number, cells = parser.parse_row(element)
                element.clear()
                yield number, sorted(cells, key=lambda cell: cell["column"])

    def _text(self, cell: dict[str, Any]) -> tuple[str, bool]:
        """A cell's displayed text, and whether it is bold."""
        value = cell["value"]
        if value is None:
            return "", False
        style = cell["style_id"]
        if style not in self._formats:
            self._formats[style] = self._format(style)
        number_format, bold = self._formats[style]
        return fold_whitespace(value if isinstance(value, str) else format_value(value, number_format)), bold

    def _format(self, style: int) -> tuple[str, bool]:
        from openpyxl.styles.numbers import BUILTIN_FORMATS, BUILTIN_FORMATS_MAX_SIZE  # type: ignore[import-untyped]

        try:
            array = self._book._cell_styles[style]
            number = array.numFmtId
            bold = bool(self._book._fonts[array.fontId].b)
            if number < BUILTIN_FORMATS_MAX_SIZE:
                return str(BUILTIN_FORMATS.get(number, "General")), bold
            return str(self._book._number_formats[number - BUILTIN_FORMATS_MAX_SIZE]), bold
        except (IndexError, AttributeError):
            return "General", False


def _parser(reader: _SheetReader, book: Any, sheet: Any, source: Any) -> Any:
    from openpyxl.worksheet._reader import FORMULA_TAG, VALUE_TAG, WorkSheetParser

    class Parser(WorkSheetParser):  # type: ignore[misc]
        def parse_cell(self, element: Any) -> dict[str, Any]:
            """Parses a cell; a formula without a stored result becomes the formula's text."""
            cell: dict[str, Any] = super().parse_cell(element)
            if cell["value"] is None and (formula := element.find(FORMULA_TAG)) is not None:
                stored = element.findtext(VALUE_TAG)
                if stored is None or (stored == "" and cell["data_type"] == "n"):
                    reader.uncomputed += 1
                    cell["value"] = f"={formula.text}" if formula.text else None
            return cell

    return Parser(
        source,
        sheet._shared_strings,
        data_only=True,
        epoch=book.epoch,
        date_formats=book._date_formats,
        timedelta_formats=book._timedelta_formats,
    )


def _spread(cells: list[str], blocks: list[tuple[tuple[int, int, int, int], str]], number: int) -> frozenset[int]:
    """Copies the text of merged blocks into each of their cells; returns the columns that continue a block."""
    across: set[int] = set()
    for (left, top, right, _), text in blocks:
        # A block across the complete width of the sheet is a title; a second cell is enough to show that.
        end = right if right - left < _MAX_REPEATED_COLUMNS else max(len(cells), left + 1)
        cells += [""] * (end - len(cells))
        if number > top or right > left:
            repeated = shorten_repeated(text)
            for place in range(left - 1, end):
                cells[place] = cells[place] or repeated
        across.update(range(left, end))
    return frozenset(across)


def _merged(sheet: Any) -> list[tuple[int, int, int, int]]:
    """Merged blocks as (left, top, right, bottom). The file lists them after the rows, so a first pass finds them."""
    from openpyxl.utils import column_index_from_string  # type: ignore[import-untyped]

    blocks: set[tuple[int, int, int, int]] = set()
    before = b""
    with sheet._get_source() as source:
        while piece := source.read(_PIECE):
            for left, top, right, bottom in _MERGED.findall(before + piece):
                blocks.add(
                    (
                        column_index_from_string(left.decode()),
                        int(top),
                        column_index_from_string(right.decode()),
                        int(bottom),
                    )
                )
            if len(blocks) > MAX_MERGED:
                break
            before = piece[-_MAX_TAG:]
    return list(blocks)
