"""Formats spreadsheet cell values as the sheet displays them: percentages, currencies, dates, leading zeros."""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable
from decimal import ROUND_HALF_UP, Context, Decimal
from functools import lru_cache
from typing import TypeAlias

NumberFormatter: TypeAlias = Callable[[float], str]
_QUOTED = re.compile(r'"([^"]*)"')
# `[$€-407]` is a currency and a locale, `[Red]` a colour, `_x` a space as wide as x; `*x` repeats x to the cell's edge.
_CURRENCY = re.compile(r"\[\$([^\]-]*)[^\]]*\]")
_IGNORED_CODES = re.compile(r"\[[^\]]*\]|[_*].")
_DIGITS = re.compile(r"[#0?][#0?,]*(?:\.[#0?]*)?|\.[0#?]+")
_MAX_DECIMALS = 30
_EXACT = Context(prec=100)


def format_value(value: object, number_format: str) -> str:
    """Formats a cell's value. Dates are written in ISO format, whatever order the cell's format has."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, int | float):
        return format_number(value, number_format)
    if isinstance(value, datetime.datetime):
        day = value.date().isoformat()
        return day if value.time() == datetime.time() else f"{day} {value.time().isoformat(timespec='minutes')}"
    if isinstance(value, datetime.time):
        return value.isoformat(timespec="seconds" if value.second else "minutes")
    if isinstance(value, datetime.timedelta):
        seconds = round(value.total_seconds())
        return f"{seconds // 3600}:{seconds % 3600 // 60:02}" + (f":{seconds % 60:02}" if seconds % 60 else "")
    return str(value)


def format_number(value: float, number_format: str) -> str:
    """Applies a number format: `0.15` becomes `15%`, `1234.5` `1,234.50 €`, `123` `00123`."""
    if isinstance(value, float) and (value != value or value in {float("inf"), float("-inf")}):
        return str(value)
    sections = _sections(number_format or "General")
    if len(sections) > 1 and value < 0:
        formatter = _formatter(sections[1])
        return formatter(-value) if formatter is not None else _general(value)
    formatter = _formatter(sections[0])
    return formatter(value) if formatter is not None else _general(value)


@lru_cache(maxsize=4096)
def _sections(number_format: str) -> tuple[str, ...]:
    parts = re.split(r';(?=(?:[^"]*"[^"]*")*[^"]*$)', number_format[:500])
    return tuple(parts)


def _general(value: float) -> str:
    """Formats a number as a sheet does without a format: 15 digits, so that 0.1 + 0.2 is 0.3."""
    if isinstance(value, int):
        return str(value)
    if value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    return f"{value:.15g}"


@lru_cache(maxsize=4096)
def _formatter(section: str) -> NumberFormatter | None:
    """The formatter for one section of a number format; None if the section has no digits."""
    if section.strip().lower() in {"general", "standard", "@", ""}:
        return None
    text = _CURRENCY.sub(lambda match: f'"{match[1]}"', section)
    literals: list[str] = []

    def store_literal(match: re.Match[str]) -> str:
        literals.append(match[1])
        return chr(0xE000 + len(literals) - 1)

    text = _IGNORED_CODES.sub("", _QUOTED.sub(store_literal, text)).replace("\\", "")
    if re.search(r"[eE][+-]|/", text) or len(literals) > 100:
        # Scientific notation and fractions: the plain number is clearer.
        return None
    digits_match = _DIGITS.search(text)
    if digits_match is None:
        return None
    before, after = text[: digits_match.start()], text[digits_match.end() :]

    def restore_literals(piece: str) -> str:
        return "".join(literals[ord(char) - 0xE000] if "\ue000" <= char < "\ue100" else char for char in piece)

    integer, _, decimals = digits_match[0].partition(".")
    thousands = len(integer) - len(integer.rstrip(","))
    percent = 100 if "%" in before + after else 1
    digit_format = (
        len(re.findall("0", integer)),
        "," in integer.rstrip(","),
        len(decimals.replace(",", "")),
        len(decimals.rstrip("#?")),
    )

    def show(value: float) -> str:
        exact = Decimal(repr(value)) * percent / (1000**thousands)
        sign, digits = _digits(exact, *digit_format)
        return f"{sign}{restore_literals(before)}{digits}{restore_literals(after)}".strip()

    return show


def _digits(value: Decimal, min_digits: int, grouped: bool, decimals: int, min_decimals: int) -> tuple[str, str]:
    """The sign and the digits, with up to `decimals` decimals; trailing zeros beyond `min_decimals` are removed."""
    decimals = min(decimals, _MAX_DECIMALS)
    if value.adjusted() > 40:
        return "", f"{value:.15g}"
    rounded = value.quantize(Decimal(1).scaleb(-decimals), ROUND_HALF_UP, _EXACT)
    sign = "-" if rounded < 0 else ""
    integer, _, rest = f"{abs(rounded):f}".partition(".")
    while len(rest) > min_decimals and rest.endswith("0"):
        rest = rest[:-1]
    integer = integer.rjust(min_digits, "0") if min_digits else integer
    if grouped:
        integer = f"{int(integer):,}".rjust(min_digits, "0")
    return sign, integer + (f".{rest}" if rest else "")
