"""The code of a child process: runs one query at a time on a SQLite file, or on files loaded into a DuckDB file."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from contract.units import write_duration
from rag.tables.child import ChildAnswer, ChildRequest, read_frame, write_frame
from rag.tables.columns import Allowed, Dialect, SqlRefused
from rag.tables.rows import MAX_VALUE, SAMPLES, Column, EngineRefused, QueryFailed, Rows, collect_rows, with_samples
from rag.tables.safety import prove
from rag.tables.selection import select_tables

# Memory in bytes in addition to the process's size at start.
_SPARE = 768 * 1024 * 1024
_SPARE_TO_LOAD = 4 * _SPARE
_DUCKDB_MEMORY = "384MB"
_MAX_SQLITE_VALUE = 16_000_000
_CHECK_EVERY = 1_000
_SQLITE_TABLES = """
SELECT name FROM sqlite_master WHERE type IN ('table', 'view') AND name NOT LIKE 'sqlite_%' ORDER BY name
"""


def serve(kind: str) -> None:
    """Serves calls from standard input until it ends."""
    calls, answers = sys.stdin.buffer, os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    # Redirect what libraries print, so that it does not mix with the answers.
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    service = {"sqlite": SqliteFile, "files": LoadedFiles, "proof": Proof}[kind]()
    while (frame := read_frame(calls)) is not None:
        call = msgspec.json.decode(frame, type=ChildRequest)
        # The parent kills this process at the deadline; the alarm does so if the parent has died.
        signal.alarm(int(call.timeout_s) + 5)
        try:
            answer = getattr(service, call.method)(*call.arguments)
        except EngineRefused as error:
            answer = ChildAnswer(refused=str(error))
        except QueryFailed as error:
            answer = ChildAnswer(failed=str(error))
        except MemoryError:
            answer = ChildAnswer(spent=True)
        signal.alarm(0)
        write_frame(answers, msgspec.json.encode(answer, enc_hook=str))


def bound_memory(spare: int = _SPARE) -> None:
    """Limits the process's memory to its current size plus `spare` bytes, if the system supports that."""
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (size + spare, size + spare))


class Proof:
    """Proves queries in a subprocess, because a hostile query can make parsing very slow."""

    def open(self) -> ChildAnswer:
        """Loads the parser and limits the memory."""
        import sqlglot.optimizer.qualify  # noqa: F401

        bound_memory()
        return ChildAnswer()

    def prove(self, sql: str, dialect: Dialect, tables: Mapping[str, Sequence[str]], limit: int) -> ChildAnswer:
        """See `rag.tables.safety.prove`."""
        allowed = Allowed(dialect, {name: tuple(columns) for name, columns in tables.items()})
        try:
            return ChildAnswer(sql=prove(sql, allowed, limit))
        except SqlRefused as error:
            return ChildAnswer(failed=str(error))


