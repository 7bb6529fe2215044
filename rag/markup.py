"""HTML as a run of tags and texts, in time that grows with its length, whatever is left open in it.

The standard library's parser looks for the end of each tag, comment and quote that is never closed through the whole
rest of the page, which takes the square of their number. Here what is known to be missing is not looked for again.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from typing import Literal, NamedTuple, TypeAlias

Kind: TypeAlias = Literal["text", "start", "end"]
_NAME = re.compile(r"[A-Za-z][^\s/>]*")
_STOP = re.compile(r"[>=]")
_SPACE = re.compile(r"\s*")
_ATTRIBUTE = re.compile(r"""([^\s=/>"']+)(?:\s*=\s*("[^"]*"|'[^']*'|[^\s>]+))?""")
_MOST_OF_A_TAG = 20_000
# Nothing in them is a tag but their own end.
_RAW = {name: re.compile(rf"</{name}(?=[\s/>])", re.IGNORECASE) for name in ("script", "style")}


class Token(NamedTuple):
    """A text with its references resolved, or a tag's name in lower case; `line` counts from 1.

    `inside`: what stands in a start tag behind its name, for `attributes`.
    """

    kind: Kind
    value: str
    line: int
    inside: str = ""


def attributes(inside: str) -> dict[str, str]:
    """The attributes of a start tag by their names in lower case; one without a value is empty."""
    return {
        found[1].lower(): html.unescape(found[2].strip("\"'") if found[2] else "")
        for found in _ATTRIBUTE.finditer(inside[:_MOST_OF_A_TAG])
    }


def tokens(markup: str) -> Iterator[Token]:
    """The page's tags and texts in order; comments and declarations are left out. A text may come in pieces."""
    return _Scanner(markup).tokens()


class _Scanner:
    def __init__(self, markup: str) -> None:
        self._markup = markup
        self._missing: set[str] = set()
        self._line, self._counted = 1, 0

    def tokens(self) -> Iterator[Token]:
        markup, place = self._markup, 0
        while place < len(markup):
            opened = markup.find("<", place)
            if opened != place:
                until = opened if opened >= 0 else len(markup)
                yield Token("text", html.unescape(markup[place:until]), self._line_at(place))
                place = until
                continue
            name = _NAME.match(markup, place + 1)
            closing = _NAME.match(markup, place + 2) if markup.startswith("</", place) else None
            line = self._line_at(place)
            if name is not None:
                place = self._tag_end(name.end())
                yield Token("start", name[0].lower(), line, markup[name.end() : place].rstrip("/>"))
                if markup[place - 2 : place] == "/>":
                    yield Token("end", name[0].lower(), line)
                elif (raw := _RAW.get(name[0].lower())) is not None:
                    closed = raw.search(markup, place)
                    place = closed.start() if closed is not None else len(markup)
            elif closing is not None:
                yield Token("end", closing[0].lower(), line)
                place = self._after(">", closing.end())
            elif markup.startswith("<![CDATA[", place) and (end := self._find("]]>", place)) >= 0:
                yield Token("text", markup[place + 9 : end], line)
                place = end + 3
            elif markup.startswith(("<!", "<?", "</"), place):
                place = self._declaration_end(place)
            else:
                yield Token("text", "<", line)
                place += 1

    def _declaration_end(self, place: int) -> int:
        if self._markup.startswith("<!--", place) and (end := self._find("-->", place + 2)) >= 0:
            return end + 3
        return self._after(">", place)

    def _tag_end(self, place: int) -> int:
        """The place after a tag whose name ends at `place`. A sign `>` in a quoted value does not end it."""
        markup = self._markup
        while (stop := _STOP.search(markup, place)) is not None:
            if stop[0] == ">":
                return stop.end()
            value = _SPACE.match(markup, stop.end())
            place = value.end() if value is not None else stop.end()
            quote = markup[place : place + 1]
            if quote in {'"', "'"}:
                end = self._find(quote, place + 1)
                place = end + 1 if end >= 0 else place + 1
        return len(markup)

    def _after(self, sign: str, place: int) -> int:
        found = self._find(sign, place)
        return found + len(sign) if found >= 0 else len(self._markup)

    def _find(self, sign: str, place: int) -> int:
        """Where `sign` is next; -1 where it is not, and then never again."""
        found = self._markup.find(sign, place) if sign not in self._missing else -1
        if found < 0:
            self._missing.add(sign)
        return found

    def _line_at(self, place: int) -> int:
        self._line += self._markup.count("\n", self._counted, place)
        self._counted = place
        return self._line
