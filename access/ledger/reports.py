"""Reports from the ledger: sums, single requests, and spending since a time."""

from __future__ import annotations

import contextlib
import csv as comma_separated
import datetime
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import msgspec
from sqlalchemy import BigInteger, ColumnElement, Table, and_, func, literal_column, or_, select, union_all

from access.database.tables import ATTEMPTS, HOURS, REQUESTS
from access.ledger.entry import COUNTS, INTERRUPTED, REQUEST_FILTERS, UNKNOWN_OUTCOME, WHOSE
from contract.units import parse_duration, write_amount

if TYPE_CHECKING:
    from sqlalchemy import Select

    from access.database.store import Database

BY = (*WHOSE, "day", "hour")
SCOPES = WHOSE[:5]
MOST_ROWS = 500
HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
_TIMES = {"day": DAY_MS, "hour": HOUR_MS}
# The last hour that 16 hexadecimal digits of nanoseconds can express: ids can't have a later one.
_LATEST_MS = 2**64 // 1_000_000 // HOUR_MS * HOUR_MS
_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
_MILLION = 1_000_000
# Characters that no row can contain: PostgreSQL refuses NUL, and no database stores a lone surrogate.
_NEVER_STORED = re.compile("[\0\ud800-\udfff]")
# Characters that begin a formula in a spreadsheet.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")


class ReportRow(msgspec.Struct, frozen=True):
    """The sums of one group. `cost` is in dollars, exact; `unpriced` counts requests with an unknown price."""

    by: tuple[str, ...]
    requests: int
    failures: int
    unpriced: int
    input: int
    output: int
    cache_read: int
    cache_write: int
    reasoning: int
    cost: Decimal


class Page(msgspec.Struct, frozen=True):
    """A page of rows, and the cursor of the next page; empty at the end."""

    rows: list[dict[str, Any]]
    next: str


