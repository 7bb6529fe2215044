"""Tokenizes HTML into tags and texts in linear time, even if tags and comments are not closed.

The standard library's parser searches the rest of the page for the end of each unclosed tag, comment and quote, which
takes quadratic time. This one does not search again for an end that is known to be missing.
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
_MAX_TAG = 20_000
# Elements whose content is raw text up to their end tag.
_RAW = {name: re.compile(rf"</{name}(?=[\s/>])", re.IGNORECASE) for name in ("script", "style")}


class Token(NamedTuple):
    """A text with character references resolved, or a tag's name in lower case; `line` counts from 1.

    `inside`: the content of a start tag after its name, for `attributes`.
    """

    kind: Kind
    value: str
    line: int
    inside: str = ""


def attributes(inside: str) -> dict[str, str]:
    """The attributes of a start tag by lower-case name; an attribute without a value is empty."""
    return {
        match[1].lower(): html.unescape(match[2].strip("\"'") if match[2] else "")
        for match in _ATTRIBUTE.finditer(inside[:_MAX_TAG])
    }


def tokens(markup: str) -> Iterator[Token]:
    """Yields the page's tags and texts in order, without comments and declarations. A text may be split."""
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
        """The position after a tag whose name ends at `place`. A `>` in a quoted value does not end the tag."""
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
        at = self._find(sign, place)
        return at + len(sign) if at >= 0 else len(self._markup)

    def _find(self, sign: str, place: int) -> int:
        """The next position of `sign`; -1 if there is none, which is remembered."""
        at = self._markup.find(sign, place) if sign not in self._missing else -1
        if at < 0:
            self._missing.add(sign)
        return at

    def _line_at(self, place: int) -> int:
        self._line += self._markup.count("\n", self._counted, place)
        self._counted = place
        return self._line
