"""Databases that are only read: what tables they have, and rows for a query that has been proven safe.

The proof is the first wall. Each engine is the second: a connection that can't write, a role that must not be able to,
a time limit, a limit of rows.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import msgspec

from rag.tables.safety import Dialect

SAMPLES = 3
_MAX_SAMPLE = 40
_CHECK_EVERY = 10_000
_SQLITE_TABLES = """
SELECT name FROM sqlite_master WHERE type IN ('table', 'view') AND name NOT LIKE 'sqlite_%' ORDER BY name
"""


class EngineRefused(ValueError):
    """The database can't be used safely, or not at all; the message says why and what helps."""


class QueryFailed(Exception):
    """The database would not answer; the message may go to the model."""


class Column(msgspec.Struct, frozen=True):
    """A column with some of its values."""

    name: str
    kind: str
    samples: tuple[str, ...] = ()


class Rows(msgspec.Struct, frozen=True):
    """What a query gave; `more` says that there was more than was asked for."""

    columns: tuple[str, ...]
    rows: tuple[tuple[object, ...], ...]
    more: bool = False


class Engine(Protocol):
    """One database."""

    dialect: Dialect

    async def open(self) -> None:
        """Connects. Raises `EngineRefused`."""
        ...

    async def tables(self, wanted: Mapping[str, Sequence[str]]) -> dict[str, list[Column]]:
        """The tables with their columns; `wanted` names those that may be read, each with its columns or none for all.

        Raises `EngineRefused` for names that are not there.
        """
        ...

    async def run(self, sql: str, timeout_s: float, max_rows: int) -> Rows:
        """The rows. Raises `QueryFailed`."""
        ...

    async def close(self) -> None:
        """Lets go."""
        ...


def chosen(
    there: Mapping[str, list[Column]], wanted: Mapping[str, Sequence[str]], name: str
) -> dict[str, list[Column]]:
    """Those of the tables that may be read. Raises `EngineRefused`."""
    found: dict[str, list[Column]] = {}
    known = {table.lower(): table for table in there}
    for table, columns in (wanted or dict.fromkeys(there, ())).items():
        real = known.get(table.lower())
        if real is None:
            raise EngineRefused(f"{name} has no table {table}; it has {', '.join(sorted(there)) or 'none'}")
        kept = [column for column in there[real] if not columns or column.name in columns]
        if missing := set(columns) - {column.name for column in kept}:
            raise EngineRefused(f"the table {real} has no column {', '.join(sorted(missing))}")
        found[real] = kept
    return found


def sample(value: object) -> str:
    """A value as the model is shown it."""
    text = " ".join(str(value).split())
    return text if len(text) <= _MAX_SAMPLE else text[: _MAX_SAMPLE - 1] + "\u2026"


