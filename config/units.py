"""Values with units: `20s`, `32MB`, `85%`, `3000 tokens`. The file has the unit, the struct a plain number.

A duration becomes seconds (float), a size bytes (int), a percentage a ratio from 0 to 1 (float), tokens an int.
A bare number is refused, because `timeout: 30` could mean seconds or milliseconds.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Any, NamedTuple

from pydantic import Field, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, core_schema

from config.findings import Substituted, wrong

_DURATIONS = {"ms": Decimal("0.001"), "s": Decimal(1), "m": Decimal(60), "h": Decimal(3600), "d": Decimal(86_400)}
_SIZES = {
    "B": 1, "kB": 10**3, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30,
}  # fmt: skip
_NUMBER = r"([0-9]{1,18}(?:\.[0-9]{1,24})?)"
_PLAIN_NUMBER = r"[0-9]{1,18}(\.[0-9]{1,24})?"


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
    size = Decimal(match[1]) * _SIZES[match[2]]
    if size != int(size):
        raise ValueError(text)
    return int(size)


def write_size(size: int) -> str:
    """The text with the smallest number that `parse_size` reads back as the same number of bytes."""
    fitting = [(size // scale, unit) for unit, scale in _SIZES.items() if size % scale == 0 and unit != "KB"]
    number, unit = min(fitting, key=lambda pair: pair[0]) if size else (0, "B")
    return f"{number}{unit}"


def parse_percentage(text: str) -> float:
    """The ratio of `85%`: 0.85. Raises `ValueError` outside 0% to 100%."""
    match = re.fullmatch(rf"{_NUMBER}\s?%", text)
    if match is None or Decimal(match[1]) > 100:
        raise ValueError(text)
    return float(Decimal(match[1]) / 100)


def write_percentage(ratio: float) -> str:
    """`85%` of 0.85."""
    return f"{(Decimal(repr(float(ratio))) * 100).normalize():f}%"


def parse_tokens(text: str) -> int:
    """The count in `3000 tokens`. Raises `ValueError`."""
    match = re.fullmatch(r"([0-9]{1,12}) ?tokens?", text)
    if match is None:
        raise ValueError(text)
    return int(match[1])


def write_tokens(count: int) -> str:
    """`3000 tokens` of 3000."""
    return f"{count} tokens"


_UNIT_ALIASES = {
    **dict.fromkeys(("sec", "secs", "second", "seconds"), "s"),
    **dict.fromkeys(("min", "mins", "minute", "minutes"), "m"),
    **dict.fromkeys(("hr", "hrs", "hour", "hours"), "h"),
    **dict.fromkeys(("day", "days"), "d"),
    **dict.fromkeys(("msec", "millis", "milliseconds"), "ms"),
    **dict.fromkeys(("percent", "pct"), "%"),
    **dict.fromkeys(("megabytes", "meg", "m"), "MB"),
    **dict.fromkeys(("tok", "toks"), "tokens"),
}


@dataclass(frozen=True)
class Unit:
    """How a value with a unit is read, written and described. Used in a field's `Annotated`."""

    name: str
    example: str
    units: tuple[str, ...]
    cure: str
    parse: Callable[[str], float]
    write: Callable[[Any], str]
    pattern: str

    def read(self, value: object) -> object:
        """Returns the number that `value` gives. Raises a config error with a cure if it is not valid."""
        if not isinstance(value, str):
            if isinstance(value, (int, float)) and not isinstance(value, bool):
                raise wrong("{value} has no unit", self._with_unit(value))
            raise wrong(f"this must be a {self.name} such as {self.example}", self.cure)
        try:
            return self.parse(value.strip())
        except ValueError:
            raise wrong(f"{{value}} is not a {self.name}", self._suggestion(value) or self.cure) from None

    def _suggestion(self, text: str) -> str:
        """A cure for text with another name of the unit; empty if there is none."""
        match = re.fullmatch(r"([0-9.,]+)\s*([A-Za-z%]+)\.?", text.strip())
        if match is None or isinstance(text, Substituted):
            return ""
        number, word = match[1].replace(",", "."), match[2].lower()
        unit = _UNIT_ALIASES.get(word) or next((each for each in self.units if each.lower() == word), word)
        corrected = f"{number} {unit}" if self.name == "count of tokens" else f"{number}{unit}"
        try:
            self.parse(corrected)
        except ValueError:
            return ""
        return f"did you mean {corrected}?"

    def _with_unit(self, value: object) -> str:
        text = f"{value} {self.units[0]}" if self.name == "count of tokens" else f"{value}{self.units[0]}"
        if self.name == "percentage":
            return self.cure  # 1 may mean 1% or all
        try:
            self.parse(text)
        except ValueError:
            return self.cure
        others = ", ".join(self.units[1:])
        return f"write {text}, or another unit: {others}" if others else f"write {text}"

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Parses the text before the number's own checks, and writes it with its unit."""
        return core_schema.no_info_before_validator_function(
            self.read, handler(source), serialization=core_schema.plain_serializer_function_ser_schema(self.write)
        )

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """A string with the unit's pattern, or a reference."""
        return {"type": "string", "pattern": rf"^\s*{self.pattern}\s*$", "examples": [self.example]}


