"""Undoes obfuscation: reads a text as a human would, and maps each character back to the original.

Resolves Unicode look-alikes, invisible characters, letters separated by spaces, and text in base64, hex, URL escapes or
rot13. A span in a view maps to a span in the original text.
"""

from __future__ import annotations

import base64
import binascii
import codecs
import html
import itertools
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from urllib.parse import unquote

import msgspec

_LOOKALIKES = str.maketrans(
    "\u0430\u0435\u043e\u0440\u0441\u0443\u0445\u0456\u0458\u0455\u0501\u051b\u0432\u043d\u043c\u0442\u043a"
    "\u0391\u0392\u0395\u0396\u0397\u0399\u039a\u039c\u039d\u039f\u03a1\u03a4\u03a5\u03a7\u03bf\u03b1\u03bd\u03b9\u03c1\u03c5"
    "\u0406\u0408\u0405\u0410\u0412\u0415\u041a\u041c\u041d\u041e\u0420\u0421\u0422\u0425\u0131\u0261\u0251",
    "aeopcyxijsdwbhmtkABEZHIKMNOPTYXoavipuIJSABEKMHOPCTXiga",
)
_LEET = str.maketrans("013457@$!|", "oieastasil")
_INVISIBLE = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180e\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f\ufe00-\ufe0f\ufeff"
    "\U000e0000-\U000e007f\U000e0100-\U000e01ef]"
)
_SPELLED = re.compile(
    r"(?i)&(?:#\d{2,5}|#x[0-9a-f]{2,5}|commat|period|plus|nbsp);?|\\u(?P<code>00[0-9a-f]{2})"
    r"|(?P<at>\s?[\[({<]\s?(?:at|ät)\s?[\])}>]\s?)|(?P<dot>\s?[\[({<]\s?(?:dot|punkt|point|punto)\s?[\])}>]\s?)"
)
# Invisible characters, and full-width, mathematical, circled or non-Latin variants of letters and digits.
_STYLED = re.compile(
    _INVISIBLE.pattern
    + "|[\u00b2\u00b3\u00b9\u0660-\u0669\u06f0-\u06f9\u0966-\u096f\u09e6-\u09ef\u2070-\u2089\u2460-\u249b"
    "\u24b6-\u24ea\ufe50-\ufe6b\uff01-\uff5e\U0001d400-\U0001d7ff]"
)
_TAG_LETTERS = re.compile("[\U000e0020-\U000e007e]+")
_SPACED = re.compile(r"(?<!\w)(?:\w[ \-._*]){3,}\w(?!\w)")
_BASE64 = re.compile(r"(?<![A-Za-z0-9+/_=-])[A-Za-z0-9+/_-]{16,}={0,2}")
_HEX = re.compile(r"(?<![0-9A-Fa-f])(?:(?:0x|\\x)?[0-9A-Fa-f]{2}[ ,:]?){10,}")
_ESCAPED = re.compile(r"[%\w.+-]{6,}")
_ESCAPE = re.compile(r"%[0-9A-Fa-f]{2}")
MAX_VIEWS = 24


class View(msgspec.Struct, frozen=True):
    """One reading of a text: `start` and `end` bound its source; `places` maps each character to its origin."""

    text: str
    start: int
    end: int
    places: Sequence[int] | None = None
    how: str = "plain"

    def origin(self, start: int, end: int) -> tuple[int, int]:
        """The span of the original that `[start, end)` of this view comes from."""
        if self.places is None or start >= end:
            return self.start, self.end
        first, last = self.places[start], self.places[end - 1]
        return min(first, last), max(first, last) + 1


def views(text: str) -> Iterator[View]:
    """Yields the text as displayed, then the texts hidden in it, up to two levels deep."""
    yield _displayed(text)
    yield from itertools.islice(_hidden(text), MAX_VIEWS)


def disguises(text: str) -> Iterator[View]:
    """Yields readings without styled or invisible characters, and decoded texts, for pattern searches.

    Yields none for almost all texts; far cheaper than `views`, which also tries rot13, leetspeak and reversal.
    """
    if not text.isascii() and _STYLED.search(text) is not None:
        yield View(*_normalize(text))
    if (view := _spelled(text)) is not None:
        yield view
    for start, end, decoded, how in itertools.islice(_encoded(text), MAX_VIEWS):
        yield View(decoded, start, end, None, how)


def _displayed(text: str) -> View:
    if text.isascii() and not _SPACED.search(text):
        return View(text, 0, len(text), range(len(text)))
    plain, _, size, places, _ = _normalize(text, _LOOKALIKES)
    return _close_up(plain, list(places), size)


