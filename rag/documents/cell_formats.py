"""Values of spreadsheet cells as a reader of the sheet sees them: percentages, currencies, dates, leading noughts."""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable
from decimal import ROUND_HALF_UP, Context, Decimal
from functools import lru_cache
from typing import TypeAlias

Shown: TypeAlias = Callable[[float], str]
_QUOTED = re.compile(r'"([^"]*)"')
# `[$€-407]` is a currency and a locale, `[Red]` a colour, `_x` a blank as wide as x, `*x` x up to the cell's edge.
_CURRENCY = re.compile(r"\[\$([^\]-]*)[^\]]*\]")
_LEFT_OUT = re.compile(r"\[[^\]]*\]|[_*].")
_DIGITS = re.compile(r"[#0?][#0?,]*(?:\.[#0?]*)?|\.[0#?]+")
_LONGEST_DECIMALS = 30
_EXACT = Context(prec=100)


def shown(value: object, number_format: str) -> str:
    """The text of a cell's value. Dates are written the ISO way, whatever the format's order is."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, int | float):
        return number(value, number_format)
    if isinstance(value, datetime.datetime):
        day = value.date().isoformat()
        return day if value.time() == datetime.time() else f"{day} {value.time().isoformat(timespec='minutes')}"
    if isinstance(value, datetime.time):
        return value.isoformat(timespec="seconds" if value.second else "minutes")
    if isinstance(value, datetime.timedelta):
        seconds = round(value.total_seconds())
        return f"{seconds // 3600}:{seconds % 3600 // 60:02}" + (f":{seconds % 60:02}" if seconds % 60 else "")
    return str(value)


def number(value: float, number_format: str) -> str:
    """A number in its format: `0.15` as `15%`, `1234.5` as `1,234.50 €`, `123` as `00123`."""
    if isinstance(value, float) and (value != value or value in {float("inf"), float("-inf")}):
        return str(value)
    sections = _sections(number_format or "General")
    if len(sections) > 1 and value < 0:
        shown_by = _shown_by(sections[1])
        return shown_by(-value) if shown_by is not None else _general(value)
    shown_by = _shown_by(sections[0])
    return shown_by(value) if shown_by is not None else _general(value)


@lru_cache(maxsize=4096)
def _sections(number_format: str) -> tuple[str, ...]:
    parts = re.split(r';(?=(?:[^"]*"[^"]*")*[^"]*$)', number_format[:500])
    return tuple(parts)


def _general(value: float) -> str:
    """As a sheet shows it without a format: 15 digits, so that 0.1 + 0.2 is 0.3."""
    if isinstance(value, int):
        return str(value)
    if value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    return f"{value:.15g}"


@lru_cache(maxsize=4096)
def _shown_by(section: str) -> Shown | None:
    """How one section of a format shows a number; None where it is no format of digits."""
    if section.strip().lower() in {"general", "standard", "@", ""}:
        return None
    text = _CURRENCY.sub(lambda found: f'"{found[1]}"', section)
    literals: list[str] = []

    def put_by(found: re.Match[str]) -> str:
        literals.append(found[1])
        return chr(0xE000 + len(literals) - 1)

    text = _LEFT_OUT.sub("", _QUOTED.sub(put_by, text)).replace("\\", "")
    if re.search(r"[eE][+-]|/", text) or len(literals) > 100:
        # Powers and fractions: the number itself says more.
        return None
    found = _DIGITS.search(text)
    if found is None:
        return None
    before, after = text[: found.start()], text[found.end() :]

    def whole(piece: str) -> str:
        return "".join(literals[ord(each) - 0xE000] if "\ue000" <= each < "\ue100" else each for each in piece)

    integer, _, decimals = found[0].partition(".")
    thousands = len(integer) - len(integer.rstrip(","))
    percent = 100 if "%" in before + after else 1
    form = (
        len(re.findall("0", integer)),
        "," in integer.rstrip(","),
        len(decimals.replace(",", "")),
        len(decimals.rstrip("#?")),
    )

    def show(value: float) -> str:
        exact = Decimal(repr(value)) * percent / (1000**thousands)
        sign, digits = _digits(exact, *form)
        return f"{sign}{whole(before)}{digits}{whole(after)}".strip()

    return show


def _digits(value: Decimal, least: int, grouped: bool, decimals: int, kept: int) -> tuple[str, str]:
    """The sign and the digits; of `decimals` those beyond `kept` are left out where they are noughts."""
    decimals = min(decimals, _LONGEST_DECIMALS)
    if value.adjusted() > 40:
        return "", f"{value:.15g}"
    rounded = value.quantize(Decimal(1).scaleb(-decimals), ROUND_HALF_UP, _EXACT)
    sign = "-" if rounded < 0 else ""
    integer, _, rest = f"{abs(rounded):f}".partition(".")
    while len(rest) > kept and rest.endswith("0"):
        rest = rest[:-1]
    integer = integer.rjust(least, "0") if least else integer
    if grouped:
        integer = f"{int(integer):,}".rjust(least, "0")
    return sign, integer + (f".{rest}" if rest else "")
