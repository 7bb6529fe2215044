"""Read-only PostgreSQL: a role without superuser rights, a read-only transaction and a cost check per query."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from typing import Any
from weakref import WeakValueDictionary

from contract.units import write_duration
from rag.tables.columns import Dialect
from rag.tables.rows import MAX_VALUE, SAMPLES, Column, EngineRefused, QueryFailed, Rows, collect_rows, with_samples
from rag.tables.selection import select_tables

_CONNECTIONS = 4
# Fix the settings that change the meaning of literals, so that the server reads what was proven.
_SETTINGS = {"standard_conforming_strings": "on", "backslash_quote": "off", "quote_all_identifiers": "off"}
_QUERY_SETTINGS = """
SET LOCAL statement_timeout = {timeout};
SET LOCAL work_mem = '16MB';
SET LOCAL max_parallel_workers_per_gather = 0
"""
# Types with short values; values of other types are cut by the database.
_SMALL = frozenset(
    {"bool", "int2", "int4", "int8", "float4", "float8", "date", "time", "timestamp", "timestamptz", "uuid"}
)

_ROLE = """
SELECT r.rolsuper OR pg_has_role(current_user, 'pg_execute_server_program', 'member')
    OR pg_has_role(current_user, 'pg_read_server_files', 'member')
    OR pg_has_role(current_user, 'pg_write_server_files', 'member')
FROM pg_roles r WHERE r.rolname = current_user
"""
_TABLES = """
SELECT table_name, column_name, data_type FROM information_schema.columns
WHERE table_schema = ANY (current_schemas(false)) ORDER BY table_name, ordinal_position
"""


class PostgresEngine:
    """Implements `rag.tables.engines.TableEngine`."""

    dialect: Dialect = "postgres"

    def __init__(self, url: str, max_cost: float) -> None:
        """`max_cost` in the planner's units."""
        self._url = url
        self._max_cost = max_cost
        self._pool: Any = None
        # No caller may take the last connection. Weak references drop callers that neither hold nor await a connection.
        self._turns: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()

    async def open(self) -> None:
        """See `TableEngine.open`. Rejects a role that could access files or run programs."""
        try:
            import asyncpg  # type: ignore[import-untyped]
        except ImportError:
            raise EngineRefused("PostgreSQL needs the package asyncpg: gatehouse-platform[tables]") from None
        try:
            self._pool = await asyncpg.create_pool(
                self._url,
                min_size=1,
                max_size=_CONNECTIONS,
                command_timeout=60,
                timeout=5,
                server_settings=_SETTINGS,
            )
        except (OSError, asyncpg.PostgresError, TimeoutError) as error:
            raise EngineRefused(f"PostgreSQL can't be reached: {type(error).__name__}") from None
        if await self._pool.fetchval(_ROLE):
            await self._pool.close()
            raise EngineRefused(
                "this role is a superuser or may access the server's files: use a role with only SELECT"
            )

    async def tables(self, wanted: Mapping[str, Sequence[str]]) -> dict[str, list[Column]]:
        """See `TableEngine.tables`."""
        available: dict[str, list[Column]] = {}
        async with self._pool.acquire() as connection, connection.transaction(readonly=True):
            for table, column, kind in await connection.fetch(_TABLES):
                available.setdefault(table, []).append(Column(column, kind))
            selected = select_tables(available, wanted, "the database")
            for table, columns in selected.items():
                names = ", ".join('"' + column.name.replace('"', '""') + '"' for column in columns)
                quoted = table.replace('"', '""')
                try:
                    async with connection.transaction():
                        rows = await connection.fetch(f'SELECT {names} FROM "{quoted}" LIMIT {SAMPLES}')  # noqa: S608
                except Exception as error:
                    raise EngineRefused(f"the table {table} can't be read: {error}") from None
                selected[table] = with_samples(columns, rows)
        return selected

    async def run(self, sql: str, timeout_s: float, max_rows: int, caller: str = "") -> Rows:
        """See `TableEngine.run`."""
        import asyncpg

        try:
            async with (
                asyncio.timeout(timeout_s + 1.0),
                self._turn(caller),
                self._pool.acquire() as connection,
                connection.transaction(readonly=True),
            ):
                await connection.execute(_QUERY_SETTINGS.format(timeout=int(timeout_s * 1000)))
                await self._check_cost(connection, sql)
                return await self._rows(connection, sql, max_rows)
        except TimeoutError:
            raise QueryFailed(f"it took longer than {write_duration(timeout_s)}") from None
        except asyncpg.QueryCanceledError:
            raise QueryFailed(f"it took longer than {write_duration(timeout_s)}") from None
        except asyncpg.PostgresError as error:
            raise QueryFailed(str(error).splitlines()[0]) from None
        except (OSError, asyncpg.InterfaceError) as error:
            raise QueryFailed(f"the database is unavailable ({type(error).__name__})") from None

    def _turn(self, caller: str) -> asyncio.Semaphore:
        return self._turns.setdefault(caller, asyncio.Semaphore(_CONNECTIONS - 1))

    async def _rows(self, connection: Any, sql: str, max_rows: int) -> Rows:
        """Runs a query; the database cuts long values, so that it never sends a large one."""
        attributes = (await connection.prepare(sql)).get_attributes()
        read = ", ".join(
            f"c{at}" if each.type.name in _SMALL else f"left(CAST(c{at} AS text), {MAX_VALUE + 1}) AS c{at}"
            for at, each in enumerate(attributes)
        )
        names = ", ".join(f"c{at}" for at in range(len(attributes)))
        short = f"SELECT {read} FROM ({sql}) AS q({names})"  # noqa: S608
        cursor = await connection.cursor(short)
        rows = await cursor.fetch(max_rows + 1)
        return collect_rows([each.name for each in attributes], [tuple(row.values()) for row in rows], max_rows)

    async def _check_cost(self, connection: Any, sql: str) -> None:
        planned = json.loads(await connection.fetchval(f"EXPLAIN (FORMAT JSON) {sql}"))
        cost = float(planned[0]["Plan"]["Total Cost"])
        if cost > self._max_cost:
            raise QueryFailed(
                f"its estimated cost is too high ({cost:.0f}; the limit is {self._max_cost:.0f}): read less"
            )

    async def close(self) -> None:
        """See `TableEngine.close`."""
        if self._pool is not None:
            await self._pool.close()