def _normalize(
    text: str, alike: Mapping[int, int] = MappingProxyType({})
) -> tuple[str, int, int, tuple[int, ...], str]:
    """The fields of a view without invisible characters, each character in its plainest form."""
    letters: list[str] = []
    places: list[int] = []
    for place, letter in enumerate(text):
        if _INVISIBLE.match(letter):
            continue
        # NFKC does not convert digits of other scripts.
        digit = unicodedata.digit(letter, None)
        plain = letter if letter.isascii() else unicodedata.normalize("NFKC", letter) if digit is None else str(digit)
        for each in plain.translate(alike):
            letters.append(each)
            places.append(place)
    return "".join(letters), 0, len(text), tuple(places), "seen"


def _close_up(text: str, places: list[int], size: int) -> View:
    """Joins words whose letters are separated."""
    drop: set[int] = set()
    for match in _SPACED.finditer(text):
        drop |= set(range(match.start() + 1, match.end(), 2))
    if drop:
        places = [place for index, place in enumerate(places) if index not in drop]
        text = "".join(letter for index, letter in enumerate(text) if index not in drop)
    return View(text, 0, size, tuple(places), "seen")


def _hidden(text: str, depth: int = 2) -> Iterator[View]:
    for outer in _decodings(text):
        yield outer
        if depth > 1:
            for inner in _hidden(outer.text, depth - 1):
                start, end = outer.origin(inner.start, inner.end)
                places = None
                if outer.places is not None and inner.places is not None:
                    places = [outer.places[place] for place in inner.places]
                yield View(inner.text, start, end, places, f"{outer.how}, {inner.how}")


def _spelled(text: str) -> View | None:
    """The text with spelled-out characters resolved: `&#64;`, `\\u0040`, `(at)`. None if there are none."""
    if _SPELLED.search(text) is None:
        return None
    letters: list[str] = []
    places: list[int] = []
    place = 0
    for match in _SPELLED.finditer(text):
        letters += text[place : match.start()]
        places += range(place, match.start())
        sign = _sign(match)
        letters += sign
        places += [match.start()] * len(sign)
        place = match.end()
    letters += text[place:]
    places += range(place, len(text))
    return View("".join(letters), 0, len(text), tuple(places), "spelled")


def _sign(match: re.Match[str]) -> str:
    if match["at"]:
        return "@"
    if match["dot"]:
        return "."
    if match["code"]:
        return chr(int(match["code"], 16))
    return html.unescape(match[0])


def _encoded(text: str) -> Iterator[tuple[int, int, str, str]]:
    for match in _TAG_LETTERS.finditer(text):
        yield (
            match.start(),
            match.end(),
            "".join(chr(ord(letter) - 0xE0000) for letter in match[0]),
            "invisible letters",
        )
    for match in _BASE64.finditer(text):
        if (decoded := _text_of(_from_base64(match[0]))) is not None:
            yield match.start(), match.end(), decoded, "base64"
    for match in _HEX.finditer(text):
        digits = re.sub(r"0x|\\x|[ ,:]", "", match[0])
        if len(digits) % 2 == 0 and (decoded := _text_of(bytes.fromhex(digits))) is not None:
            yield match.start(), match.end(), decoded, "hex"
    if "%" in text:
        for match in _ESCAPED.finditer(text):
            if _ESCAPE.search(match[0], 3) is not None:
                yield match.start(), match.end(), unquote(match[0].replace("+", " ")), "url"


def _decodings(text: str) -> Iterator[View]:
    """Yields other readings of a text; letter-by-letter ones map each character to its origin."""
    for start, end, decoded, how in _encoded(text):
        yield View(decoded, start, end, None, how)
    letters = range(len(text))
    rotated = codecs.encode(text, "rot13")
    if _ENGLISH.search(rotated) and not _ENGLISH.search(text):
        yield View(rotated, 0, len(text), letters, "rot13")
    plain = text.translate(_LEET)
    if plain != text and re.search(r"[A-Za-z][013457@$!|]+[A-Za-z]", text):
        yield View(plain, 0, len(text), letters, "digits for letters")
    backwards = text[::-1]
    if _ENGLISH.search(backwards) and not _ENGLISH.search(text):
        yield View(backwards, 0, len(text), letters[::-1], "backwards")


_ENGLISH = re.compile(r"(?i)\b(?:the|and|ignore|instructions?|you|your|prompt|system|reveal|previous)\b")


def _from_base64(code: str) -> bytes:
    try:
        return base64.b64decode(
            code.translate(str.maketrans("-_", "+/")).rstrip("=") + "=" * (-len(code.rstrip("=")) % 4)
        )
    except (ValueError, binascii.Error):
        return b""


def _text_of(raw: bytes) -> str | None:
    """The bytes as text; None if they are not readable text."""
    if len(raw) < 8:
        return None
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        return None
    readable = sum(letter.isalnum() or letter.isspace() or letter in ".,;:!?'\"()-_/" for letter in text)
    return text if readable >= 0.85 * len(text) else None
