"""Patterns of personal data: e-mail addresses, phone numbers, cards, bank accounts, government ids, IP and MAC addresses.

A pattern is searched only if its `gate` matches, so a text without an `@` is never searched for e-mail addresses. A
match must also pass `holds`, such as a checksum, and `context`, such as a word before it.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TypeAlias

import msgspec

from guardrails.personal import checksums, national_ids
from guardrails.span import Span
from guardrails.span import resolve as resolve_by

Match: TypeAlias = "re.Match[str]"


class PersonalPattern(msgspec.Struct, frozen=True):
    """One pattern of one kind. `context` must match the text before it; `unless` must not."""

    kind: str
    form: re.Pattern[str]
    gate: re.Pattern[str] | None = None
    holds: Callable[[str], bool] | None = None
    context: re.Pattern[str] | None = None
    score: float = 1.0
    unless: re.Pattern[str] | None = None

    def find(self, text: str) -> Iterator[Span]:
        """Yields every valid match; of a pattern with a group `value`, only that group."""
        if self.gate is not None and self.gate.search(text) is None:
            return
        place = 0
        while (match := self.form.search(text, place)) is not None:
            held = self._held(text, match)
            if held is None:
                # A valid number may begin within a longer invalid one.
                place = match.start() + 1 if self.holds is not None else max(match.end(), place + 1)
                continue
            place = max(held.end(), place + 1)
            start, end = held.span("value") if "value" in self.form.groupindex else held.span()
            before = text[max(0, start - _BEFORE) : start]
            if self.context is not None and self.context.search(before) is None:
                continue
            if self.unless is None or self.unless.search(before) is None:
                yield Span(start, end, self.kind, self.score)

    def _held(self, text: str, match: Match) -> Match | None:
        """Returns the match, or its longest valid prefix that ends with a group of digits."""
        if self.holds is None:
            return match
        shorter: Match | None = match
        for _ in range(_MOST_CUTS):
            assert shorter is not None
            start, end = shorter.span("value") if "value" in self.form.groupindex else shorter.span()
            if self.holds(_SEPARATORS.sub("", text[start:end])):
                return shorter
            cut = max(text.rfind(" ", start, end), text.rfind("-", start, end))
            shorter = self.form.match(text, match.start(), cut) if cut > start else None
            if shorter is None or shorter.end() != cut:
                return None
        return None


_MOST_CUTS = 6
# The number of characters before a match to inspect.
_BEFORE = 60
_EXTENSION = re.compile(r"(?:x|ext).*")
_LEAST_BEHIND_00 = 10
_SEPARATORS = re.compile(r"[\s.\-/()]")
_DIGITS8 = re.compile(r"\d(?:[\s.\-/()]{0,3}\d){7}")
_DIGITS6 = re.compile(r"\d(?:[\s.\-/]?[A-Za-z]?\d){5}")
# Latin letters only: in Chinese, Japanese, Korean and Thai no space separates a word from a number.
_B = r"(?<![A-Za-z0-9])"
_E = r"(?![A-Za-z0-9])"


_ABBREVIATED = r"(?:(?<=\bno)|(?<=nr)|(?<=n°)|(?<=\bnum)|(?<=\bgeb)|(?<=d\.o\.b))"


_PHONE_ABBREVIATED = r"(?:(?<=\btel)|(?<=\btél)|(?<=\btlf)|(?<=\btelf)|(?<=\btfno)|(?<=\bmob)|(?<=\bph)|(?<=\b\u0442\u0435\u043b))"  # the last: тел


def _words(words: str, abbreviated: str = _ABBREVIATED) -> re.Pattern[str]:
    # A full stop ends the sentence with the words, unless it belongs to "no.", "nr." and the like.
    return re.compile(rf"(?i)(?:{words})(?:[^.;]|{abbreviated}\.){{0,40}}$")


def _is_card(digits: str) -> bool:
    return 12 <= len(digits) <= 19 and digits[0] in "123456" and len(set(digits)) > 1 and checksums.luhn(digits)


def _is_phone(digits: str) -> bool:
    count = len(digits.lstrip("+"))
    return 7 <= count <= 15 and len(set(digits)) > 2


def _is_international(text: str) -> bool:
    # `001/2024` is an invoice number: 00 must be followed by a country code and a number.
    digits = _EXTENSION.sub("", text)
    return _is_phone(digits) and (digits.startswith("+") or len(digits) >= _LEAST_BEHIND_00)


def _is_v6(text: str) -> bool:
    try:
        # Without a digit it is an identifier in source code, like `Face::Bed`.
        return (
            ipaddress.ip_address(text).version == 6
            and text.count(":") >= 2
            and len(text) > 4
            and any(map(str.isdigit, text))
        )
    except ValueError:
        return False


_PHONE_WORDS = _words(
    r"\b(?:phone|ph|call|answering|registered|desk|office|home|work|tel|telephone|mobile|cell|fax|whatsapp|sms|text|dial|ring|reach|contact|number is|telefon|telf|tfno|tél|handy|"
    r"mobil|anruf|rufen|téléphone|portable|appele[zr]|teléfono|móvil|llam[ea]|telefono|cellulare|chiam\w+|telefoon|"
    r"bel|messages? (?:to|from)|тел(?:ефон\w{0,2})?|моб(?:ильный)?|звоните|tlf|puh|numer telefonu)\b"
    r"|电话|電話|手机|手機|携帯|ケータイ|전화|휴대폰|핸드폰|연락처|โทร|هاتف|جوال|טלפון",
    rf"(?:{_ABBREVIATED}|{_PHONE_ABBREVIATED})",
)
_BIRTH = _words(
    r"\b(?:born|birth(?:day|date)?|d\.?o\.?b|date of birth|geboren|geburt\w*|geb|né|née|naissance|nacid[oa]|nacimiento|"
    r"nat[oa]|nascita|nascid[oa]|nascimento|geboortedatum|urodz\w+|doğum|född|родил\w*|рождени\w+)\b|出生|生日|生年月日|誕生日|생년월일|생일|출생"
)
_DATE = (
    r"(?:\d{1,2}[./\-]\d{1,2}[./\-](?:\d{4}|\d{2})|\d{4}[./\-]\d{1,2}[./\-]\d{1,2}"
    r"|\d{1,2}\.\s\d{1,2}\.\s\d{4}|(?<!\d)(?:19|20)\d\d(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])(?!\d)"
    r"|\d{4}\s?[年년]\s?\d{1,2}\s?[月월]\s?\d{1,2}\s?[日号號일]"
    r"|\d{1,2}-[^\W\d_]{3,10}-\d{4}"
    r"|\d{1,2}(?:st|nd|rd|th)?\.?\s(?:of\s|de\s)?[^\W\d_]{3,10}\.?,?\s(?:de\s)?\d{4}|[^\W\d_]{3,10}\.?\s\d{1,2}(?:st|nd|rd|th)?,?\s\d{4})"
)

# "version 1.2.3.4", "releases 1.2.3.4 and 1.2.3.5", "section 1.2.3.4".
_VERSION = re.compile(
    r"(?i)(?:(?<![\w.])(?:v|ver\.?|vers\.?|versions?|versionen|versie|versión|versiones|versione|versão|wersj[aię]|версия|версии|"
    r"release|releases|build|rev\.?|revision|firmware|driver|patch|sections?|chapters?|clauses?|articles?|figures?|fig\.?|tables?|appendix|annex|kapitel|abschnitt|"
    r"abbildung|tabelle|anhang|tableau|tabla|figura)"
    r"|§|版本|バージョン|버전)"
    r"(?:\s(?:no|nr|number|is|was)\b\.?)?[\s:=#(\"'`*]{0,4}"
    r"(?:\d+(?:\.\d+){1,3}(?:\s{0,2}(?:and|to|or|und|bis|oder|et|à|y|e|,|-|\u2013|→|/|&)\s{0,2}){1,2}){0,3}$"
)

PATTERNS: tuple[PersonalPattern, ...] = (
    PersonalPattern(
        "EMAIL",
        re.compile(
            r"(?<![\w.+%-])(?!git@[\w.-]{1,80}[:/])[\w.!#$%&'*+=?^`{|}~-]{1,64}@(?:[^\W_](?:[\w-]{0,61}[^\W_])?\.){1,8}[^\W\d_]{2,24}(?![\w-])"
        ),
        re.compile("@"),
    ),
    PersonalPattern(
        "URL_CREDENTIALS",
        re.compile(r"\b[A-Za-z][A-Za-z0-9+.\-]{1,20}://[^\s/@:\"'<>]{1,100}:[^\s/@\"'<>]{1,200}@[^\s\"'<>]{1,500}"),
        re.compile(r"://[^\s/]*@"),
    ),
    PersonalPattern(
        "IBAN",
        re.compile(_B + r"[A-Za-z]{2}\d{2}(?:[ -]?[A-Za-z0-9]{2,4}){3,8}(?:[ -]?[A-Za-z0-9]{1,3})?" + _E),
        re.compile(r"[A-Za-z]{2}\d{2}[ -]?[A-Za-z0-9]{4}"),
        checksums.iban,
    ),
    PersonalPattern(
        "CARD",
        re.compile(r"(?<![A-Za-z0-9_.,-])(?:\d{4}([ .-])\d{4}\1\d{4}\1\d{4}|\d{4}([ .-])\d{6}\2\d{5})(?![\d]|[.,]\d)"),
        _DIGITS8,
        _is_card,
    ),
    PersonalPattern(
        "CARD", re.compile(r"(?<![A-Za-z0-9_.,-])\d{4}(?:[ -]?\d){8,15}(?![\d]|[.,]\d)"), _DIGITS8, _is_card
    ),
    PersonalPattern(
        "US_SSN",
        re.compile(r"(?<![A-Za-z0-9_-])\d{3}([- ])\d{2}\1\d{4}(?![A-Za-z0-9_-])"),
        re.compile(r"\d{3}[- ]\d{2}[- ]\d{4}"),
        checksums.us_ssn,
    ),
    PersonalPattern(
        "US_SSN",
        re.compile(_B + r"\d{3}[. ]?\d{2}[. ]?\d{4}" + _E),
        _DIGITS8,
        checksums.us_ssn,
        _words(r"\b(?:ssn|social security)\b"),
    ),
    PersonalPattern(
        "UK_NINO",
        re.compile(
            _B + r"(?!BG|GB|NK|KN|TN|NT|ZZ)[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z] ?\d{2} ?\d{2} ?\d{2} ?[A-D]" + _E
        ),
        re.compile(r"[A-Z]{2} ?\d{2}"),
    ),
    PersonalPattern(
        "UK_NINO",
        re.compile(_B + r"(?i:[A-Z]{2} ?\d{2} ?\d{2} ?\d{2} ?[A-D])" + _E),
        re.compile(r"(?i)[a-z]{2} ?\d{2}"),
        None,
        _words(r"\b(?:national insurance|nino\b|ni (?:no\b|number))"),
    ),
    PersonalPattern(
        "UK_NHS", re.compile(_B + r"\d{3}([ -])\d{3}\1\d{4}" + _E), _DIGITS8, checksums.uk_nhs, _words(r"\bnhs\b")
    ),
    PersonalPattern("UK_NHS", re.compile(_B + r"\d{10}" + _E), _DIGITS8, checksums.uk_nhs, _words(r"\bnhs\b")),
    PersonalPattern(
        "DE_TAX_ID",
        re.compile(_B + r"\d{2} ?\d{3} ?\d{3} ?\d{3}" + _E),
        _DIGITS8,
        checksums.de_tax_id,
    ),
    PersonalPattern(
        "FR_NIR",
        re.compile(_B + r"[12] ?\d{2} ?(?:0[1-9]|1[0-2]|[2-9]\d) ?(?:\d{2}|2[ABab]) ?\d{3} ?\d{3} ?\d{2}" + _E),
        _DIGITS8,
        checksums.fr_nir,
    ),
    PersonalPattern(
        "ES_DNI",
        re.compile(_B + r"(?:\d{8}|\d{2}\.\d{3}\.\d{3}|[XYZxyz][ -]?\d{7})[ -]?[A-Za-z]" + _E),
        re.compile(r"\d{7}|\.\d{3}\.\d{3}"),
        checksums.es_dni,
    ),
    PersonalPattern(
        "IT_FISCAL",
        re.compile(_B + r"[A-Za-z]{6}\d{2}[A-EHLMPR-Ta-ehlmpr-t]\d{2}[A-Za-z]\d{3}[A-Za-z]" + _E),
        re.compile(r"[A-Za-z]{6}\d{2}"),
        checksums.it_fiscal,
    ),
    PersonalPattern(
        "NL_BSN",
        re.compile(_B + r"\d{3}[. ]?\d{2,3}[. ]?\d{3,4}" + _E),
        _DIGITS8,
        lambda digits: len(digits) == 9 and checksums.nl_bsn(digits),
        _words(r"\b(?:bsn|burgerservicen\w*|sofin\w*|citizen service)\b"),
    ),
    PersonalPattern(
        "IN_AADHAAR", re.compile(_B + r"[2-9]\d{3}([ -])\d{4}\1\d{4}" + _E), _DIGITS8, checksums.in_aadhaar
    ),
    PersonalPattern(
        "IN_AADHAAR",
        re.compile(_B + r"[2-9]\d{11}" + _E),
        _DIGITS8,
        checksums.in_aadhaar,
        _words(r"\b(?:aadhaa?r|uidai?|uid)\b"),
    ),
    PersonalPattern(
        "IN_PAN", re.compile(_B + r"[A-Z]{3}[ABCFGHLJPTK][A-Z]\d{4}[A-Z]" + _E), re.compile(r"[A-Z]{5}\d{4}")
    ),
    PersonalPattern(
        "IN_PAN",
        re.compile(_B + r"[A-Za-z]{5}\d{4}[A-Za-z]" + _E),
        re.compile(r"[A-Za-z]{5}\d{4}"),
        None,
        _words(r"\b(?:pan (?:no\b|number|card)|permanent account)"),
    ),
    PersonalPattern(
        "NATIONAL_ID",
        re.compile(
            _B
            + r"(?:\d{3}\.\d{3}\.\d{3}-\d{2}|\d{3}-\d{3}-\d{3} \d{2}|\d{2}\.\d{2}\.\d{2}-\d{3}\.\d{2}|756\.\d{4}\.\d{4}\.\d{2}"
            r"|\d{1,2}\.\d{3}\.\d{3}-[\dkK]|\d{17}[\dXx]|\d{6}-[1-8]\d{6}|\d{6}[-+A-FU-Y]\d{3}[0-9A-Y]|[STFGM]\d{7}[A-Z]"
            r"|[A-Z]{4}\d{6}[HMX][A-Z]{5}[0-9A-Z]\d)" + _E
        ),
        _DIGITS6,
        national_ids.holds,
    ),
    PersonalPattern(
        "NATIONAL_ID",
        re.compile(
            # Not a day beside such a name.
            _B + r"(?!(?:19|20)\d\d([-/.])\d\d?\1\d\d?(?!\d)|\d\d?([-/.])\d\d?\2(?:19|20)\d\d(?!\d))"
            r"[A-Z]{0,2}\d(?:[ .\-/]?[A-Za-z]?\d){5,16}(?:[ .\-/]?[A-Za-z](?: ?\d{3})?)?" + _E
        ),
        _DIGITS6,
        None,
        _words(national_ids.NAMES),
        0.9,
    ),
    PersonalPattern(
        "PASSPORT",
        # Any mix of letters and digits (ICAO 9303 has nine of them), with at least four digits.
        re.compile(_B + r"(?:[A-Z]{1,2} \d{6,8}|\d{2} ?\d{2} \d{6}|(?=(?:[A-Za-z]{0,9}\d){4})[A-Za-z0-9]{6,10})" + _E),
        re.compile(r"(?i)pass|pas[az]?port|paspoort|паспорт|护照|護照|パスポート|旅券|여권|جواز"),
        None,
        _words(
            r"\b(?:passport|(?:reise)?pass[ -]?(?:no|nr|num(?:ber|mer)?)|reisepass|passeport|pasaporte|passaport[eo]|paspoort|"
            r"paszport|pasaport|паспорт)\w{0,3}\b|护照|護照|パスポート|旅券|여권|جواز"
        ),
        0.9,
    ),
    PersonalPattern(
        "DRIVER_LICENCE",
        re.compile(_B + r"(?=[A-Z0-9-]{0,50}\d{3})[A-Z0-9](?:-?[A-Z0-9]){3,24}" + _E),
        re.compile(r"(?i)licen[cs]e|\bdl\b|driv|führerschein|permis|rijbewijs|conducir|patente|condução|prawo jazdy"),
        None,
        _words(
            r"(?:driv\w+(?:['\u2019]s)? licen[cs]e|licen[cs]e (?:number|no)|\bdl (?:number|no|#)|führerschein\w*|permis de conduire|"
            r"rijbewijs\w*|(?:carnet|permiso|licencia) de conducir|patente di guida|carta de condução|prawo jazdy)"
        ),
        0.9,
    ),
    PersonalPattern(
        "IP",
        re.compile(
            # Not loopback, unspecified, or a network mask: these identify no person.
            r"(?<![A-Za-z0-9_.])(?!(?:127|0|255)\.)(?:(?:25[0-5]|2[0-4]\d|1?\d?\d)\.){3}(?:25[0-5]|2[0-4]\d|1?\d?\d)"
            r"(?![A-Za-z0-9_]|\.\d|\.(?:jar|tar|zip|whl|t?gz|dll|exe|deb|rpm|so|msi|apk|dmg)\b)"
        ),
        unless=_VERSION,
    ),
    PersonalPattern(
        "IP",
        re.compile(r"(?<![\w:.])(?=[0-9A-Fa-f]{0,4}:)[0-9A-Fa-f:]{2,39}(?:%\w+)?(?![\w:])"),
        re.compile(r"[0-9A-Fa-f]:[0-9A-Fa-f:]*:"),
        _is_v6,
    ),
    PersonalPattern(
        "MAC",
        re.compile(
            _B + r"(?:[0-9A-Fa-f]{2}([:-])(?:[0-9A-Fa-f]{2}\1){4}[0-9A-Fa-f]{2}(?![\w:-])"
            r"|(?=[0-9.]{0,13}[A-Fa-f])[0-9A-Fa-f]{4}\.[0-9A-Fa-f]{4}\.[0-9A-Fa-f]{4}(?![\w.]))"
        ),
        re.compile(r"[0-9A-Fa-f]{2}[:-][0-9A-Fa-f]{2}[:-]|[0-9A-Fa-f]{4}\.[0-9A-Fa-f]{4}\."),
    ),
    PersonalPattern("DATE_OF_BIRTH", re.compile(_DATE), re.compile(r"\d"), None, _BIRTH, 0.9),
    PersonalPattern(
        "PHONE",
        re.compile(
            # A full stop with a space behind it ends a sentence.
            r"(?<![A-Za-z0-9_+.])(?:\+|00)[1-9]\d{0,2}(?:(?:\s?[\-/]\s?|\.|\s)?(?:\(\d{1,5}\)|\d{1,5})){1,6}"
            r"(?:\s?(?:x|ext\.?)\s?\d{1,6})?(?![A-Za-z0-9_]|[.,]\d)"
        ),
        _DIGITS8,
        _is_international,
    ),
    PersonalPattern(
        "PHONE",
        re.compile(
            r"(?<![A-Za-z0-9_+./:-])(?:[018][\s.-])?(?:\(\d{2,5}\)[\s.-]?\d{2,4}(?:[\s.-]?\d{2,4}){1,3}|\d{3}([\s.-])\d{3}\1\d{4}"
            r"|0\d{1,4}([\s/-])\d{2,4}(?:[\s-]?\d{2,4}){1,3}|\d{3}([\s-])\d{3}\3\d{3}|\d{2}([\s-])\d{2}\4\d{2}\4\d{2}(?:\4\d{2})?|0\d(?:\.\d{2}){4})"
            r"(?:\s?(?:x|ext\.?)\s?\d{1,6})?(?![A-Za-z0-9_]|[.,/:-]\d)"
        ),
        _DIGITS8,
        lambda text: _is_phone(_EXTENSION.sub("", text)),
        None,
        0.85,
    ),
    PersonalPattern(
        "PHONE",
        re.compile(
            r"(?<![A-Za-z0-9_+./-])(?<!\d:)(?!(?:19|20)\d\d-\d\d-\d\d(?!\d))(?:\(\d{2,5}\)|\d{2,5})(?:[\s.\-/]?\d{2,5}){0,4}"
            r"(?:\s?(?:x|ext\.?)\s?\d{1,6})?(?![A-Za-z0-9_]|[.,/:]\d)"
        ),
        re.compile(r"\d(?:[\s.\-/()]{0,3}\d){6}"),
        lambda text: _is_phone(_EXTENSION.sub("", text)) and len(text) >= 7,
        _PHONE_WORDS,
        0.85,
    ),
)
KINDS = tuple(dict.fromkeys(pattern.kind for pattern in PATTERNS))


def find(text: str, patterns: tuple[PersonalPattern, ...] = PATTERNS) -> list[Span]:
    """Returns all matches of all patterns, including overlapping ones.

    A card or account number with valid check digits is never part of a phone number next to it.
    """
    spans: list[Span] = []
    for pattern in patterns:
        sure = resolve([span for span in spans if span.kind in _CHECKED]) if pattern.kind == "PHONE" else ()
        spans += pattern.find(_without(text, sure) if sure else text)
    return spans


_CHECKED = frozenset({"CARD", "IBAN"})


def _without(text: str, spans: Sequence[Span]) -> str:
    parts: list[str] = []
    place = 0
    for span in spans:
        parts += [text[place : span.start], "#" * (span.end - span.start)]
        place = span.end
    return "".join([*parts, text[place:]])


ORDER = {kind: place for place, kind in enumerate(KINDS)}
# Removes overlaps and sorts by position; for equal spans the first kind in `PATTERNS` wins.
resolve = partial(resolve_by, order=ORDER)