_DURATION = Unit(
    "duration",
    "20s",
    ("s", "ms", "m", "h", "d"),
    "write it like 500ms, 20s, 5m or 1h",
    parse_duration,
    write_duration,
    rf"{_PLAIN_NUMBER}\s?(ms|s|m|h|d)",
)
_SIZE = Unit(
    "size",
    "32MB",
    ("MB", *(u for u in _SIZES if u != "MB")),
    "write it like 10MB or 64KiB",
    parse_size,
    write_size,
    rf"{_PLAIN_NUMBER}\s?({'|'.join(_SIZES)})",
)
_PERCENTAGE = Unit(
    "percentage",
    "85%",
    ("%",),
    "write it like 85%, from 0% to 100%",
    parse_percentage,
    write_percentage,
    r"0*(100(\.0+)?|[0-9]{1,2}(\.[0-9]{1,24})?)\s?%",
)
_TOKENS = Unit(
    "count of tokens",
    "3000 tokens",
    ("tokens",),
    "write it like 3000 tokens",
    parse_tokens,
    write_tokens,
    r"[0-9]{1,12} ?tokens?",
)

_WINDOWS = {"second": 1, "minute": 60, "hour": 3600, "day": 86_400}


class Rate(NamedTuple):
    """At most `most` in a window of `window_s` seconds."""

    most: int
    window_s: int


def read_rate(value: object) -> object:
    """Parses `600 per minute`."""
    if isinstance(value, Rate):
        return value
    match = re.fullmatch(r"([1-9][0-9]{0,8}) per (second|minute|hour|day)", value) if isinstance(value, str) else None
    if match is None:
        suggestion = _suggest_rate(value) if isinstance(value, str) and not isinstance(value, Substituted) else ""
        raise wrong("{value} is not a rate", suggestion or "write it like 600 per minute (second, hour, day)")
    return Rate(int(match[1]), _WINDOWS[match[2]])


def period_of(word: str) -> str:
    """`minute` for `min`, `m` or `minutes`; empty if the word is not a period."""
    known = {"s": "second", "sec": "second", "m": "minute", "min": "minute", "h": "hour", "hr": "hour", "d": "day"}
    known |= {"daily": "day", "hourly": "hour", "weekly": "week", "monthly": "month", "mo": "month", "w": "week"}
    word = word.lower()
    return known.get(word) or next(
        (each for each in ("second", "minute", "hour", "day", "week", "month") if word in (each, f"{each}s")), ""
    )


def _suggest_rate(value: str) -> str:
    match = re.fullmatch(r"\s*([0-9][0-9_,]*)\s*(?:/|per|an?|rp)?\s*([A-Za-z]+)\s*", value)
    period = period_of(match[2]) if match is not None else ""
    if match is None or period not in _WINDOWS:
        return ""
    return f"did you mean {re.sub('[_,]', '', match[1])} per {period}?"


def write_rate(rate: Rate) -> str:
    """The rate as the YAML writes it."""
    return f"{rate.most} per {next(name for name, seconds in _WINDOWS.items() if seconds == rate.window_s)}"


Duration = Annotated[float, Field(gt=0), _DURATION]
"""Seconds, more than 0."""
Pause = Annotated[float, Field(ge=0), _DURATION]
"""Seconds, 0 allowed."""
Size = Annotated[int, Field(gt=0), _SIZE]
"""Bytes."""
Percentage = Annotated[float, Field(ge=0, le=1), _PERCENTAGE]
"""A ratio from 0 to 1."""
Tokens = Annotated[int, Field(gt=0), _TOKENS]
"""A count of tokens."""
