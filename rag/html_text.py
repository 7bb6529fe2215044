"""Extracts the text of an HTML page as headings and paragraphs with line numbers."""

from __future__ import annotations

import re
from collections import Counter

from rag.chunk import Block
from rag.documents.pieces import TextBuilder
from rag.html_table import Cell, Table, number_of
from rag.markup import Token, attributes, tokens

_HIDDEN = frozenset({"script", "style", "template", "noscript", "svg", "rt", "rp"})
# Any other element ends a title without an end tag.
_IN_HEAD = frozenset({"head", "title", "meta", "link", "base", "script", "style", "template", "noscript"})
_HEADINGS = {f"h{level}": level for level in range(1, 7)}
_INLINE_TEXT = (
    "a abbr acronym b bdi bdo big br cite code data del dfn em font i img input ins kbd label map area mark meter nobr "
    "output picture progress q rb rtc ruby s samp small source span strike strong sub sup time track tt u var wbr"
)
_INLINE = frozenset(_INLINE_TEXT.split())
# Elements whose end tag is optional: the next such element or the end of the parent closes them.
_OPTIONAL_END = frozenset({"p", "li", "td", "th", "tr", "dt", "dd", "option", "optgroup", "rt", "rp", "tbody", "thead"})
_VOID = frozenset(
    {"img", "input", "br", "hr", "meta", "link", "area", "source", "track", "wbr", "base", "col", "embed"}
)
_INSIDE_HEADINGS = frozenset({"div", "center"})
_END = re.compile(r"</([A-Za-z][^\s/>]*)")
_NOT_SHOWN = re.compile(r"(?:display\s*:\s*none|visibility\s*:\s*hidden)", re.IGNORECASE)
_BREAK = "\x0b"
_BLANK_LINES = re.compile(r"\n\s*\n")
_PARAGRAPH = re.compile(rf"{_BREAK}\s*{_BREAK}")


def html_blocks(markup: str) -> tuple[str, list[Block]]:
    """Returns the page's text and its headings and paragraphs; `line` is the line in the markup.

    Skips invisible elements (`hidden`, `display: none`, `template`, `noscript`).
    """
    pieces = TextBuilder()
    add_page(pieces, markup)
    return pieces.done()


def add_page(pieces: TextBuilder, markup: str) -> None:
    """See `html_blocks`."""
    reader = _Reader(pieces, markup)
    for token in tokens(markup):
        reader.take(token)
    reader.end()


class _Skipped:
    """An invisible element; decides for each tag whether it is inside the element."""

    def __init__(self, tag: str) -> None:
        self._tag = tag
        self._open: list[str] = []
        self._opened: Counter[str] = Counter()
        self._depth = 1

    def ends(self, token: Token) -> tuple[bool, bool]:
        """Whether the element ends at this tag, and whether the tag belongs to the element."""
        tag = token.value
        if self._tag in _OPTIONAL_END:
            return self._ends_open(token)
        self._depth += (tag == self._tag) * (1 if token.kind == "start" else -1)
        return self._depth == 0, True

    def _ends_open(self, token: Token) -> tuple[bool, bool]:
        tag = token.value
        if token.kind == "start":
            if not self._open and (tag == self._tag or (self._tag == "p" and tag not in _INLINE)):
                return True, False
            if tag not in _OPTIONAL_END and tag not in _INLINE and tag not in _VOID:
                self._open.append(tag)
                self._opened[tag] += 1
            return False, True
        if self._opened[tag]:
            closed = ""
            while closed != tag:
                closed = self._open.pop()
                self._opened[closed] -= 1
            return False, True
        if tag == self._tag:
            return not self._open, True
        return (tag == "ruby" or tag not in _INLINE) and not self._open, False


