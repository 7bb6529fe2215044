"""Excel files: the sheets that are shown, rows with their columns' names, merged cells in each of their rows."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from typing import Any

from rag.documents.cell_formats import shown
from rag.documents.naming import Row
from rag.documents.pieces import TextBuilder
from rag.documents.rows import RowCounter, add_rows, again, folded
from rag.documents.sheet_parts import remarks, usual

MAX_COLUMNS = 16_384
MAX_MERGED = 100_000
_MERGED = re.compile(rb"<(?:\w+:)?mergeCell\s[^>]*?\bref=[\"']\$?([A-Z]{1,3})\$?(\d{1,7}):\$?([A-Z]{1,3})\$?(\d{1,7})")
_PIECE = 1 << 20
_LONGEST_TAG = 200
# Cells of merged blocks that are said in each of their places; a block may be a whole sheet.
_MOST_ROWS_AGAIN = 10_000
_MOST_COLUMNS_AGAIN = 256


def add_sheets(pieces: TextBuilder, data: bytes) -> None:
    """Sheets as headings, rows as paragraphs; a line's number is the row's.

    Hidden sheets are left out and named in a note. Hidden rows and columns are read: filters and outlines hide them.
    """
    import openpyxl  # type: ignore[import-untyped]

    book: Any = openpyxl.load_workbook(io.BytesIO(usual(data)), read_only=True, data_only=True)
    hidden: list[str] = []
    try:
        for sheet in book.worksheets:
            if sheet.sheet_state != "visible":
                hidden.append(str(sheet.title))
                continue
            pieces.heading(1, str(sheet.title), 1)
            reader = _SheetReader(book, sheet)
            add_rows(pieces, reader.rows())
            for words in remarks(book._archive, str(sheet._worksheet_path).lstrip("/")):
                pieces.paragraph(words, reader.last + 1)
            if reader.uncounted:
                pieces.note(
                    f"sheet '{sheet.title}': {reader.uncounted} formulas have no stored result, so the formulas "
                    "themselves are read: open the file in a spreadsheet program and save it"
                )
        if book.chartsheets:
            pieces.note(f"{len(book.chartsheets)} sheets of charts are not read")
    finally:
        book.close()
    if hidden:
        pieces.note(f"hidden sheets are not read: {', '.join(hidden)[:300]}")


class _SheetReader:
    """The rows of one sheet. What a sheet says of its own size is often wrong, and is not looked at."""

    def __init__(self, book: Any, sheet: Any) -> None:
        self._book = book
        self._sheet = sheet
        self._blocks = _merged(sheet)
        self._formats: dict[int, tuple[str, bool]] = {}
        self.uncounted = 0
        self.last = 0

    def rows(self) -> Iterator[Row]:
        """Each row that the file has, a blank one for any number that are missing."""
        counter = RowCounter()
        blocks = sorted(self._blocks, key=lambda block: block[1], reverse=True)
        open_: list[tuple[tuple[int, int, int, int], str]] = []
        with self._sheet._get_source() as source:
            for number, found in self._parsed(source):
                for _ in range(min(number - self.last - 1, 1)):
                    yield Row(self.last + 1, [])
                counter.add(max(0, number - self.last - 1))
                self.last = number
                cells: list[str] = [""] * (found[-1]["column"] if found else 0)
                bold: list[bool] = []
                for each in found:
                    text, marked = self._text(each)
                    if 0 < each["column"] <= MAX_COLUMNS:
                        cells[each["column"] - 1] = text
                    bold += [marked] if text else []
                open_ = [each for each in open_ if each[0][3] >= number]
                while blocks and blocks[-1][1] <= number:
                    block = blocks.pop()
                    at = block[0] - 1
                    text = cells[at] if block[1] == number and at < len(cells) else ""
                    if text and block[3] - block[1] < _MOST_ROWS_AGAIN:
                        open_.append((block, text))
                own = any(cells)
                across = _spread(cells, open_, number)
                if not own and any(cells):
                    # Nothing but the rest of blocks that begin above.
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
        """A cell as it looks, and whether it is bold."""
        value = cell["value"]
        if value is None:
            return "", False
        style = cell["style_id"]
        if style not in self._formats:
            self._formats[style] = self._format(style)
        number_format, bold = self._formats[style]
        return folded(value if isinstance(value, str) else shown(value, number_format)), bold

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
            """A formula whose result is not stored is its own text."""
            cell: dict[str, Any] = super().parse_cell(element)
            if cell["value"] is None and (formula := element.find(FORMULA_TAG)) is not None:
                stored = element.findtext(VALUE_TAG)
                if stored is None or (stored == "" and cell["data_type"] == "n"):
                    reader.uncounted += 1
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
    """Puts the words of merged blocks into each of their cells; gives the columns that have them from their left."""
    across: set[int] = set()
    for (left, top, right, _), text in blocks:
        # A block over whole rows of the sheet is a title: its second cell shows that.
        end = right if right - left < _MOST_COLUMNS_AGAIN else max(len(cells), left + 1)
        cells += [""] * (end - len(cells))
        if number > top or right > left:
            said = again(text)
            for place in range(left - 1, end):
                cells[place] = cells[place] or said
        across.update(range(left, end))
    return frozenset(across)


def _merged(sheet: Any) -> list[tuple[int, int, int, int]]:
    """Merged blocks as left, top, right, bottom. They stand behind the rows, so they are looked for first."""
    from openpyxl.utils import column_index_from_string  # type: ignore[import-untyped]

    found: set[tuple[int, int, int, int]] = set()
    before = b""
    with sheet._get_source() as source:
        while piece := source.read(_PIECE):
            for left, top, right, bottom in _MERGED.findall(before + piece):
                found.add(
                    (
                        column_index_from_string(left.decode()),
                        int(top),
                        column_index_from_string(right.decode()),
                        int(bottom),
                    )
                )
            if len(found) > MAX_MERGED:
                break
            before = piece[-_LONGEST_TAG:]
    return list(found)
