"""Columns that may not be read, and values too large, on real servers and through HTTP."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from rag.tables.engines import QueryFailed, TableEngine
from rag.tables.mysql import MysqlEngine
from rag.tables.postgres import PostgresEngine
from rag.tables.rows import MAX_BYTES
from rag.tables.safety import Dialect, SqlRefused, prove
from tests.integration.row_servers import mariadb_with, set_up_postgres
from tests.live import running_gateway
from tests.recording import recording_upstream
from tests.unit.rag.sql_attacks import ATTACKS, CANARY, FAIR, OPEN, SPECIAL_ATTACKS, open_tables

HIDDEN = "No SQL attack puts a hidden column or table into a result or a prompt"
POSTGRES = f"""
CREATE TABLE orders (id int primary key, region text, amount numeric, card text);
INSERT INTO orders SELECT n, 'north', n, '{CANARY}' FROM generate_series(1, 6) n;
CREATE TABLE "Customers" (id int, "Name" text, card text);
INSERT INTO "Customers" VALUES (1, 'Ann', '{CANARY}');
CREATE TABLE "ORDERS" (id int, region text, card text);
INSERT INTO "ORDERS" VALUES (1, '{CANARY}', '{CANARY}');
CREATE TABLE secrets (id int, card text);
INSERT INTO secrets VALUES (1, '{CANARY}');
CREATE ROLE reader LOGIN;
ALTER ROLE reader SET standard_conforming_strings = off;
GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader;
"""
MARIADB = f"""
CREATE DATABASE shop;
USE shop;
CREATE TABLE orders (id int primary key, region varchar(20), amount decimal(9,2), card varchar(20));
INSERT INTO orders SELECT seq, 'north', seq, '{CANARY}' FROM seq_1_to_6;
CREATE TABLE Customers (id int, Name varchar(20), card varchar(20));
INSERT INTO Customers VALUES (1, 'Ann', '{CANARY}');
CREATE TABLE ORDERS (id int, region varchar(20), card varchar(20));
INSERT INTO ORDERS VALUES (1, '{CANARY}', '{CANARY}');
CREATE TABLE secrets (id int, card varchar(20));
INSERT INTO secrets VALUES (1, '{CANARY}');
SET GLOBAL sql_mode = 'ORACLE,NO_BACKSLASH_ESCAPES';
CREATE USER reader@localhost;
GRANT SELECT ON shop.* TO reader@localhost
"""
# What ends a text where a server takes a backslash for a sign of its own, or doesn't.
BACKSLASHES = r"""
SELECT region AS x FROM orders WHERE region <> '\' AND region <> ' UNION SELECT card FROM secrets -- '
SELECT region AS x FROM orders WHERE region <> '\\' AND region <> ' UNION SELECT card FROM secrets -- '
SELECT region AS x FROM orders WHERE region <> '\'' UNION SELECT card FROM secrets -- '
SELECT region AS x FROM orders WHERE region <> 'a\'' OR region <> ' UNION SELECT card FROM secrets -- '
SELECT region AS x FROM orders WHERE region <> "\" OR region <> " UNION SELECT card FROM secrets -- "
""".strip().split("\n")


@pytest.fixture(scope="module")
def postgres(postgres_url: str) -> TableEngine:
    set_up_postgres(postgres_url, POSTGRES)
    return PostgresEngine(postgres_url.replace("postgres:@", "reader:@"), 1e9)


@pytest.fixture(scope="module")
def mariadb() -> Iterator[TableEngine]:
    with mariadb_with(MARIADB) as url:
        yield MysqlEngine(url.replace("root@", "reader@"), 1e9)


@pytest.fixture(params=["postgres", "mysql"])
def engine(request: pytest.FixtureRequest) -> TableEngine:
    found: TableEngine = request.getfixturevalue("postgres" if request.param == "postgres" else "mariadb")
    return found


@pytest.mark.guarantee("sql", HIDDEN)
def test_no_attack_reads_a_hidden_value(engine: TableEngine) -> None:
    async def run() -> None:
        await engine.open()
        tables = await engine.tables(OPEN)
        assert {name: tuple(column.name for column in columns) for name, columns in tables.items()} == OPEN
        for text in [*ATTACKS, *SPECIAL_ATTACKS[engine.dialect], *BACKSLASHES]:
            try:
                rows = await engine.run(prove(text, open_tables(engine.dialect), 50), 5.0, 50)
            except (SqlRefused, QueryFailed):
                continue
            assert CANARY not in repr(rows), text
        await engine.close()

    asyncio.run(run())


def test_fair_queries_run(engine: TableEngine) -> None:
    async def run() -> None:
        await engine.open()
        for text in FAIR:
            rows = await engine.run(prove(text, open_tables(engine.dialect), 50), 5.0, 50)
            assert rows.columns
            assert CANARY not in repr(rows), text
        ordered = prove("SELECT id FROM orders ORDER BY id DESC", open_tables(engine.dialect), 50)
        assert (await engine.run(ordered, 5.0, 3)).rows == ((6,), (5,), (4,))
        await engine.close()

    asyncio.run(run())


LARGE: dict[Dialect, list[str]] = {
    "postgres": [
        "SELECT repeat('x', 100000000) AS a, region FROM orders",
        "SELECT string_agg(repeat('x', 1000000), '') AS a FROM orders, generate_series(1, 100)",
        "SELECT array_agg(n) AS a FROM generate_series(1, 1000000) n",
    ],
    "mysql": [
        "SELECT repeat('x', 10000000) AS a, region FROM orders",
        "SELECT group_concat(repeat('x', 1000000)) AS a FROM orders",
    ],
}


@pytest.mark.guarantee("sql", "A query for very large values exceeds neither its memory limit nor the size of a prompt")
def test_large_values_are_cut(engine: TableEngine) -> None:
    async def run() -> None:
        await engine.open()
        for text in LARGE[engine.dialect]:
            try:
                rows = await engine.run(text, 10.0, 50)
            except QueryFailed:
                # It was too much for the server, too.
                continue
            assert rows.cut
            assert len(repr(rows).encode()) < MAX_BYTES
        assert (await engine.run("SELECT count(*) AS n FROM orders", 5.0, 50)).rows == ((6,),)
        await engine.close()

    asyncio.run(run())


YAML = """
version: 1
server: {{watch: false, data: data}}
providers:
  up: {{kind: openai, base_url: "http://127.0.0.1:{port}/v1", api_key: upstream-key}}
