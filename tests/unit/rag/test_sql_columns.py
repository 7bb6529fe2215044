"""Columns that may not be read: refused by the proof, out of the database's reach when the proof is left out."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.exchange import Exchange
from contract.messages import ChatRequest
from rag.tables.engines import FilesEngine, QueryFailed, SqliteEngine, TableEngine
from rag.tables.rows import Column, Rows
from rag.tables.safety import Allowed, Dialect, SqlRefused, prove
from rag.tables.source import TableSource
from tests.unit.rag.sql_attacks import ATTACKS, CANARY, FAIR, OPEN, SPECIAL_ATTACKS, open_tables

DIALECTS: tuple[Dialect, ...] = ("sqlite", "postgres", "mysql", "duckdb")
HIDDEN = "The SQL check and the database each refuse columns and tables that the source does not allow"


@pytest.mark.guarantee("sql", HIDDEN)
@pytest.mark.parametrize(
    ("dialect", "text"), [(each, text) for each in DIALECTS for text in [*ATTACKS, *SPECIAL_ATTACKS[each]]]
)
def test_hidden_columns_are_refused(dialect: Dialect, text: str) -> None:
    with pytest.raises(SqlRefused):
        prove(text, open_tables(dialect), 50)


def test_there_are_enough_attacks() -> None:
    assert len(set(ATTACKS)) >= 100


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("text", FAIR)
def test_fair_queries_pass(dialect: Dialect, text: str) -> None:
    assert "card" not in prove(text, open_tables(dialect), 50)


@pytest.mark.parametrize(
    ("dialect", "text", "wanted"),
    [
        ("sqlite", "SELECT NAME FROM customers", 'SELECT "Name" AS "name" FROM "Customers"'),
        ("duckdb", 'SELECT "name" FROM "CUSTOMERS"', 'SELECT "Name" AS "name" FROM "Customers"'),
        ("postgres", 'SELECT "Name" FROM "Customers"', 'SELECT "Name" FROM "Customers"'),
        ("postgres", "SELECT REGION FROM Orders", 'SELECT "region" FROM "orders"'),
        ("mysql", "SELECT NAME FROM Customers", "SELECT `Name` AS `name` FROM `Customers`"),
        ("mysql", "SELECT c.Name FROM customers C", "SELECT `Name` AS `name` FROM `Customers`"),
    ],
)
def test_names_mean_what_they_mean_to_the_database(dialect: Dialect, text: str, wanted: str) -> None:
    assert f"({wanted})" in prove(text, open_tables(dialect), 50)


def test_of_tables_that_differ_in_case_the_one_that_is_named_is_read() -> None:
    both = Allowed("mysql", {"Orders": ("id",), "orders": ("region",)})
    assert "(SELECT `region` FROM `orders`)" in prove("SELECT region FROM orders", both, 50)
    assert "(SELECT `id` FROM `Orders`)" in prove("SELECT id FROM Orders", both, 50)
    for text in ("SELECT id FROM orders", "SELECT region FROM Orders", "SELECT id FROM ORDERS"):
        with pytest.raises(SqlRefused):
            prove(text, both, 50)


def _sqlite(folder: Path) -> SqliteEngine:
    connection = sqlite3.connect(folder / "shop.db")
    connection.execute("CREATE TABLE orders (id INTEGER PRIMARY KEY, region, amount, card)")
    connection.execute("CREATE TABLE Customers (id, Name, card)")
    connection.execute("CREATE TABLE secrets (id, card)")
    connection.execute("CREATE VIEW by_region AS SELECT region, card FROM orders")
    for number in range(6):
        connection.execute("INSERT INTO orders VALUES (?, ?, ?, ?)", (number, "north", number, CANARY))
    connection.execute("INSERT INTO Customers VALUES (1, 'Ann', ?)", (CANARY,))
    connection.execute("INSERT INTO secrets VALUES (1, ?)", (CANARY,))
    connection.commit()
    connection.close()
    return SqliteEngine(folder / "shop.db")


def _files(folder: Path) -> FilesEngine:
    for name, header in (("orders", "id,region,amount,card"), ("Customers", "id,Name,card"), ("secrets", "id,card")):
        between = {"orders": ",north,7.5", "Customers": ",Ann", "secrets": ""}[name]
        rows = "".join(f"{number}{between},{CANARY}\n" for number in range(6))
        (folder / f"{name}.csv").write_text(f"{header}\n{rows}")
    return FilesEngine({name: folder / f"{name}.csv" for name in ("orders", "Customers", "secrets")})


def _engine(dialect: Dialect, folder: Path) -> TableEngine:
    return _sqlite(folder) if dialect == "sqlite" else _files(folder)


@pytest.mark.guarantee("sql", HIDDEN)
@pytest.mark.parametrize("dialect", ["sqlite", "duckdb"])
@pytest.mark.slow
def test_the_database_gives_no_hidden_value_even_without_the_proof(dialect: Dialect, tmp_path: Path) -> None:
    async def run() -> int:
        engine, answered = _engine(dialect, tmp_path), 0
        await engine.open()
        assert {
            name: tuple(column.name for column in columns) for name, columns in (await engine.tables(OPEN)).items()
        } == OPEN
        for text in [*ATTACKS, *SPECIAL_ATTACKS[dialect]]:
            try:
                rows = await engine.run(text, 2.0, 50)
            except QueryFailed:
                continue
            answered += 1
            assert CANARY not in repr(rows), text
        await engine.close()
        return answered

    assert asyncio.run(run()) > 0


@pytest.mark.parametrize("dialect", ["sqlite", "duckdb"])
def test_fair_queries_run(dialect: Dialect, tmp_path: Path) -> None:
    async def run() -> None:
        engine = _engine(dialect, tmp_path)
        await engine.open()
        await engine.tables(OPEN)
        for text in FAIR:
            rows = await engine.run(prove(text, open_tables(dialect), 50), 5.0, 50)
            assert CANARY not in repr(rows), text
        await engine.close()

    asyncio.run(run())


def test_a_view_gives_only_the_columns_of_it_that_are_allowed(tmp_path: Path) -> None:
    async def run() -> None:
        engine = _sqlite(tmp_path)
        await engine.open()
        await engine.tables({"by_region": ("region",)})
        assert (await engine.run("SELECT count(*) FROM by_region", 2.0, 10)).rows == ((6,),)
        assert (await engine.run("SELECT region FROM by_region LIMIT 1", 2.0, 10)).rows == (("north",),)
        for text in ("SELECT card FROM by_region", "SELECT region FROM orders", "SELECT * FROM by_region"):
            with pytest.raises(QueryFailed, match="prohibited"):
                await engine.run(text, 2.0, 10)
        await engine.close()

    asyncio.run(run())


_WORDS = """
SELECT o orders o.* * card WHERE ::text ( ) , AS region max( UNION ON = id x " FROM BY GROUP ORDER WITH JOIN p USING (
"""
_PARTS = st.sampled_from([*_WORDS.split(), "FROM orders o", "WITH x AS (", "JOIN orders p"])


@given(st.lists(_PARTS, max_size=14).map(" ".join), st.sampled_from(DIALECTS))
def test_whatever_is_proven_names_no_hidden_column(text: str, dialect: Dialect) -> None:
    try:
        written = prove("SELECT " + text, open_tables(dialect), 5)
    except SqlRefused:
        return
    quote = "`" if dialect == "mysql" else '"'
    # `card` may be what a column of the result is called, but nothing that is read.
    assert f".{quote}card{quote}" not in written
    assert f"SELECT {quote}card{quote}" not in written


@pytest.mark.parametrize("dialect", DIALECTS)
def test_columns_with_odd_names_are_read_if_they_are_allowed(dialect: Dialect) -> None:
    odd = Allowed(dialect, {"sales": ("Umsatz \u20ac", 'a "b"', "x;y", "region")})
    quote = "`" if dialect == "mysql" else '"'
    assert "Umsatz \u20ac" in prove(f"SELECT {quote}Umsatz \u20ac{quote} FROM sales", odd, 5)
    assert "x;y" in prove("SELECT * FROM sales", odd, 5)
    for text in (f"SELECT {quote}Gewinn \u20ac{quote} FROM sales", f"SELECT region AS {quote}x;z{quote} FROM sales"):
        with pytest.raises(SqlRefused):
            prove(text, odd, 5)


def test_the_model_is_shown_names_as_it_must_write_them() -> None:
    class Shop:
        """An engine with names that need quotes."""

        def __init__(self, dialect: Dialect) -> None:
            self.dialect = dialect

        async def open(self) -> None:
            """Nothing to open."""

        async def tables(self, wanted: Mapping[str, Sequence[str]]) -> dict[str, list[Column]]:
            """One."""
            return {"Orders": [Column("customerId", "int"), Column("placed on", "date"), Column("id", "int")]}

        async def run(self, sql: str, timeout_s: float, max_rows: int, caller: str = "") -> Rows:
            """No query comes here."""
            raise AssertionError

        async def close(self) -> None:
            """Nothing to close."""

    async def run(dialect: Dialect) -> str:
        source, seen = TableSource("shop", Shop(dialect), "writer", {}), list[str]()
        await source.start()

        async def ask(request: ChatRequest, model: str) -> str:
            seen.append(request.messages[0].text)
            return "NONE"

        await source.answer("How many orders?", Exchange("test"), ask)
        await source.close()
        return seen[0]

    assert '"Orders"("customerId" int, "placed on" date, id int)' in asyncio.run(run("postgres"))
    assert "Orders(customerId int, `placed on` date, id int)" in asyncio.run(run("mysql"))
    assert 'Orders(customerId int, "placed on" date, id int)' in asyncio.run(run("duckdb"))