class SqliteEngine:
    """Implements `Engine` on a file, opened read-only; a hook of the library refuses whatever is no reading."""

    dialect: Dialect = "sqlite"

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None

    async def open(self) -> None:
        """See `Engine.open`."""
        await asyncio.to_thread(self._open)

    def _open(self) -> None:
        if not self._path.is_file():
            raise EngineRefused(f"there is no file {self._path}")
        connection = sqlite3.connect(f"{self._path.resolve().as_uri()}?mode=ro", uri=True, check_same_thread=False)
        try:
            connection.execute("PRAGMA query_only = ON")
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        except sqlite3.DatabaseError as error:
            connection.close()
            raise EngineRefused(f"{self._path} is no SQLite database: {error}") from None
        self._connection = connection

    def _ready(self) -> sqlite3.Connection:
        if self._connection is None:
            raise QueryFailed("the database is not open")
        return self._connection

    async def tables(self, wanted: Mapping[str, Sequence[str]]) -> dict[str, list[Column]]:
        """See `Engine.tables`."""
        return chosen(await asyncio.to_thread(self._tables), wanted, self._path.name)

    def _tables(self) -> dict[str, list[Column]]:
        connection = self._ready()
        found: dict[str, list[Column]] = {}
        with self._lock:
            names = connection.execute(_SQLITE_TABLES).fetchall()
            for (name,) in names:
                quoted = name.replace('"', '""')
                rows = connection.execute(f'SELECT * FROM "{quoted}" LIMIT {SAMPLES}').fetchall()  # noqa: S608
                about = connection.execute(f'PRAGMA table_info("{quoted}")').fetchall()
                found[name] = [
                    Column(
                        column[1],
                        column[2] or "any",
                        tuple(sample(row[place]) for row in rows if row[place] is not None),
                    )
                    for place, column in enumerate(about)
                ]
        return found

    async def run(self, sql: str, timeout_s: float, max_rows: int) -> Rows:
        """See `Engine.run`."""
        return await asyncio.to_thread(self._run, sql, timeout_s, max_rows)

    def _run(self, sql: str, timeout_s: float, max_rows: int) -> Rows:
        connection = self._ready()
        until = time.monotonic() + timeout_s
        with self._lock:
            connection.set_authorizer(_only_reads)
            connection.set_progress_handler(lambda: time.monotonic() > until, _CHECK_EVERY)
            try:
                cursor = connection.execute(sql)
                rows = cursor.fetchmany(max_rows + 1)
                columns = tuple(each[0] for each in cursor.description or ())
            except sqlite3.Error as error:
                late = time.monotonic() > until
                raise QueryFailed(f"it took longer than {timeout_s:g} s" if late else str(error)) from None
            finally:
                connection.set_progress_handler(None, 0)
                connection.set_authorizer(None)
        return Rows(columns, tuple(rows[:max_rows]), len(rows) > max_rows)

    async def close(self) -> None:
        """See `Engine.close`."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


_READING = frozenset({sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION})


def _only_reads(action: int, *_: object) -> int:
    return sqlite3.SQLITE_OK if action in _READING else sqlite3.SQLITE_DENY


class FilesEngine:
    """Implements `Engine` on CSV and Parquet files (DuckDB): loaded, then cut off from files and network.

    A file that changes is loaded again before the next query; its columns must stay.
    """

    dialect: Dialect = "duckdb"

    def __init__(self, files: Mapping[str, Path]) -> None:
        """`files` by the names of their tables."""
        self._files = dict(files)
        self._lock = threading.Lock()
        self._connection: Any = None
        self._seen: object = None

    def _stamp(self) -> object:
        """What changes when a file does; the same as before while one can't be looked at."""
        try:
            return [(path.stat().st_mtime_ns, path.stat().st_size) for path in self._files.values()]
        except OSError:
            return self._seen

    async def open(self) -> None:
        """See `Engine.open`."""
        await asyncio.to_thread(self._open)

    def _open(self) -> None:
        self._seen = self._stamp()
        try:
            import duckdb
        except ImportError:
            raise EngineRefused("files need the package duckdb: gatehouse-platform[tables]") from None
        connection = duckdb.connect(":memory:")
        for name, path in self._files.items():
            reader = "read_parquet" if path.suffix.lower() == ".parquet" else "read_csv_auto"
            quoted = name.replace('"', '""')
            try:
                connection.execute(f'CREATE TABLE "{quoted}" AS SELECT * FROM {reader}(?)', [str(path)])  # noqa: S608
            except duckdb.Error as error:
                connection.close()
                raise EngineRefused(f"{path} can't be read: {str(error).splitlines()[0]}") from None
        connection.execute("SET enable_external_access = false")
        connection.execute("SET lock_configuration = true")
        self._connection = connection

    async def tables(self, wanted: Mapping[str, Sequence[str]]) -> dict[str, list[Column]]:
        """See `Engine.tables`."""
        return chosen(await asyncio.to_thread(self._tables), wanted, "the files")

    def _tables(self) -> dict[str, list[Column]]:
        found: dict[str, list[Column]] = {}
        with self._lock:
            for name in self._files:
                quoted = name.replace('"', '""')
                rows = self._connection.execute(f'SELECT * FROM "{quoted}" LIMIT {SAMPLES}').fetchall()  # noqa: S608
                about = self._connection.execute(f'DESCRIBE "{quoted}"').fetchall()
                found[name] = [
                    Column(column[0], column[1], tuple(sample(row[place]) for row in rows if row[place] is not None))
                    for place, column in enumerate(about)
                ]
        return found

    async def run(self, sql: str, timeout_s: float, max_rows: int) -> Rows:
        """See `Engine.run`."""
        return await asyncio.to_thread(self._run, sql, timeout_s, max_rows)

    def _run(self, sql: str, timeout_s: float, max_rows: int) -> Rows:
        import duckdb

        late = threading.Event()

        def stop() -> None:
            late.set()
            self._connection.interrupt()

        with self._lock:
            if self._stamp() != self._seen:
                self._load_again()
            timer = threading.Timer(timeout_s, stop)
            timer.start()
            try:
                cursor = self._connection.execute(sql)
                rows = cursor.fetchmany(max_rows + 1)
                columns = tuple(each[0] for each in cursor.description or ())
            except duckdb.Error as error:
                message = f"it took longer than {timeout_s:g} s" if late.is_set() else str(error).splitlines()[0]
                raise QueryFailed(message) from None
            finally:
                timer.cancel()
        return Rows(columns, tuple(rows[:max_rows]), len(rows) > max_rows)

    def _load_again(self) -> None:
        """The files as they are now; those that can't be read leave what there was."""
        before = self._connection
        try:
            self._open()
        except EngineRefused as error:
            raise QueryFailed(str(error)) from None
        before.close()

    async def close(self) -> None:
        """See `Engine.close`."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
