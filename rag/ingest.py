"""Documents into a store: read, cut, kept; then embedded. Stopped at any point it goes on where it was.

Words first: a document is kept, and found by its words, before anything is embedded. What has not changed is neither
read again nor embedded again; what can't be read is reported, and the rest goes on.
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

# Raised when reading or cutting changes, so that everything is read anew.
VERSION = 4
# Of an id in UTF-8: what the index of a database holds.
MAX_ID_BYTES = 2_500
_EMBEDDED_AT_ONCE = 64
# Of a document without words: it is read again, and reported again.
_EMPTY = "empty:"
HIDDEN = "there is a document of that id which this key may not see, so it may not replace it"


class DocumentReader(Protocol):
    """Where documents are read and cut."""

    async def load(self, load: Callable[[], tuple[bytes, str]]) -> tuple[bytes, str]:
        """What `load` gives. Raises what it raises."""
        ...

    async def cut(self, name: str, data: bytes, media_type: str, chunking: Chunking) -> ChunkedDocument:
        """The document's chunks, and what is to be said of it. Raises `UnreadableFile`."""
        ...

    def of(self, caller: str) -> DocumentReader:
        """The same in that caller's turn."""
        ...


class ThreadReader:
    """Reads in this process, without limits of time and memory: for documents that are known to be harmless."""

    async def load(self, load: Callable[[], tuple[bytes, str]]) -> tuple[bytes, str]:
        """See `Reads.load`."""
        return await asyncio.to_thread(load)

    async def cut(self, name: str, data: bytes, media_type: str, chunking: Chunking) -> ChunkedDocument:
        """See `Reads.cut`."""
        return await asyncio.to_thread(cut_document, name, data, media_type, chunking)

    def of(self, caller: str) -> DocumentReader:
        """See `Reads.of`."""
        return self


class IngestReport(msgspec.Struct):
    """What became of the documents; `failed` with the reasons, `notes` on what was left out or guessed."""

    added: int = 0
    changed: int = 0
    unchanged: int = 0
    removed: int = 0
    chunks: int = 0
    embedded: int = 0
    failed: list[tuple[str, str]] = []
    notes: list[tuple[str, str]] = []
    # The documents that are new or changed.
    kept: list[str] = []

    def line(self) -> str:
        """For people."""
        said = f"{self.added} added, {self.changed} changed, {self.unchanged} unchanged, {self.removed} removed"
        notes = f", {len(self.notes)} notes" if self.notes else ""
        return f"{said}, {len(self.failed)} failed{notes}; {self.chunks} new chunks, {self.embedded} embedded"


class Progress(msgspec.Struct, frozen=True):
    """How far something is."""

    what: str
    done: int
    total: int


Tell = Callable[[Progress], None]


async def keep(
    store: Store,
    items: Sequence[Item],
    chunking: Chunking,
    tell: Tell | None = None,
    *,
    whole: bool = False,
    reader: DocumentReader | None = None,
    sight: frozenset[str] | None = None,
) -> IngestReport:
    """Keeps documents; `whole` says that these are all there are: others are removed.

    `sight` are the labels of who hands them in (None: sees all): what it may not see it does not replace.
    """
    report = IngestReport()
    reader = reader or ThreadReader()
    known = await store.digests()
    for number, item in enumerate(items, 1):
        try:
            _check_name(item.id)
            document, notes, why_empty = await _read(item, chunking, known.get(item.id), reader)
        except (OSError, UnreadableFile) as error:
            report.failed.append((_shown(item.id), str(error)))
        else:
            if document is None:
                report.unchanged += 1
            elif not await store.put(document, sight):
                report.failed.append((item.id, HIDDEN))
            elif not document.chunks:
                report.failed.append((item.id, "; ".join([why_empty, *notes])))
            else:
                report.notes += [(item.id, note) for note in notes]
                report.kept.append(item.id)
                report.chunks += len(document.chunks)
                report.added += item.id not in known
                report.changed += item.id in known
        if tell is not None:
            tell(Progress("reading", number, len(items)))
    if whole:
        gone = sorted(set(known) - {item.id for item in items})
        report.removed = await store.delete(gone)
    return report


def _check_name(name: str) -> None:
    """Raises `UnreadableFile` for an id that no store can keep, so that one bad name does not stop the others."""
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        raise UnreadableFile("its name is no text in UTF-8: rename it") from None
    if size > MAX_ID_BYTES:
        raise UnreadableFile(f"its name has {size:,} bytes, more than {MAX_ID_BYTES:,}: rename it")


def _shown(name: str) -> str:
    return name.encode("utf-8", "backslashreplace").decode()


async def _read(
    item: Item, chunking: Chunking, known: str | None, reader: DocumentReader
) -> tuple[NewDocument | None, tuple[str, ...], str]:
    """The document, notes on it, why it is empty; without it when it is the one that is `known` by its digest."""
    digest = ""

    def load() -> tuple[bytes, str]:
        # In a thread as well: of a large file it takes a while.
        nonlocal digest
        data, media_type = item.load()
        about = msgspec.json.encode((VERSION, chunking, item.labels, item.title, media_type))
        digest = hashlib.blake2b(about + data, digest_size=16).hexdigest()
        return data, media_type

    data, media_type = await reader.load(load)
    if digest == known:
        return None, (), ""
    cut = await reader.cut(item.id, data, media_type, chunking)
    kept = digest if cut.chunks else _EMPTY + digest
    return NewDocument(item.id, kept, cut.chunks, item.title, item.labels), cut.notes, cut.why_empty


async def embed(store: Store, embedder: Vectors, tell: Tell | None = None) -> int:
    """Embeds what has no vector yet; how many texts that were. Raises what the embedder raises."""
    total = (await store.counts(embedder.name)).unembedded
    done = 0
    while missing := await store.unembedded(embedder.name, _EMBEDDED_AT_ONCE):
        rows = await embedder.vectors([text for _, text in missing])
        await store.put_vectors(embedder.name, {digest: row for (digest, _), row in zip(missing, rows, strict=True)})
        done += len(missing)
        if tell is not None:
            tell(Progress("embedding", min(done, total), total))
    return done


def unique(items: Iterable[Item]) -> list[Item]:
    """The last of those with the same id."""
    return list({item.id: item for item in items}.values())
