"""Read-only database engines: list tables and run queries that have been proven safe.

The proof is the first line of defence, each engine the second: a read-only connection, a role without write rights, and
limits on time, rows, bytes and memory. Files are read in subprocesses (`rag.tables.child`).
"""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from contract.work import WorkPool
from rag.tables.child import START_S, Child, ChildAnswer, ChildStopped
from rag.tables.columns import Dialect
from rag.tables.rows import SAMPLES, Column, EngineRefused, QueryFailed, Rows, sample
from rag.tables.selection import select_tables

__all__ = ["SAMPLES", "Column", "EngineRefused", "QueryFailed", "Rows", "TableEngine", "sample", "select_tables"]

THREADS = 3
LOAD_S = 120.0
# How long a query may exceed its time limit before its process is killed.
GRACE_S = 0.5


class TableEngine(Protocol):
    """One read-only database."""

    dialect: Dialect

    async def open(self) -> None:
        """Connects and checks that access is read-only. Raises `EngineRefused`."""
        ...

    async def tables(self, wanted: Mapping[str, Sequence[str]]) -> dict[str, list[Column]]:
        """Returns the readable tables with their columns. `wanted`: their columns by table; no columns means all.

        Raises `EngineRefused` for names that do not exist.
        """
        ...

    async def run(self, sql: str, timeout_s: float, max_rows: int, caller: str = "") -> Rows:
        """Runs a query, queued as `caller`. Raises `QueryFailed`."""
        ...

    async def close(self) -> None:
        """Disconnects."""
        ...


