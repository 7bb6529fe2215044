"""Documents into a store: read, cut, kept; then embedded. Stopped at any point it goes on where it was.

Words first: a document is kept, and found by its words, before anything is embedded. What has not changed is neither
read again nor embedded again; what can't be read is reported, and the rest goes on.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

import msgspec

from rag.chunkers import Chunking, cut
from rag.documents.reading import Unreadable, read
from rag.store import NewChunk, NewDocument

if TYPE_CHECKING:
    from gateway.contract.embedding import Vectors
    from rag.store import Store

# Raised when reading or cutting changes, so that everything is read anew.
VERSION = 1
_EMBEDDED_AT_ONCE = 64


class Item(msgspec.Struct, frozen=True):
    """A document to come: `load` gives its bytes and media type, and may raise `OSError` or `Unreadable`."""

    id: str
    load: Callable[[], tuple[bytes, str]]
    labels: tuple[str, ...] = ()
    title: str = ""


class Report(msgspec.Struct):
    """What became of the documents; `failed` with the reasons."""

    added: int = 0
    changed: int = 0
    unchanged: int = 0
    removed: int = 0
    chunks: int = 0
    embedded: int = 0
    failed: list[tuple[str, str]] = []

    def line(self) -> str:
        """For people."""
        said = f"{self.added} added, {self.changed} changed, {self.unchanged} unchanged, {self.removed} removed"
        return f"{said}, {len(self.failed)} failed; {self.chunks} new chunks, {self.embedded} embedded"


class Progress(msgspec.Struct, frozen=True):
    """How far something is."""

    what: str
    done: int
    total: int
    seconds: float

    def line(self) -> str:
        """`embedding 640 of 9,000, 81 a second, 2 min left`."""
        rate = self.done / self.seconds if self.seconds > 0 else 0.0
        left = (self.total - self.done) / rate if rate else 0.0
        time_left = f"{left / 60:.0f} min" if left >= 90 else f"{left:.0f} s"
        return f"{self.what} {self.done:,} of {self.total:,}, {rate:,.0f} a second, {time_left} left"


Tell = Callable[[Progress], None]


async def keep(
    store: Store, items: Sequence[Item], chunking: Chunking, tell: Tell | None = None, *, whole: bool = False
) -> Report:
    """Keeps documents; `whole` says that these are all there are: others are removed."""
    report = Report()
    known = await store.digests()
    started = time.perf_counter()
    for number, item in enumerate(items, 1):
        try:
            document = await asyncio.to_thread(_load, item, chunking, known.get(item.id))
        except (OSError, Unreadable) as error:
            report.failed.append((item.id, str(error)))
            document = None
        else:
            if document is None:
                report.unchanged += 1
            else:
                await store.put(document)
                report.chunks += len(document.chunks)
                report.added += item.id not in known
                report.changed += item.id in known
        if tell is not None:
            tell(Progress("reading", number, len(items), time.perf_counter() - started))
    if whole:
        gone = sorted(set(known) - {item.id for item in items})
        report.removed = await store.delete(gone)
    return report


def _load(item: Item, chunking: Chunking, known: str | None) -> NewDocument | None:
    """The document; None when it is the one that is `known` by its digest."""
    data, media_type = item.load()
    about = msgspec.json.encode((VERSION, chunking, item.labels, item.title, media_type))
    digest = hashlib.blake2b(about + data, digest_size=16).hexdigest()
    if digest == known:
        return None
    text, blocks = read(item.id, data, media_type)
    chunks = tuple(
        NewChunk(piece.text.strip("\n"), piece.place, ". ".join(piece.headings))
        for piece in cut(text, blocks, chunking)
    )
    return NewDocument(item.id, digest, chunks, item.title, item.labels)


async def embed(store: Store, embedder: Vectors, tell: Tell | None = None) -> int:
    """Embeds what has no vector yet; how many texts that were. Raises what the embedder raises."""
    total = (await store.counts(embedder.name)).unembedded
    done = 0
    started = time.perf_counter()
    while missing := await store.unembedded(embedder.name, _EMBEDDED_AT_ONCE):
        rows = await embedder.vectors([text for _, text in missing])
        await store.put_vectors(embedder.name, {digest: row for (digest, _), row in zip(missing, rows, strict=True)})
        done += len(missing)
        if tell is not None:
            tell(Progress("embedding", min(done, total), total, time.perf_counter() - started))
    return done


def unique(items: Iterable[Item]) -> list[Item]:
    """The last of those with the same id."""
    return list({item.id: item for item in items}.values())
