"""National identification numbers: check digits of several countries, and the names that precede such numbers."""

from __future__ import annotations

import datetime

NAMES = (
    r"\b(?:pesel|cpf|curp|cnp|tckn|(?:t\.?c\.? )?kimlik|personnummer|samordningsnummer|"
    r"f[øo]dselsnummer|henkil[öo]tunnus|"
    r"hetu|isikukood|asmens koda[są]|personas kod[su]|rodn[ée] č[íi]slo|jmbg|oib|egn|amka|nric|snils|nif|"
    r"national id\w{0,9}|id[ -]card|(?:tax file|social insurance|identity|citizen(?:ship)?|medicare|health insurance)"
    r"[ -](?:no\b|num\w{0,3}|card)|versicherten\w{0,8}|carte (?:nationale )?d['\u2019]identit[ée]|"
    r"carta d['\u2019]identit[àa]|"
    r"c[ée]dula|documento (?:nacional )?de identidad|(?:personal)?ausweis\w{0,7}|sozialversicherungs?n\w{0,5}|"
    r"rentenversicherungs?n\w{0,5}|identiteitskaart\w{0,6}|rijksregister\w{0,6}|dow[oó]d osobisty|"
    r"снилс|инн|рнокпп|іпн|(?-i:RUT|RUN|SIN|CPR|TFN|AHV|AVS|FIN))\b"
    r"|身份证|身份證|身分證|マイナンバー|個人番号|주민등록|주민번호|บัตรประชาชน"
)
"""The names of such numbers. Short names match only in capitals."""

_HETU = "0123456789ABCDEFHJKLMNPRSTUVWXY"
_CHINA = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
_SINGAPORE = {"S": (0, "JZIHGFEDCBA"), "T": (4, "JZIHGFEDCBA"), "F": (0, "XWUTRQPNMLK"), "G": (4, "XWUTRQPNMLK"),
              "M": (3, "KLJNPQRTUWX")}  # fmt: skip


def holds(text: str) -> bool:
    """Whether a number without separators has the check digits or the birth date of a known format."""
    if text.isdecimal():
        return {11: _eleven, 13: _thirteen, 18: _china}.get(len(text), _chile)(text)
    if len(text) == 18:
        return _china(text) if text[:17].isdecimal() else _is_day(text[8:10], text[6:8])
    if text[0].isalpha():
        return _singapore(text)
    if len(text) in (8, 9) and text[-1] in "kK":
        return _chile(text)
    return len(text) in (10, 11) and _finland(text)


def _finland(text: str) -> bool:
    """Finland's henkilötunnus: modulo 31, and a birth date."""
    digits = text[:6] + text[-4:-1]
    return digits.isdecimal() and _HETU[int(digits) % 31] == text[-1] and _is_day(text[:2], text[2:4])


def _is_day(day: str, month: str) -> bool:
    try:
        datetime.date(2000, int(month), int(day))
    except ValueError:
        return False
    return True


def _eleven(digits: str) -> bool:
    """Brazil's CPF, Russia's SNILS, Belgium's national register number."""
    numbers = [int(each) for each in digits]
    if len(set(digits)) == 1:
        return False
    first = sum(each * (10 - at) for at, each in enumerate(numbers[:9])) * 10 % 11 % 10
    second = sum(each * (11 - at) for at, each in enumerate(numbers[:10])) * 10 % 11 % 10
    snils = sum(each * (9 - at) for at, each in enumerate(numbers[:9])) % 101 % 100
    belgium = {97 - int(century + digits[:9]) % 97 for century in ("", "2")}
    check = int(digits[9:])
    return [first, second] == numbers[9:] or check == snils or check in belgium


def _thirteen(digits: str) -> bool:
    """Switzerland's AHV number (EAN-13); South Korea's resident registration number, which has a birth date."""
    if digits.startswith("756"):
        return sum(int(each) * (1 + 2 * (at % 2)) for at, each in enumerate(digits)) % 10 == 0
    return _is_day(digits[4:6], digits[2:4])


def _china(text: str) -> bool:
    """China's resident identity number: ISO 7064 MOD 11-2, and a birth date."""
    check = "10X98765432"[sum(int(each) * weight for each, weight in zip(text, _CHINA, strict=False)) % 11]
    return text[-1].upper() == check and text[6:8] in ("19", "20") and _is_day(text[12:14], text[10:12])


def _chile(text: str) -> bool:
    """Chile's RUT: modulo 11."""
    if len(text) not in (8, 9):
        return False
    total = sum(int(each) * (2 + at % 6) for at, each in enumerate(reversed(text[:-1])))
    return "0123456789K"[(11 - total % 11) % 11] == text[-1].upper()


def _singapore(text: str) -> bool:
    """Singapore's NRIC and FIN."""
    if len(text) != 9 or text[0] not in _SINGAPORE or not text[1:8].isdecimal():
        return False
    start, letters = _SINGAPORE[text[0]]
    total = start + sum(int(each) * weight for each, weight in zip(text[1:8], (2, 7, 6, 5, 4, 3, 2), strict=True))
    return letters[total % 11] == text[8]
