"""Detects the types of a CSV file's columns. All values of a column must agree; ambiguous values stay text.

`1.234,50` is a number with a decimal comma, `1,234.50` one with a decimal point. `1.234` has a decimal point, unless
other values of the file suggest decimal commas: then it stays text. `1,234` alone is text.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

_SPACES = " \u00a0\u202f"
_GROUP = f"['\u2019{_SPACES}]"
_CURRENCY = r"(?:€|\$|£|¥|EUR|USD|GBP|CHF)"
_UNIT = rf"(?:{_CURRENCY}|%)"
_S = f"[{_SPACES}]?"
_TRUE_MINUS, _APOSTROPHE = "\u2212", "\u2019"
_MINUS = f"[-{_TRUE_MINUS}]"
_DIGITS = rf"((?:[\d.,'{_APOSTROPHE}{_SPACES}]*\d\.?)(?:[eE][-+]?\d+)?)"
# What may surround a number: a currency or percent sign; brackets or a trailing minus for a negative number.
_SIGN = f"[-+{_TRUE_MINUS}]?"
_OPEN = rf"^{_SIGN}{_S}{_CURRENCY}?{_S}{_SIGN}{_DIGITS}{_S}(?:{_UNIT}{_S}{_MINUS}?|{_MINUS}{_S}{_UNIT}?)?$"
_BRACKETS = rf"^{_CURRENCY}?{_S}\({_S}{_CURRENCY}?{_S}{_DIGITS}{_S}{_UNIT}?{_S}\){_S}{_UNIT}?$"
_NEGATIVE = rf"\(|^[^0-9]*{_MINUS}|\d{_S}{_UNIT}?{_S}{_MINUS}"
# Number formats. In the last two the sign may be a decimal sign or a thousands separator.
_WHOLE = rf"\d+|\d{{1,3}}(?:{_GROUP}\d{{3}})+"
_POINT = (
    rf"\d*\.\d+|\d+\.|(?:\d+\.?\d*|\.\d+)[eE][-+]?\d+|\d{{1,3}}(?:,\d{{3}})+\.\d+|\d{{1,3}}(?:{_GROUP}\d{{3}})+\.\d+"
    r"|\d{1,3}(?:,\d{3}){2,}"
)
_COMMA = (
    rf"\d*,\d+|\d{{1,3}}(?:\.\d{{3}})+,\d+|\d{{1,3}}(?:{_GROUP}\d{{3}})+,\d+"
    r"|\d{1,3}(?:\.\d{3}){2,}"
)
_EITHER_POINT = r"[1-9]\d{0,2}\.\d{3}"
_EITHER_COMMA = r"[1-9]\d{0,2},\d{3}"
_DOTTED_MOMENT = "coalesce(try_strptime({}, '%d.%m.%Y %H:%M'), try_strptime({}, '%d.%m.%Y %H:%M:%S'))"


class Kind(NamedTuple):
    """A type, the SQL expression that converts a text (`{}` is the column), and the unit of the values."""

    name: str
    expression: str
    unit: str = ""

    def read(self, column: str) -> str:
        """The SQL expression that reads the column."""
        return self.expression.replace("{}", column)


def _parse_date(sign: str, date_format: str) -> str:
    """The SQL that parses dates with a four-digit year; other years may be versions or of any century."""
    digits = r"^\d{1,2}S\d{1,2}S\d{4}$".replace("S", sign)
    return f"try_strptime(nullif(regexp_extract({{}}, '{digits}'), ''), '{date_format}')"


# Values that are tested for every type before the complete column is tested.
_SAMPLE = 1_000
TEXT = Kind("VARCHAR", "{}")
# Each type with the SQL that returns NULL for a text of another type.
_DATES = (
    (Kind("DATE", "CAST({} AS DATE)"), r"TRY_CAST(nullif(regexp_extract({}, '^\d{4}-\d{2}-\d{2}$'), '') AS DATE)"),
    (
        # In UTC, if the values have an offset.
        Kind("TIMESTAMP", "CAST(CAST({} AS TIMESTAMPTZ) AS TIMESTAMP)"),
        r"TRY_CAST(nullif(regexp_extract({}, '^\d{4}-\d{2}-\d{2}[ T]\d{2}:\d{2}.*$'), '') AS TIMESTAMPTZ)",
    ),
    (
        Kind("TIME", "CAST({} AS TIME)"),
        r"TRY_CAST(nullif(regexp_extract({}, '^\d{1,2}:\d{2}:\d{2}(?:\.\d+)?$'), '') AS TIME)",
    ),
    (Kind("DATE", "CAST(strptime({}, '%d.%m.%Y') AS DATE)"), _parse_date("[.]", "%d.%m.%Y")),
    (Kind("TIMESTAMP", _DOTTED_MOMENT), _DOTTED_MOMENT),
    (Kind("DATE", "CAST(strptime({}, '%d/%m/%Y') AS DATE)"), _parse_date("[/]", "%d/%m/%Y")),
    (Kind("DATE", "CAST(strptime({}, '%m/%d/%Y') AS DATE)"), _parse_date("[/]", "%m/%d/%Y")),
)


class _Count(NamedTuple):
    """The number of a column's texts, and how many match each type."""

    texts: int
    integers: int
    huge: int
    codes: int
    flags: int
    numbers: int
    point: int
    comma: int
    either_point: int
    either_comma: int
    units: list[str] | None
    dates: tuple[int, ...]


