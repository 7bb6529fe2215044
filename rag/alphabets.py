"""Scores how likely bytes are text in a legacy (non-Unicode) encoding, by the letter frequencies of languages.

Each language lists its non-ASCII letters, the most frequent first. The text is decoded in every candidate encoding;
the encoding wins in which some language gives the letters the highest likelihood. A letter that the language does not
use costs most, so a wrong encoding (`Ôèãó` for `фигу`) loses after a few letters.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from functools import lru_cache

_LETTERS = {
    "de": "üäößé", "fr": "éèàêçùâôîûëïœ", "es": "óíáéñúü¿¡ºª", "pt": "ãçáéõíêóâúàôº", "it": "èàòùìé", "nl": "ëéïèö",
    "sv": "äåöé", "da": "øåæé", "fi": "äöå", "is": "ðáíöéúóæþý", "en": "é£©®°½",
    "pl": "łąęóżśćńź", "cs": "íáéěřčýžšůúňťďó", "sk": "áíéýčšžúľťóäôňďŕĺ", "hu": "áéöóőíüúű", "ro": "ăîâţş",
    "hr": "čšžćđ", "tr": "ışüğöçâ", "lt": "ėšųžūčįąę", "lv": "āīēšūņļžģķč", "et": "äõöüšž",
    "ru": "оеаинтсрвлкмдпуяыьгзбчйхжшюцщэфъё", "uk": "оаниітвркелсудямзпбьгчйхїжюцшщєфґ",
    "bg": "аоеитнрсвлкдпмзгяъубчйжщшцхюфь", "sr": "аоиенрсјтукдвмпзлгбшчцхжњљћђфџ",
    "el": "αοιετσνηρυπκλμςάίόέώγδθύήωφχβξζψϊ", "he": "יוהלאתרבשמנדעקפחגטזסצכםןךץף",
    "ar": "اليمونترهبدعفسقكحجةشصطخىذضزءئغثأإظآؤ", "th": "านร่กอเ้งมยลวัดีทสตะิปบคุหแจพชข์ใไโผซธณภศษฐถืูำ๊็ๆ",
}  # fmt: skip
_WEST = ("de", "fr", "es", "pt", "it", "nl", "sv", "da", "fi", "is", "en")
_EAST = ("pl", "cs", "sk", "hu", "ro", "hr")
_CYRILLIC = ("ru", "uk", "bg", "sr")
_BALTIC = ("lt", "lv", "et")
# On a tie the first encoding wins.
_SINGLE = {
    "cp1252": _WEST, "cp1250": _EAST, "cp1251": _CYRILLIC, "cp1253": ("el",), "cp1254": ("tr",), "cp1255": ("he",),
    "cp1256": ("ar",), "cp1257": _BALTIC, "cp874": ("th",), "koi8_r": ("ru", "bg"), "koi8_u": ("uk",),
    "iso8859_2": _EAST, "iso8859_5": _CYRILLIC, "iso8859_6": ("ar",), "iso8859_7": ("el",), "iso8859_13": _BALTIC,
    "iso8859_15": _WEST, "mac_roman": _WEST, "mac_latin2": _EAST, "mac_cyrillic": _CYRILLIC, "cp850": _WEST,
    "cp852": _EAST, "cp866": _CYRILLIC,
}  # fmt: skip
_MULTIPLE = ("cp932", "euc_jp", "gb18030", "cp950", "cp949")
_WIDE = ("utf-16-le", "utf-16-be")
_SIGNS = "’“”‘„–—…«»€°§•·™\u00a0"  # noqa: RUF001
# Prior log-likelihood of common encodings.
_PRIORS = {"cp1252": 6.0, "mac_roman": 2.0, "cp850": 2.0, "cp1250": 1.0, "cp1251": 1.0}
_LEAST_OF_A_LETTER = -8.5
_CJK_SIGNS = frozenset("、。，．：；！？「」『』（）《》〈〉“”‘’・ー…—　～")  # noqa: RUF001
_NEVER, _HARDLY, _BARELY = math.log(1e-9), math.log(1e-6), math.log(2e-5)
_ASCII = math.log(1 / 30)
_CONTROL = bytes({*range(32), 127} - {9, 10, 12, 13, 27})
_SAMPLE_BYTES = 65_536
_NON_ASCII = re.compile(rb"[\x80-\xff]")
# Alphabetic scripts, to detect UTF-16 without a byte order mark.
_SCRIPTS = ((0xA0, 0x250), (0x370, 0x530), (0x590, 0x6FF), (0x900, 0xE7F), (0x10A0, 0x10FF), (0x1E00, 0x1FFF))


def guess(data: bytes) -> str:
    """Returns the likeliest encoding of text that is not UTF-8, from a sample around the first non-ASCII byte."""
    first = _NON_ASCII.search(data)
    start = max(0, data.rfind(b"\n", 0, first.start()) + 1, first.start() - 1000) if first is not None else 0
    sample = data[start : start + _SAMPLE_BYTES]
    counts = Counter(sample)
    scores = {encoding: _single(encoding, counts) + _PRIORS.get(encoding, 0.0) for encoding in _SINGLE}
    is_cut = start + _SAMPLE_BYTES < len(data)
    scores |= {encoding: _multiple(encoding, sample, is_cut=is_cut) for encoding in _MULTIPLE}
    return max(scores, key=scores.__getitem__)


def guess_wide(data: bytes) -> str:
    """Returns the UTF-16 byte order that the letters suggest; empty if the data is not UTF-16.

    For data that has many control characters in every other encoding.
    """
    # An even length, so that no code unit is split.
    sample = data[: _SAMPLE_BYTES & ~1]
    plain = sum(_ASCII if byte not in _CONTROL else _NEVER for byte in sample)
    scores = {encoding: _wide(encoding, sample) for encoding in _WIDE}
    best = max(scores, key=scores.__getitem__)
    return best if scores[best] > max(plain, _LEAST_OF_A_LETTER * len(sample) / 2) else ""


def control_share(data: bytes) -> float:
    """The share of control bytes that do not occur in text, from 0 to 1."""
    return 1 - len(data.translate(None, _CONTROL)) / len(data) if data else 0.0


@lru_cache(maxsize=64)
def _weights(language: str) -> dict[str, float]:
    """The logarithm of each letter's share. Capitals count as a twelfth as frequent, punctuation as rare."""
    letters = _LETTERS[language]
    shares = {letter: 1 / (rank + 3) for rank, letter in enumerate(letters)}
    total = sum(shares.values())
    logarithms = {letter: math.log(0.85 * share / total) for letter, share in shares.items()}
    for letter in letters:
        if len(letter.upper()) == 1 and letter.upper() not in logarithms:
            logarithms[letter.upper()] = logarithms[letter] - 2.5
    for sign in _SIGNS:
        logarithms.setdefault(sign, math.log(0.1 / len(_SIGNS)))
    return logarithms


