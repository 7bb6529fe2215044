"""Queries that would take too long or too much: ended at their deadline, bounded in memory, and nobody else's wait."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.exchange import Exchange
from contract.messages import ChatRequest
from contract.passages import Passage
from contract.work import WorkPool
from rag.tables.columns import Allowed, Dialect, SqlRefused
from rag.tables.engines import FilesEngine, QueryFailed, Rows, SqliteEngine, TableEngine
from rag.tables.prover import Prover
from rag.tables.rows import MAX_BYTES, MAX_VALUE, Column, collect_rows
from rag.tables.safety import prove
from rag.tables.source import MAX_SHOWN, TableSource, write_rows

pytestmark = pytest.mark.slow

STOPS = "A query that exceeds its deadline is stopped and does not block other callers"
BOUNDED = "A query stays within its memory limit, and its result within the size of a prompt"
_LONG = "replace(" * 9 + "'aaaaaaaaaa'" + ", 'a', 'aaaaaaaaaa')" * 9


def _sqlite(folder: Path, pool: WorkPool | None = None) -> SqliteEngine:
    connection = sqlite3.connect(folder / "shop.db")
    connection.execute("CREATE TABLE orders (id, region)")
    connection.executemany("INSERT INTO orders VALUES (?, 'north')", [(number,) for number in range(3000)])
    connection.commit()
    connection.close()
    return SqliteEngine(folder / "shop.db", pool)


def _files(folder: Path, pool: WorkPool | None = None) -> FilesEngine:
    (folder / "orders.csv").write_text("id,region\n" + "".join(f"{number},north\n" for number in range(3000)))
    return FilesEngine({"orders": folder / "orders.csv"}, pool)


def _engine(dialect: Dialect, folder: Path, pool: WorkPool | None = None) -> TableEngine:
    return _sqlite(folder, pool) if dialect == "sqlite" else _files(folder, pool)


GROWING: list[tuple[Dialect, str]] = [
    ("duckdb", "SELECT format('{:{}}', 1, 1000000000)"),
    ("duckdb", "SELECT format('{0:>{1}}', region, id) FROM orders"),
    ("mysql", "SELECT " + "hex(" * 14 + "region" + ")" * 14 + " FROM orders"),
    ("sqlite", "SELECT " + "quote(" * 14 + "region" + ")" * 14 + " FROM orders"),
    ("postgres", "SELECT regexp_match(region, region) FROM orders"),
    ("postgres", r"SELECT regexp_match(region, '(a+)\1') FROM orders"),
    ("mysql", "SELECT json_search(region, 'all', '%a%a%a%a%a%a%a%b') FROM orders"),
]


@pytest.mark.parametrize(("dialect", "sql"), GROWING)
def test_what_may_grow_or_run_long_is_refused(dialect: Dialect, sql: str) -> None:
    with pytest.raises(SqlRefused, match=r"large|literal|reference|wildcards"):
        prove(sql, Allowed(dialect, {"orders": ("id", "region")}), 10)


HEAVY: list[tuple[Dialect, str]] = [
    ("sqlite", f"SELECT length({_LONG}) FROM orders"),
    ("sqlite", "SELECT group_concat(a.region || b.region || c.region) FROM orders a, orders b, orders c"),
    ("sqlite", "SELECT count(*) FROM orders a, orders b, orders c"),
    ("sqlite", "SELECT zeroblob(1000000000)"),
    # One of them takes a fast machine about a second, and is no more than NULL then.
    ("sqlite", "SELECT printf('%.*c', 900000000, 'x')" + ", printf('%.*c', 900000000, 'x')" * 11),
    ("sqlite", "SELECT hex(zeroblob(10000000)) FROM orders"),
    ("sqlite", "SELECT a.region FROM orders a, orders b, orders c ORDER BY a.id * b.id * c.id"),
    ("duckdb", f"SELECT length({_LONG})"),
    ("duckdb", "SELECT string_agg(repeat(a.region, 1000), '') FROM orders a, orders b"),
    ("duckdb", "SELECT list(a.region) FROM orders a, orders b, orders c"),
    ("duckdb", "SELECT repeat('x', 2000000000)"),
    ("duckdb", "SELECT lpad('x', 500000000, 'y') FROM orders"),
    ("duckdb", "SELECT count(*) FROM orders a, orders b, orders c, orders d"),
    ("duckdb", "SELECT count(DISTINCT a.id * 3000 + b.id + c.id * 9000000) FROM orders a, orders b, orders c"),
]


@pytest.mark.guarantee("sql", BOUNDED)
@pytest.mark.parametrize(("dialect", "text"), HEAVY)
def test_a_heavy_query_fails_within_its_bounds(dialect: Dialect, text: str, tmp_path: Path) -> None:
    async def run() -> None:
        engine, most = _engine(dialect, tmp_path), 0
        await engine.open()

        async def watch() -> None:
            nonlocal most
            while True:
                for child in psutil.Process().children():
                    # It may end at any moment.
                    with contextlib.suppress(psutil.NoSuchProcess):
                        if child.is_running() and child.status() != psutil.STATUS_ZOMBIE:
                            most = max(most, child.memory_info().rss)
                await asyncio.sleep(0.02)

        watching = asyncio.ensure_future(watch())
        with pytest.raises(QueryFailed, match=r"longer than|stop in time|more memory|too big"):
            await asyncio.wait_for(engine.run(text, 1.0, 10), 60)
        assert not watching.done()
        watching.cancel()
        assert most < 1_500_000_000
        # And the next query has a database.
        assert (await engine.run("SELECT count(*) FROM orders", 10.0, 10)).rows == ((3000,),)
        await engine.close()

    asyncio.run(run())


@pytest.mark.guarantee("sql", STOPS)
@pytest.mark.parametrize("dialect", ["sqlite", "duckdb"])
def test_a_query_that_does_not_stop_keeps_nobody_waiting(dialect: Dialect, tmp_path: Path) -> None:
    async def run() -> None:
        pool = WorkPool("sql", 2)
        engine = _engine(dialect, tmp_path, pool)
        await engine.open()
        endless = "SELECT count(*) FROM orders a, orders b, orders c, orders d"
        slow = [asyncio.ensure_future(engine.run(endless, 60.0, 10, "greedy")) for _ in range(3)]
        await asyncio.sleep(0.1)
        assert (await engine.run("SELECT count(*) FROM orders", 30.0, 10, "neighbour")).rows == ((3000,),)
        assert not any(each.done() for each in slow)
        for each in slow:
            each.cancel()
        for _ in range(2):
            for child in psutil.Process().children():
                child.kill()
            await asyncio.sleep(0.05)
        await engine.close()
        pool.close()

    asyncio.run(run())


class _Stuck:
    """An engine whose queries never end."""

    dialect: Dialect = "sqlite"

    async def open(self) -> None:
        """Nothing to open."""

    async def tables(self, wanted: Mapping[str, Sequence[str]]) -> dict[str, list[Column]]:
        """One."""
        return {"orders": [Column("id", "int", ("1",)), Column("region", "text", ("north",))]}

    async def run(self, sql: str, timeout_s: float, max_rows: int, caller: str = "") -> Rows:
        """Never."""
        await asyncio.Event().wait()
        raise AssertionError

    async def close(self) -> None:
        """Nothing to close."""


def _asked(engine: TableEngine, *said: str) -> tuple[Passage | None, Exchange, list[str]]:
    """What a source makes of a model's answers, and what the model was told."""
    told: list[str] = []

    async def run() -> tuple[Passage | None, Exchange, list[str]]:
        source = TableSource("shop", engine, "writer", {}, timeout_s=0.05)
        await source.start()
        answers = iter(said)

        async def ask(request: ChatRequest, model: str) -> str:
            told.append(request.messages[-1].text)
            return next(answers)

        exchange = Exchange("test")
        passage = await source.answer("How many orders?", exchange, ask)
        await source.close()
        return passage, exchange, told

    return asyncio.run(run())


