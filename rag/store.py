"""The store protocol: a source's documents, their chunks and vectors, and the log that indexes are built from.

The store is the source of truth. Each serving process builds its own indexes by following the log. So any process may
ingest, and all serving processes see the changes within seconds.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias

import msgspec

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Operation: TypeAlias = Literal["add", "vector", "remove"]
# The partition of documents without labels, which every user of the source may see.
OPEN = ""
# The labels of a caller who may see no document, not even one without labels; "" is no valid label.
NO_ACCESS = frozenset({""})


class NewChunk(msgspec.Struct, frozen=True):
    """A chunk of a document: its text, its position, and its headings, which are searched together with the text."""

    text: str
    place: str
    head: str = ""

    @property
    def searched(self) -> str:
        """The text to index."""
        return f"{self.head}\n{self.text}" if self.head else self.text


class NewDocument(msgspec.Struct, frozen=True):
    """A document to store. `digest` detects changes; only callers with one of `labels` see it (empty: all callers)."""

    id: str
    digest: str
    chunks: tuple[NewChunk, ...]
    title: str = ""
    labels: tuple[str, ...] = ()


class StoredDocument(msgspec.Struct, frozen=True):
    """A stored document without its chunks. `updated` is in seconds since 1970."""

    id: str
    digest: str
    title: str
    labels: tuple[str, ...]
    chunks: int
    updated: float


class StoredChunk(msgspec.Struct, frozen=True):
    """A stored chunk."""

    id: int
    document: str
    place: str
    text: str
    partition: str


class Change(msgspec.Struct, frozen=True):
    """One log entry. The chunk's fields are empty if the chunk has been removed since."""

    seq: int
    chunk: int
    operation: Operation
    partition: str = OPEN
    searched: str = ""
    vector: bytes = b""


class Counts(msgspec.Struct, frozen=True):
    """The size of a store; `unembedded` chunks have no vector yet."""

    documents: int
    chunks: int
    unembedded: int


# The layout version of a store. Since 1, a document's labels do not include those of its source.
LAYOUT = 1


def check_layout(layout: int, where: str) -> None:
    """Raises `OSError` for a store of a later version, which this version would misread and damage."""
    if layout > LAYOUT:
        raise OSError(
            f"{where} was written by a later version (layout {layout}; this version supports {LAYOUT}): start that "
            "version, or stop the gateway and remove the store: documents from folders and pages are read again, "
            "uploaded ones are lost"
        )


class Store(Protocol):
    """One source's store. Vectors are stored as float16, by the digest of their text and the embedder's name."""

    async def open(self) -> None:
        """Opens the store and creates missing tables. Raises `OSError` (also for a later layout) or database errors."""
        ...

    async def close(self) -> None:
        """Closes the store."""
        ...

    async def put(self, document: NewDocument, viewer: frozenset[str] | None = None) -> bool:
        """Adds or replaces a document atomically. Unchanged chunks keep their ids.

        Returns False and changes nothing if `viewer` (labels; None: all) may not see the existing document.
        """
        ...

    async def delete(self, documents: Sequence[str], viewer: frozenset[str] | None = None) -> int:
        """Removes the documents that `viewer` may see; returns how many."""
        ...

    async def documents(
        self, after: str = "", limit: int = 1000, viewer: frozenset[str] | None = None
    ) -> list[StoredDocument]:
        """The documents after the id `after` that `viewer` may see, ordered by id."""
        ...

    async def labels(self, documents: Sequence[str]) -> dict[str, tuple[str, ...]]:
        """The labels of documents by id; omits ids that do not exist."""
        ...

    async def inherit(self, labels: Sequence[str]) -> int:
        """Migrates a store once: clears the labels of documents with exactly these labels; returns how many.

        Older stores copied a source's labels to each document; now only the source has them.
        """
        ...

    async def digests(self) -> dict[str, str]:
        """The digest of each document by id."""
        ...

    async def unembedded(self, embedder: str, limit: int) -> list[tuple[bytes, str]]:
        """Digests and texts without a vector of `embedder`."""
        ...

    async def embedders(self) -> list[str]:
        """The embedders that have vectors here, the one with the most first."""
        ...

    async def put_vectors(self, embedder: str, vectors: Mapping[bytes, NDArray[np.float32]]) -> None:
        """Stores vectors by the digest of their text."""
        ...

    async def changes(self, after: int, embedder: str, limit: int) -> list[Change]:
        """The log entries after the number `after`."""
        ...

    async def last(self) -> int:
        """The number of the last log entry; 0 for an empty log."""
        ...

    async def passages(self, chunks: Sequence[int]) -> dict[int, StoredChunk]:
        """Chunks by id; omits removed ones."""
        ...

    async def vectors(self, chunks: Sequence[int], embedder: str) -> dict[int, NDArray[np.float32]]:
        """The vectors of chunks by id; omits chunks without one."""
        ...

    async def partition_vectors(self, partition: str, embedder: str, after: int, limit: int) -> list[tuple[int, bytes]]:
        """The chunks of a partition after the id `after`, ordered by id, with their vectors as float16."""
        ...

    async def counts(self, embedder: str) -> Counts:
        """The size of the store."""
        ...


def text_digest(text: str) -> bytes:
    """The key of a text's vector: 16 bytes."""
    return hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=16).digest()


def partition_of(labels: Sequence[str]) -> str:
    """The name of the partition of all documents with these labels."""
    return "\x1f".join(sorted(set(labels)))


def labels_of(partition: str) -> frozenset[str]:
    """The labels of a partition's documents."""
    return frozenset(partition.split("\x1f")) if partition else frozenset()


def may_see(partition: str, labels: frozenset[str]) -> bool:
    """Whether `labels` give access to a partition: it has no labels, or shares one with them."""
    return not partition or not labels.isdisjoint(labels_of(partition))


def visible(sets: Iterable[str], viewer: frozenset[str]) -> list[str]:
    """The stored label sets (JSON) whose documents `viewer` may see."""
    return [] if viewer == NO_ACCESS else [each for each in sets if may_see(partition_of(json.loads(each)), viewer)]


def has_labels(stored: str, labels: Sequence[str]) -> bool:
    """Whether a stored label set (JSON) equals `labels`."""
    return partition_of(json.loads(stored)) == partition_of(labels)
