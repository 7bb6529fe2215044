"""HTML tables: data tables become rows, layout tables become plain paragraphs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, TypeAlias

from rag.documents.naming import Row
from rag.documents.pieces import TextBuilder
from rag.documents.rows import add_rows, fold_whitespace, shorten_repeated
from rag.markup import Token, attributes

MAX_SPAN = 1000
# A cell with more paragraphs or characters is part of a page layout, not a value.
_MAX_BLOCKS = 4
_MAX_CHARACTERS = 2000
# By column: how many more rows a cell spans, its text, and whether it continues the cell to its left.
_Spans: TypeAlias = "dict[int, tuple[int, str, bool]]"


class Cell(NamedTuple):
    """A paragraph in a cell."""

    text: str
    line: int


class _Place:
    """A cell: its paragraphs, its column and row spans, and whether it is a heading of its row or column."""

    def __init__(self, columns: int, rows: int, *, head: bool) -> None:
        self.blocks: list[Cell] = []
        self.columns, self.rows, self.head = columns, rows, head


class Table:
    """Collects the tags of one table and the paragraphs in its cells."""

    def __init__(self) -> None:
        self._rows: list[tuple[int, bool, list[_Place]]] = []
        self._in_head = False
        self._place: _Place | None = None
        self._dissolved = False

    def start(self, token: Token) -> None:
        """Starts a row, a cell or a group of rows."""
        tag = token.value
        if tag in {"thead", "tbody", "tfoot"}:
            self._in_head, self._place = tag == "thead", None
            return
        if tag == "tr" or not self._rows:
            self._rows.append((token.line, self._in_head, []))
            self._place = None
        if tag != "tr":
            columns, rows = number_of(token, "colspan") or 1, number_of(token, "rowspan")
            # `rowspan=0` extends a cell to the end of its table.
            self._place = _Place(min(columns, MAX_SPAN), MAX_SPAN * 100 if rows == 0 else rows or 1, head=tag == "th")
            if not self._dissolved:
                self._rows[-1][2].append(self._place)

    def stop(self, tag: str) -> None:
        """Ends a group of rows, a row or a cell."""
        self._place = None
        self._in_head = self._in_head and tag != "thead"

    def add(self, block: Cell) -> bool:
        """Adds a paragraph to the current cell; returns False if there is none or this is a layout table."""
        if self._place is None or self._dissolved:
            return False
        self._place.blocks.append(block)
        return True

    def dissolve(self, pieces: TextBuilder) -> None:
        """Marks this as a layout table: writes its cells as paragraphs; later ones are not collected."""
        if not self._dissolved:
            self._dissolved = True
            for _, _, places in self._rows:
                for place in places:
                    for block in place.blocks:
                        pieces.paragraph(block.text, block.line)
            self._rows = []

    def end(self, pieces: TextBuilder) -> None:
        """Writes the table's rows."""
        places = [place for _, _, row in self._rows for place in row]
        heads = any(place.head for place in places)
        parts = any(
            len(place.blocks) > _MAX_BLOCKS or sum(len(block.text) for block in place.blocks) > _MAX_CHARACTERS
            for place in places
        )
        if (parts and not heads) or max((len(row) for _, _, row in self._rows), default=0) < 2:
            self.dissolve(pieces)
        if not self._dissolved:
            add_rows(pieces, self._lines())

    def _lines(self) -> Iterator[Row]:
        """Yields the rows, each cell repeated in all of its columns and rows."""
        above: _Spans = {}
        for line, in_head, places in self._rows:
            current = _Line(above)
            heads: list[bool] = []
            for place in places:
                text = fold_whitespace(" ".join(block.text for block in place.blocks))
                heads += [place.head] if text else []
                current.add(text, place)
            above = current.end()
            named = bool(heads) and (in_head or (len(heads) > 1 and all(heads)))
            key = len(heads) > 1 and heads[0] and not any(heads[1:])
            yield Row(line, current.cells, frozenset(current.across), named, key)


class _Line:
    """Places the cells of a row in their columns, around cells that span down from rows above."""

    def __init__(self, above: _Spans) -> None:
        self.cells: list[str] = []
        self.across: set[int] = set()
        self._above = above
        self._below: _Spans = {}

    def add(self, text: str, place: _Place) -> None:
        """Adds the next cell to all of its columns."""
        self._fill_spans()
        for at in range(place.columns):
            column = len(self.cells)
            if place.rows > 1:
                self._below[column] = (place.rows - 1, shorten_repeated(text), at > 0)
            if at:
                self.across.add(column)
            self.cells.append(shorten_repeated(text) if at else text)

    def end(self) -> _Spans:
        """Completes the row; returns the cells that span into the next row."""
        self._fill_spans()
        while self._above:
            self.cells += [""] * (min(self._above) - len(self.cells))
            self._fill_spans()
        return self._below

    def _fill_spans(self) -> None:
        while (column := len(self.cells)) in self._above:
            rows, text, is_across = self._above.pop(column)
            self.cells.append(text)
            if is_across:
                self.across.add(column)
            if rows > 1:
                self._below[column] = (rows - 1, text, is_across)


def number_of(token: Token, name: str) -> int | None:
    """An attribute as an integer of up to six digits; None if it is not one."""
    text = attributes(token.inside).get(name, "").strip() if name in token.inside.lower() else ""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 7 else None