@pytest.mark.guarantee("sql", STOPS)
def test_the_answer_comes_at_the_deadline_whatever_keeps_the_database(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rag.tables.source.LATEST_S", 0.05)
    passage, _, told = _asked(_Stuck(), *["SELECT count(*) FROM orders"] * 3)
    assert passage is None
    assert "longer than 50ms" in told[1]


@pytest.mark.parametrize(
    "said",
    [
        "SELECT count(*) FROM orders",
        "```sql\nSELECT count(*) FROM orders\n```",
        "```sqlite\nSELECT count(*) FROM orders\n```",
        "<think>count them; DROP nothing</think>\nSELECT count(*) FROM orders",
        "<think>```sql\nSELECT 1\n```</think>```sql\nSELECT count(*) FROM orders\n```",
        "They want a count.</think> SELECT count(*) FROM orders",
        "<thinking>\nhm\n</thinking>SELECT count(*) FROM orders;",
    ],
)
def test_thoughts_before_the_query_are_left_out(said: str, tmp_path: Path) -> None:
    engine = _sqlite(tmp_path)
    source_said = _asked_slowly(engine, said)
    assert source_said is not None
    assert "3000" in source_said.text


def _asked_slowly(engine: TableEngine, said: str) -> Passage | None:
    async def run() -> Passage | None:
        source = TableSource("shop", engine, "writer", {}, timeout_s=20.0)
        await source.start()

        async def ask(request: ChatRequest, model: str) -> str:
            return said

        passage = await source.answer("How many orders?", Exchange("test"), ask)
        await source.close()
        return passage

    return asyncio.run(run())


@pytest.mark.guarantee("sql", BOUNDED)
def test_rows_are_taken_until_their_bytes_are_full() -> None:
    asked = 0

    def rows() -> Iterator[Sequence[object]]:
        nonlocal asked
        while True:
            asked += 1
            yield ("\u00e9" * 5000, 1)

    found = collect_rows(["a", "b"], rows(), 100_000)
    assert found.more
    assert found.cut >= len(found.rows)
    assert sum(len(str(value).encode()) for row in found.rows for value in row) <= MAX_BYTES
    assert asked <= len(found.rows) + 2
    assert all(len(str(value)) <= MAX_VALUE + 1 for row in found.rows for value in row)


_VALUES = st.none() | st.integers() | st.floats() | st.text(max_size=3000) | st.binary(max_size=3000)


@pytest.mark.guarantee("sql", BOUNDED)
@given(
    st.integers(1, 40).flatmap(lambda width: st.lists(st.lists(_VALUES, min_size=width, max_size=width), max_size=8))
)
def test_what_is_shown_of_rows_is_bounded_in_bytes(rows: list[list[object]]) -> None:
    width = len(rows[0]) if rows else 1
    found = collect_rows([f"column {at} " + "x" * 50 for at in range(width)], rows, 5)
    shown = write_rows(found)
    assert len(shown.encode()) <= MAX_SHOWN + 200
    assert len(found.rows) <= 5
    assert found.more == (len(rows) > len(found.rows))


def test_what_was_cut_is_said() -> None:
    rows = Rows(("a", "b"), (("x" * 50_000, 1), ("y", 2)))
    shown = write_rows(collect_rows(rows.columns, rows.rows, 10))
    assert "(long values are cut)" in shown
    assert "| y | 2 |" in shown
    many = write_rows(Rows(tuple(f"c{at}" * 20 for at in range(900)), ((1,) * 900,)))
    assert "of 900 columns)" in many
    assert "(the first 2 rows)" in write_rows(Rows(("a",), ((1,), (2,)), more=True))


_ORDERS = {"orders": ("id", "region", "amount")}


def _doubled(times: int) -> str:
    names = ", ".join(f"a{number} + a{number} AS a{number + 1}" for number in range(times))
    return f"SELECT amount + amount AS a0, {names} FROM orders"


def _starred(times: int) -> str:
    tables = ", ".join(f"t{at + 1} AS (SELECT * FROM t{at} p, t{at} q)" for at in range(times))
    return f"WITH t0 AS (SELECT * FROM orders), {tables} SELECT count(*) FROM t{times}"


@pytest.mark.guarantee("sql", STOPS)
@pytest.mark.parametrize("dialect", ["sqlite", "postgres", "mysql", "duckdb"])
@pytest.mark.parametrize(
    "text",
    [
        _doubled(30),
        _starred(40),
        "SELECT 1 FROM orders" + " JOIN orders" * 300,
        "SELECT 1 FROM " + "(" * 300 + "orders a JOIN " * 5,
        "SELECT " + "CAST(" * 200 + "1",
        "SELECT " + "CASE WHEN " * 200,
        "SELECT " + "(1, " * 500,
        "SELECT 1 FROM orders WHERE " + "id IN (" * 300,
    ],
)
def test_a_text_that_would_take_long_to_read_is_refused_before(dialect: Dialect, text: str) -> None:
    started = time.process_time()
    with pytest.raises(SqlRefused):
        prove(text, Allowed(dialect, _ORDERS), 50)
    assert time.process_time() - started < 20


@pytest.mark.guarantee("sql", STOPS)
def test_a_proof_that_takes_too_long_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        prover = Prover()
        assert await prover.prove("SELECT region FROM orders", Allowed("sqlite", _ORDERS), 5)
        with pytest.raises(SqlRefused, match="there is no table secrets"):
            await prover.prove("SELECT region FROM secrets", Allowed("sqlite", _ORDERS), 5)
        monkeypatch.setattr("rag.tables.prover.PROOF_S", 0.1)
        # One that is stopped is too slow on any machine.
        os.kill(prover._idle[0].pid, signal.SIGSTOP)
        with pytest.raises(SqlRefused, match="too long to parse"):
            await prover.prove("SELECT region FROM orders", Allowed("sqlite", _ORDERS), 5)
        monkeypatch.setattr("rag.tables.prover.PROOF_S", 30.0)
        assert await prover.prove("SELECT region FROM orders", Allowed("sqlite", _ORDERS), 5)
        prover.close()

    asyncio.run(run())


def test_names_of_results_may_be_used_in_others() -> None:
    written = prove(_doubled(4), Allowed("sqlite", _ORDERS), 50)
    with sqlite3.connect(":memory:") as connection:
        connection.execute("CREATE TABLE orders (id, region, amount)")
        connection.execute("INSERT INTO orders VALUES (1, 'north', 1)")
        assert connection.execute(written).fetchall() == [(2, 4, 8, 16, 32)]


def test_odd_values_come_as_text(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "odd.db")
    connection.execute("CREATE TABLE odd (a)")
    values = [b"text", "\u00e9".encode() * 5000, b"\x00\xff", 1e999, -1e999, "x", 2**62, None]
    connection.executemany("INSERT INTO odd VALUES (?)", [(value,) for value in values])
    connection.execute("INSERT INTO odd VALUES (CAST(x'41ff42' AS TEXT))")
    connection.commit()
    connection.close()

    async def run() -> None:
        engine = SqliteEngine(tmp_path / "odd.db")
        await engine.open()
        rows = await engine.run("SELECT a FROM odd", 5.0, 20)
        assert [row[0] for row in rows.rows] == [
            "text",
            "\u00e9" * 2000 + "\u2026",
            "0x00ff",
            "inf",
            "-inf",
            "x",
            2**62,
            None,
            "A\ufffdB",
        ]
        await engine.tables({})
        await engine.close()
        (tmp_path / "a.csv").write_text("a,b\n1,2\n")
        files = FilesEngine({"a": tmp_path / "a.csv"})
        await files.open()
        huge = 2**127 - 1
        rows = await files.run(f"SELECT 'nan'::DOUBLE, {huge}::HUGEINT, '\\xFF'::BLOB, [1, 2]", 5.0, 5)
        assert rows.rows == (("nan", str(huge), "\\xFF", "[1, 2]"),)
        await files.close()

    asyncio.run(run())
