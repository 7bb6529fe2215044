"""What runs inside a child process: one SQLite file, or tables of files in one DuckDB file, for one query at a time."""

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
from rag.tables.choice import chosen
from rag.tables.columns import Allowed, Dialect, SqlRefused
from rag.tables.rows import MAX_VALUE, SAMPLES, Column, EngineRefused, QueryFailed, Rows, sampled, taken
from rag.tables.safety import prove

# On top of what the library itself and the loaded program take.
_SPARE = 768 * 1024 * 1024
_SPARE_TO_LOAD = 4 * _SPARE
_DUCKDB_MEMORY = "384MB"
_MAX_SQLITE_VALUE = 16_000_000
_CHECK_EVERY = 1_000
_SQLITE_TABLES = """
SELECT name FROM sqlite_master WHERE type IN ('table', 'view') AND name NOT LIKE 'sqlite_%' ORDER BY name
"""


def serve(kind: str) -> None:
    """Answers orders from the standard input until it ends."""
    orders, answers = sys.stdin.buffer, os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    # What a library prints must not stand between the answers.
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    served = {"sqlite": SqliteFile, "files": LoadedFiles, "proof": Proof}[kind]()
    while (frame := read_frame(orders)) is not None:
        order = msgspec.json.decode(frame, type=ChildRequest)
        # Whoever asked kills what takes longer; should he be gone himself, the system does.
        signal.alarm(int(order.most_s) + 5)
        try:
            answer = getattr(served, order.method)(*order.arguments)
        except EngineRefused as error:
            answer = ChildAnswer(refused=str(error))
        except QueryFailed as error:
            answer = ChildAnswer(failed=str(error))
        except MemoryError:
            answer = ChildAnswer(spent=True)
        signal.alarm(0)
        write_frame(answers, msgspec.json.encode(answer, enc_hook=str))


def bound_memory(spare: int = _SPARE) -> None:
    """From here on the process may take so much more. Where the system has no such bound, the engine's own are left."""
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (size + spare, size + spare))


class Proof:
    """What a text may be made of takes long to find out when the text was made for that."""

    def open(self) -> ChildAnswer:
        """Ready for texts."""
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
    """A file opened read-only; a hook of the library refuses whatever is no reading of allowed columns."""

    def __init__(self) -> None:
        self._connection: Any = None
        # What reading the allowed columns reads: tables, columns and the views that lie between.
        self._reads: set[tuple[str, str, str | None]] | None = None

    def open(self, path: str) -> ChildAnswer:
        """Raises `EngineRefused`."""
        if not Path(path).is_file():
            raise EngineRefused(f"there is no file {path}")
        connection = sqlite3.connect(f"{Path(path).as_uri()}?mode=ro", uri=True)
        # Text that is no UTF-8 is still text.
        connection.text_factory = lambda text: text.decode(errors="replace")
        try:
            connection.execute("PRAGMA query_only = ON")
            connection.execute("PRAGMA temp_store = MEMORY")
            connection.execute("PRAGMA cache_size = -65536")
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        except sqlite3.DatabaseError as error:
            connection.close()
            raise EngineRefused(f"{path} is no SQLite database: {error}") from None
        for limit, most in (
            (sqlite3.SQLITE_LIMIT_LENGTH, _MAX_SQLITE_VALUE),
            (sqlite3.SQLITE_LIMIT_SQL_LENGTH, 200_000),
            (sqlite3.SQLITE_LIMIT_ATTACHED, 0),
            (sqlite3.SQLITE_LIMIT_LIKE_PATTERN_LENGTH, 1_000),
        ):
            connection.setlimit(limit, most)
        self._connection = connection
        bound_memory()
        return ChildAnswer()

    def tables(self, wanted: Mapping[str, Sequence[str]]) -> ChildAnswer:
        """Those that may be read; from here on nothing else is."""
        there: dict[str, list[Column]] = {}
        for (name,) in self._connection.execute(_SQLITE_TABLES).fetchall():
            about = self._connection.execute(f"PRAGMA table_xinfo({_quoted(name)})").fetchall()
            there[name] = [Column(each[1], each[2] or "any") for each in about if each[6] != 1]
        found = chosen(there, wanted, "the database")
        reads: set[tuple[str, str, str | None]] = set()

        def learn(action: int, first: str | None, second: str | None, _: str | None, view: str | None) -> int:
            if action == sqlite3.SQLITE_READ:
                reads.add((str(first), str(second), view))
            return sqlite3.SQLITE_OK

        self._connection.set_authorizer(learn)
        for table, columns in found.items():
            names = ", ".join(_quoted(column.name) for column in columns)
            try:
                rows = self._connection.execute(f"SELECT {names} FROM {_quoted(table)} LIMIT {SAMPLES}").fetchall()  # noqa: S608
                # Rows that are only counted are read by no column; of a view, those of the tables behind it.
                self._connection.execute(f"EXPLAIN SELECT count(*) FROM {_quoted(table)}").fetchall()  # noqa: S608
            except sqlite3.Error as error:
                raise EngineRefused(f"the table {table} can't be read: {error}") from None
            found[table] = sampled(columns, rows)
        self._connection.set_authorizer(None)
        self._reads = reads | {(table, "", view) for table, _, view in reads}
        return ChildAnswer(tables=found)

    def run(self, sql: str, timeout_s: float, max_rows: int) -> ChildAnswer:
        """Raises `QueryFailed`."""
        until = time.monotonic() + timeout_s
        self._connection.set_authorizer(self._only_reads)
        self._connection.set_progress_handler(lambda: time.monotonic() > until, _CHECK_EVERY)
        try:
            cursor = self._connection.execute(sql)
            columns = [each[0] for each in cursor.description or ()]
            rows = taken(columns, cursor, max_rows)
            cursor.close()
        except sqlite3.Error as error:
            late = time.monotonic() > until
            raise QueryFailed(f"it took longer than {write_duration(timeout_s)}" if late else str(error)) from None
        finally:
            self._connection.set_progress_handler(None, 0)
            self._connection.set_authorizer(None)
        return ChildAnswer(rows=rows)

    def _only_reads(self, action: int, first: str | None, second: str | None, _: str | None, view: str | None) -> int:
        if action == sqlite3.SQLITE_READ and self._reads is not None:
            known = (str(first), str(second), view) in self._reads or (str(first), str(second), None) in self._reads
            return sqlite3.SQLITE_OK if known else sqlite3.SQLITE_DENY
        return sqlite3.SQLITE_OK if action in _READING else sqlite3.SQLITE_DENY


