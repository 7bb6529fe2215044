"""Decodes bytes: by their byte order mark, as UTF-8, by the declared encoding, or by the most likely encoding."""

from __future__ import annotations

import codecs
import re
import unicodedata
from typing import NamedTuple

from rag.alphabets import control_share, guess, guess_wide

_MARKS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
_WIDE_MARKS = (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)
_LOOKED_AT = 4096
_MANY, _FEW = 0.4, 0.1
_MOST_CONTROLS = 0.05
_BEYOND_ASCII = bytes(range(128, 256))
_HALF = re.compile("[\ud800-\udfff]")
# Soft hyphens within lines, word joiners and marks of the order of bytes.
_UNSEEN = re.compile("\u00ad(?!\\s*\n)|[\u2060\ufeff]")
_PRESENTED = re.compile("[\ufb00-\ufb06\ufb13-\ufb17\ufb1d-\ufbb1\ufbd3-\ufd3d\ufd50-\ufdfc\ufe70-\ufefc]")
_DECLARED = re.compile(
    rb"<meta\s[^>]*?charset\s*=\s*[\"']?\s*([\w:.-]{1,40})|<\?xml\s[^>]*?encoding\s*=\s*[\"']([\w:.-]{1,40})",
    re.IGNORECASE,
)
_CHARSET = re.compile(r"charset\s*=\s*[\"']?([\w:.-]{1,40})", re.IGNORECASE)
_WIDE = ("utf-1", "utf-3")
_ISO_2022_JP = (b"\x1b$B", b"\x1b$@")
# In the WHATWG encoding standard these names mean the Windows variants; other names are Python's.
_MEANT = {
    "iso-8859-1": "cp1252", "latin1": "cp1252", "us-ascii": "cp1252", "ascii": "cp1252", "iso-8859-9": "cp1254",
    "iso-8859-11": "cp874", "tis-620": "cp874", "shift_jis": "cp932", "shift-jis": "cp932", "x-sjis": "cp932",
    "windows-31j": "cp932", "gb2312": "gb18030", "gbk": "gb18030", "x-gbk": "gb18030", "euc-kr": "cp949",
    "ks_c_5601-1987": "cp949", "big5": "cp950", "macintosh": "mac_roman", "x-mac-roman": "mac_roman",
    "x-mac-cyrillic": "mac_cyrillic", "iso-8859-8-i": "iso8859_8",
}  # fmt: skip
_KNOWN = re.compile(
    r"utf-?8|(?:windows-|cp)(?:125[0-8]|874|866|85[02]|437|932|949|950)|iso-?8859-\d{1,2}|koi8-[ru]|euc-jp|gb18030|"
    r"big5-?hkscs|iso-2022-jp",
    re.IGNORECASE,
)
_CALLED = {
    "cp932": "Shift-JIS", "cp949": "EUC-KR", "cp950": "Big5", "gb18030": "GB18030", "euc_jp": "EUC-JP",
    "mac_roman": "Mac Roman", "koi8_r": "KOI8-R", "koi8_u": "KOI8-U",
}  # fmt: skip


class Decoded(NamedTuple):
    """A text, and a note if its encoding was guessed or characters were lost; else the note is empty."""

    text: str
    note: str = ""
    # False for UTF-16 and UTF-32, where zero bytes do not mean that the file is binary.
    is_bytes: bool = True


def encoding_of_start(start: bytes) -> str:
    """Returns the encoding that the first bytes show; empty if unclear."""
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
    """Returns the text; an invalid byte becomes U+FFFD."""
    return decode(data).text


def decode(data: bytes, media_type: str = "") -> Decoded:
    """Decodes a text. A declared `charset` (media type, HTML or XML) applies if the bytes are valid in it."""
    start = data[:_LOOKED_AT]
    if encoding := encoding_of_start(start):
        return _whole(data, encoding)
    if start.isascii() and any(mark in data for mark in _ISO_2022_JP):
        return _whole(data, "iso2022_jp")
    in_pairs = len(data) % 2 == 0 and control_share(start) > _MOST_CONTROLS
    if in_pairs and (encoding := guess_wide(data)):
        return Decoded(data.decode(encoding, "replace"), f"its encoding is guessed: {encoding.upper()}", False)
    try:
        return Decoded(data.decode())
    except UnicodeDecodeError:
        pass
    if declared := _declared(start, media_type):
        found = _whole(data, declared)
        if not found.note:
            return found
    return _guessed(data)


def _whole(data: bytes, encoding: str) -> Decoded:
    text = data.decode(encoding, "replace")
    broken = text.count("\ufffd")
    return Decoded(
        text,
        f"{broken} characters are not valid {_called(encoding)} and are lost" if broken else "",
        encoding[:5] not in _WIDE,
    )


def _declared(start: bytes, media_type: str) -> str:
    """Returns the declared encoding by Python's name; empty for none, for UTF-8 and for unknown names."""
    inside = _DECLARED.search(start)
    names = [found[1] for found in [_CHARSET.search(media_type)] if found is not None]
    names += [(inside[1] or inside[2]).decode("ascii", "replace")] if inside is not None else []
    for name in names:
        wanted = _MEANT.get(name.lower(), name.lower())
        if wanted in _MEANT.values() or (_KNOWN.fullmatch(wanted) and not wanted.startswith("utf")):
            try:
                return codecs.lookup(wanted).name
            except LookupError:
                continue
    return ""


def _guessed(data: bytes) -> Decoded:
    """Decodes a text that is not valid UTF-8: damaged UTF-8, some lines in another encoding, or all in another."""
    text = data.decode("utf-8", "replace")
    broken = text.count("\ufffd")
    # A damaged UTF-8 file has more valid characters than broken ones.
    whole = len(text) - broken - len(data.translate(None, _BEYOND_ASCII))
    if whole <= broken:
        encoding = guess(data)
        return Decoded(data.decode(encoding, "replace"), f"its encoding is guessed: {_called(encoding)}")
    others = [line for line in data.split(b"\n") if _is_other(line)]
    if not others:
        return Decoded(text, f"{broken} characters are not valid UTF-8 and are lost")
    encoding = guess(b"\n".join(others))
    lines = (line.decode(encoding if _is_other(line) else "utf-8", "replace") for line in data.split(b"\n"))
    return Decoded(
        "\n".join(lines), f"{len(others)} lines are not UTF-8; their encoding is guessed: {_called(encoding)}"
    )


def _is_other(line: bytes) -> bool:
    """Whether a line has bytes beyond ASCII, none of which is valid UTF-8."""
    if line.isascii():
        return False
    text = line.decode("utf-8", "replace")
    return "\ufffd" in text and all(letter == "\ufffd" for letter in text if letter > "\x7f")


def _called(encoding: str) -> str:
    """Returns the common name of an encoding."""
    if encoding in _CALLED:
        return _CALLED[encoding]
    return encoding.replace("iso8859_", "ISO-8859-").replace("cp125", "Windows-125").replace("_", "-")


def clean(text: str) -> str:
    """Normalises a text: removes NUL and invisible characters, and applies NFC, as for questions.

    Joins surrogate pairs and replaces lone surrogates. Replaces ligatures and Arabic presentation forms, which PDFs
    contain, by plain letters (NFKC).
    """
    text = text.replace("\x00", "")
    if text.isascii():
        return text
    text = _UNSEEN.sub("", text)
    if _HALF.search(text) is not None:
        text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    text = _PRESENTED.sub(lambda found: unicodedata.normalize("NFKC", found[0]), text)
    return unicodedata.normalize("NFC", text)
