"""Fields of the configuration with units: `20s`, `32MB`, `85%`, `3000 tokens`, `600 per minute`.

`contract/units.py` parses and writes the values; this module has the fields and their error messages. A bare number is
refused, because `timeout: 30` could mean seconds or milliseconds.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, core_schema

from config.findings import Substituted, wrong
from contract.units import (
    SIZES,
    WINDOWS,
    Rate,
    parse_duration,
    parse_percentage,
    parse_rate,
    parse_size,
    parse_tokens,
    write_duration,
    write_percentage,
    write_size,
    write_tokens,
)

_PLAIN_NUMBER = r"[0-9]{1,18}(\.[0-9]{1,24})?"

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
    ("MB", *(u for u in SIZES if u != "MB")),
    "write it like 10MB or 64KiB",
    parse_size,
    write_size,
    rf"{_PLAIN_NUMBER}\s?({'|'.join(SIZES)})",
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


def read_rate(value: object) -> object:
    """Parses `600 per minute`."""
    if isinstance(value, Rate):
        return value
    try:
        return parse_rate(value if isinstance(value, str) else "")
    except ValueError:
        suggestion = _suggest_rate(value) if isinstance(value, str) and not isinstance(value, Substituted) else ""
        cure = suggestion or "write it like 600 per minute (second, hour, day)"
        raise wrong("{value} is not a rate", cure) from None


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
    if match is None or period not in WINDOWS:
        return ""
    return f"did you mean {re.sub('[_,]', '', match[1])} per {period}?"


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
