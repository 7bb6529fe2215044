"""Word files: the visible text in reading order.

Includes tracked insertions, content controls, text boxes, footnotes, comments, headers and footers. Skips tracked
deletions, text that was moved away, and hidden text.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator, Sequence
from typing import Any

from rag.documents.naming import Row
from rag.documents.pieces import TextBuilder
from rag.documents.rows import add_rows, fold_whitespace, shorten_repeated
from rag.documents.word_parts import ListCounter, Package, Styles, attribute, child, is_on, local, symbol, value

MAX_COLUMNS = 1000
_SKIPPED = frozenset({
    "del", "moveFrom", "delText", "instrText", "delInstrText", "pPr", "rPr", "sdtPr", "sdtEndPr", "tblPr", "tblGrid",
    "trPr", "tcPr", "rt", "sectPr", "fldChar", "binData", "softHyphen", "proofErr",
})  # fmt: skip
# Elements that only wrap blocks, rows or cells.
_WRAPS = frozenset({"sdt", "sdtContent", "customXml", "smartTag", "ins", "moveTo", "body", "txbxContent"})
_SIGNS = {"tab": "\t", "ptab": "\t", "br": "\n", "cr": "\n", "noBreakHyphen": "-"}
_MAX_DRAWN = 1000
_MAX_CHART_TEXT = 4000
_NOTES = frozenset({"footnoteReference", "endnoteReference"})


def add_word(pieces: TextBuilder, data: bytes) -> None:
    """Adds headings (by style), paragraphs and table rows in order; the line number counts paragraphs."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        _Document(pieces, Package(archive)).read()


class _Text:
    """A paragraph's text, and the text boxes and notes attached to it."""

    def __init__(self) -> None:
        self.parts: list[str] = []
        self.boxes: list[Any] = []
        self.notes: list[tuple[str, str]] = []
        self.bold = self.plain = 0
        self.pictures = 0

    @property
    def words(self) -> str:
        return "".join(self.parts)


