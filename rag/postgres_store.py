"""A source's store in PostgreSQL, for many replicas: any of them ingests, each builds its own indexes from the log.

Each source has its own schema. Writers of a source are serialised, so that log numbers become visible in order: after a
replica has read number 7, no number 6 can appear.
"""

from __future__ import annotations

import json
import time
import zlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

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

_OPERATIONS: tuple[Operation, ...] = ("add", "vector", "remove")
_CONNECT_S = 5.0
_SCHEMA = """
CREATE SCHEMA IF NOT EXISTS {schema};
CREATE TABLE IF NOT EXISTS {schema}.documents (
    id TEXT PRIMARY KEY, digest TEXT NOT NULL, title TEXT NOT NULL, labels TEXT NOT NULL, chunks INTEGER NOT NULL,
    updated DOUBLE PRECISION NOT NULL
);
CREATE TABLE IF NOT EXISTS {schema}.chunks (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, document TEXT NOT NULL, ordinal INTEGER NOT NULL,
    place TEXT NOT NULL, head TEXT NOT NULL, text TEXT NOT NULL, partition TEXT NOT NULL, digest BYTEA NOT NULL
);
CREATE INDEX IF NOT EXISTS documents_by_labels ON {schema}.documents (labels);
CREATE TABLE IF NOT EXISTS {schema}.layout (version INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS chunks_of ON {schema}.chunks (document, ordinal);
CREATE INDEX IF NOT EXISTS chunks_by_digest ON {schema}.chunks (digest);
CREATE INDEX IF NOT EXISTS chunks_by_partition ON {schema}.chunks (partition, id);
CREATE TABLE IF NOT EXISTS {schema}.vectors (
    digest BYTEA NOT NULL, embedder TEXT NOT NULL, vector BYTEA NOT NULL, PRIMARY KEY (digest, embedder)
);
CREATE TABLE IF NOT EXISTS {schema}.log (
    seq BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, chunk BIGINT NOT NULL, operation SMALLINT NOT NULL
);
CREATE INDEX IF NOT EXISTS log_of ON {schema}.log (chunk);
"""