_READING = frozenset({sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION})


class LoadedFiles:
    """Tables in a DuckDB file: made of files by one child, read by others that can write nothing."""

    def __init__(self) -> None:
        self._connection: Any = None

    def load(self, files: Mapping[str, str], wanted: Mapping[str, Sequence[str]], into: str) -> ChildAnswer:
        """Makes the file `into` of the columns that may be read; others don't come in. Raises `EngineRefused`."""
        import duckdb

        from rag.tables.loading import load_table

        bound_memory(_SPARE_TO_LOAD)
        connection = duckdb.connect(into)
        connection.execute("SET threads = 2")
        connection.execute("SET memory_limit = '1GB'")
        there: dict[str, list[Column]] = {}
        for name, path in files.items():
            try:
                there[name] = load_table(connection, name, Path(path))
            except (duckdb.Error, OSError, ValueError) as error:
                message = (str(error) or type(error).__name__).splitlines()[0]
                raise EngineRefused(f"{path} can't be read: {message}") from None
        found = chosen(there, wanted, "the files")
        for name, columns in there.items():
            if name not in found:
                connection.execute(f"DROP TABLE {_quoted(name)}")
                continue
            kept = {column.name for column in found[name]}
            for column in columns:
                if column.name not in kept:
                    connection.execute(f"ALTER TABLE {_quoted(name)} DROP COLUMN {_quoted(column.name)}")
            rows = connection.execute(_as_text(found[name], _quoted(name), SAMPLES)).fetchall()
            found[name] = sampled(found[name], rows)
        connection.close()
        return ChildAnswer(tables=found)

    def open(self, path: str) -> ChildAnswer:
        """The file that was loaded, cut off from all others and from the network."""
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
        """Raises `QueryFailed`."""
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
        about = self._connection.execute(f"DESCRIBE {sql}").fetchall()
        columns = [Column(f"c{at}", each[1]) for at, each in enumerate(about)]
        # The second pair of eyes on the text: only a query can be read from.
        source = f"({sql}) AS q({', '.join(column.name for column in columns)})"
        cursor = self._connection.execute(_as_text(columns, source, max_rows + 1))
        return taken([each[0] for each in about], _fetched(cursor), max_rows)


def _fetched(cursor: Any) -> Iterator[Sequence[object]]:
    while (row := cursor.fetchone()) is not None:
        yield row


def _as_text(columns: Sequence[Column], source: str, limit: int) -> str:
    """A SELECT of the columns in which a long value is cut by the database, and no type needs another package."""
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