def column_types(connection: Any, table: str, columns: int, delimiter: str) -> list[Kind]:
    """Detects a type for each of the text columns `c0`, `c1`, ..."""
    counts = [_count_column(connection, table, f"c{at}") for at in range(columns)]
    commas = delimiter == ";" or any(each.comma and each.numbers == each.texts and not each.point for each in counts)
    return [_kind(each, commas=commas) for each in counts]


def _count_column(connection: Any, table: str, column: str) -> _Count:
    """Counts a complete column, but only for the types that match its first values."""
    sample = _count(connection, f"(SELECT {column} FROM {table} WHERE {column} IS NOT NULL LIMIT {_SAMPLE})", column)  # noqa: S608
    if sample.texts < _SAMPLE:
        return sample
    are_integers = sample.integers == sample.texts
    if are_integers:
        total = _count(connection, table, column, numbers=False, dates=())
        if total.integers == total.texts:
            return total
    dates = tuple(at for at, count in enumerate(sample.dates) if count == sample.texts)
    return _count(connection, table, column, numbers=sample.numbers == sample.texts, dates=dates)


def _literal(pattern: str) -> str:
    return "'" + pattern.replace("'", "''") + "'"


def _body(column: str) -> str:
    """The SQL for a number's digits and separators; an empty text if the column's text is no number."""
    return (
        f"coalesce(nullif(regexp_extract({column}, {_literal(_OPEN)}, 1), ''), "
        f"regexp_extract({column}, {_literal(_BRACKETS)}, 1))"
    )


def _count(
    connection: Any, source: str, column: str, *, numbers: bool = True, dates: Sequence[int] = range(len(_DATES))
) -> _Count:
    def of(text: str, *patterns: str) -> str:
        return f"count(*) FILTER (regexp_full_match({text}, {_literal('|'.join(patterns))}))"

    either = f"regexp_full_match(body, {_literal(f'{_EITHER_POINT}|{_EITHER_COMMA}')})"
    about_numbers = (
        of("body", _WHOLE, _POINT, _COMMA),
        f"count(*) FILTER (regexp_full_match(body, {_literal(_POINT)}) AND NOT {either})",
        f"count(*) FILTER (regexp_full_match(body, {_literal(_COMMA)}) AND NOT {either})",
        of("body", _EITHER_POINT),
        of("body", _EITHER_COMMA),
        f"list(DISTINCT regexp_extract(x, {_literal(_UNIT)})) FILTER (x IS NOT NULL)",
    )
    counts = (
        "count(x)",
        of("x", r"[-+]?(?:0|[1-9]\d{0,17})"),
        of("x", r"[-+]?(?:0|[1-9]\d{0,37})"),
        of("x", r"0\d+"),
        "count(*) FILTER (lower(x) IN ('true', 'false'))",
        *(about_numbers if numbers else ("0", "0", "0", "0", "0", "NULL")),
        *(f"count({tried.replace('{}', 'x')})" if at in dates else "0" for at, (_, tried) in enumerate(_DATES)),
    )
    body = _body(column) if numbers else "NULL"
    read = f"WITH read AS MATERIALIZED (SELECT {column} AS x, {body} AS body FROM {source})"  # noqa: S608
    row = connection.execute(f"{read} SELECT {', '.join(counts)} FROM read").fetchone()  # noqa: S608
    texts, integers, huge, codes, flags, of_numbers, point, comma, either_point, either_comma, units, *of_dates = row
    return _Count(
        texts,
        integers,
        huge,
        codes,
        flags,
        of_numbers,
        point,
        comma,
        either_point,
        either_comma,
        units,
        tuple(of_dates),
    )


def _kind(count: _Count, *, commas: bool) -> Kind:
    # Codes such as 01234 are no numbers: they would lose their leading zeros.
    if not count.texts or count.codes:
        return TEXT
    if count.integers == count.texts:
        return Kind("BIGINT", "CAST({} AS BIGINT)")
    if count.huge == count.texts:
        # As floating-point numbers, different long ids would become equal.
        return Kind("DECIMAL(38,0)", "CAST({} AS DECIMAL(38,0))")
    if count.flags == count.texts:
        return Kind("BOOLEAN", "CAST({} AS BOOLEAN)")
    dates = [kind for (kind, _), matches in zip(_DATES, count.dates, strict=True) if matches == count.texts]
    if dates:
        # 03/04/2024 may be in March or in April.
        return dates[0] if len(dates) == 1 else TEXT
    return _number(count, commas=commas) if count.numbers == count.texts else TEXT


def _number(count: _Count, *, commas: bool) -> Kind:
    """A number type if the values agree on the decimal sign and the unit, else text."""
    units = count.units or [""]
    if len(units) > 1 or (count.point and count.comma):
        return TEXT
    if count.comma:
        return Kind("DOUBLE", _value(","), units[0])
    if not count.point and (count.either_comma or (count.either_point and commas)):
        return TEXT
    return Kind("DOUBLE", _value("."), units[0])


def _value(decimal: str) -> str:
    """The SQL that parses a number with this decimal sign."""
    others = r"[^0-9,]" if decimal == "," else r"[^0-9.eE+-]"
    digits = f"replace(regexp_replace({_body('{}')}, '{others}', '', 'g'), ',', '.')"
    return f"CAST(CASE WHEN regexp_matches({{}}, {_literal(_NEGATIVE)}) THEN '-' ELSE '' END || {digits} AS DOUBLE)"