class Children:
    """The subprocesses of one database: one per concurrent query; idle ones are reused."""

    def __init__(self, start: Callable[[], Child]) -> None:
        """`start` returns a child that is ready for queries."""
        self._start = start
        self._lock = threading.Lock()
        self._idle: list[Child] = []
        self._busy: set[Child] = set()
        self._closed = False

    def run(self, sql: str, timeout_s: float, max_rows: int) -> Rows:
        """Runs a query. Raises `QueryFailed`."""
        child = self._acquire()
        try:
            answer = child.ask("run", [sql, timeout_s, max_rows], timeout_s + GRACE_S)
        except ChildStopped as error:
            self._drop(child)
            raise QueryFailed(str(error)) from None
        except BaseException:
            self._release(child)
            raise
        self._release(child)
        assert answer.rows is not None
        return answer.rows

    def _acquire(self) -> Child:
        with self._lock:
            child = self._idle.pop() if self._idle else None
        if child is None:
            try:
                child = self._start()
            except (EngineRefused, ChildStopped, OSError) as error:
                raise QueryFailed(f"the database can't be opened ({error})") from None
        with self._lock:
            self._busy.add(child)
        return child

    def _drop(self, child: Child) -> None:
        with self._lock:
            self._busy.discard(child)

    def _release(self, child: Child) -> None:
        with self._lock:
            self._busy.discard(child)
            if not self._closed:
                self._idle.append(child)
                return
        child.kill()

    def add(self, child: Child) -> None:
        """Adds a child that is ready."""
        self._release(child)

    def close(self) -> None:
        """Kills idle children now, and busy ones after their query."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for child in idle:
            child.kill()


def _started(kind: str, calls: Sequence[tuple[str, Sequence[Any]]], timeout_s: float) -> tuple[Child, ChildAnswer]:
    """Starts a child and makes calls; returns it with its last answer. Kills it on `EngineRefused`, `ChildStopped`."""
    child = Child(kind)
    answer = ChildAnswer()
    try:
        for method, arguments in calls:
            answer = child.ask(method, arguments, timeout_s)
    except BaseException:
        child.kill()
        raise
    return child, answer


class SqliteEngine:
    """Implements `TableEngine` on a read-only file; an authorizer callback refuses all but the allowed columns."""

    dialect: Dialect = "sqlite"

    def __init__(self, path: Path, pool: WorkPool | None = None) -> None:
        """`pool` provides the threads that wait for queries."""
        self._path = path
        self._pool = pool or WorkPool("sql", THREADS)
        self._wanted: dict[str, list[str]] | None = None
        self._children = Children(lambda: self._child()[0])

    def _child(self) -> tuple[Child, ChildAnswer]:
        calls: list[tuple[str, Sequence[Any]]] = [("open", [str(self._path.resolve())])]
        if self._wanted is not None:
            calls.append(("tables", [self._wanted]))
        return _started("sqlite", calls, START_S)

    async def open(self) -> None:
        """See `TableEngine.open`."""
        await self._pool.run("", self._open)

    def _open(self) -> None:
        try:
            child, _ = self._child()
        except (ChildStopped, OSError) as error:
            raise EngineRefused(f"{self._path} can't be read: {error}") from None
        self._children.add(child)

    async def tables(self, wanted: Mapping[str, Sequence[str]]) -> dict[str, list[Column]]:
        """See `TableEngine.tables`."""
        return await self._pool.run("", self._tables, wanted)

    def _tables(self, wanted: Mapping[str, Sequence[str]]) -> dict[str, list[Column]]:
        self._wanted = {table: list(columns) for table, columns in wanted.items()}
        try:
            child, answer = self._child()
        except (ChildStopped, OSError) as error:
            raise EngineRefused(f"{self._path} can't be read: {error}") from None
        previous, self._children = self._children, Children(lambda: self._child()[0])
        previous.close()
        self._children.add(child)
        return answer.tables or {}

    async def run(self, sql: str, timeout_s: float, max_rows: int, caller: str = "") -> Rows:
        """See `TableEngine.run`."""
        return await self._pool.run(caller, self._children.run, sql, timeout_s, max_rows)

    async def close(self) -> None:
        """See `TableEngine.close`."""
        self._children.close()


class FilesEngine:
    """Implements `TableEngine` on CSV and Parquet files (DuckDB), without access to other files or the network.

    Loads only the readable columns. Reloads a changed file before the next query; its columns must stay the same.
    """

    dialect: Dialect = "duckdb"

    def __init__(
        self,
        files: Mapping[str, Path],
        pool: WorkPool | None = None,
        wanted: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        """`files` by table name; `wanted`: see `TableEngine.tables`."""
        self._files = dict(files)
        self._pool = pool or WorkPool("sql", THREADS)
        self._wanted = {table: list(columns) for table, columns in (wanted or {}).items()}
        self._lock = threading.Lock()
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._loads = 0
        self._loaded_stamp: object = None
        self._columns: dict[str, list[Column]] = {}
        self._children: Children | None = None

    def _stamp(self) -> object:
        """A value that changes when a file changes; the last value if a file can't be read."""
        try:
            return [(path.stat().st_mtime_ns, path.stat().st_size) for path in self._files.values()]
        except OSError:
            return self._loaded_stamp

    async def open(self) -> None:
        """See `TableEngine.open`."""
        if find_spec("duckdb") is None:
            raise EngineRefused("files need the package duckdb: gatehouse-platform[tables]")
        await self._pool.run("", self._load)

    def _load(self) -> None:
        """Loads the current files; the previous tables stay in use if this raises `EngineRefused`."""
        stamp = self._stamp()
        if self._folder is None:
            try:
                self._folder = tempfile.TemporaryDirectory(prefix="gatehouse-tables-", ignore_cleanup_errors=True)
            except OSError as error:
                raise EngineRefused(f"can't create a temporary folder for tables (check TMPDIR): {error}") from None
        self._loads += 1
        into = Path(self._folder.name) / f"tables-{self._loads}.duckdb"
        files = {name: str(path) for name, path in self._files.items()}
        self._loaded_stamp = stamp
        try:
            child, answer = _started("files", [("load", [files, self._wanted, str(into)])], LOAD_S)
            child.kill()
            first, _ = _started("files", [("open", [str(into)])], START_S)
        except (ChildStopped, QueryFailed, OSError) as error:
            into.unlink(missing_ok=True)
            raise EngineRefused(f"the files can't be read: {error}") from None
        except EngineRefused:
            into.unlink(missing_ok=True)
            raise
        previous = self._children
        self._children = Children(lambda: _started("files", [("open", [str(into)])], START_S)[0])
        self._children.add(first)
        self._columns = answer.tables or {}
        if previous is not None:
            previous.close()
            (Path(self._folder.name) / f"tables-{self._loads - 1}.duckdb").unlink(missing_ok=True)

    async def tables(self, wanted: Mapping[str, Sequence[str]]) -> dict[str, list[Column]]:
        """See `TableEngine.tables`."""
        requested = {table: list(columns) for table, columns in wanted.items()}
        if requested != self._wanted:
            self._wanted = requested
            await self._pool.run("", self._load)
        return dict(self._columns)

    async def run(self, sql: str, timeout_s: float, max_rows: int, caller: str = "") -> Rows:
        """See `TableEngine.run`."""
        return await self._pool.run(caller, self._run, sql, timeout_s, max_rows)

    def _run(self, sql: str, timeout_s: float, max_rows: int) -> Rows:
        # While one query reloads the files, the others read the previous tables.
        if self._stamp() != self._loaded_stamp and self._lock.acquire(blocking=False):
            try:
                self._load()
            except EngineRefused as error:
                raise QueryFailed(str(error)) from None
            finally:
                self._lock.release()
        children = self._children
        if children is None:
            raise QueryFailed("the files are not open")
        return children.run(sql, timeout_s, max_rows)

    async def close(self) -> None:
        """See `TableEngine.close`."""
        if self._children is not None:
            self._children.close()
            self._children = None
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None
