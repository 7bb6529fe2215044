"""Bytes as text: by their mark, as UTF-8, as they say of themselves, or as the letters make likeliest."""

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
# By the WHATWG's encoding standard names mean what Windows has made of them; others are what Python calls them.
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
    """A text, and what is to be said of how it was made: empty where nothing was guessed or broken."""

    text: str
    note: str = ""
    # Of an encoding whose letters are single bytes or pairs: not of UTF-16 and UTF-32, where noughts say nothing.
    is_bytes: bool = True


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
    return decode(data).text


def decode(data: bytes, media_type: str = "") -> Decoded:
    """The text. The `charset` of a media type, of a page or of XML is believed where the bytes allow it."""
    start = data[:_LOOKED_AT]
    if encoding := encoding_of_start(start):
        return _whole(data, encoding)
    if start.isascii() and any(mark in data for mark in _ISO_2022_JP):
        return _whole(data, "iso2022_jp")
    if control_share(start) > _MOST_CONTROLS and (encoding := guess_wide(data)):
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
        f"{broken} letters of it are no {_called(encoding)} and are lost" if broken else "",
        encoding[:5] not in _WIDE,
    )


def _declared(start: bytes, media_type: str) -> str:
    """The encoding that is named, as Python calls it; empty for none, for UTF-8 and for names that nobody knows."""
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
    """A text that is not UTF-8: with some bytes broken, with lines of another encoding, or all of another."""
    text = data.decode("utf-8", "replace")
    broken = text.count("\ufffd")
    # A UTF-8 file with some bytes broken has more letters that are whole than that.
    whole = len(text) - broken - len(data.translate(None, _BEYOND_ASCII))
    if whole <= broken:
        encoding = guess(data)
        return Decoded(data.decode(encoding, "replace"), f"its encoding is guessed: {_called(encoding)}")
    others = [line for line in data.split(b"\n") if _is_other(line)]
    if not others:
        return Decoded(text, f"{broken} letters of it are no UTF-8 and are lost")
    encoding = guess(b"\n".join(others))
    lines = (line.decode(encoding if _is_other(line) else "utf-8", "replace") for line in data.split(b"\n"))
    return Decoded("\n".join(lines), f"{len(others)} of its lines are no UTF-8: {_called(encoding)} is guessed")


def _is_other(line: bytes) -> bool:
    """Whether a line has letters beyond ASCII and none of UTF-8."""
    if line.isascii():
        return False
    text = line.decode("utf-8", "replace")
    return "\ufffd" in text and all(letter == "\ufffd" for letter in text if letter > "\x7f")


def _called(encoding: str) -> str:
    """An encoding as people call it."""
    if encoding in _CALLED:
        return _CALLED[encoding]
    return encoding.replace("iso8859_", "ISO-8859-").replace("cp125", "Windows-125").replace("_", "-")


def clean(text: str) -> str:
    """Without noughts, which no store of texts takes, without marks that nobody sees, and in one form.

    Halves of letters are joined, or replaced. Letters with accents are one sign where there is one (NFC), as a question
    has them; ligatures and the forms of Arabic letters that PDFs hold are the letters that they are made of.
    """
    text = text.replace("\x00", "")
    if text.isascii():
        return text
    text = _UNSEEN.sub("", text)
    if _HALF.search(text) is not None:
        text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    text = _PRESENTED.sub(lambda found: unicodedata.normalize("NFKC", found[0]), text)
    return unicodedata.normalize("NFC", text)
