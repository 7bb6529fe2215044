"""JSON that was written carelessly, read without a guess: only its punctuation, quotes and fences may be wrong.

The values are never read, only copied: every number, word and string of the mended text stands letter by letter in the
text that came, in the same order. What would need a guess (a number with a unit, an unknown word, a bracket that is
never closed) is refused, so that the model is asked again. One pass over the text, without recursion.
"""

from __future__ import annotations

import re

# Deeper than any answer that somebody means; what reads JSON by recursion is safe up to here.
MAX_DEPTH = 100
_BLANK = re.compile(r"(?:[\s\ufeff]|//[^\n]*|#[^\n]*|/\*(?:[^*]|\*(?!/))*\*/)*")
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?(?![\w.+-])", re.ASCII)
_WORD = re.compile(r"(?:true|false|null)(?![\w.-])")
_NAME = re.compile(r"[^\W\d]\w*(?:-\w+)*")
_QUOTES = {'"': '"', "'": "'", "\u201c": "\u201d", "\u2018": "\u2019"}
_PLAIN = {quote: re.compile(rf'[^{quote}"\\\x00-\x1f]+') for quote in _QUOTES.values()}
_ESCAPE = re.compile(r'\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})')
_CONTROLS = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
_AFTER_STRING = re.compile(r"\s*(?:[,:}\]]|\Z|//|/\*|#)")


class AmbiguousText(Exception):
    """The text can't be mended without a guess."""


def mended(text: str) -> str:
    """The JSON that `text` is but for its punctuation and quotes. Raises `AmbiguousText`."""
    reader = _Reader(text)
    reader.read()
    return "".join(reader.out)


class _Reader:
    """Copies the tokens of one value into `out`, with the punctuation between them as it should be."""

    def __init__(self, text: str) -> None:
        self.out: list[str] = []
        self._text = text
        self._place = 0
        # Of each bracket that is open: what closes it.
        self._open: list[str] = []

    def read(self) -> None:
        self._skip()
        self._value()
        while self._open:
            self._skip()
            self._next()
        self._skip()
        if self._place < len(self._text):
            raise AmbiguousText("something follows the value")

    def _skip(self) -> None:
        found = _BLANK.match(self._text, self._place)
        self._place = found.end() if found is not None else self._place

    def _peek(self) -> str:
        return self._text[self._place : self._place + 1]

    def _take(self, form: re.Pattern[str]) -> str:
        found = form.match(self._text, self._place)
        if found is None:
            return ""
        self._place = found.end()
        return found[0]

    def _next(self) -> None:
        """One step within the innermost bracket: it closes, or a further item comes."""
        closing = self._open[-1]
        first = self.out[-1] in "{["
        if not first:
            comma = self._peek() == ","
            if comma:
                self._place += 1
                self._skip()
            if self._peek() != closing:
                if not comma and not self._may_lack_comma(closing):
                    raise AmbiguousText("a comma is missing between values")
                self.out.append(", ")
        if self._peek() == closing:
            self._place += 1
            self._open.pop()
            self.out.append(closing)
            return
        if closing == "}":
            self._key()
        self._value()

    def _may_lack_comma(self, closing: str) -> bool:
        """Only where two items can't be one: before a quoted key, and between brackets."""
        ahead = self._peek()
        return ahead in _QUOTES if closing == "}" and ahead else self.out[-1] in "}]" and ahead in ("{", "[")

    def _key(self) -> None:
        if self._peek() in _QUOTES:
            self._string()
        elif name := self._take(_NAME):
            self.out.append(f'"{name}"')
        else:
            raise AmbiguousText("a key is missing")
        self._skip()
        if self._peek() != ":":
            raise AmbiguousText("a colon is missing")
        self._place += 1
        self.out.append(": ")
        self._skip()

    def _value(self) -> None:
        ahead = self._peek()
        if ahead in ("{", "["):
            if len(self._open) >= MAX_DEPTH:
                raise AmbiguousText("it is nested too deeply")
            self._place += 1
            self._open.append("}" if ahead == "{" else "]")
            self.out.append(ahead)
        elif ahead in _QUOTES:
            self._string()
        elif token := self._take(_NUMBER) or self._take(_WORD):
            self.out.append(token)
        else:
            raise AmbiguousText("a value can't be read")

    def _string(self) -> None:
        quote = _QUOTES[self._peek()]
        self._place += 1
        parts = ['"']
        while (letter := self._peek()) != quote or not self._closes(quote):
            if not letter:
                raise AmbiguousText("a string does not end")
            parts.append(self._letters(quote, letter))
        self._place += 1
        self.out.append("".join([*parts, '"']))

    def _closes(self, quote: str) -> bool:
        """An apostrophe within a word closes nothing; whatever else is no end of a string makes the text unclear."""
        if quote == '"' or _AFTER_STRING.match(self._text, self._place + 1) is not None:
            return True
        before, after = self._text[self._place - 1], self._text[self._place + 1 : self._place + 2]
        if before.isalnum() and after.isalnum():
            return False
        raise AmbiguousText("a quote stands within a string")

    def _letters(self, quote: str, letter: str) -> str:
        """The next letters of a string, as they stand in JSON."""
        if plain := self._take(_PLAIN[quote]):
            return plain
        if letter == "\\":
            if escape := self._take(_ESCAPE):
                return escape
            if self._text[self._place + 1 : self._place + 2] != "'":
                raise AmbiguousText("an escape is unknown")
            self._place += 2
            return "'"
        self._place += 1
        if letter == '"':
            return '\\"'
        return letter if letter == quote else _CONTROLS.get(letter) or f"\\u{ord(letter):04x}"


def within(text: str) -> str:
    """The one value in brackets that stands in a text, on lines of its own; an object may also follow a colon.

    The whole text where there is none. Raises `AmbiguousText` for what may be several.
    """
    begins = _BEGINS.search(text)
    if begins is None:
        return text
    end = max(text.rfind("}"), text.rfind("]")) + 1
    if end <= begins.end():
        raise AmbiguousText("a bracket is never closed")
    rest = text[end:].partition("\n")[0].strip()
    if rest and not rest.startswith(("//", "#", "/*")):
        raise AmbiguousText("something follows the value")
    if any(letter in "{}[]" for letter in text[: begins.end()]):
        raise AmbiguousText("there may be several values")
    return text[begins.end() : end]


_BEGINS = re.compile(r"(?m)^[ \t]*(?=[{\[])|:[ \t]*(?=\{)")
