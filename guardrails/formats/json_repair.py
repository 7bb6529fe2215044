"""Repairs malformed JSON without guessing: only punctuation, quotes and fences may be wrong.

Values are copied, never interpreted: every number, word and string of the result occurs in the input, character by
character and in the same order. A text that would need a guess (a number with a unit, an unknown word, a bracket that
is never closed) is rejected, so that the model is called again. One pass over the text, without recursion.
"""

from __future__ import annotations

import re

# Deeper than any legitimate answer; recursive parsers are safe up to this depth.
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
    """The text can't be repaired without guessing."""


def repair_json(text: str) -> str:
    """Repairs the punctuation and quotes of JSON. Raises `AmbiguousText`."""
    reader = _Reader(text)
    reader.read()
    return "".join(reader.out)


class _Reader:
    """Copies the tokens of one value to `out` with correct punctuation between them."""

    def __init__(self, text: str) -> None:
        self.out: list[str] = []
        self._text = text
        self._place = 0
        # The closing bracket of each open bracket.
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
        match = _BLANK.match(self._text, self._place)
        self._place = match.end() if match is not None else self._place

    def _peek(self) -> str:
        return self._text[self._place : self._place + 1]

    def _take(self, pattern: re.Pattern[str]) -> str:
        match = pattern.match(self._text, self._place)
        if match is None:
            return ""
        self._place = match.end()
        return match[0]

    def _next(self) -> None:
        """Reads the next item of the innermost bracket, or closes it."""
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
        """Whether a missing comma is unambiguous: before a quoted key, and between brackets."""
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
            raise AmbiguousText("a value can't be parsed")

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
        """Whether the quote ends the string. An apostrophe in a word does not; any other inner quote is ambiguous."""
        if quote == '"' or _AFTER_STRING.match(self._text, self._place + 1) is not None:
            return True
        before, after = self._text[self._place - 1], self._text[self._place + 1 : self._place + 2]
        if before.isalnum() and after.isalnum():
            return False
        raise AmbiguousText("a string contains a quote")

    def _letters(self, quote: str, letter: str) -> str:
        """The next characters of a string, escaped for JSON."""
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


def extract_json(text: str) -> str:
    """Extracts the only bracketed value of a text; it starts on its own line, an object also after a colon.

    Returns the complete text if there is none. Raises `AmbiguousText` if there may be several.
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
