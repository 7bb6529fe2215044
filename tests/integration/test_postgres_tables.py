"""Rows of a real PostgreSQL: a role that could do harm is refused, one that only reads gets rows and nothing more."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import asyncpg  # type: ignore[import-untyped]
import pytest

from rag.tables.engines import EngineRefused, QueryFailed, Rows
from rag.tables.postgres import PostgresEngine
from tests.services import postgres_server

SETUP = """
CREATE TABLE orders (region text, amount numeric, placed date);
INSERT INTO orders
SELECT CASE n % 2 WHEN 0 THEN 'north' ELSE 'south' END, n, '2024-01-01' FROM generate_series(1, 1000) n;
CREATE TABLE secrets (token text);
INSERT INTO secrets VALUES ('hidden');
CREATE ROLE reader LOGIN;
GRANT SELECT ON orders TO reader;
"""


@pytest.fixture(scope="module")
def superuser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with postgres_server() as url:

        async def setup() -> None:
            connection = await asyncpg.connect(url)
            await connection.execute(SETUP)
            await connection.close()

        asyncio.run(setup())
        yield url


@pytest.fixture
def reader(superuser: str) -> str:
    return superuser.replace("postgres:@", "reader:@")


async def _run(url: str, sql: str, timeout_s: float = 2.0, max_cost: float = 1e6) -> Rows:
    engine = PostgresEngine(url, max_cost)
    await engine.open()
    try:
        return await engine.run(sql, timeout_s, 10)
    finally:
        await engine.close()


def test_a_superuser_is_refused(superuser: str) -> None:
    with pytest.raises(EngineRefused, match="superuser"):
        asyncio.run(_run(superuser, "SELECT 1"))


def test_a_server_that_is_away_is_told(tmp_path: Path) -> None:
    with pytest.raises(EngineRefused, match="can't be reached"):
        asyncio.run(_run(f"postgresql://reader@/postgres?host={tmp_path}", "SELECT 1"))


def test_rows_and_schema(reader: str) -> None:
    rows = asyncio.run(_run(reader, "SELECT region, sum(amount) AS total FROM orders GROUP BY 1 ORDER BY 1"))
    assert rows.columns == ("region", "total")
    assert [row[0] for row in rows.rows] == ["north", "south"]
    assert asyncio.run(_run(reader, "SELECT amount FROM orders LIMIT 100")).more

    async def schema() -> None:
        engine = PostgresEngine(reader, 1e6)
        await engine.open()
        tables = await engine.tables({"orders": ("region", "amount")})
        assert [column.name for column in tables["orders"]] == ["region", "amount"]
        with pytest.raises(EngineRefused, match="no table nothing"):
            await engine.tables({"nothing": ()})
        await engine.close()

    asyncio.run(schema())


@pytest.mark.parametrize(
    ("sql", "words"),
    [
        ("DELETE FROM orders", "denied"),
        ("SELECT * FROM secrets", "denied"),
        ("CREATE TABLE x (a int)", "syntax error"),
        ("SELECT pg_sleep(10)", "longer than"),
        ("SELECT count(*) FROM orders a, orders b, orders c, orders d", "cost too much"),
        ("SELECT nothing FROM orders", "does not exist"),
    ],
)
def test_what_gets_past_the_proof_gets_no_further(reader: str, sql: str, words: str) -> None:
    with pytest.raises(QueryFailed, match=words):
        asyncio.run(_run(reader, sql, timeout_s=0.5))
