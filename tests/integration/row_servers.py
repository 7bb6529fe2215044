"""Real servers with rows, and what every engine that reads them has in common."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import asyncpg  # type: ignore[import-untyped]
import pymysql
import pytest

from rag.tables.engines import EngineRefused, QueryFailed, Rows, TableEngine
from tests.services import mariadb_server


def set_up_postgres(url: str, statements: str) -> None:
    """Runs them as the superuser."""

    async def run() -> None:
        connection = await asyncpg.connect(url)
        await connection.execute(statements)
        await connection.close()

    asyncio.run(run())


@contextlib.contextmanager
def mariadb_with(statements: str) -> Iterator[str]:
    """The address of the database `shop`, which the statements make, for root."""
    # Sockets' paths may not be long.
    with tempfile.TemporaryDirectory() as folder, mariadb_server(Path(folder)) as url:
        socket = parse_qs(urlsplit(url).query)["socket"][0]
        with pymysql.connect(unix_socket=socket, user="root", autocommit=True) as connection:
            for statement in statements.split(";"):
                connection.cursor().execute(statement)
        yield url.replace("/test?", "/shop?")


def run_query(engine: TableEngine, sql: str, timeout_s: float = 2.0) -> Rows:
    """Its first ten rows."""

    async def run() -> Rows:
        await engine.open()
        try:
            return await engine.run(sql, timeout_s, 10)
        finally:
            await engine.close()

    return asyncio.run(run())


def check_rows_and_schema(engine: TableEngine) -> None:
    """`orders` has a region, north or south, and an amount; nothing else may be seen by the engine's role."""
    rows = run_query(engine, "SELECT region, sum(amount) AS total FROM orders GROUP BY 1 ORDER BY 1")
    assert rows.columns == ("region", "total")
    assert [row[0] for row in rows.rows] == ["north", "south"]
    assert run_query(engine, "SELECT amount FROM orders LIMIT 100").more

    async def schema() -> None:
        await engine.open()
        tables = await engine.tables({"orders": ("region", "amount")})
        assert [column.name for column in tables["orders"]] == ["region", "amount"]
        assert tables["orders"][0].samples
        assert list(await engine.tables({})) == ["orders"]
        with pytest.raises(EngineRefused, match="no table nothing"):
            await engine.tables({"nothing": ()})
        await engine.close()

    asyncio.run(schema())


def check_failure(engine: TableEngine, sql: str, words: str) -> None:
    """The server itself refuses what the proof would have refused, or ends it after half a second."""
    with pytest.raises(QueryFailed, match=words):
        run_query(engine, sql, timeout_s=0.5)