class SqliteFile:
    """A SQLite file, opened read-only; an authorizer denies everything except reads of allowed columns."""

    def __init__(self) -> None:
        self._connection: Any = None
        # The reads that the allowed columns need: (table, column, view in between).
        self._reads: set[tuple[str, str, str | None]] | None = None

    def open(self, path: str) -> ChildAnswer:
        """Opens the file. Raises `EngineRefused`."""
        if not Path(path).is_file():
            raise EngineRefused(f"there is no file {path}")
        connection = sqlite3.connect(f"{Path(path).as_uri()}?mode=ro", uri=True)
        # Also return text that is not valid UTF-8.
        connection.text_factory = lambda text: text.decode(errors="replace")
        try:
            connection.execute("PRAGMA query_only = ON")
            connection.execute("PRAGMA temp_store = MEMORY")
            connection.execute("PRAGMA cache_size = -65536")
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        except sqlite3.DatabaseError as error:
            connection.close()
            raise EngineRefused(f"{path} is not a SQLite database: {error}") from None
        for limit, value in (
            (sqlite3.SQLITE_LIMIT_LENGTH, _MAX_SQLITE_VALUE),
            (sqlite3.SQLITE_LIMIT_SQL_LENGTH, 200_000),
            (sqlite3.SQLITE_LIMIT_ATTACHED, 0),
            (sqlite3.SQLITE_LIMIT_LIKE_PATTERN_LENGTH, 1_000),
        ):
            connection.setlimit(limit, value)
        self._connection = connection
        bound_memory()
        return ChildAnswer()

    def tables(self, wanted: Mapping[str, Sequence[str]]) -> ChildAnswer:
        """Returns the readable tables; from now on queries can read nothing else."""
        available: dict[str, list[Column]] = {}
        for (name,) in self._connection.execute(_SQLITE_TABLES).fetchall():
            info = self._connection.execute(f"PRAGMA table_xinfo({_quoted(name)})").fetchall()
            available[name] = [Column(row[1], row[2] or "any") for row in info if row[6] != 1]
        selected = select_tables(available, wanted, "the database")
        reads: set[tuple[str, str, str | None]] = set()

        def record_read(action: int, first: str | None, second: str | None, _: str | None, view: str | None) -> int:
            if action == sqlite3.SQLITE_READ:
                reads.add((str(first), str(second), view))
            return sqlite3.SQLITE_OK

        self._connection.set_authorizer(record_read)
        for table, columns in selected.items():
            names = ", ".join(_quoted(column.name) for column in columns)
            try:
                rows = self._connection.execute(f"SELECT {names} FROM {_quoted(table)} LIMIT {SAMPLES}").fetchall()  # noqa: S608
                # count(*) reads no column of a table; of a view it reads the tables behind it.
                self._connection.execute(f"EXPLAIN SELECT count(*) FROM {_quoted(table)}").fetchall()  # noqa: S608
            except sqlite3.Error as error:
                raise EngineRefused(f"the table {table} can't be read: {error}") from None
            selected[table] = with_samples(columns, rows)
        self._connection.set_authorizer(None)
        self._reads = reads | {(table, "", view) for table, _, view in reads}
        return ChildAnswer(tables=selected)

    def run(self, sql: str, timeout_s: float, max_rows: int) -> ChildAnswer:
        """Runs a query. Raises `QueryFailed`."""
        until = time.monotonic() + timeout_s
        self._connection.set_authorizer(self._authorize)
        self._connection.set_progress_handler(lambda: time.monotonic() > until, _CHECK_EVERY)
        try:
            cursor = self._connection.execute(sql)
            columns = [each[0] for each in cursor.description or ()]
            rows = collect_rows(columns, cursor, max_rows)
            cursor.close()
        except sqlite3.Error as error:
            late = time.monotonic() > until
            raise QueryFailed(f"it took longer than {write_duration(timeout_s)}" if late else str(error)) from None
        finally:
            self._connection.set_progress_handler(None, 0)
            self._connection.set_authorizer(None)
        return ChildAnswer(rows=rows)

    def _authorize(self, action: int, first: str | None, second: str | None, _: str | None, view: str | None) -> int:
        if action == sqlite3.SQLITE_READ and self._reads is not None:
            allowed = (str(first), str(second), view) in self._reads or (str(first), str(second), None) in self._reads
            return sqlite3.SQLITE_OK if allowed else sqlite3.SQLITE_DENY
        return sqlite3.SQLITE_OK if action in _READING else sqlite3.SQLITE_DENY


_READING = frozenset({sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION})


