"""Reports: sums are those of a recount, pages give each row once, hostile names find nothing and harm nobody."""

from __future__ import annotations

import csv
import datetime
import io
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from access.database.store import Database
from access.ledger import reports
from access.ledger.entry import COUNTS, REQUEST_FILTERS, WHOSE, AttemptEntry, LedgerEntry
from access.ledger.reports import ReportRow, read_time
from access.ledger.rows import insert
from observability.screen import table
from tests.databases import emptied
from tests.shown import shown

HOUR, DAY = 3_600_000, 86_400_000
# Two hours before a day ends.
BEGAN = 20_000 * DAY + 22 * HOUR
HOSTILE = (
    "' OR 1=1 --",
    '"; DROP TABLE requests; --',
    "%",
    "_",
    "a\0",
    "a\x00pp",
    "\ud800",
    "x" * 100_000,
    "\\",
    "$1",
    "",
)
AFEW = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def entry(at_ms: int, number: int = 0, app: str = "app", user: str = "", cost: int | None = 1000) -> LedgerEntry:
    identity = f"{at_ms * 1_000_000 + number % 1_000_000:016x}{number:016x}"
    counts: dict[str, Any] = {"input": 10, "output": 5, "cache_read": 1, "cache_write": 2, "reasoning": 3, "cost": cost}
    shared: dict[str, Any] = {**counts, "target": "p/m", "status": 200, "error": "", "estimated": False}
    attempt = AttemptEntry(number=1, reason="first", duration_ms=6, **shared)
    return LedgerEntry(
        id=identity, request_id=f"r{number}", trace_id="t", at_ms=at_ms, organisation="org", team="team", app=app,
        key="key", user=user, surface="openai.chat", model="m", outcome="ok", cache="off", stream=False, duration_ms=7,
        attempts=(attempt,), **shared,
    )  # fmt: skip


NAMES = st.sampled_from(("a", "b", "a/b", "é", ""))
COUNT = st.integers(0, 10**12)
ENTRIES = st.lists(
    st.builds(
        lambda at, who, counts, rest: msgspec.structs.replace(
            entry(at),
            organisation=who[0], team=who[1], app=who[2], key=who[3], user=who[4], model=who[5], target=who[0],
            input=counts[0], output=counts[1], cache_read=counts[2], cache_write=counts[3], reasoning=counts[4],
            outcome=rest[0], status=rest[1], cost=rest[2],
        ),
        st.integers(BEGAN, BEGAN + 5 * HOUR),
        st.tuples(*[NAMES] * 6),
        st.tuples(*[COUNT] * 5),
        st.tuples(
            st.sampled_from(("ok", "error", "interrupted", "cut", "closed")), st.sampled_from((200, 502)),
            st.one_of(st.none(), st.integers(0, 10**17)),
        ),
    ),
    max_size=25,
).map(
    lambda made: [
        msgspec.structs.replace(each, id=f"{each.at_ms * 1_000_000:016x}{place:016x}")
        for place, each in enumerate(made)
    ]
)  # fmt: skip


def group(each: LedgerEntry, by: Sequence[str]) -> tuple[str, ...]:
    moment = datetime.datetime.fromtimestamp(each.at_ms / 1000, datetime.UTC)
    times = {"day": f"{moment:%Y-%m-%d}", "hour": f"{moment:%Y-%m-%dT%H:00Z}"}
    return tuple(times[name] if name in times else getattr(each, name) for name in by)


def recount(entries: Sequence[LedgerEntry], by: Sequence[str]) -> dict[tuple[str, ...], ReportRow]:
    lines = {}
    for key in {group(each, by) for each in entries}:
        mine = [each for each in entries if group(each, by) == key]
        counts = {name: sum(getattr(each, name) for each in mine) for name in COUNTS[3:]}
        counts["requests"] = len(mine)
        counts["failures"] = sum(each.outcome in ("error", "interrupted", "cut") for each in mine)
        counts["unpriced"] = sum(each.cost is None for each in mine)
        cost = Decimal(sum(each.cost or 0 for each in mine)) / 10**12
        lines[key] = msgspec.convert({"by": key, "cost": cost, **counts}, ReportRow)
    return lines


