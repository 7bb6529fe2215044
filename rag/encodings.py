"""Bytes as text: by their mark, by the noughts of UTF-16, as UTF-8, or else as what Windows writes."""

from __future__ import annotations

import codecs
import re

_MARKS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
_WIDE_MARKS = (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)
_LOOKED_AT = 4096
_MANY, _FEW = 0.4, 0.1
_BEYOND_ASCII = bytes(range(128, 256))
_HALF = re.compile("[\ud800-\udfff]")


def encoding_of_start(start: bytes) -> str:
    """What the first bytes say; empty where they say nothing."""
    if start.startswith(_WIDE_MARKS):
        return "utf-32"
    for mark, encoding in _MARKS:
        if start.startswith(mark):
            return encoding
    pairs = len(start) // 2
    if not pairs:
        return ""
    even, odd = start[0 : 2 * pairs : 2].count(0) / pairs, start[1 : 2 * pairs : 2].count(0) / pairs
    if odd > _MANY and even < _FEW:
        return "utf-16-le"
    return "utf-16-be" if even > _MANY and odd < _FEW else ""


def decoded(data: bytes) -> str:
    """The text; a byte that is none of it becomes a sign that says so."""
    if encoding := encoding_of_start(data[:_LOOKED_AT]):
        return data.decode(encoding, "replace")
    try:
        return data.decode()
    except UnicodeDecodeError:
        text = data.decode("utf-8", "replace")
        broken = text.count("\ufffd")
        # A UTF-8 file with some bytes broken has more letters that are whole than that.
        whole = len(text) - broken - len(data.translate(None, _BEYOND_ASCII))
        return text if whole > broken else data.decode("cp1252", "replace")


def clean(text: str) -> str:
    """Without noughts, which no store of texts takes, and without halves of letters: joined, or replaced."""
    text = text.replace("\x00", "")
    if text.isascii() or _HALF.search(text) is None:
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
