"""The words of an HTML page, as blocks with their headings and lines."""

from __future__ import annotations

from rag.chunk import Block
from rag.markup import Token, tokens

_HIDDEN = frozenset({"script", "style", "template", "noscript", "svg"})
# Any other element ends a head that is left open.
_IN_HEAD = frozenset({"head", "title", "meta", "link", "base", "script", "style", "template", "noscript"})
_HEADINGS = {f"h{level}": level for level in range(1, 7)}
_INLINE_TEXT = (
    "a abbr b bdi bdo br cite code data del dfn em font i img ins kbd label mark q s samp small span strong sub sup "
    "td th time tt u var wbr"
)
_INLINE = frozenset(_INLINE_TEXT.split())


def html_blocks(markup: str) -> tuple[str, list[Block]]:
    """The page's text, and its headings and paragraphs in it; `line` is the line of the markup."""
    reader = _Reader()
    for token in tokens(markup):
        reader.take(token)
    reader.end_block()
    return "\n\n".join(reader.texts), reader.blocks


class _Reader:
    def __init__(self) -> None:
        self.texts: list[str] = []
        self.blocks: list[Block] = []
        self._length = 0
        self._words: list[str] = []
        self._line = 0
        self._level = 0
        self._hidden = 0
        self._head = False
        self._said = False

    def take(self, token: Token) -> None:
        """The next tag or text."""
        if token.kind == "text":
            self._text(token)
        elif token.kind == "start":
            self._start(token.value)
        else:
            self._end(token.value)

    def _start(self, tag: str) -> None:
        """Any element that is not part of a line begins a block."""
        self._head = tag in _IN_HEAD and (self._head or tag == "head")
        if tag in _HIDDEN:
            self._hidden += 1
        elif tag in {"br", "td", "th"}:
            self._words.append(" ")
        elif tag not in _INLINE:
            self.end_block()
            self._level = _HEADINGS.get(tag, 0)

    def _end(self, tag: str) -> None:
        """Ends what its start began."""
        if tag == "head":
            self._head = False
        if tag in _HIDDEN:
            self._hidden = max(0, self._hidden - 1)
        elif tag not in _INLINE:
            self.end_block()
            self._level = 0

    def _text(self, token: Token) -> None:
        if self._hidden or self._head:
            return
        data = token.value
        if not self._said and data.strip():
            self._said = True
            before = data[: len(data) - len(data.lstrip())]
            self._line = token.line + before.count("\n")
        self._words.append(data)

    def end_block(self) -> None:
        """Files the words since the last block as one, white space folded."""
        text = " ".join("".join(self._words).split())
        self._words = []
        self._said = False
        if not text:
            return
        start = self._length + (2 if self.texts else 0)
        self._length = start + len(text)
        self.texts.append(text)
        title = text if self._level else ""
        self.blocks.append(Block(start, self._length, self._line, self._level, title))