@given(
    entries=ENTRIES,
    by=st.lists(st.sampled_from(reports.BY), max_size=4, unique=True),
    since=st.one_of(st.none(), st.integers(BEGAN - HOUR, BEGAN + 6 * HOUR)),
    until=st.one_of(st.none(), st.integers(BEGAN - HOUR, BEGAN + 6 * HOUR)),
    where=st.dictionaries(st.sampled_from(("organisation", "team", "app", "user")), NAMES, max_size=1),
)
@AFEW
def test_sums_are_those_of_a_recount(
    url: str, entries: list[LedgerEntry], by: list[str], since: int | None, until: int | None, where: dict[str, str]
) -> None:
    async def act(database: Database) -> list[ReportRow]:
        await insert(database, entries)
        return await reports.usage(database, by, since, until, where)

    lines = emptied(url, act)
    meant = [
        each
        for each in entries
        if (since is None or each.at_ms // HOUR >= since // HOUR)
        and (until is None or each.at_ms // HOUR < -(-until // HOUR))
        and all(getattr(each, name) == value for name, value in where.items())
    ]
    assert {line.by: line for line in lines} == recount(meant, by)
    times = [place for place, name in enumerate(by) if name in ("day", "hour")]
    assert lines == sorted(lines, key=lambda line: ([line.by[place] for place in times], -line.cost, line.by))
    rows = list(csv.reader(io.StringIO(reports.csv(by, lines))))
    assert sum(Decimal(row[-1]) for row in rows[1:]) == sum(line.cost for line in lines)


@given(
    entries=ENTRIES,
    scope=st.sampled_from(reports.SCOPES),
    since=st.integers(BEGAN - HOUR, BEGAN + 6 * HOUR),
    length=st.one_of(st.none(), st.integers(-1, 7 * HOUR)),
)
@AFEW
def test_spent_is_that_of_a_recount(
    url: str, entries: list[LedgerEntry], scope: str, since: int, length: int | None
) -> None:
    until = None if length is None else since + length

    async def act(database: Database) -> dict[str, int]:
        await insert(database, entries)
        return await reports.spent(database, scope, since, until)

    sums: dict[str, int] = {}
    for each in entries:
        if since <= each.at_ms and (until is None or each.at_ms < until):
            whose: str = getattr(each, scope)
            name = f"{each.app}/{whose}" if scope in ("user", "key") else whose
            sums[name] = sums.get(name, 0) + (each.cost or 0)
    assert emptied(url, act) == {name: -(-picos // 1000) for name, picos in sums.items()}


def test_spent_has_edges_of_a_millisecond(url: str) -> None:
    begin, end = BEGAN + 5, BEGAN + 3 * HOUR + 7
    moments = (begin - 1, begin, BEGAN + HOUR - 1, BEGAN + HOUR, BEGAN + 3 * HOUR - 1, BEGAN + 3 * HOUR, end - 1, end)

    async def act(database: Database) -> None:
        await insert(database, [entry(at, place, cost=1000 << place) for place, at in enumerate(moments)])

        async def spent(since: int, until: int | None) -> int:
            return (await reports.spent(database, "app", since, until)).get("app", 0)

        assert await spent(begin, end) == 0b01111110
        assert await spent(begin - 1, end + 1) == 0b11111111
        assert await spent(begin + 1, end - 1) == 0b00111100
        assert await spent(begin, None) == 0b11111110
        assert await spent(BEGAN + HOUR, BEGAN + 3 * HOUR) == 0b00011000
        # Within one hour, and across one full hour's beginning only.
        assert await spent(begin, begin + 1) == 0b00000010
        assert await spent(BEGAN + HOUR - 1, BEGAN + HOUR + 1) == 0b00001100
        assert await spent(begin, begin) == await spent(end, begin) == 0
        assert await spent(-(10**30), 10**30) == 0b11111111
        assert await spent(10**30, None) == 0
        with pytest.raises(ValueError, match="use one of organisation, team, app, key, user"):
            await reports.spent(database, "model", 0)

    emptied(url, act)


def test_rounded_up_once_and_of_what_is_known(url: str) -> None:
    async def act(database: Database) -> dict[str, int]:
        entries = [entry(BEGAN, 1, "a", "u", 1), entry(BEGAN, 2, "a", "u", 1), entry(BEGAN, 3, "a", "", None)]
        await insert(database, entries)
        return await reports.spent(database, "user", BEGAN)

    assert emptied(url, act) == {"a/u": 1, "a/": 0}


def test_sums_beyond_what_sqlite_sums(url: str) -> None:
    async def act(database: Database) -> None:
        await insert(database, [entry(BEGAN + place * HOUR, place, cost=9 * 10**18 + 7) for place in range(3)])
        (line,) = await reports.usage(database, ())
        assert line.cost == Decimal("27000000.000000000021")
        assert await reports.spent(database, "app", BEGAN + 1) == {"app": 18 * 10**15 + 1}
        assert "27000000.000000000021" in shown(table(*reports.cells((), [line]), 0))

    emptied(url, act)


def test_pages_give_each_row_once_while_rows_are_added(url: str) -> None:
    async def act(database: Database) -> None:
        entries = [entry(BEGAN + place // 3, place, "ab"[place % 2]) for place in range(50)]
        await insert(database, entries)
        for where in ({}, {"app": "a"}, {"team": "team", "status": "200", "outcome": "ok"}):
            seen: list[str] = []
            cursor, limit = "", 1
            while True:
                page = await reports.requests(database, where, before=cursor, limit=limit)
                seen += [row["id"] for row in page.rows]
                await insert(database, [entry(BEGAN + HOUR + len(seen), 10**6 + limit, "a")])
                assert len(page.rows) == limit or not page.next
                cursor, limit = page.next, limit + 3
                if not cursor:
                    break
            mine = [each.id for each in entries if each.app == where.get("app", each.app)]
            old = [each for each in seen if each <= entries[-1].id]
            assert old == sorted(mine, reverse=True)
            assert len(seen) == len(set(seen))
        for size in (0, -1, 501):
            with pytest.raises(ValueError, match="1 to 500"):
                await reports.requests(database, {}, limit=size)

    emptied(url, act)


def test_a_page_of_a_time_and_one_request(url: str) -> None:
    async def act(database: Database) -> None:
        entries = [
            entry(BEGAN + place, place, cost=None if place == 2 else 3_500_000_000 + place) for place in range(5)
        ]
        await insert(database, entries)
        page = await reports.requests(database, {}, since_ms=BEGAN + 1, until_ms=BEGAN + 4)
        assert [row["at_ms"] - BEGAN for row in page.rows] == [3, 2, 1]
        assert [row["cost"] for row in page.rows] == ["0.003500000003", None, "0.003500000001"]
        assert page.next == ""
        assert len((await reports.requests(database, {}, since_ms=-(10**40), until_ms=10**40)).rows) == 5
        assert (await reports.requests(database, {"request_id": "r4"})).rows[0]["id"] == entries[4].id
        one = await reports.request(database, entries[0].id)
        assert one is not None
        assert (one["cost"], one["user"], one["stream"]) == ("0.0035", "", False)
        (attempt,) = one["attempts"]
        assert (attempt["number"], attempt["target"], attempt["cost"]) == (1, "p/m", "0.0035")
        assert "request" not in attempt
        assert msgspec.json.encode(page)
        assert msgspec.json.encode(one)

    emptied(url, act)


@pytest.mark.parametrize("asked", ["interrupted", "cut"])
def test_interrupted_requests_are_found_under_the_older_name_too(url: str, asked: str) -> None:
    async def act(database: Database) -> None:
        outcomes = ("ok", "cut", "interrupted")
        await insert(
            database,
            [msgspec.structs.replace(entry(BEGAN, number), outcome=outcome) for number, outcome in enumerate(outcomes)],
        )
        page = await reports.requests(database, {"outcome": asked})
        assert [row["outcome"] for row in page.rows] == ["interrupted", "cut"]

    emptied(url, act)


def test_hostile_names_find_nothing(url: str) -> None:
    async def act(database: Database) -> None:
        await insert(database, [entry(BEGAN, 1, "app", "user")])
        for value in HOSTILE:
            for name in set(REQUEST_FILTERS) - {"status"}:
                assert await reports.requests(database, {name: value}) == reports.Page([], "")
            for name in WHOSE:
                assert await reports.usage(database, ["app"], where={name: value}) == []
            assert await reports.request(database, value) is None
            await reports.requests(database, {}, before=value)
        assert (await reports.requests(database, {"status": "9" * 9})).rows == []
        for status in ("-1", "2e2", "٢٠٠", "9" * 40, " 200", "abc", ""):
            with pytest.raises(ValueError, match="it must be a number"):
                await reports.requests(database, {"status": status})
        for wrong in ("id", "at_ms", "app; DROP TABLE requests", "", "cost"):
            with pytest.raises(ValueError, match="use one of organisation, team"):
                await reports.requests(database, {wrong: "x"})
            with pytest.raises(ValueError, match="use one of organisation, team"):
                await reports.usage(database, [wrong])
            with pytest.raises(ValueError, match="use one of organisation, team"):
                await reports.usage(database, ["app"], where={wrong: "x"})
        assert len((await reports.requests(database, {"app": "app", "user": "user"})).rows) == 1

    emptied(url, act)


def line(name: str, cost: str, requests: int = 1) -> ReportRow:
    return ReportRow((name,), requests, 0, 0, 10, 5, 0, 0, 0, Decimal(cost))


def drawn(by: list[str], lines: list[ReportRow]) -> list[str]:
    return shown(table(*reports.cells(by, lines), len(by))).splitlines()


def test_a_table() -> None:
    lines = [line("shop", "12.5", 1200), line("日本", "0.0000000001"), line("", "0"), line("a\x1b[2J\n\u202eb", "1E-7")]
    head, *body, last = drawn(["app"], lines)
    assert len(body) == 4
    assert head.split() == ["app", *COUNTS, "cost", "$"]
    assert body[0].split() == ["shop", "1200", "0", "0", "10", "5", "0", "0", "0", "12.5000000000"]
    assert body[1].split()[-1] == "0.0000000001"
    assert body[2].startswith("- ")
    assert body[3].startswith("a\\u001b[2J\\u000a\\u202eb ")
    assert last.split() == ["total", "1203", "0", "0", "40", "20", "0", "0", "0", "12.5000001001"]
    # A wide letter takes two columns.
    assert {len(each) for each in (head, body[0], body[2], last)} == {len(body[1]) + 2}
    assert drawn(["app"], [line("a", "0.5")])[1].endswith(" 0.500000")
    assert drawn(["app", "day"], [])[1].split() == ["total", *["0"] * 8, "0.000000"]


@pytest.mark.parametrize("name", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\uff1d1"])
def test_a_spreadsheet_runs_nothing(name: str) -> None:
    (head, row) = csv.reader(io.StringIO(reports.csv(["user"], [line(name, "0.25")]), newline=""))
    assert head == ["user", *COUNTS, "cost"]
    assert row == [f"'{name}", "1", "0", "0", "10", "5", "0", "0", "0", "0.25"]


def test_csv_is_quoted() -> None:
    text = reports.csv(["user"], [line('a,"b"\n1+1', "0")])
    assert text.splitlines()[1].startswith('"a,""b""')
    assert text.endswith(",0\r\n")


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("90m", 10**12 - 90 * 60_000),
        (" 24h ", 10**12 - DAY),
        ("7d", 10**12 - 7 * DAY),
        ("999999999d", 0),
        ("1970-01-02", DAY),
        ("1970-01-02T01:00", DAY + HOUR),
        ("1970-01-02 01:00:00.123456", DAY + HOUR + 123),
        ("1970-01-02T01:00+02:00", DAY - HOUR),
        ("1970-01-02T00:00Z", DAY),
        ("0001-01-01T00:00+14:00", 0),
        ("9999-12-31T23:59:59-14:00", 253_402_351_199_000),
    ],
)
def test_times(text: str, ms: int) -> None:
    assert read_time(text, 1e9) == ms


@pytest.mark.parametrize(
    "text", ["", "yesterday", "7", "7w", "-7d", "2026-13-01", "\u0667d", "2026-07-21T25:00", "d", "x" * 999]
)
def test_times_that_are_none(text: str) -> None:
    with pytest.raises(ValueError, match="write 2026-07-21"):
        read_time(text, 1e9)