def _single(encoding: str, counts: Counter[int]) -> float:
    decoded = {byte: bytes([byte]).decode(encoding, "replace") for byte in counts if byte >= 0x80}

    def of(language: str) -> float:
        weights = _weights(language)
        return sum(counts[byte] * (weights.get(letter) or _unlikely(letter)) for byte, letter in decoded.items())

    return max(map(of, _SINGLE[encoding])) + sum(counts[byte] * _NEVER for byte in _CONTROL)


def _unlikely(letter: str) -> float:
    return _NEVER if letter == "\ufffd" or "\x80" <= letter < "\xa0" else _HARDLY if not letter.isalpha() else _BARELY


def _multiple(encoding: str, sample: bytes, *, is_cut: bool) -> float:
    text = sample.decode(encoding, "replace")
    # The sample may end in the middle of a character.
    text = text[:-1] if is_cut and text.endswith("\ufffd") else text
    counts = Counter(letter for letter in text if letter > "\x7f")
    japanese, korean = encoding in {"cp932", "euc_jp"}, encoding == "cp949"
    weigh = _japanese if japanese else _korean if korean else _chinese
    ascii_in_pairs = len(sample) - len(_NON_ASCII.findall(sample)) - sum(1 for letter in text if letter <= "\x7f")
    # ASCII bytes that are consumed as the second byte of a pair would have a cost as letters.
    return sum(count * weigh(letter, encoding) for letter, count in counts.items()) - ascii_in_pairs * _ASCII


def _japanese(letter: str, encoding: str) -> float:
    if "\u3041" <= letter <= "\u3093":
        return math.log(0.5 / 60)
    if "\u30a1" <= letter <= "\u30f6":
        return math.log(0.15 / 70)
    if letter in _CJK_SIGNS:
        return math.log(0.1 / 15)
    return _by_lead(letter, "euc_jp", 0xB0, 0xCF, 0.25 / 1000)


def _chinese(letter: str, encoding: str) -> float:
    if letter in _CJK_SIGNS:
        return math.log(0.1 / 15)
    if encoding == "gb18030":
        return _by_lead(letter, "gb2312", 0xB0, 0xD7, 0.85 / 1200)
    return _by_lead(letter, "cp950", 0xA4, 0xC6, 0.85 / 1200)


def _korean(letter: str, encoding: str) -> float:
    return math.log(0.01) if letter in _CJK_SIGNS else _by_lead(letter, "euc_kr", 0xB0, 0xC8, 0.85 / 600)


def _by_lead(letter: str, encoding: str, first: int, last: int, share: float) -> float:
    """Scores by the lead byte: the old character sets list frequent characters first."""
    code = letter.encode(encoding, "ignore")
    if letter == "\ufffd" or "\ue000" <= letter <= "\uf8ff":
        return _NEVER
    if len(code) == 2 and first <= code[0] <= last:
        return math.log(share)
    return _HARDLY - 6 if len(code) != 2 else _HARDLY


def _wide(encoding: str, sample: bytes) -> float:
    return sum(count * _any_script(letter) for letter, count in Counter(sample.decode(encoding, "replace")).items())


def _any_script(letter: str) -> float:
    code = ord(letter)
    if code < 0x80:
        return _ASCII if code >= 32 or letter in "\t\n\r" else _NEVER
    if any(first <= code < last for first, last in _SCRIPTS):
        return math.log(1 / 60)
    if letter in _CJK_SIGNS or 0x3041 <= code <= 0x30FF:
        return math.log(1 / 160)
    if 0x4E00 <= code <= 0x9FFF or 0xAC00 <= code <= 0xD7A3:
        frequent = max(_by_lead(letter, "gb2312", 0xB0, 0xD7, 1e-3), _by_lead(letter, "euc_kr", 0xB0, 0xC8, 1e-3))
        return max(frequent, _by_lead(letter, "euc_jp", 0xB0, 0xCF, 1e-3), _by_lead(letter, "cp950", 0xA4, 0xC6, 1e-3))
    return _NEVER