models:
  plain: {{targets: [up/m]}}
  shop: {{pipeline: shop}}
pipelines:
  shop: {{context: {{from: [orders], rewrite: null}}, model: plain}}
sources:
  orders: {{kind: sql, files: {{orders: orders.csv}}, model: plain, tables: {{orders: [region, amount]}}}}
apps:
  one: {{keys: [test-key]}}
observe: {{log: "off"}}
"""


@pytest.mark.guarantee("sql", HIDDEN)
def test_no_prompt_holds_a_hidden_value(tmp_path: Path) -> None:
    lines = "".join(f"north,{number},{CANARY}\n" for number in range(20))
    (tmp_path / "orders.csv").write_text(f"region,amount,card\n{lines}")
    with recording_upstream() as upstream, running_gateway(YAML.format(port=upstream.port), tmp_path) as gateway:
        for text in ("SELECT o FROM orders o", "SELECT card FROM ORDERS", "SELECT region FROM orders ORDER BY orders"):
            upstream.answers += [lambda _, text=text: text] * 2  # type: ignore[misc]
            upstream.answers += [lambda _: "SELECT sum(amount) AS s FROM orders", lambda _: "Done."]
            body = {"model": "shop", "messages": [{"role": "user", "content": f"Show the amount by region ({text})"}]}
            answer = gateway.request("POST", "/v1/chat/completions", body, {"authorization": "Bearer test-key"})
            assert answer.status == 200
        seen = json.dumps(upstream.bodies)
        assert "| 190 |" in seen
        assert "That can't run" in seen
        assert CANARY not in seen