class LoadedFiles:
    """Tables in a DuckDB file: one child loads them from files, others read them without write access."""

    def __init__(self) -> None:
        self._connection: Any = None

    def load(self, files: Mapping[str, str], wanted: Mapping[str, Sequence[str]], into: str) -> ChildAnswer:
        """Creates the file `into` with only the readable columns. Raises `EngineRefused`."""
        import duckdb

        from rag.tables.loading import load_table

        bound_memory(_SPARE_TO_LOAD)
        connection = duckdb.connect(into)
        connection.execute("SET threads = 2")
        connection.execute("SET memory_limit = '1GB'")
        available: dict[str, list[Column]] = {}
        for name, path in files.items():
            try:
                available[name] = load_table(connection, name, Path(path))
            except (duckdb.Error, OSError, ValueError) as error:
                message = (str(error) or type(error).__name__).splitlines()[0]
                raise EngineRefused(f"{path} can't be read: {message}") from None
        selected = select_tables(available, wanted, "the files")
        for name, columns in available.items():
            if name not in selected:
                connection.execute(f"DROP TABLE {_quoted(name)}")
                continue
            readable = {column.name for column in selected[name]}
            for column in columns:
                if column.name not in readable:
                    connection.execute(f"ALTER TABLE {_quoted(name)} DROP COLUMN {_quoted(column.name)}")
            rows = connection.execute(_as_text(selected[name], _quoted(name), SAMPLES)).fetchall()
            selected[name] = with_samples(selected[name], rows)
        connection.close()
        return ChildAnswer(tables=selected)

    def open(self, path: str) -> ChildAnswer:
        """Opens the loaded file, without access to other files or the network."""
        import duckdb

        self._connection = duckdb.connect(path, read_only=True)
        for setting in (
            "threads = 2",
            f"memory_limit = '{_DUCKDB_MEMORY}'",
            "temp_directory = ''",
            "enable_external_access = false",
            "autoinstall_known_extensions = false",
            "autoload_known_extensions = false",
            "lock_configuration = true",
        ):
            self._connection.execute(f"SET {setting}")
        bound_memory()
        return ChildAnswer()

    def run(self, sql: str, timeout_s: float, max_rows: int) -> ChildAnswer:
        """Runs a query. Raises `QueryFailed`."""
        import duckdb

        late = threading.Event()

        def stop() -> None:
            late.set()
            self._connection.interrupt()

        timer = threading.Timer(timeout_s, stop)
        timer.daemon = True
        timer.start()
        try:
            return ChildAnswer(rows=self._rows(sql.rstrip("; \n"), max_rows))
        except duckdb.OutOfMemoryException:
            return ChildAnswer(spent=True)
        except duckdb.Error as error:
            too_late = f"it took longer than {write_duration(timeout_s)}"
            raise QueryFailed(too_late if late.is_set() else str(error).splitlines()[0]) from None
        finally:
            timer.cancel()

    def _rows(self, sql: str, max_rows: int) -> Rows:
        description = self._connection.execute(f"DESCRIBE {sql}").fetchall()
        columns = [Column(f"c{at}", row[1]) for at, row in enumerate(description)]
        # A second check: only a query is valid as a subquery.
        source = f"({sql}) AS q({', '.join(column.name for column in columns)})"
        cursor = self._connection.execute(_as_text(columns, source, max_rows + 1))
        return collect_rows([row[0] for row in description], _fetch(cursor), max_rows)


def _fetch(cursor: Any) -> Iterator[Sequence[object]]:
    while (row := cursor.fetchone()) is not None:
        yield row


def _as_text(columns: Sequence[Column], source: str, limit: int) -> str:
    """A SELECT in which the database cuts long values and casts types that need another package to text."""
    read = ", ".join(
        _quoted(column.name)
        if column.kind.startswith(_SMALL)
        else f"left(CAST({_quoted(column.name)} AS VARCHAR), {MAX_VALUE + 1})"
        for column in columns
    )
    return f"SELECT {read} FROM {source} LIMIT {limit}"  # noqa: S608


_SMALL = (
    "BOOLEAN",
    "TINYINT",
    "SMALLINT",
    "INTEGER",
    "BIGINT",
    "HUGEINT",
    "UTINY",
    "USMALL",
    "UINT",
    "UBIG",
    "FLOAT",
    "DOUBLE",
)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