class _Document:
    def __init__(self, pieces: TextBuilder, package: Package) -> None:
        self._pieces = pieces
        self._package = package
        self._styles = Styles(next(package.related("styles"), None))
        self._numbers = ListCounter(next(package.related("numbering"), None))
        self._remarks: dict[tuple[str, str], Any] = {}
        for kind, part in (("footnote", "footnotes"), ("endnote", "endnotes"), ("comment", "comments")):
            for root in package.related(part):
                self._remarks |= {(kind, attribute(each, "id") or ""): each for each in root if local(each) == kind}
        self._noted = 0
        self._line = 0
        self._carried = ""
        self._pictures = 0

    def read(self) -> None:
        """Adds each header and footer once, then the document."""
        seen: set[str] = set()
        for kind in ("header", "footer"):
            for root in self._package.related(kind):
                text = " ".join(" ".join(self._inside(root)).split())
                # Skip a page number on its own.
                if text not in seen and any(letter.isalpha() for letter in text):
                    seen.add(text)
                    self._pieces.paragraph(text, 1)
        body = child(self._package.document, "body")
        for item in _blocks(body) if body is not None else ():
            self._line += 1
            self._block(item)
        self._pieces.paragraph(self._carried, self._line)
        if self._pictures:
            self._pieces.why_empty = "it contains only pictures, no text"

    def _block(self, item: Any) -> None:
        if local(item) == "tbl":
            self._table(item)
        elif local(item) == "altChunk":
            self._pieces.note("a part that another program inserted (altChunk) is not read: save the file in Word")
        else:
            self._paragraph(item)

    def _paragraph(self, item: Any) -> None:
        text = self._text(item)
        words = self._numbered(item, text)
        if is_on(item, "pPr", "rPr", "del"):
            # The paragraph mark is deleted: the text continues in the next paragraph.
            self._carried += words
            return
        words, self._carried = self._carried + words, ""
        level = self._styles.level(item)
        if level and words.strip():
            self._pieces.heading(level, " ".join(words.split()), self._line)
        else:
            self._pieces.paragraph(words, self._line)
        self._add_attached(text)

    def _numbered(self, item: Any, text: _Text) -> str:
        """The paragraph's text, after its list number."""
        words = text.words
        if not words.strip():
            return words
        number = self._numbers.next(self._styles.numbering(item))
        return f"{number} {words}" if number else words

    def _add_attached(self, text: _Text) -> None:
        """Adds a paragraph's text boxes, footnotes and comments after it."""
        self._pictures += text.pictures
        for box in text.boxes:
            for each in _blocks(box):
                self._block(each)
        for mark, words in text.notes:
            self._pieces.paragraph(f"{mark} {words}", self._line)

    def _text(self, paragraph: Any) -> _Text:
        text = _Text()
        self._inline(paragraph, text)
        return text

    def _inline(self, element: Any, text: _Text) -> None:
        for each in element:
            name = local(each)
            if name in _SKIPPED or not name:
                continue
            if name == "t":
                text.parts.append(each.text or "")
            elif name in _SIGNS:
                text.parts.append(_SIGNS[name])
            elif name == "sym":
                text.parts.append(symbol(each))
            elif name == "r":
                self._run(each, text)
            elif name == "AlternateContent":
                self._alternate(each, text)
            elif name == "txbxContent":
                text.boxes.append(each)
            elif name == "docPr":
                self._described(each, text)
            elif name in {"relIds", "chart"}:
                self._drawn(each, text)
            elif name in _NOTES or name == "commentReference":
                self._remark(name.removesuffix("Reference"), attribute(each, "id") or "", text)
            else:
                text.pictures += name in {"blip", "imagedata"}
                self._inline(each, text)

    def _run(self, run: Any, text: _Text) -> None:
        if is_on(run, "rPr", "vanish"):
            return
        before = len(text.parts)
        self._inline(run, text)
        letters = sum(len(part.strip()) for part in text.parts[before:])
        if is_on(run, "rPr", "b"):
            text.bold += letters
        else:
            text.plain += letters

    def _alternate(self, element: Any, text: _Text) -> None:
        """Reads alternative representations: the first that has text or a text box."""
        for each in element:
            before = len(text.parts), len(text.boxes)
            self._inline(each, text)
            if (len(text.parts), len(text.boxes)) != before:
                return

    def _described(self, element: Any, text: _Text) -> None:
        description = " ".join((attribute(element, "descr") or "").split())
        if description:
            text.parts.append(f" [{description}] ")

    def _drawn(self, element: Any, text: _Text) -> None:
        """Adds the text of a diagram (SmartArt) or chart, which is a separate part."""
        number = attribute(element, "dm") or attribute(element, "id")
        root = self._package.by_id(number) if number else None
        if root is None or len(text.notes) >= _MAX_DRAWN:
            return
        if local(element) == "chart":
            texts = [each.text or "" for each in root.iter() if local(each) in {"t", "v"}]
            text.notes.append(
                ("Chart:", "; ".join(dict.fromkeys(filter(None, map(str.strip, texts))))[:_MAX_CHART_TEXT])
            )
            return
        for each in root.iter():
            if local(each) == "txBody" or (local(each) == "t" and local(each.getparent()) == "pt"):
                words = " ".join(part.text or "" for part in each.iter() if local(part) == "t" and part.text)
                if words.strip():
                    text.notes.append(("Diagram:", " ".join(words.split())))

    def _remark(self, kind: str, number: str, text: _Text) -> None:
        element = self._remarks.pop((kind, number), None)
        words = " ".join(" ".join(self._inside(element)).split()) if element is not None else ""
        if not words:
            return
        if kind == "comment":
            author = attribute(element, "author") or ""
            text.notes.append((f"Comment by {author}:" if author else "Comment:", words))
            return
        self._noted += 1
        text.parts.append(f"[{self._noted}]")
        text.notes.append((f"[{self._noted}]", words))

    def _inside(self, element: Any) -> Iterator[str]:
        """The text of all paragraphs below an element."""
        for item in _blocks(element):
            if local(item) == "p":
                text = self._text(item)
                yield text.words
                for box in text.boxes:
                    yield from self._inside(box)
                yield from (f"{mark} {words}" for mark, words in text.notes)
            elif local(item) == "tbl":
                for row in _children(item, "tr"):
                    for cell in _children(row, "tc"):
                        yield from self._inside(cell)

    def _table(self, table: Any) -> None:
        """Adds a data table as rows; a layout table or a single-cell box as the blocks in it."""
        rows = [row for row in _children(table, "tr") if not is_on(row, "trPr", "del")]
        widths = [sum(1 for _ in _children(row, "tc")) for row in rows]
        inner = next((each for each in table.iterdescendants() if local(each) == "tbl"), None)
        if inner is not None or max(widths, default=0) < 2 or self._has_headings(table):
            for row in rows:
                for cell in _children(row, "tc"):
                    for item in _blocks(cell):
                        self._block(item)
            return
        attached: list[_Text] = []
        add_rows(self._pieces, self._rows(rows, attached))
        for text in attached:
            self._add_attached(text)

    def _has_headings(self, table: Any) -> bool:
        return any(self._styles.level(each) for each in table.iterdescendants() if local(each) == "p" and len(each) > 1)

    def _rows(self, rows: Sequence[Any], attached: list[_Text]) -> Iterator[Row]:
        """The cells of each row; a cell that spans columns or rows is repeated in each of them."""
        above: list[str] = []
        for row in rows:
            before = value(row, "trPr", "gridBefore")
            cells = [""] * (min(int(before), MAX_COLUMNS) if before and before.isdigit() else 0)
            across: set[int] = set()
            bold: list[bool] = []
            own = False
            for cell in _children(row, "tc"):
                place = len(cells)
                if place >= MAX_COLUMNS:
                    break
                words, is_bold = self._cell(cell, attached)
                own = own or bool(words)
                if child(cell, "tcPr", "vMerge") is not None and value(cell, "tcPr", "vMerge") != "restart":
                    words = shorten_repeated(above[place]) if place < len(above) else words
                bold += [is_bold] if words else []
                span = value(cell, "tcPr", "gridSpan") or ""
                span_columns = min(int(span), MAX_COLUMNS - place) if span.isdigit() and int(span) > 1 else 1
                cells += [words] + [shorten_repeated(words)] * (span_columns - 1)
                across.update(range(place + 1, place + span_columns))
            above = cells
            if not own and any(cells):
                # The row contains only the rest of cells that start above it.
                continue
            named = is_on(row, "trPr", "tblHeader") or (bool(bold) and all(bold))
            key = len(bold) > 1 and bold[0] and not any(bold[1:])
            yield Row(self._line, cells, frozenset(across), named, key)

    def _cell(self, cell: Any, attached: list[_Text]) -> tuple[str, bool]:
        words: list[str] = []
        bold = plain = 0
        for item in _blocks(cell):
            text = self._text(item)
            words.append(self._numbered(item, text))
            bold, plain = bold + text.bold, plain + text.plain
            if text.boxes or text.notes or text.pictures:
                attached.append(text)
        return fold_whitespace("\n".join(words)), bold > 0 and plain == 0


def _blocks(parent: Any) -> Iterator[Any]:
    """The paragraphs and tables below an element, unwrapped; the first of alternatives."""
    for each in parent:
        name = local(each)
        if name in {"p", "tbl", "altChunk"}:
            yield each
        elif name in _WRAPS:
            yield from _blocks(each)
        elif name == "AlternateContent" and len(each):
            yield from _blocks(each[0])


def _children(parent: Any, name: str) -> Iterator[Any]:
    """The rows of a table or the cells of a row, unwrapped."""
    for each in parent:
        tag = local(each)
        if tag == name:
            yield each
        elif tag in _WRAPS:
            yield from _children(each, name)
