"""Ingests documents: parses, splits and stores them, then embeds the chunks. An interrupted run can be resumed.

Full-text search works as soon as a document is stored; vector search once it is embedded. Unchanged documents are
neither parsed nor embedded again. A document that can't be read is reported, and the others continue.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Protocol

import msgspec

from contract.sources import Item
from rag.chunkers import Chunking
from rag.documents.chunking import ChunkedDocument, cut_document
from rag.documents.reading import UnreadableFile
from rag.store import NewDocument

if TYPE_CHECKING:
    from contract.embedding import Vectors
    from rag.store import Store

# Increase this when parsing or splitting changes, so that every document is read again.
VERSION = 4
# The maximum id length in UTF-8: database index entries are limited.
MAX_ID_BYTES = 2_500
_EMBED_BATCH = 64
# Prefix of the digest of a document without text, so that it is read and reported again.
_EMPTY = "empty:"
HIDDEN = "a document with this id exists that this key may not see, so the key may not replace it: use another id"


class DocumentReader(Protocol):
    """Parses and splits documents."""

    async def load(self, load: Callable[[], tuple[bytes, str]]) -> tuple[bytes, str]:
        """Runs `load` off the event loop. Raises its errors."""
        ...

    async def cut(self, name: str, data: bytes, media_type: str, chunking: Chunking) -> ChunkedDocument:
        """Returns the document's chunks and notes. Raises `UnreadableFile`."""
        ...

    def of(self, caller: str) -> DocumentReader:
        """Returns a reader that queues its work as `caller`."""
        ...


class ThreadReader:
    """Parses in this process, without limits on time and memory: for trusted documents."""

    async def load(self, load: Callable[[], tuple[bytes, str]]) -> tuple[bytes, str]:
        """See `DocumentReader.load`."""
        return await asyncio.to_thread(load)

    async def cut(self, name: str, data: bytes, media_type: str, chunking: Chunking) -> ChunkedDocument:
        """See `DocumentReader.cut`."""
        return await asyncio.to_thread(cut_document, name, data, media_type, chunking)

    def of(self, caller: str) -> DocumentReader:
        """See `DocumentReader.of`."""
        return self


class IngestReport(msgspec.Struct):
    """The outcome of an ingest run; `failed` with reasons, `notes` on what was skipped or guessed."""

    added: int = 0
    changed: int = 0
    unchanged: int = 0
    removed: int = 0
    chunks: int = 0
    embedded: int = 0
    failed: list[tuple[str, str]] = []
    notes: list[tuple[str, str]] = []
    # The ids of new and changed documents.
    kept: list[str] = []

    def line(self) -> str:
        """A summary on one line."""
        counts = f"{self.added} added, {self.changed} changed, {self.unchanged} unchanged, {self.removed} removed"
        notes = f", {len(self.notes)} notes" if self.notes else ""
        return f"{counts}, {len(self.failed)} failed{notes}; {self.chunks} new chunks, {self.embedded} embedded"


class Progress(msgspec.Struct, frozen=True):
    """The progress of one step."""

    what: str
    done: int
    total: int


OnProgress = Callable[[Progress], None]


async def store_documents(
    store: Store,
    items: Sequence[Item],
    chunking: Chunking,
    on_progress: OnProgress | None = None,
    *,
    complete: bool = False,
    reader: DocumentReader | None = None,
    viewer: frozenset[str] | None = None,
) -> IngestReport:
    """Stores documents. With `complete`, `items` are all documents of the source, and others are removed.

    `viewer` holds the uploader's labels (None: sees all); a document that they do not cover is not replaced.
    """
    report = IngestReport()
    reader = reader or ThreadReader()
    known_digests = await store.digests()
    for number, item in enumerate(items, 1):
        try:
            _check_name(item.id)
            document, notes, why_empty = await _read(item, chunking, known_digests.get(item.id), reader)
        except (OSError, UnreadableFile) as error:
            report.failed.append((_printable(item.id), str(error)))
        else:
            if document is None:
                report.unchanged += 1
            elif not await store.put(document, viewer):
                report.failed.append((item.id, HIDDEN))
            elif not document.chunks:
                report.failed.append((item.id, "; ".join([why_empty, *notes])))
            else:
                report.notes += [(item.id, note) for note in notes]
                report.kept.append(item.id)
                report.chunks += len(document.chunks)
                report.added += item.id not in known_digests
                report.changed += item.id in known_digests
        if on_progress is not None:
            on_progress(Progress("reading", number, len(items)))
    if complete:
        removed = sorted(set(known_digests) - {item.id for item in items})
        report.removed = await store.delete(removed)
    return report


def _check_name(name: str) -> None:
    """Raises `UnreadableFile` for an id that a store cannot hold, so that one bad name does not stop the others."""
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        raise UnreadableFile("its name is not valid UTF-8: rename it") from None
    if size > MAX_ID_BYTES:
        raise UnreadableFile(f"its name has {size:,} bytes; the limit is {MAX_ID_BYTES:,}: rename it")


def _printable(name: str) -> str:
    return name.encode("utf-8", "backslashreplace").decode()


async def _read(
    item: Item, chunking: Chunking, known_digest: str | None, reader: DocumentReader
) -> tuple[NewDocument | None, tuple[str, ...], str]:
    """Returns the document, its notes and why it is empty; None for a document whose digest is still `known_digest`."""
    digest = ""

    def load() -> tuple[bytes, str]:
        # Hash in the thread too: a large file takes a while.
        nonlocal digest
        data, media_type = item.load()
        metadata = msgspec.json.encode((VERSION, chunking, item.labels, item.title, media_type))
        digest = hashlib.blake2b(metadata + data, digest_size=16).hexdigest()
        return data, media_type

    data, media_type = await reader.load(load)
    if digest == known_digest:
        return None, (), ""
    cut = await reader.cut(item.id, data, media_type, chunking)
    stored_digest = digest if cut.chunks else _EMPTY + digest
    return NewDocument(item.id, stored_digest, cut.chunks, item.title, item.labels), cut.notes, cut.why_empty


async def embed(store: Store, embedder: Vectors, on_progress: OnProgress | None = None) -> int:
    """Embeds the texts that have no vector; returns how many. Raises the embedder's errors."""
    total = (await store.counts(embedder.name)).unembedded
    done = 0
    while missing := await store.unembedded(embedder.name, _EMBED_BATCH):
        rows = await embedder.vectors([text for _, text in missing])
        await store.put_vectors(embedder.name, {digest: row for (digest, _), row in zip(missing, rows, strict=True)})
        done += len(missing)
        if on_progress is not None:
            on_progress(Progress("embedding", min(done, total), total))
    return done


def unique(items: Iterable[Item]) -> list[Item]:
    """Removes items with the same id, except the last."""
    return list({item.id: item for item in items}.values())