async def usage(
    database: Database,
    by: Sequence[str],
    since_ms: int | None = None,
    until_ms: int | None = None,
    where: Mapping[str, str] | None = None,
) -> list[ReportRow]:
    """Sums by group: sorted by time if grouped by day or hour, then by cost, the highest first, then by name.

    Sums are by hour: `since_ms` is rounded down, `until_ms` up. Raises `ValueError` for an unknown name.
    """
    _check("group", by, BY)
    conditions = _conditions(HOURS, where or {}, WHOSE)
    if conditions is None:
        return []
    since, until = _bounds(since_ms, until_ms)
    groups = [_start(_TIMES[name]) if name in _TIMES else HOURS.c[name] for name in by]
    statement = (
        select(*groups, *(func.sum(HOURS.c[name]) for name in COUNTS), *_sums(HOURS.c.cost))
        .where(HOURS.c.hour_ms >= since // HOUR_MS * HOUR_MS, HOURS.c.hour_ms < _ceiling(until), *conditions)
        .group_by(*groups)
    )
    # Without a group SQL returns a row even if there is no data.
    lines = [_line(by, row) for row in await _all(database, statement) if row[len(by)] is not None]
    places = [place for place, name in enumerate(by) if name in _TIMES]
    return sorted(lines, key=lambda line: ([line.by[place] for place in places], -line.cost, line.by))


async def unknown(
    database: Database,
    since_ms: int | None = None,
    until_ms: int | None = None,
    where: Mapping[str, str] | None = None,
) -> tuple[int, Decimal]:
    """The number of requests in flight when their process died, and the most that they may have cost, in dollars.

    For the same hours as `usage`, within the retention of single requests. Raises `ValueError` for an unknown filter.
    """
    conditions = _conditions(REQUESTS, where or {}, WHOSE)
    if conditions is None:
        return 0, Decimal(0)
    since, until = _bounds(since_ms, until_ms)
    within = _within(since // HOUR_MS * HOUR_MS, min(_ceiling(until), _LATEST_MS))
    statement = select(func.count(), *_sums(REQUESTS.c.cost)).where(
        REQUESTS.c.outcome == UNKNOWN_OUTCOME, within, *conditions
    )
    ((count, high, low),) = await _all(database, statement)
    return int(count), _dollars(_total(high, low))


async def requests(
    database: Database,
    where: Mapping[str, str],
    *,
    before: str = "",
    limit: int = 50,
    since_ms: int | None = None,
    until_ms: int | None = None,
) -> Page:
    """Single requests, the newest first. `before` is the cursor from the previous page.

    Raises `ValueError` for an unknown filter and for a limit outside 1 to 500.
    """
    if not 1 <= limit <= MOST_ROWS:
        raise ValueError(f"limit is {limit}: it must be from 1 to {MOST_ROWS}")
    conditions = _conditions(REQUESTS, where, REQUEST_FILTERS)
    if conditions is None or _NEVER_STORED.search(before):
        return Page([], "")
    if since_ms is not None or until_ms is not None:
        conditions.append(_within(*_bounds(since_ms, until_ms)))
    if before:
        conditions.append(REQUESTS.c.id < before)
    statement = select(REQUESTS).where(*conditions).order_by(REQUESTS.c.id.desc()).limit(limit + 1)
    found = [_row(row) for row in await _all(database, statement)]
    return Page(found[:limit], found[limit - 1]["id"] if len(found) > limit else "")


async def request(database: Database, id: str) -> dict[str, Any] | None:  # noqa: A002
    """One request, with the list of its attempts instead of their number; None if unknown."""
    if _NEVER_STORED.search(id):
        return None
    found = await _all(database, select(REQUESTS).where(REQUESTS.c.id == id))
    if not found:
        return None
    attempts = select(ATTEMPTS).where(ATTEMPTS.c.request == id).order_by(ATTEMPTS.c.number)
    one = _row(found[0])
    one["attempts"] = [_row(row) for row in await _all(database, attempts)]
    for each in one["attempts"]:
        del each["request"]
    return one


async def spent(
    database: Database, scope: str, since_ms: int, until_ms: int | None = None, *, ended: bool = False
) -> dict[str, int]:
    """Nano-dollars by name, each sum rounded up; a user's name is "app/user", a key's "app/key". Requests without a
    known price count as 0.

    The time includes `since_ms` and excludes `until_ms`, to the millisecond while the single requests of the first and
    last hour are within the retention. `ended` excludes requests that had not ended at `until_ms`.
    Raises `ValueError` for an unknown scope.
    """
    _check("scope", (scope,), SCOPES)
    since, until = _bounds(since_ms, until_ms)
    first, last = _ceiling(since), until // HOUR_MS * HOUR_MS
    edges = [(since, first), (last, until)] if first <= last else [(since, until)]
    names = ("app", scope) if scope in ("user", "key") else (scope,)
    parts = []
    if first < last:
        parts.append(_spent(HOURS, names, and_(HOURS.c.hour_ms >= first, HOURS.c.hour_ms < last)))
    within = [_within(*edge) for edge in edges if edge[0] < edge[1]]
    if within:
        parts.append(_spent(REQUESTS, names, or_(*within)))
    if ended and parts:
        running = and_(_within(max(since, until - DAY_MS), until), REQUESTS.c.at_ms + REQUESTS.c.duration_ms >= until)
        parts.append(_spent(REQUESTS, names, running, sign=-1))
    sums: dict[str, int] = {}
    # One statement reads one snapshot: each request is in exactly one part.
    for *name, high, low in await _all(database, union_all(*parts)) if parts else ():
        whose = "/".join(name)
        sums[whose] = sums.get(whose, 0) + _total(high, low)
    return {name: -(-picos // 1000) for name, picos in sums.items()}


def cells(by: Sequence[str], lines: Sequence[ReportRow]) -> tuple[list[str], list[list[str]]]:
    """The header and the rows of a table for people; the last row has the sums. All costs have equal decimal places."""
    costs = [line.cost for line in lines]
    total = sum(costs, Decimal(0))
    places = max(6, *(len(write_amount(cost).partition(".")[2]) for cost in (*costs, total)))
    body = [[*(name or "-" for name in line.by), *_counts(line), f"{line.cost:.{places}f}"] for line in lines]
    sums = [str(sum(getattr(line, name) for line in lines)) for name in COUNTS]
    labels = ["total", *[""] * (len(by) - 1)][: len(by)]
    return [*by, *COUNTS, "cost $"], [*body, [*labels, *sums, f"{total:.{places}f}"]]


def csv(by: Sequence[str], lines: Iterable[ReportRow]) -> str:
    """CSV (RFC 4180). Values that a spreadsheet would read as a formula get a leading '."""
    text = io.StringIO()
    writer = comma_separated.writer(text)
    writer.writerow([*by, *COUNTS, "cost"])
    for line in lines:
        names = [f"'{name}" if name.startswith(_FORMULA) else name for name in line.by]
        writer.writerow([*names, *_counts(line), write_amount(line.cost)])
    return text.getvalue()


def as_object(by: Sequence[str], line: ReportRow) -> dict[str, Any]:
    """A row for JSON; the cost is a string, to keep it exact."""
    counts = {name: getattr(line, name) for name in COUNTS}
    return {**dict(zip(by, line.by, strict=True)), **counts, "cost": write_amount(line.cost)}


def read_time(text: str, now: float) -> int:
    """Milliseconds since 1970 for a date, a time (UTC by default) or 90m, 24h, 7d before `now` (s).

    Raises `ValueError`.
    """
    text = text.strip()
    with contextlib.suppress(ValueError):
        return max(0, int(now * 1000) - int(parse_duration(text) * 1000))
    try:
        moment = datetime.datetime.fromisoformat(text)
    except ValueError:
        cure = "write 2026-07-21, 2026-07-21T14:30, 2026-07-21T14:30+02:00, or a time ago as 90m, 24h or 7d"
        raise ValueError(f"{text[:64]!r} is not a time: {cure}") from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=datetime.UTC)
    return max(0, (moment - _EPOCH) // datetime.timedelta(milliseconds=1))


def _check(what: str, names: Iterable[str], known: Sequence[str]) -> None:
    for name in names:
        if name not in known:
            raise ValueError(f"unknown {what} {name[:64]!r}: use one of {', '.join(known)}")


def _conditions(of: Table, where: Mapping[str, str], known: Sequence[str]) -> list[ColumnElement[bool]] | None:
    """The SQL conditions of a filter; None if no row can match."""
    _check("filter", where, known)
    conditions: list[ColumnElement[bool]] = []
    for name, value in where.items():
        if _NEVER_STORED.search(value):
            return None
        if name == "outcome" and value in INTERRUPTED:
            conditions.append(of.c.outcome.in_(INTERRUPTED))
        elif name != "status":
            conditions.append(of.c[name] == value)
        elif value.isascii() and value.isdigit() and len(value) < 10:
            conditions.append(of.c.status == int(value))
        else:
            raise ValueError(f"status is {value[:64]!r}: it must be a number, such as 429")
    return conditions


def _bounds(since_ms: int | None, until_ms: int | None) -> tuple[int, int]:
    """The bounds, limited to values that every column can be compared with."""
    since = 0 if since_ms is None else max(0, min(since_ms, _LATEST_MS))
    return since, _LATEST_MS if until_ms is None else max(0, min(until_ms, _LATEST_MS))


def _ceiling(ms: int) -> int:
    return -(-ms // HOUR_MS) * HOUR_MS


def _within(since: int, until: int) -> ColumnElement[bool]:
    """The condition for single requests of a time. It uses the index on ids, which begin with the nanoseconds."""
    ids = REQUESTS.c.id
    at = REQUESTS.c.at_ms
    return and_(ids >= f"{since * _MILLION:016x}", ids < f"{until * _MILLION:016x}", at >= since, at < until)


def _spent(of: Table, names: Sequence[str], condition: ColumnElement[bool], sign: int = 1) -> Select[Any]:
    columns = [of.c[name] for name in names]
    return select(*columns, *_sums(of.c.cost, sign)).where(condition).group_by(*columns)


def _sums(cost: ColumnElement[int], sign: int = 1) -> tuple[ColumnElement[int], ColumnElement[int]]:
    """The sum in two parts: a single sum in SQLite would overflow at 9.2 million dollars."""
    million: ColumnElement[int] = literal_column(str(_MILLION), BigInteger)
    high, low = func.sum(cost // million), func.sum(cost % million)
    return (high, low) if sign > 0 else (-high, -low)


def _total(high: Any, low: Any) -> int:
    return int(high or 0) * _MILLION + int(low or 0)


def _start(length_ms: int) -> ColumnElement[int]:
    # A literal, because PostgreSQL treats two bound parameters as different expressions.
    return HOURS.c.hour_ms - HOURS.c.hour_ms % literal_column(str(length_ms), BigInteger)


def _line(by: Sequence[str], row: Sequence[Any]) -> ReportRow:
    names = tuple(_name(name, value) for name, value in zip(by, row, strict=False))
    counts = dict(zip(COUNTS, map(int, row[len(by) : -2]), strict=True))
    return msgspec.convert({"by": names, **counts, "cost": _dollars(_total(*row[-2:]))}, ReportRow)


def _name(name: str, value: Any) -> str:
    if name not in _TIMES:
        return str(value)
    moment = _EPOCH + datetime.timedelta(milliseconds=int(value))
    return moment.strftime("%Y-%m-%d" if name == "day" else "%Y-%m-%dT%H:00Z")


async def _all(database: Database, statement: Any) -> Sequence[Any]:
    await database.prepare()
    async with database.engine.connect() as connection:
        return (await connection.execute(statement)).all()


def _row(row: Any) -> dict[str, Any]:
    values = dict(row._mapping)
    # Internal.
    values.pop("version", None)
    if values["cost"] is not None:
        values["cost"] = write_amount(_dollars(values["cost"]))
        if values.get("outcome") == UNKNOWN_OUTCOME:
            values["cost_is_at_most"] = True
    return values


def _dollars(picos: int) -> Decimal:
    return Decimal(picos).scaleb(-12)


def _counts(line: ReportRow) -> list[str]:
    return [str(getattr(line, name)) for name in COUNTS]
