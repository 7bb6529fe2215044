"""Read-only MySQL and MariaDB: a role without write rights, a read-only transaction and a cost check per query.

The driver (PyMySQL) blocks, so each query has its own thread and connection.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote, urlsplit

from contract.units import write_duration
from contract.work import WorkPool
from rag.tables.columns import Dialect
from rag.tables.rows import MAX_BYTES, SAMPLES, Column, EngineRefused, QueryFailed, Rows, collect_rows, with_samples
from rag.tables.selection import select_tables

if TYPE_CHECKING:
    from collections.abc import Iterator

CONNECT_S = 5
# The only rights that a role may have. Others could reach files or other sessions, or write.
_HARMLESS = frozenset({"SELECT", "SHOW VIEW", "USAGE"})
_GRANT = re.compile(r"^GRANT (?P<rights>.+?) ON (?:TABLE |FUNCTION |PROCEDURE )?(?P<where>\S+) TO ", re.IGNORECASE)
_COLUMN_LIST = re.compile(r"\([^)]*\)")
_TABLES = """
SELECT table_name, column_name, data_type FROM information_schema.columns
WHERE table_schema = DATABASE() ORDER BY table_name, ordinal_position
"""
_BACKSLASH = re.compile(r"""\\(["\\/bfnrt]|u[0-9a-fA-F]{4})?""")
# The error numbers of MariaDB and MySQL for a query that exceeded its time limit.
_TOO_LATE = frozenset({1969, 3024})
# Fix the settings that change the meaning of literals, names and `||`, so that the server reads what was proven.
_SESSION_SETTINGS = """
SET SESSION sql_mode = IF(FIND_IN_SET('ONLY_FULL_GROUP_BY', @@sql_mode), 'ONLY_FULL_GROUP_BY', ''),
SESSION group_concat_max_len = {most}
"""
THREADS = 3


class MysqlEngine:
    """Implements `rag.tables.engines.TableEngine`."""

    dialect: Dialect = "mysql"

    def __init__(self, url: str, max_cost: float, pool: WorkPool | None = None) -> None:
        """`url` as `mysql://user:password@host:3306/name`; `max_cost` in the planner's units.

        `pool` provides the threads that wait for queries.
        """
        self._url = url
        self._pool = pool or WorkPool("sql", THREADS)
        self._max_cost = max_cost
        self._mariadb = False
        self._database = unquote(urlsplit(url).path.lstrip("/"))

    async def open(self) -> None:
        """See `TableEngine.open`. Rejects a role that may write or access files."""
        try:
            await self._pool.run("", self._open)
        except ImportError:
            raise EngineRefused("MySQL needs the package pymysql: gatehouse-platform[tables]") from None

    def _open(self) -> None:
        import pymysql

        try:
            with self._connected(CONNECT_S) as connection, connection.cursor() as cursor:
                cursor.execute("SELECT VERSION()")
                self._mariadb = "mariadb" in cursor.fetchone()[0].lower()
                cursor.execute("SHOW GRANTS")
                rights = {right for (line,) in cursor.fetchall() for right in rights_of(line, self._database)}
        except (OSError, pymysql.MySQLError, ValueError) as error:
            raise EngineRefused(f"MySQL can't be reached: {type(error).__name__}") from None
        if refused := sorted(rights - _HARMLESS):
            raise EngineRefused(f"this role may do more than read ({', '.join(refused)}): use a role with only SELECT")

    async def tables(self, wanted: Mapping[str, Sequence[str]]) -> dict[str, list[Column]]:
        """See `TableEngine.tables`."""
        return await self._pool.run("", self._tables, wanted)

    def _tables(self, wanted: Mapping[str, Sequence[str]]) -> dict[str, list[Column]]:
        import pymysql

        available: dict[str, list[Column]] = {}
        with self._connected(CONNECT_S) as connection, connection.cursor() as cursor:
            cursor.execute(_TABLES)
            for table, column, kind in cursor.fetchall():
                available.setdefault(table, []).append(Column(column, kind))
            selected = select_tables(available, wanted, "the database")
            for table, columns in selected.items():
                names = ", ".join(_quoted(column.name) for column in columns)
                try:
                    cursor.execute(f"SELECT {names} FROM {_quoted(table)} LIMIT {SAMPLES}")  # noqa: S608
                except pymysql.MySQLError as error:
                    raise EngineRefused(f"the table {table} can't be read: {_message(error)}") from None
                selected[table] = with_samples(columns, cursor.fetchall())
        return selected

    async def run(self, sql: str, timeout_s: float, max_rows: int, caller: str = "") -> Rows:
        """See `TableEngine.run`."""
        return await self._pool.run(caller, self._run, sql, timeout_s, max_rows)

    def _run(self, sql: str, timeout_s: float, max_rows: int) -> Rows:
        import pymysql

        try:
            with self._connected(timeout_s + 1.0) as connection, connection.cursor() as cursor:
                if self._mariadb:
                    cursor.execute(f"SET SESSION max_statement_time = {timeout_s:.3f}")
                else:
                    cursor.execute(f"SET SESSION max_execution_time = {int(timeout_s * 1000)}")
                cursor.execute(_SESSION_SETTINGS.format(most=MAX_BYTES).replace("\n", " "))
                cursor.execute("START TRANSACTION READ ONLY")
                self._check_cost(cursor, sql)
                return self._rows(connection, sql, max_rows)
        except TimeoutError:
            raise QueryFailed(f"it took longer than {write_duration(timeout_s)}") from None
        except pymysql.MySQLError as error:
            late = bool(error.args) and (error.args[0] in _TOO_LATE or "timed out" in _message(error))
            raise QueryFailed(f"it took longer than {write_duration(timeout_s)}" if late else _message(error)) from None
        except OSError as error:
            raise QueryFailed(f"the database is unavailable ({type(error).__name__})") from None

    def _rows(self, connection: Any, sql: str, max_rows: int) -> Rows:
        """Runs a query and streams its rows, so that rows beyond the limits are not read."""
        from pymysql.cursors import SSCursor

        cursor = SSCursor(connection)
        try:
            cursor.execute(sql)
            columns = [each[0] for each in cursor.description or ()]
            return collect_rows(columns, iter(cursor.fetchone, None), max_rows)
        finally:
            # Closing the cursor would read the remaining rows; the connection is closed anyway.
            result: Any = getattr(cursor, "_result", None)
            if result is not None:
                result.unbuffered_active = False
            cursor.connection = None  # type: ignore[assignment]

    def _check_cost(self, cursor: Any, sql: str) -> None:
        """Checks the planner's cost estimate; for a MariaDB without one, the number of rows it would examine."""
        cursor.execute(f"EXPLAIN FORMAT=JSON {sql}")
        cost = cost_of(_plan(cursor.fetchone()[0]))
        if cost > self._max_cost:
            raise QueryFailed(
                f"its estimated cost is too high ({cost:.0f}; the limit is {self._max_cost:.0f}): read less"
            )

    @contextmanager
    def _connected(self, timeout_s: float) -> Iterator[Any]:
        import pymysql

        parts = urlsplit(self._url)
        query = parse_qs(parts.query)
        connection = pymysql.connect(
            host=parts.hostname or "localhost",
            port=parts.port or 3306,
            user=unquote(parts.username or ""),
            password=unquote(parts.password or ""),
            database=self._database,
            unix_socket=query["socket"][0] if "socket" in query else None,
            connect_timeout=CONNECT_S,
            read_timeout=max(1, round(timeout_s + 0.5)),
            charset="utf8mb4",
            local_infile=False,
        )
        try:
            yield connection
        finally:
            connection.close()

    async def close(self) -> None:
        """See `TableEngine.close`. Does nothing: each query closes its own connection."""


def rights_of(grant: str, database: str) -> set[str]:
    """The rights that one line of SHOW GRANTS gives on this database; any other line, such as a role's, unchanged.

    Rights on other databases don't count, since proven queries stay in this one: MariaDB lets everyone write in `test`.
    """
    match = _GRANT.match(grant)
    if match is None:
        return {grant.partition(" TO ")[0].removeprefix("GRANT ")}
    where = match["where"].partition(".")[0].strip("`")
    if where not in ("*", "''@'%'") and not _like(where, database):
        return set()
    rights = {right.strip().upper() for right in _COLUMN_LIST.sub("", match["rights"]).split(",")}
    return rights | ({"GRANT OPTION"} if "WITH GRANT OPTION" in grant.upper() else set())


def _like(pattern: str, name: str) -> bool:
    """Whether a LIKE pattern, as in grants, matches a database's name."""
    signs = re.findall(r"\\?.", pattern, re.DOTALL)
    wanted = "".join({"%": ".*", "_": "."}.get(sign) or re.escape(sign[-1]) for sign in signs)
    return re.fullmatch(wanted, name, re.DOTALL | re.IGNORECASE) is not None


def _plan(explained: str) -> object:
    """Parses the output of EXPLAIN, in which MariaDB does not escape backslashes. Raises `QueryFailed`."""
    try:
        return json.loads(_BACKSLASH.sub(lambda match: match[0] if match[1] else "\\\\", explained), strict=False)
    except json.JSONDecodeError:
        raise QueryFailed("its cost can't be determined: use text literals without backslashes and quotes") from None


def cost_of(plan: object) -> float:
    """A plan's cost: the planner's estimate, or for a MariaDB without one the product of the rows of all tables."""
    if isinstance(plan, dict):
        block = plan.get("query_block", plan)
        estimate = block.get("cost_info", {}).get("query_cost") if isinstance(block, dict) else None
        estimate = estimate if estimate is not None else block.get("cost") if isinstance(block, dict) else None
        if estimate is not None:
            return float(estimate)
    cost = 1.0
    for rows in _examined_rows(plan):
        cost *= max(1.0, rows)
    return cost


def _examined_rows(plan: object) -> list[float]:
    if isinstance(plan, dict):
        own = [float(plan["rows"])] if "table_name" in plan and isinstance(plan.get("rows"), int | float) else []
        return own + [rows for each in plan.values() for rows in _examined_rows(each)]
    return [rows for each in plan for rows in _examined_rows(each)] if isinstance(plan, list) else []


def _quoted(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"


def _message(error: Exception) -> str:
    return str(error.args[-1] if error.args else error).splitlines()[0]
