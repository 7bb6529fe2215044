"""Parses and writes durations, sizes, percentages, tokens, rates and money as text.

A duration is seconds (float), a size bytes (int), a percentage a ratio from 0 to 1 (float), tokens an int, money a
`Decimal`. The text of every `write_` is read back by its `parse_` as the same value. Every `parse_` raises `ValueError`
for other text, and for a bare number, because 30 could mean seconds or milliseconds.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import NamedTuple

_DURATIONS = {"ms": Decimal("0.001"), "s": Decimal(1), "m": Decimal(60), "h": Decimal(3600), "d": Decimal(86_400)}
SIZES = {
    "B": 1, "kB": 10**3, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30,
}  # fmt: skip
_NUMBER = r"([0-9]{1,18}(?:\.[0-9]{1,24})?)"


def parse_duration(text: str) -> float:
    """Seconds of `500ms`, `20s`, `1.5m`, `1h` or `7d`. Raises `ValueError`."""
    match = re.fullmatch(rf"{_NUMBER}\s?(ms|s|m|h|d)", text)
    if match is None:
        raise ValueError(text)
    return float(Decimal(match[1]) * _DURATIONS[match[2]])


def write_duration(seconds: float) -> str:
    """The shortest text that `parse_duration` reads back as the same number."""
    exact = Decimal(repr(float(seconds)))
    if not exact:
        return "0s"
    for unit in ("h", "m", "s"):
        if exact % _DURATIONS[unit] == 0:
            return f"{int(exact / _DURATIONS[unit])}{unit}"
    return f"{(exact * 1000).normalize():f}ms"


def parse_size(text: str) -> int:
    """Bytes of `10MB`, `64KiB`, `1.5GB`. kB, MB and GB are powers of 1000. Raises `ValueError`."""
    match = re.fullmatch(rf"{_NUMBER}\s?(B|kB|KB|MB|GB|KiB|MiB|GiB)", text)
    if match is None:
        raise ValueError(text)
    size = Decimal(match[1]) * SIZES[match[2]]
    if size != int(size):
        raise ValueError(text)
    return int(size)


def write_size(size: int) -> str:
    """The text with the smallest number that `parse_size` reads back as the same number of bytes."""
    fitting = [(size // scale, unit) for unit, scale in SIZES.items() if size % scale == 0 and unit != "KB"]
    number, unit = min(fitting, key=lambda pair: pair[0]) if size else (0, "B")
    return f"{number}{unit}"


def parse_percentage(text: str) -> float:
    """The ratio of `85%`: 0.85. Raises `ValueError` outside 0% to 100%."""
    match = re.fullmatch(rf"{_NUMBER}\s?%", text)
    if match is None or Decimal(match[1]) > 100:
        raise ValueError(text)
    return float(Decimal(match[1]) / 100)


def write_percentage(ratio: float) -> str:
    """`85%` for 0.85."""
    return f"{(Decimal(repr(float(ratio))) * 100).normalize():f}%"


def parse_tokens(text: str) -> int:
    """The count in `3000 tokens`. Raises `ValueError`."""
    match = re.fullmatch(r"([0-9]{1,12}) ?tokens?", text)
    if match is None:
        raise ValueError(text)
    return int(match[1])


def write_tokens(count: int) -> str:
    """`3000 tokens` for 3000."""
    return f"{count} tokens"


WINDOWS = {"second": 1, "minute": 60, "hour": 3600, "day": 86_400}


class Rate(NamedTuple):
    """At most `most` in a window of `window_s` seconds."""

    most: int
    window_s: int


def parse_rate(text: str) -> Rate:
    """Parses `600 per minute`. Raises `ValueError`."""
    match = re.fullmatch(r"([1-9][0-9]{0,8}) per (second|minute|hour|day)", text)
    if match is None:
        raise ValueError(text)
    return Rate(int(match[1]), WINDOWS[match[2]])


def write_rate(rate: Rate) -> str:
    """`600 per minute` for 600 in 60 seconds."""
    return f"{rate.most} per {next(name for name, seconds in WINDOWS.items() if seconds == rate.window_s)}"


def write_amount(amount: Decimal) -> str:
    """An exact amount of money without its currency, without an exponent and without trailing zeros."""
    text = f"{amount:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def parse_dollars(text: str) -> Decimal:
    """The amount of `1.08 USD`. Raises `ValueError`, also for 0."""
    match = re.fullmatch(r"([0-9]{1,6}(?:\.[0-9]{1,9})?) USD", text)
    if match is None or not Decimal(match[1]):
        raise ValueError(text)
    return Decimal(match[1])


def write_dollars(amount: Decimal) -> str:
    """`1.08 USD` for 1.08."""
    return f"{write_amount(amount)} USD"


class Spend(NamedTuple):
    """An amount of money for a calendar `period` (day, week, month), or for a rolling window of `hours`."""

    amount: Decimal
    currency: str
    period: str
    hours: int


SPEND = r"([0-9]{1,9}(?:\.[0-9]{1,9})?) ([A-Z]{3}) (?:per (day|week|month)|in ([1-9][0-9]{0,3}) (hours|days))"


def parse_spend(text: str) -> Spend:
    """Parses `500 USD per month` or `500 USD in 30 days`. Raises `ValueError`, also for 0."""
    match = re.fullmatch(SPEND, text)
    if match is None or not Decimal(match[1]):
        raise ValueError(text)
    hours = int(match[4]) * (24 if match[5] == "days" else 1) if match[4] else 0
    return Spend(Decimal(match[1]), match[2], match[3] or "", hours)


def write_spend(spend: Spend) -> str:
    """The text that `parse_spend` reads; days are written as hours."""
    when = f"per {spend.period}" if spend.period else f"in {spend.hours} hours"
    return f"{write_amount(spend.amount)} {spend.currency} {when}"
