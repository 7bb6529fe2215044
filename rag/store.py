"""The seam of stores: a source's documents, their chunks and vectors, and the log from which indexes are made.

The store is the truth. Whoever serves keeps indexes of its own beside it and follows the log: so any process may
ingest, and all that serve see it within seconds.
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
# The partition of documents that anybody may see who may use the source.
OPEN = ""
# The labels of somebody who sees no document at all, whatever its labels: "" is no label.
NOTHING = frozenset({""})


class NewChunk(msgspec.Struct, frozen=True):
    """A piece of a document: its words, where it stands, and the way to it, which is searched with the words."""

    text: str
    place: str
    head: str = ""

    @property
    def searched(self) -> str:
        """What it is found by."""
        return f"{self.head}\n{self.text}" if self.head else self.text


class NewDocument(msgspec.Struct, frozen=True):
    """A document to be kept. `digest` says whether it has changed; `labels` who may see it, nobody else does."""

    id: str
    digest: str
    chunks: tuple[NewChunk, ...]
    title: str = ""
    labels: tuple[str, ...] = ()


class KeptDocument(msgspec.Struct, frozen=True):
    """What is known of a document without its chunks. `updated` in seconds since 1970."""

    id: str
    digest: str
    title: str
    labels: tuple[str, ...]
    chunks: int
    updated: float


class KeptChunk(msgspec.Struct, frozen=True):
    """A chunk as it is kept."""

    id: int
    document: str
    place: str
    text: str
    partition: str


class Change(msgspec.Struct, frozen=True):
    """One entry of the log. Without its chunk when that is gone by now."""

    seq: int
    chunk: int
    operation: Operation
    partition: str = OPEN
    searched: str = ""
    vector: bytes = b""


class Counts(msgspec.Struct, frozen=True):
    """How much there is; `unembedded` chunks have no vector yet."""

    documents: int
    chunks: int
    unembedded: int


# The layout of what a source keeps, in each store: from 1 on documents have no labels but their own.
LAYOUT = 1


def check_layout(found: int, where: str) -> None:
    """Raises `OSError` for a later version's store: this one would not see what that one means, and write nonsense."""
    if found > LAYOUT:
        raise OSError(
            f"{where} is of a later version (layout {found}; this one knows {LAYOUT}): start that version, or remove "
            "it while nothing runs: documents of folders and pages are read again, those handed in are not"
        )


class Store(Protocol):
    """One source's. Vectors are kept as float16 by the digest of what was embedded and the embedder's name."""

    async def open(self) -> None:
        """Makes what is missing. Raises `OSError`, as for a later version's, or what the database raises."""
        ...

    async def close(self) -> None:
        """Lets go."""
        ...

    async def put(self, document: NewDocument, sight: frozenset[str] | None = None) -> bool:
        """Adds or replaces a document, whole or not at all. Chunks that stay the same stay.

        False, and nothing is changed, where somebody with the labels `sight` (None: all) may not see the one before.
        """
        ...

    async def delete(self, documents: Sequence[str], sight: frozenset[str] | None = None) -> int:
        """Removes documents by id, those that somebody with the labels `sight` may see; how many there were."""
        ...

    async def documents(
        self, after: str = "", limit: int = 1000, sight: frozenset[str] | None = None
    ) -> list[KeptDocument]:
        """By id, those after `after` that somebody with the labels `sight` may see."""
        ...

    async def labels(self, documents: Sequence[str]) -> dict[str, tuple[str, ...]]:
        """The labels of documents by their ids; those that are not there are missing."""
        ...

    async def inherit(self, labels: Sequence[str]) -> int:
        """Once for each store: documents with exactly these labels have none of their own from now on; how many.

        Stores of before hold a source's labels as each document's; now the source itself has them.
        """
        ...

    async def digests(self) -> dict[str, str]:
        """Each document's digest."""
        ...

    async def unembedded(self, embedder: str, limit: int) -> list[tuple[bytes, str]]:
        """Digests and texts that still lack a vector of `embedder`."""
        ...

    async def embedders(self) -> list[str]:
        """Whose vectors there are, those of most texts first."""
        ...

    async def put_vectors(self, embedder: str, vectors: Mapping[bytes, NDArray[np.float32]]) -> None:
        """Keeps vectors by digest."""
        ...

    async def changes(self, after: int, embedder: str, limit: int) -> list[Change]:
        """The log from `after` on."""
        ...

    async def last(self) -> int:
        """The log's last number."""
        ...

    async def passages(self, chunks: Sequence[int]) -> dict[int, KeptChunk]:
        """Chunks by their ids; those that are gone are missing."""
        ...

    async def vectors(self, chunks: Sequence[int], embedder: str) -> dict[int, NDArray[np.float32]]:
        """The vectors of chunks."""
        ...

    async def partition_vectors(self, partition: str, embedder: str, after: int, limit: int) -> list[tuple[int, bytes]]:
        """Chunks of a partition, by id, those after `after`, with their vectors as float16."""
        ...

    async def counts(self, embedder: str) -> Counts:
        """How much there is."""
        ...


def text_digest(text: str) -> bytes:
    """The key of a text's vector: 16 bytes."""
    return hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=16).digest()


def partition_of(labels: Sequence[str]) -> str:
    """The name of all documents with the same labels."""
    return "\x1f".join(sorted(set(labels)))


def labels_of(partition: str) -> frozenset[str]:
    """The labels of a partition's documents."""
    return frozenset(partition.split("\x1f")) if partition else frozenset()


def may_see(partition: str, labels: frozenset[str]) -> bool:
    """Whether somebody with `labels` may see a partition's documents: they ask for none, or for one of those."""
    return not partition or not labels.isdisjoint(labels_of(partition))


def visible(sets: Iterable[str], sight: frozenset[str]) -> list[str]:
    """Those of the stored sets of labels, as JSON, whose documents somebody with the labels `sight` may see."""
    return [] if sight == NOTHING else [each for each in sets if may_see(partition_of(json.loads(each)), sight)]


def is_set(stored: str, labels: Sequence[str]) -> bool:
    """Whether a stored set of labels, as JSON, is this one."""
    return partition_of(json.loads(stored)) == partition_of(labels)