class _Reader:
    def __init__(self, pieces: TextBuilder, markup: str) -> None:
        self._pieces = pieces
        # The remaining end tags of each element name: an element without an end tag must not hide the rest of the page.
        self._ends = Counter(name.lower() for name in _END.findall(markup))
        self._words: list[str] = []
        self._line = 0
        self._level = 0
        self._skipped: _Skipped | None = None
        self._title = False
        self._has_text = False
        self._raw = False
        self._tables: list[Table] = []
        self._lists: list[int | None] = []
        self._prefix = ""
        self._terms: list[tuple[str, int]] = []
        self._in_term = False

    def take(self, token: Token) -> None:
        """Handles the next tag or text."""
        if token.kind == "end":
            self._ends[token.value] -= 1
        if self._skipped is not None:
            if token.kind == "text":
                return
            ends, own = self._skipped.ends(token)
            if ends:
                self._skipped = None
            if own or not ends:
                return
        if token.kind == "text":
            self._text(token)
        elif token.kind == "start":
            self._start(token)
        else:
            self._end(token.value)

    def _is_hidden(self, token: Token) -> bool:
        tag, inside = token.value, token.inside
        hidden = tag in _HIDDEN
        if not hidden and inside and tag not in _VOID and ("hidden" in inside.lower() or "display" in inside.lower()):
            values = attributes(inside)
            hidden = values.get("hidden", "until-found").lower() != "until-found"
            hidden = hidden or _NOT_SHOWN.search(values.get("style", "")) is not None
        return hidden and (tag in _OPTIONAL_END or self._ends[tag] > 0)

    def _start(self, token: Token) -> None:
        """Handles a start tag; every element that is not inline starts a block."""
        tag = token.value
        self._title = tag in _IN_HEAD and (self._title or tag == "title")
        if self._is_hidden(token):
            self._skipped = _Skipped(tag)
            if tag not in _INLINE and tag not in _HIDDEN:
                self.end_block()
        elif tag == "br":
            self._words.append("\n" if self._raw else _BREAK)
        elif tag in {"img", "area"}:
            if "alt" in token.inside.lower() and (alt := attributes(token.inside).get("alt", "").strip()):
                self._text(Token("text", f" {alt} ", token.line))
        elif tag not in _INLINE:
            self._block(token)

    def _block(self, token: Token) -> None:
        tag = token.value
        if tag in _INSIDE_HEADINGS and self._level:
            self._words.append(" ")
            return
        self.end_block()
        self._level = _HEADINGS.get(tag, 0)
        self._raw = tag in {"pre", "listing"} or (self._raw and tag not in {"p", "table", "ul", "ol", "dl"})
        if self._level and self._tables:
            self._tables[-1].dissolve(self._pieces)
        if tag == "table":
            self._table(token)
        elif tag in {"tr", "td", "th", "thead", "tbody", "tfoot"} and self._tables:
            self._tables[-1].start(token)
        elif tag in {"ol", "ul", "menu", "dir"}:
            start = number_of(token, "start") if tag == "ol" else None
            self._lists.append((1 if start is None else start) if tag == "ol" else None)
        elif tag == "li":
            self._item(token)
        elif tag == "dt":
            self._in_term = True
        elif tag == "dd" and self._terms:
            # A term with an empty description joins the next one.
            self._prefix += ", ".join(term.rstrip(": ") for term, _ in self._terms) + ": "
            self._terms = []

    def _table(self, token: Token) -> None:
        """Starts a table; a table that contains another one is a layout table."""
        if self._tables:
            self._tables[-1].dissolve(self._pieces)
        table = Table()
        if "presentation" in token.inside.lower():
            table.dissolve(self._pieces)
        self._tables.append(table)

    def _item(self, token: Token) -> None:
        if not self._lists or (number := self._lists[-1]) is None:
            self._prefix = ""
            return
        own = number_of(token, "value") if token.inside else None
        number = number if own is None else own
        self._prefix = f"{number}. "
        self._lists[-1] = number + 1

    def _end(self, tag: str) -> None:
        """Handles an end tag."""
        if tag == "title":
            self._title = False
        if tag in _INLINE or tag in _HIDDEN:
            return
        if tag in _INSIDE_HEADINGS and self._level:
            self._words.append(" ")
            return
        self.end_block()
        self._level = 0
        if tag in {"pre", "listing"}:
            self._raw = False
        elif tag == "table" and self._tables:
            self._tables.pop().end(self._pieces)
        elif tag in {"thead", "tr", "td", "th"} and self._tables:
            self._tables[-1].stop(tag)
        elif tag in {"ol", "ul", "menu", "dir"} and self._lists:
            self._lists.pop()
            self._prefix = ""
        elif tag in {"li", "dd"}:
            self._prefix = ""

    def _text(self, token: Token) -> None:
        if self._title:
            return
        data = token.value
        if not self._has_text and data.strip():
            self._has_text = True
            before = data[: len(data) - len(data.lstrip())]
            self._line = token.line + before.count("\n")
        self._words.append(data)

    def end_block(self) -> None:
        """Writes the text since the last block, with whitespace collapsed outside `pre`; two `br` end a paragraph."""
        text = "".join(self._words)
        self._words = []
        self._has_text = False
        in_term, self._in_term = self._in_term, False
        if self._raw:
            self._write(_BLANK_LINES.sub("\n", text.expandtabs(4).strip("\n")).rstrip())
            return
        if _BREAK not in text:
            text = " ".join(text.split())
            if text and in_term:
                self._terms.append((text, self._line))
            else:
                self._write(text)
            return
        for part in _PARAGRAPH.split(text):
            lines = (" ".join(line.split()) for line in part.split(_BREAK))
            self._write(("\n" if not self._level else " ").join(filter(None, lines)))

    def _write(self, text: str) -> None:
        if not text.strip():
            return
        for term, line in self._terms:
            self._put(term, line)
        self._terms = []
        prefix, self._prefix = self._prefix, ""
        self._put(prefix + text, self._line)

    def _put(self, text: str, line: int) -> None:
        if self._tables and self._tables[-1].add(Cell(text, line)):
            return
        if self._level:
            self._pieces.heading(self._level, " ".join(text.split()), line)
        else:
            self._pieces.paragraph(text, line)

    def end(self) -> None:
        """Ends open blocks and tables and writes the remaining text."""
        self.end_block()
        while self._tables:
            self._tables.pop().end(self._pieces)
        if self._prefix:
            self._pieces.paragraph(self._prefix.rstrip(": "), self._line)
        for term, line in self._terms:
            self._pieces.paragraph(term, line)
