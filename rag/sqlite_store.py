"""A source's store in one SQLite file, with a write-ahead log so that readers never wait for a writer."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

from rag.store import (
    LAYOUT,
    Change,
    Counts,
    NewChunk,
    NewDocument,
    Operation,
    StoredChunk,
    StoredDocument,
    check_layout,
    has_labels,
    partition_of,
    text_digest,
    visible,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

T = TypeVar("T")
BUSY_TIMEOUT_S = 30.0
_VARIABLES = 500
_OPERATIONS: tuple[Operation, ...] = ("add", "vector", "remove")
_SCHEMA = """
CREATE TABLE IF NOT EXISTS documents (
    id TEXT PRIMARY KEY, digest TEXT NOT NULL, title TEXT NOT NULL, labels TEXT NOT NULL, chunks INTEGER NOT NULL,
    updated REAL NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS chunks (
    id INTEGER PRIMARY KEY AUTOINCREMENT, document TEXT NOT NULL, ordinal INTEGER NOT NULL, place TEXT NOT NULL,
    head TEXT NOT NULL, text TEXT NOT NULL, partition TEXT NOT NULL, digest BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS documents_by_labels ON documents (labels, id);
CREATE INDEX IF NOT EXISTS chunks_of ON chunks (document, ordinal);
CREATE INDEX IF NOT EXISTS chunks_by_digest ON chunks (digest);
CREATE TABLE IF NOT EXISTS vectors (
    digest BLOB NOT NULL, embedder TEXT NOT NULL, vector BLOB NOT NULL, PRIMARY KEY (digest, embedder)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS log (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, chunk INTEGER NOT NULL, operation INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS log_of ON log (chunk);
"""


class SqliteStore:
    """Implements `rag.store.Store`. One thread runs all queries."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._thread = ThreadPoolExecutor(1, "store")
        self._connection: sqlite3.Connection | None = None

    async def _run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        connection = self._connection
        if connection is None:
            raise RuntimeError("the store is not open: call open() first")
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, connection)

    async def open(self) -> None:
        """See `Store.open`."""
        self._connection = await asyncio.get_running_loop().run_in_executor(self._thread, self._connect)

    def _connect(self) -> sqlite3.Connection:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(self._path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
        (layout,) = connection.execute("PRAGMA user_version").fetchone()
        try:
            check_layout(layout, f"the store {self._path}")
        except OSError:
            connection.close()
            raise
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.executescript(_SCHEMA)
        return connection

    async def close(self) -> None:
        """See `Store.close`."""
        if self._connection is not None:
            await self._run(lambda connection: connection.close())
            self._connection = None
        self._thread.shutdown(wait=False)

    async def put(self, document: NewDocument, viewer: frozenset[str] | None = None) -> bool:
        """See `Store.put`."""
        return await self._run(lambda connection: _put(connection, document, viewer))

    async def delete(self, documents: Sequence[str], viewer: frozenset[str] | None = None) -> int:
        """See `Store.delete`."""
        return await self._run(lambda connection: _delete(connection, documents, viewer))

    async def documents(
        self, after: str = "", limit: int = 1000, viewer: frozenset[str] | None = None
    ) -> list[StoredDocument]:
        """See `Store.documents`."""
        rows = await self._run(lambda connection: _documents(connection, after, limit, viewer))
        return [StoredDocument(row[0], row[1], row[2], tuple(json.loads(row[3])), row[4], row[5]) for row in rows]

    async def labels(self, documents: Sequence[str]) -> dict[str, tuple[str, ...]]:
        """See `Store.labels`."""
        query = "SELECT id, labels FROM documents WHERE id IN ({})"
        rows = await self._run(lambda connection: _query_in_batches(connection, query, documents))
        return {name: tuple(json.loads(labels)) for name, labels in rows}

    async def inherit(self, labels: Sequence[str]) -> int:
        """See `Store.inherit`."""
        return await self._run(lambda connection: _inherit(connection, labels))

    async def digests(self) -> dict[str, str]:
        """See `Store.digests`."""
        return dict(
            await self._run(lambda connection: connection.execute("SELECT id, digest FROM documents").fetchall())
        )

    async def unembedded(self, embedder: str, limit: int) -> list[tuple[bytes, str]]:
        """See `Store.unembedded`."""
        query = (
            "SELECT digest, head, text FROM chunks WHERE NOT EXISTS "
            "(SELECT 1 FROM vectors WHERE vectors.digest = chunks.digest AND embedder = ?) GROUP BY digest LIMIT ?"
        )
        rows = await self._run(lambda connection: connection.execute(query, (embedder, limit)).fetchall())
        return [(row[0], NewChunk(row[2], "", row[1]).searched) for row in rows]

    async def embedders(self) -> list[str]:
        """See `Store.embedders`."""
        query = "SELECT embedder FROM vectors GROUP BY embedder ORDER BY count(*) DESC, embedder"
        return [row[0] for row in await self._run(lambda connection: connection.execute(query).fetchall())]

    async def put_vectors(self, embedder: str, vectors: Mapping[bytes, NDArray[np.float32]]) -> None:
        """See `Store.put_vectors`."""
        import numpy as np

        packed = {digest: vector.astype(np.float16).tobytes() for digest, vector in vectors.items()}
        await self._run(lambda connection: _put_vectors(connection, embedder, packed))

    async def changes(self, after: int, embedder: str, limit: int) -> list[Change]:
        """See `Store.changes`."""
        query = (
            "SELECT log.seq, log.chunk, log.operation, chunks.partition, chunks.head, chunks.text, vectors.vector "
            "FROM log LEFT JOIN chunks ON chunks.id = log.chunk "
            "LEFT JOIN vectors ON vectors.digest = chunks.digest AND vectors.embedder = ? "
            "WHERE log.seq > ? ORDER BY log.seq LIMIT ?"
        )
        rows = await self._run(lambda connection: connection.execute(query, (embedder, after, limit)).fetchall())
        return [
            Change(seq, chunk, _OPERATIONS[operation], partition or "", _searched(head, text), vector or b"")
            for seq, chunk, operation, partition, head, text, vector in rows
        ]

    async def last(self) -> int:
        """See `Store.last`."""
        rows = await self._run(lambda connection: connection.execute("SELECT max(seq) FROM log").fetchone())
        return int(rows[0] or 0)

    async def passages(self, chunks: Sequence[int]) -> dict[int, StoredChunk]:
        """See `Store.passages`."""
        rows = await self._run(
            lambda connection: _query_in_batches(
                connection, "SELECT id, document, place, text, partition FROM chunks WHERE id IN ({})", chunks
            )
        )
        return {row[0]: StoredChunk(*row) for row in rows}

    async def vectors(self, chunks: Sequence[int], embedder: str) -> dict[int, NDArray[np.float32]]:
        """See `Store.vectors`."""
        import numpy as np

        query = (
            "SELECT chunks.id, vectors.vector FROM chunks JOIN vectors ON vectors.digest = chunks.digest "
            "WHERE vectors.embedder = ? AND chunks.id IN ({})"
        )
        rows = await self._run(lambda connection: _query_in_batches(connection, query, chunks, (embedder,)))
        return {row[0]: np.frombuffer(row[1], dtype=np.float16).astype(np.float32) for row in rows}

    async def partition_vectors(self, partition: str, embedder: str, after: int, limit: int) -> list[tuple[int, bytes]]:
        """See `Store.partition_vectors`."""
        query = (
            "SELECT chunks.id, vectors.vector FROM chunks JOIN vectors ON vectors.digest = chunks.digest "
            "AND vectors.embedder = ? WHERE chunks.partition = ? AND chunks.id > ? ORDER BY chunks.id LIMIT ?"
        )
        parameters = (embedder, partition, after, limit)
        return await self._run(lambda connection: connection.execute(query, parameters).fetchall())

    async def counts(self, embedder: str) -> Counts:
        """See `Store.counts`."""
        query = """
            SELECT (SELECT count(*) FROM documents), (SELECT count(*) FROM chunks), (
                SELECT count(*) FROM chunks
                WHERE NOT EXISTS (SELECT 1 FROM vectors WHERE vectors.digest = chunks.digest AND embedder = ?)
            )
        """
        row = await self._run(lambda connection: connection.execute(query, (embedder,)).fetchone())
        return Counts(*cast("tuple[int, int, int]", row))


def _searched(head: str | None, text: str | None) -> str:
    return NewChunk(text or "", "", head or "").searched


def _query_in_batches(
    connection: sqlite3.Connection, query: str, ids: Sequence[int] | Sequence[str], before: tuple[Any, ...] = ()
) -> list[tuple[Any, ...]]:
    """The rows for many ids, in batches, because a statement has a maximum number of variables."""
    rows: list[tuple[Any, ...]] = []
    for start in range(0, len(ids), _VARIABLES):
        part = ids[start : start + _VARIABLES]
        rows += connection.execute(query.format(",".join("?" * len(part))), (*before, *part)).fetchall()
    return rows


def _transaction(connection: sqlite3.Connection, work: Callable[[], T]) -> T:
    connection.execute("BEGIN IMMEDIATE")
    try:
        result = work()
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")
    return result


def _documents(
    connection: sqlite3.Connection, after: str, limit: int, viewer: frozenset[str] | None
) -> list[tuple[Any, ...]]:
    query = "SELECT id, digest, title, labels, chunks, updated FROM documents WHERE id > ? {} ORDER BY id LIMIT ?"
    if viewer is None:
        return connection.execute(query.format(""), (after, limit)).fetchall()
    sets = visible((row[0] for row in connection.execute("SELECT DISTINCT labels FROM documents")), viewer)
    filtered = query.format("AND labels IN (SELECT value FROM json_each(?))")
    return connection.execute(filtered, (after, json.dumps(sets), limit)).fetchall()


def _hidden(connection: sqlite3.Connection, document: str, viewer: frozenset[str] | None) -> bool:
    """Whether the document exists and `viewer` may not see it."""
    row = connection.execute("SELECT labels FROM documents WHERE id = ?", (document,)).fetchone()
    return row is not None and viewer is not None and not visible([row[0]], viewer)


def _put(connection: sqlite3.Connection, document: NewDocument, viewer: frozenset[str] | None) -> bool:
    partition = partition_of(document.labels)
    wanted = [(chunk.place, chunk.head, chunk.text, partition) for chunk in document.chunks]

    def work() -> bool:
        if _hidden(connection, document.id, viewer):
            return False
        rows = connection.execute(
            "SELECT place, head, text, partition, id FROM chunks WHERE document = ?", (document.id,)
        ).fetchall()
        stored = {row[:4]: row[4] for row in rows}
        unchanged = {stored[key]: ordinal for ordinal, key in enumerate(wanted) if key in stored}
        connection.executemany(
            "UPDATE chunks SET ordinal = ? WHERE id = ?", [(new, id_) for id_, new in unchanged.items()]
        )
        for ordinal, (chunk, key) in enumerate(zip(document.chunks, wanted, strict=True)):
            if key in stored:
                continue
            inserted = connection.execute(
                "INSERT INTO chunks (document, ordinal, place, head, text, partition, digest) "
                "VALUES (?, ?, ?, ?, ?, ?, ?)",
                (document.id, ordinal, *key, text_digest(chunk.searched)),
            )
            connection.execute("INSERT INTO log (chunk, operation) VALUES (?, 0)", (inserted.lastrowid,))
        # Insert before removing: a text whose chunk or labels changed keeps its vector.
        _remove(connection, [row[4] for row in rows if row[4] not in unchanged])
        connection.execute(
            "INSERT OR REPLACE INTO documents VALUES (?, ?, ?, ?, ?, ?)",
            (
                document.id,
                document.digest,
                document.title,
                json.dumps(document.labels),
                len(document.chunks),
                time.time(),
            ),
        )
        return True

    return _transaction(connection, work)


def _inherit(connection: sqlite3.Connection, labels: Sequence[str]) -> int:
    def work() -> int:
        if connection.execute("PRAGMA user_version").fetchone()[0] >= LAYOUT:
            return 0
        connection.execute(f"PRAGMA user_version = {LAYOUT}")
        labelled = connection.execute("SELECT id, labels FROM documents WHERE labels <> '[]'").fetchall()
        inheriting = [name for name, own in labelled if has_labels(own, labels)]
        for name in inheriting:
            connection.execute("UPDATE documents SET labels = '[]' WHERE id = ?", (name,))
            connection.execute("UPDATE chunks SET partition = '' WHERE document = ?", (name,))
            for (chunk,) in connection.execute("SELECT id FROM chunks WHERE document = ?", (name,)).fetchall():
                connection.execute("DELETE FROM log WHERE chunk = ?", (chunk,))
                connection.execute("INSERT INTO log (chunk, operation) VALUES (?, 2), (?, 0)", (chunk, chunk))
        return len(inheriting)

    return _transaction(connection, work)


def _delete(connection: sqlite3.Connection, documents: Sequence[str], viewer: frozenset[str] | None) -> int:
    def work() -> int:
        count = 0
        for document in documents:
            if _hidden(connection, document, viewer):
                continue
            rows = connection.execute("SELECT id FROM chunks WHERE document = ?", (document,)).fetchall()
            _remove(connection, [row[0] for row in rows])
            count += connection.execute("DELETE FROM documents WHERE id = ?", (document,)).rowcount
        return count

    return _transaction(connection, work)


def _remove(connection: sqlite3.Connection, chunks: Iterable[int]) -> None:
    """Removes chunks, their log entries, and vectors that no other chunk uses."""
    for chunk in chunks:
        (digest,) = connection.execute("SELECT digest FROM chunks WHERE id = ?", (chunk,)).fetchone()
        connection.execute("DELETE FROM chunks WHERE id = ?", (chunk,))
        connection.execute("DELETE FROM log WHERE chunk = ?", (chunk,))
        connection.execute("INSERT INTO log (chunk, operation) VALUES (?, 2)", (chunk,))
        connection.execute(
            "DELETE FROM vectors WHERE digest = ? AND NOT EXISTS (SELECT 1 FROM chunks WHERE chunks.digest = ?)",
            (digest, digest),
        )


def _put_vectors(connection: sqlite3.Connection, embedder: str, vectors: Mapping[bytes, bytes]) -> None:
    def work() -> None:
        for digest, vector in vectors.items():
            connection.execute("INSERT OR REPLACE INTO vectors VALUES (?, ?, ?)", (digest, embedder, vector))
            connection.execute(
                "INSERT INTO log (chunk, operation) SELECT id, 1 FROM chunks WHERE digest = ? ORDER BY id", (digest,)
            )

    _transaction(connection, work)