class PostgresStore:
    """Implements `rag.store.Store`."""

    def __init__(self, url: str, source: str) -> None:
        """The name of `source` is part of the schema's name."""
        self._url = url
        self._schema = '"gatehouse_' + source.replace('"', '""') + '"'
        self._lock = zlib.crc32(f"gatehouse {source}".encode())
        self._pool: Any = None

    def _sql(self, query: str) -> str:
        return query.replace("{schema}", self._schema)

    async def open(self) -> None:
        """See `Store.open`."""
        import asyncpg  # type: ignore[import-untyped]

        try:
            self._pool = await asyncpg.create_pool(self._url, min_size=1, max_size=4, timeout=_CONNECT_S)
        except (asyncpg.PostgresError, TimeoutError) as error:
            raise OSError(f"can't connect to PostgreSQL ({type(error).__name__}): check the URL under store") from None
        async with self._pool.acquire() as connection, connection.transaction():
            await self._lock_writers(connection)
            await connection.execute(self._sql(_SCHEMA))
            layout = await connection.fetchval(self._sql("SELECT max(version) FROM {schema}.layout"))
            check_layout(layout or 0, f"the schema {self._schema} of the store")

    async def _lock_writers(self, connection: Any) -> None:
        """Blocks other writers of this source until the transaction ends."""
        await connection.execute("SELECT pg_advisory_xact_lock($1)", self._lock)

    async def close(self) -> None:
        """See `Store.close`."""
        if self._pool is not None:
            await self._pool.close()
            self._pool = None

    async def _fetch(self, query: str, *arguments: object) -> list[Any]:
        rows: list[Any] = await self._pool.fetch(self._sql(query), *arguments)
        return rows

    async def put(self, document: NewDocument, viewer: frozenset[str] | None = None) -> bool:
        """See `Store.put`."""
        partition = partition_of(document.labels)
        wanted = [(chunk.place, chunk.head, _clean(chunk.text), partition) for chunk in document.chunks]
        async with self._pool.acquire() as connection, connection.transaction():
            await self._lock_writers(connection)
            if document.id not in await self._visible(connection, [document.id], viewer):
                return False
            rows = await connection.fetch(
                self._sql("SELECT place, head, text, partition, id FROM {schema}.chunks WHERE document = $1"),
                document.id,
            )
            stored = {tuple(row)[:4]: row["id"] for row in rows}
            unchanged = {stored[key]: ordinal for ordinal, key in enumerate(wanted) if key in stored}
            await connection.executemany(
                self._sql("UPDATE {schema}.chunks SET ordinal = $2 WHERE id = $1"), list(unchanged.items())
            )
            new = [
                (document.id, ordinal, *key, text_digest(NewChunk(key[2], "", key[1]).searched))
                for ordinal, key in enumerate(wanted)
                if key not in stored
            ]
            await self._insert(connection, new)
            # Insert before removing: a text whose chunk or labels changed keeps its vector.
            await self._remove(connection, [row["id"] for row in rows if row["id"] not in unchanged])
            await connection.execute(
                self._sql(
                    "INSERT INTO {schema}.documents VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (id) DO UPDATE SET "
                    "digest = $2, title = $3, labels = $4, chunks = $5, updated = $6"
                ),
                document.id,
                document.digest,
                document.title,
                json.dumps(document.labels),
                len(document.chunks),
                time.time(),
            )
        return True

    async def _visible(self, connection: Any, documents: Sequence[str], viewer: frozenset[str] | None) -> list[str]:
        """The ids without those of documents that `viewer` may not see."""
        if viewer is None:
            return list(documents)
        rows = await connection.fetch(
            self._sql("SELECT id, labels FROM {schema}.documents WHERE id = ANY ($1)"), list(documents)
        )
        hidden = {row[0] for row in rows if not visible([row[1]], viewer)}
        return [each for each in documents if each not in hidden]

    async def labels(self, documents: Sequence[str]) -> dict[str, tuple[str, ...]]:
        """See `Store.labels`."""
        query = "SELECT id, labels FROM {schema}.documents WHERE id = ANY ($1)"
        return {row[0]: tuple(json.loads(row[1])) for row in await self._fetch(query, list(documents))}

    async def inherit(self, labels: Sequence[str]) -> int:
        """See `Store.inherit`."""
        async with self._pool.acquire() as connection, connection.transaction():
            await self._lock_writers(connection)
            if await connection.fetchval(self._sql("SELECT max(version) FROM {schema}.layout")) == LAYOUT:
                return 0
            await connection.execute(self._sql("INSERT INTO {schema}.layout VALUES ($1)"), LAYOUT)
            rows = await connection.fetch(self._sql("SELECT id, labels FROM {schema}.documents WHERE labels <> '[]'"))
            inheriting = [row[0] for row in rows if has_labels(row[1], labels)]
            await connection.execute(
                self._sql("UPDATE {schema}.documents SET labels = '[]' WHERE id = ANY ($1)"), inheriting
            )
            chunks = await connection.fetch(
                self._sql("UPDATE {schema}.chunks SET partition = '' WHERE document = ANY ($1) RETURNING id"),
                inheriting,
            )
            ids = [row[0] for row in chunks]
            await connection.execute(self._sql("DELETE FROM {schema}.log WHERE chunk = ANY ($1)"), ids)
            for operation in (2, 0):
                await connection.execute(
                    self._sql("INSERT INTO {schema}.log (chunk, operation) SELECT unnest($1::bigint[]), $2"),
                    ids,
                    operation,
                )
        return len(inheriting)

    async def _insert(self, connection: Any, new: Sequence[tuple[Any, ...]]) -> None:
        insert = self._sql(
            "INSERT INTO {schema}.chunks (document, ordinal, place, head, text, partition, digest) "
            "VALUES ($1, $2, $3, $4, $5, $6, $7) RETURNING id"
        )
        log = self._sql("INSERT INTO {schema}.log (chunk, operation) VALUES ($1, 0)")
        for row in new:
            await connection.execute(log, await connection.fetchval(insert, *row))

    async def _remove(self, connection: Any, chunks: Sequence[int]) -> None:
        """Removes chunks, their log entries, and vectors that no other chunk uses."""
        if not chunks:
            return
        rows = await connection.fetch(
            self._sql("DELETE FROM {schema}.chunks WHERE id = ANY ($1) RETURNING id, digest"), list(chunks)
        )
        removed = [row["id"] for row in rows]
        await connection.execute(self._sql("DELETE FROM {schema}.log WHERE chunk = ANY ($1)"), removed)
        await connection.execute(
            self._sql("INSERT INTO {schema}.log (chunk, operation) SELECT unnest($1::bigint[]), 2"), removed
        )
        await connection.execute(
            self._sql(
                "DELETE FROM {schema}.vectors v WHERE digest = ANY ($1) "
                "AND NOT EXISTS (SELECT 1 FROM {schema}.chunks c WHERE c.digest = v.digest)"
            ),
            [row["digest"] for row in rows],
        )

    async def delete(self, documents: Sequence[str], viewer: frozenset[str] | None = None) -> int:
        """See `Store.delete`."""
        async with self._pool.acquire() as connection, connection.transaction():
            await self._lock_writers(connection)
            visible_ids = await self._visible(connection, documents, viewer)
            rows = await connection.fetch(
                self._sql("SELECT id FROM {schema}.chunks WHERE document = ANY ($1)"), visible_ids
            )
            await self._remove(connection, [row["id"] for row in rows])
            removed = await connection.fetch(
                self._sql("DELETE FROM {schema}.documents WHERE id = ANY ($1) RETURNING id"), visible_ids
            )
        return len(removed)

    async def documents(
        self, after: str = "", limit: int = 1000, viewer: frozenset[str] | None = None
    ) -> list[StoredDocument]:
        """See `Store.documents`."""
        query = 'SELECT * FROM {schema}.documents WHERE id > $1 COLLATE "C" {filter} ORDER BY id COLLATE "C" LIMIT $2'
        if viewer is None:
            rows = await self._fetch(query.replace("{filter}", ""), after, limit)
        else:
            sets = [row[0] for row in await self._fetch("SELECT DISTINCT labels FROM {schema}.documents")]
            filtered = query.replace("{filter}", "AND labels = ANY ($3)")
            rows = await self._fetch(filtered, after, limit, visible(sets, viewer))
        return [StoredDocument(row[0], row[1], row[2], tuple(json.loads(row[3])), row[4], row[5]) for row in rows]

    async def digests(self) -> dict[str, str]:
        """See `Store.digests`."""
        return {row[0]: row[1] for row in await self._fetch("SELECT id, digest FROM {schema}.documents")}

    async def unembedded(self, embedder: str, limit: int) -> list[tuple[bytes, str]]:
        """See `Store.unembedded`."""
        rows = await self._fetch(
            "SELECT DISTINCT ON (digest) digest, head, text FROM {schema}.chunks c WHERE NOT EXISTS "
            "(SELECT 1 FROM {schema}.vectors v WHERE v.digest = c.digest AND v.embedder = $1) LIMIT $2",
            embedder,
            limit,
        )
        return [(row[0], NewChunk(row[2], "", row[1]).searched) for row in rows]

    async def embedders(self) -> list[str]:
        """See `Store.embedders`."""
        query = "SELECT embedder FROM {schema}.vectors GROUP BY embedder ORDER BY count(*) DESC, embedder"
        return [row[0] for row in await self._fetch(query)]

    async def put_vectors(self, embedder: str, vectors: Mapping[bytes, NDArray[np.float32]]) -> None:
        """See `Store.put_vectors`."""
        import numpy as np

        rows = [(digest, embedder, vector.astype(np.float16).tobytes()) for digest, vector in vectors.items()]
        async with self._pool.acquire() as connection, connection.transaction():
            await self._lock_writers(connection)
            await connection.executemany(
                self._sql(
                    "INSERT INTO {schema}.vectors VALUES ($1, $2, $3) "
                    "ON CONFLICT (digest, embedder) DO UPDATE SET vector = $3"
                ),
                rows,
            )
            await connection.execute(
                self._sql(
                    "INSERT INTO {schema}.log (chunk, operation) "
                    "SELECT id, 1 FROM {schema}.chunks WHERE digest = ANY ($1) ORDER BY id"
                ),
                list(vectors),
            )

    async def changes(self, after: int, embedder: str, limit: int) -> list[Change]:
        """See `Store.changes`."""
        rows = await self._fetch(
            "SELECT l.seq, l.chunk, l.operation, c.partition, c.head, c.text, v.vector FROM {schema}.log l "
            "LEFT JOIN {schema}.chunks c ON c.id = l.chunk "
            "LEFT JOIN {schema}.vectors v ON v.digest = c.digest AND v.embedder = $1 "
            "WHERE l.seq > $2 ORDER BY l.seq LIMIT $3",
            embedder,
            after,
            limit,
        )
        return [
            Change(
                row[0],
                row[1],
                _OPERATIONS[row[2]],
                row[3] or "",
                NewChunk(row[5] or "", "", row[4] or "").searched,
                row[6] or b"",
            )
            for row in rows
        ]

    async def last(self) -> int:
        """See `Store.last`."""
        return int((await self._fetch("SELECT coalesce(max(seq), 0) FROM {schema}.log"))[0][0])

    async def passages(self, chunks: Sequence[int]) -> dict[int, StoredChunk]:
        """See `Store.passages`."""
        rows = await self._fetch(
            "SELECT id, document, place, text, partition FROM {schema}.chunks WHERE id = ANY ($1)", list(chunks)
        )
        return {row[0]: StoredChunk(*row) for row in rows}

    async def vectors(self, chunks: Sequence[int], embedder: str) -> dict[int, NDArray[np.float32]]:
        """See `Store.vectors`."""
        import numpy as np

        rows = await self._fetch(
            "SELECT c.id, v.vector FROM {schema}.chunks c JOIN {schema}.vectors v ON v.digest = c.digest "
            "WHERE v.embedder = $1 AND c.id = ANY ($2)",
            embedder,
            list(chunks),
        )
        return {row[0]: np.frombuffer(row[1], dtype=np.float16).astype(np.float32) for row in rows}

    async def partition_vectors(self, partition: str, embedder: str, after: int, limit: int) -> list[tuple[int, bytes]]:
        """See `Store.partition_vectors`."""
        rows = await self._fetch(
            "SELECT c.id, v.vector FROM {schema}.chunks c JOIN {schema}.vectors v ON v.digest = c.digest "
            "AND v.embedder = $1 WHERE c.partition = $2 AND c.id > $3 ORDER BY c.id LIMIT $4",
            embedder,
            partition,
            after,
            limit,
        )
        return [(row[0], row[1]) for row in rows]

    async def counts(self, embedder: str) -> Counts:
        """See `Store.counts`."""
        rows = await self._fetch(
            "SELECT (SELECT count(*) FROM {schema}.documents), (SELECT count(*) FROM {schema}.chunks), "
            "(SELECT count(*) FROM {schema}.chunks c WHERE NOT EXISTS "
            "(SELECT 1 FROM {schema}.vectors v WHERE v.digest = c.digest AND v.embedder = $1))",
            embedder,
        )
        return Counts(*rows[0])


def _clean(text: str) -> str:
    """Removes NUL, which PostgreSQL rejects."""
    return text.replace("\x00", "")
