"""Tables of HTML pages: those of rows and columns, and those that only lay out a page."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, TypeAlias

from rag.documents.naming import Row
from rag.documents.pieces import TextBuilder
from rag.documents.rows import add_rows, again, folded
from rag.markup import Token, attributes

MAX_SPAN = 1000
# Cells of so many paragraphs or letters are parts of a page and no values.
_MOST_BLOCKS = 4
_MOST_LETTERS = 2000
# By column: in how many more rows a cell stands, its words, and whether it has them from its left.
_Reaching: TypeAlias = "dict[int, tuple[int, str, bool]]"


class Cell(NamedTuple):
    """A paragraph that stands in a cell."""

    text: str
    line: int


class _Place:
    """A cell: its paragraphs, how far it goes, and whether it is a heading of its row or column."""

    def __init__(self, wide: int, high: int, *, head: bool) -> None:
        self.blocks: list[Cell] = []
        self.wide, self.high, self.head = wide, high, head


class Table:
    """Takes the tags of one table and the paragraphs in its cells."""

    def __init__(self) -> None:
        self._rows: list[tuple[int, bool, list[_Place]]] = []
        self._in_head = False
        self._place: _Place | None = None
        self._dissolved = False

    def start(self, token: Token) -> None:
        """A row, a cell or a group of rows begins."""
        tag = token.value
        if tag in {"thead", "tbody", "tfoot"}:
            self._in_head, self._place = tag == "thead", None
            return
        if tag == "tr" or not self._rows:
            self._rows.append((token.line, self._in_head, []))
            self._place = None
        if tag != "tr":
            wide, high = number_of(token, "colspan") or 1, number_of(token, "rowspan")
            # A cell of no rows goes down to the end of its table.
            self._place = _Place(min(wide, MAX_SPAN), MAX_SPAN * 100 if high == 0 else high or 1, head=tag == "th")
            if not self._dissolved:
                self._rows[-1][2].append(self._place)

    def stop(self, tag: str) -> None:
        """A group of rows, a row or a cell ends."""
        self._place = None
        self._in_head = self._in_head and tag != "thead"

    def add(self, block: Cell) -> bool:
        """Keeps a paragraph; False for one that stands in no cell, or where the table lays out the page."""
        if self._place is None or self._dissolved:
            return False
        self._place.blocks.append(block)
        return True

    def dissolve(self, pieces: TextBuilder) -> None:
        """It lays out the page: its cells are said one after another, those to come as they come."""
        if not self._dissolved:
            self._dissolved = True
            for _, _, places in self._rows:
                for place in places:
                    for block in place.blocks:
                        pieces.paragraph(block.text, block.line)
            self._rows = []

    def end(self, pieces: TextBuilder) -> None:
        """Says its rows."""
        places = [place for _, _, row in self._rows for place in row]
        heads = any(place.head for place in places)
        parts = any(
            len(place.blocks) > _MOST_BLOCKS or sum(len(block.text) for block in place.blocks) > _MOST_LETTERS
            for place in places
        )
        if (parts and not heads) or max((len(row) for _, _, row in self._rows), default=0) < 2:
            self.dissolve(pieces)
        if not self._dissolved:
            add_rows(pieces, self._lines())

    def _lines(self) -> Iterator[Row]:
        """The rows, each cell in all of its columns and rows."""
        above: _Reaching = {}
        for line, in_head, places in self._rows:
            made = _Line(above)
            heads: list[bool] = []
            for place in places:
                text = folded(" ".join(block.text for block in place.blocks))
                heads += [place.head] if text else []
                made.add(text, place)
            above = made.end()
            named = bool(heads) and (in_head or (len(heads) > 1 and all(heads)))
            key = len(heads) > 1 and heads[0] and not any(heads[1:])
            yield Row(line, made.cells, frozenset(made.across), named, key)


class _Line:
    """Puts the cells of a row in their columns, between those that reach down from the rows above."""

    def __init__(self, above: _Reaching) -> None:
        self.cells: list[str] = []
        self.across: set[int] = set()
        self._above = above
        self._below: _Reaching = {}

    def add(self, text: str, place: _Place) -> None:
        """The next cell, in all of its columns."""
        self._reach()
        for at in range(place.wide):
            column = len(self.cells)
            if place.high > 1:
                self._below[column] = (place.high - 1, again(text), at > 0)
            if at:
                self.across.add(column)
            self.cells.append(again(text) if at else text)

    def end(self) -> _Reaching:
        """What reaches down into the next row."""
        self._reach()
        while self._above:
            self.cells += [""] * (min(self._above) - len(self.cells))
            self._reach()
        return self._below

    def _reach(self) -> None:
        while (column := len(self.cells)) in self._above:
            rows, text, is_across = self._above.pop(column)
            self.cells.append(text)
            if is_across:
                self.across.add(column)
            if rows > 1:
                self._below[column] = (rows - 1, text, is_across)


def number_of(token: Token, name: str) -> int | None:
    """An attribute that is a whole number of no more than six digits."""
    text = attributes(token.inside).get(name, "").strip() if name in token.inside.lower() else ""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 7 else None
