"""Databases that are only read: what tables they have, and rows for a query that has been proven safe.

The proof is the first wall. Each engine is the second: a connection that can't write, a role that must not be able to,
limits of time, rows, bytes and memory. Files are read by processes of their own (`rag.tables.child`).
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
from rag.tables.choice import chosen
from rag.tables.columns import Dialect
from rag.tables.rows import SAMPLES, Column, EngineRefused, QueryFailed, Rows, sample

__all__ = ["SAMPLES", "Column", "EngineRefused", "QueryFailed", "Rows", "TableEngine", "chosen", "sample"]

THREADS = 3
LOAD_S = 120.0
# What a query may take beyond its time before its process is killed.
GRACE_S = 0.5


class TableEngine(Protocol):
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

    async def run(self, sql: str, timeout_s: float, max_rows: int, caller: str = "") -> Rows:
        """The rows, in the turn of `caller`. Raises `QueryFailed`."""
        ...

    async def close(self) -> None:
        """Lets go."""
        ...


class Children:
    """The processes that serve one database: as many as queries run at once, some of them kept for the next."""

    def __init__(self, start: Callable[[], Child]) -> None:
        """`start` gives one that is ready for queries."""
        self._start = start
        self._lock = threading.Lock()
        self._idle: list[Child] = []
        self._busy: set[Child] = set()
        self._closed = False

    def run(self, sql: str, timeout_s: float, max_rows: int) -> Rows:
        """The rows. Raises `QueryFailed`."""
        child = self._take()
        try:
            answer = child.ask("run", [sql, timeout_s, max_rows], timeout_s + GRACE_S)
        except ChildStopped as error:
            self._drop(child)
            raise QueryFailed(str(error)) from None
        except BaseException:
            self._keep(child)
            raise
        self._keep(child)
        assert answer.rows is not None
        return answer.rows

    def _take(self) -> Child:
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

    def _keep(self, child: Child) -> None:
        with self._lock:
            self._busy.discard(child)
            if not self._closed:
                self._idle.append(child)
                return
        child.kill()

    def add(self, child: Child) -> None:
        """One that is ready."""
        self._keep(child)

    def close(self) -> None:
        """Ends those that wait now, and those that work when they are done."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for child in idle:
            child.kill()


def _started(kind: str, calls: Sequence[tuple[str, Sequence[Any]]], timeout_s: float) -> tuple[Child, ChildAnswer]:
    """A child after these calls, and its last answer. Raises `EngineRefused` or `ChildStopped` and leaves no child."""
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
        """`pool` has the threads that wait for queries."""
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
        """See `Engine.open`."""
        await self._pool.run("", self._open)

    def _open(self) -> None:
        try:
            child, _ = self._child()
        except (ChildStopped, OSError) as error:
            raise EngineRefused(f"{self._path} can't be read: {error}") from None
        self._children.add(child)

    async def tables(self, wanted: Mapping[str, Sequence[str]]) -> dict[str, list[Column]]:
        """See `Engine.tables`."""
        return await self._pool.run("", self._tables, wanted)

    def _tables(self, wanted: Mapping[str, Sequence[str]]) -> dict[str, list[Column]]:
        self._wanted = {table: list(columns) for table, columns in wanted.items()}
        try:
            child, answer = self._child()
        except (ChildStopped, OSError) as error:
            raise EngineRefused(f"{self._path} can't be read: {error}") from None
        before, self._children = self._children, Children(lambda: self._child()[0])
        before.close()
        self._children.add(child)
        return answer.tables or {}

    async def run(self, sql: str, timeout_s: float, max_rows: int, caller: str = "") -> Rows:
        """See `Engine.run`."""
        return await self._pool.run(caller, self._children.run, sql, timeout_s, max_rows)

    async def close(self) -> None:
        """See `Engine.close`."""
        self._children.close()


class FilesEngine:
    """Implements `TableEngine` on CSV and Parquet files (DuckDB): loaded, then cut off from files and network.

    Only the columns that may be read are loaded. A file that changes is loaded again before the next query; its
    columns must stay.
    """

    dialect: Dialect = "duckdb"

    def __init__(
        self,
        files: Mapping[str, Path],
        pool: WorkPool | None = None,
        wanted: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        """`files` by the names of their tables; `wanted`: see `Engine.tables`."""
        self._files = dict(files)
        self._pool = pool or WorkPool("sql", THREADS)
        self._wanted = {table: list(columns) for table, columns in (wanted or {}).items()}
        self._lock = threading.Lock()
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._loads = 0
        self._seen: object = None
        self._found: dict[str, list[Column]] = {}
        self._children: Children | None = None

    def _stamp(self) -> object:
        """What changes when a file does; the same as before while one can't be looked at."""
        try:
            return [(path.stat().st_mtime_ns, path.stat().st_size) for path in self._files.values()]
        except OSError:
            return self._seen

    async def open(self) -> None:
        """See `Engine.open`."""
        if find_spec("duckdb") is None:
            raise EngineRefused("files need the package duckdb: gatehouse-platform[tables]")
        await self._pool.run("", self._load)

    def _load(self) -> None:
        """The files as they are now, in place of what there was. Raises `EngineRefused`, and leaves what there was."""
        seen = self._stamp()
        if self._folder is None:
            try:
                self._folder = tempfile.TemporaryDirectory(prefix="gatehouse-tables-", ignore_cleanup_errors=True)
            except OSError as error:
                raise EngineRefused(f"files need a folder for their tables (TMPDIR): {error}") from None
        self._loads += 1
        into = Path(self._folder.name) / f"tables-{self._loads}.duckdb"
        files = {name: str(path) for name, path in self._files.items()}
        self._seen = seen
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
        before = self._children
        self._children = Children(lambda: _started("files", [("open", [str(into)])], START_S)[0])
        self._children.add(first)
        self._found = answer.tables or {}
        if before is not None:
            before.close()
            (Path(self._folder.name) / f"tables-{self._loads - 1}.duckdb").unlink(missing_ok=True)

    async def tables(self, wanted: Mapping[str, Sequence[str]]) -> dict[str, list[Column]]:
        """See `Engine.tables`."""
        asked = {table: list(columns) for table, columns in wanted.items()}
        if asked != self._wanted:
            self._wanted = asked
            await self._pool.run("", self._load)
        return dict(self._found)

    async def run(self, sql: str, timeout_s: float, max_rows: int, caller: str = "") -> Rows:
        """See `Engine.run`."""
        return await self._pool.run(caller, self._run, sql, timeout_s, max_rows)

    def _run(self, sql: str, timeout_s: float, max_rows: int) -> Rows:
        # While one query has the files loaded again, the others read what there was.
        if self._stamp() != self._seen and self._lock.acquire(blocking=False):
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
        """See `Engine.close`."""
        if self._children is not None:
            self._children.close()
            self._children = None
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None
