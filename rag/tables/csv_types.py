"""The types of a CSV file's columns. All values of a column must agree; what could be read in two ways stays text.

`1.234,50` is a number with a decimal comma, `1,234.50` one with a point; `1.234` is one with a point where nothing in
the file speaks for commas, and text where something does; `1,234` alone is text.
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
# What a number may have around it: a currency or a percent sign; brackets or a minus behind it for a negative one.
_SIGN = f"[-+{_TRUE_MINUS}]?"
_OPEN = rf"^{_SIGN}{_S}{_CURRENCY}?{_S}{_SIGN}{_DIGITS}{_S}(?:{_UNIT}{_S}{_MINUS}?|{_MINUS}{_S}{_UNIT}?)?$"
_BRACKETS = rf"^{_CURRENCY}?{_S}\({_S}{_CURRENCY}?{_S}{_DIGITS}{_S}{_UNIT}?{_S}\){_S}{_UNIT}?$"
_NEGATIVE = rf"\(|^[^0-9]*{_MINUS}|\d{_S}{_UNIT}?{_S}{_MINUS}"
# The kinds of digits; the last two could be either, a decimal sign or one between thousands.
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
    """A type, how a text becomes a value of it (`{}` is the column), and the unit that its values had."""

    name: str
    expression: str
    unit: str = ""

    def read(self, column: str) -> str:
        """The value in SQL."""
        return self.expression.replace("{}", column)


def _dated(sign: str, form: str) -> str:
    """Tried with a year of four digits: others are of versions, or of any century."""
    digits = r"^\d{1,2}S\d{1,2}S\d{4}$".replace("S", sign)
    return f"try_strptime(nullif(regexp_extract({{}}, '{digits}'), ''), '{form}')"


# So many values are tried for everything.
_FEW = 1_000
TEXT = Kind("VARCHAR", "{}")
# Each with what gives a value, or none, of a text.
_DATES = (
    (Kind("DATE", "CAST({} AS DATE)"), r"TRY_CAST(nullif(regexp_extract({}, '^\d{4}-\d{2}-\d{2}$'), '') AS DATE)"),
    (
        # In UTC, where they say their offset.
        Kind("TIMESTAMP", "CAST(CAST({} AS TIMESTAMPTZ) AS TIMESTAMP)"),
        r"TRY_CAST(nullif(regexp_extract({}, '^\d{4}-\d{2}-\d{2}[ T]\d{2}:\d{2}.*$'), '') AS TIMESTAMPTZ)",
    ),
    (
        Kind("TIME", "CAST({} AS TIME)"),
        r"TRY_CAST(nullif(regexp_extract({}, '^\d{1,2}:\d{2}:\d{2}(?:\.\d+)?$'), '') AS TIME)",
    ),
    (Kind("DATE", "CAST(strptime({}, '%d.%m.%Y') AS DATE)"), _dated("[.]", "%d.%m.%Y")),
    (Kind("TIMESTAMP", _DOTTED_MOMENT), _DOTTED_MOMENT),
    (Kind("DATE", "CAST(strptime({}, '%d/%m/%Y') AS DATE)"), _dated("[/]", "%d/%m/%Y")),
    (Kind("DATE", "CAST(strptime({}, '%m/%d/%Y') AS DATE)"), _dated("[/]", "%m/%d/%Y")),
)


class _Count(NamedTuple):
    """Of a column's texts: how many there are, and how many are of each kind."""

    texts: int
    whole: int
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
    """A kind for each of the columns `c0`, `c1`, ... of texts."""
    counts = [_counted_twice(connection, table, f"c{at}") for at in range(columns)]
    commas = delimiter == ";" or any(each.comma and each.numbers == each.texts and not each.point for each in counts)
    return [_kind(each, commas=commas) for each in counts]


def _counted_twice(connection: Any, table: str, column: str) -> _Count:
    """Of all texts, looking only for what the first of them may be."""
    few = _counted(connection, f"(SELECT {column} FROM {table} WHERE {column} IS NOT NULL LIMIT {_FEW})", column)  # noqa: S608
    if few.texts < _FEW:
        return few
    whole = few.whole == few.texts
    if whole:
        found = _counted(connection, table, column, numbers=False, dates=())
        if found.whole == found.texts:
            return found
    dates = tuple(at for at, count in enumerate(few.dates) if count == few.texts)
    return _counted(connection, table, column, numbers=few.numbers == few.texts, dates=dates)


def _literal(pattern: str) -> str:
    return "'" + pattern.replace("'", "''") + "'"


def _body(column: str) -> str:
    """The digits of a number with the signs between them; the empty text for what is none."""
    return (
        f"coalesce(nullif(regexp_extract({column}, {_literal(_OPEN)}, 1), ''), "
        f"regexp_extract({column}, {_literal(_BRACKETS)}, 1))"
    )


def _counted(
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
    asked = (
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
    row = connection.execute(f"{read} SELECT {', '.join(asked)} FROM read").fetchone()  # noqa: S608
    texts, whole, huge, codes, flags, of_numbers, point, comma, either_point, either_comma, units, *of_dates = row
    return _Count(
        texts, whole, huge, codes, flags, of_numbers, point, comma, either_point, either_comma, units, tuple(of_dates)
    )


def _kind(found: _Count, *, commas: bool) -> Kind:
    # Codes such as 01234 are no numbers: their noughts would be lost.
    if not found.texts or found.codes:
        return TEXT
    if found.whole == found.texts:
        return Kind("BIGINT", "CAST({} AS BIGINT)")
    if found.huge == found.texts:
        # Long numbers of things would be equal as floating numbers.
        return Kind("DECIMAL(38,0)", "CAST({} AS DECIMAL(38,0))")
    if found.flags == found.texts:
        return Kind("BOOLEAN", "CAST({} AS BOOLEAN)")
    dates = [kind for (kind, _), count in zip(_DATES, found.dates, strict=True) if count == found.texts]
    if dates:
        # 03/04/2024 is in March or in April.
        return dates[0] if len(dates) == 1 else TEXT
    return _number(found, commas=commas) if found.numbers == found.texts else TEXT


def _number(found: _Count, *, commas: bool) -> Kind:
    """By the decimal sign that the values agree on, if they have the same unit or none has one."""
    units = found.units or [""]
    if len(units) > 1 or (found.point and found.comma):
        return TEXT
    if found.comma:
        return Kind("DOUBLE", _value(","), units[0])
    if not found.point and (found.either_comma or (found.either_point and commas)):
        return TEXT
    return Kind("DOUBLE", _value("."), units[0])


def _value(decimal: str) -> str:
    """The number in SQL, by this sign of the decimals."""
    others = r"[^0-9,]" if decimal == "," else r"[^0-9.eE+-]"
    digits = f"replace(regexp_replace({_body('{}')}, '{others}', '', 'g'), ',', '.')"
    return f"CAST(CASE WHEN regexp_matches({{}}, {_literal(_NEGATIVE)}) THEN '-' ELSE '' END || {digits} AS DOUBLE)"
