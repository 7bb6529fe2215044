"""A document source: its origin, the collection of its chunks, and background ingestion."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import structlog

from contract.errors import GatehouseError
from contract.sources import Item, Origin
from rag.ingest import DocumentReader, IngestReport, OnProgress, ThreadReader, embed, store_documents, unique
from rag.store import NO_ACCESS, may_see, partition_of

if TYPE_CHECKING:
    from contract.caller import Caller
    from contract.passages import Passage
    from rag.chunkers import Chunking
    from rag.collection import Collection, ExplainedHit
    from rag.store import StoredDocument

WATCH_S = 2.0
RELEASE_S = 10.0
_LOCK_WAIT_S = 0.2


class PreviousIndex(msgspec.Struct, frozen=True):
    """The collection that serves until a source is ready; `release` frees it."""

    collection: Collection
    release: Callable[[], Awaitable[None]]


class Source:
    """`start` opens the source and ingests changes in the background; `close` ends that."""

    def __init__(
        self,
        collection: Collection,
        chunking: Chunking,
        lock: Path,
        origin: Origin | None = None,
        *,
        earlier: Callable[[str], Collection | None] | None = None,
        labels: Sequence[str] = (),
        reader: DocumentReader | None = None,
    ) -> None:
        """`lock` prevents two processes of a machine from ingesting at once. Without `origin` documents are uploaded.

        `earlier` returns the same collection with the embedder of that name, if it is available. Only callers with one
        of `labels` see the source's documents, whatever the documents' own labels are. `reader` parses documents.
        """
        self.collection = collection
        self._chunking = chunking
        self._lock = lock
        self._origin = origin
        self._labels = tuple(labels)
        self._reader: DocumentReader = reader or ThreadReader()
        self._ingesting: asyncio.Task[None] | None = None
        self.logs_failures = True  # False if the caller shows the report itself
        self._failed: dict[str, str] = {}
        self._noted: set[str] = set()
        self._read_once = origin is None
        self._earlier = earlier
        self._before: PreviousIndex | None = None
        self._releasing: asyncio.Task[None] | None = None

    async def start(self, before: PreviousIndex | None = None) -> None:
        """Opens the collection and starts to ingest changes. Raises `OSError`.

        `before` serves until this source has read and embedded everything. Without `before`, after a change of the
        embedder, the collection with the previous embedder serves.
        """
        self._before = before
        await self.open()
        if before is None and self.collection.unembedded:
            self._before = await self._previous_collection()
        self._ingesting = asyncio.create_task(self._ingest_changes(), name=f"ingest-{self.collection.name}")

    async def open(self) -> None:
        """Opens the collection without ingesting changes. Raises `OSError`."""
        await self.collection.start()
        if await self.collection.store.inherit(self._labels):
            await self.collection.read_log()

    async def close(self) -> None:
        """Interrupts ingestion and closes the collection; the next start resumes."""
        if self._ingesting is not None:
            self._ingesting.cancel()
            await asyncio.wait([self._ingesting])
        if self._releasing is not None:
            self._releasing.cancel()
            await asyncio.wait([self._releasing])
        if self._before is not None:
            await self._before.release()
        await self.collection.close()

    async def search(
        self, query: str, top: int, labels: frozenset[str] | None = None, payer: Caller | None = None
    ) -> list[Passage]:
        """See `Collection.search`; empty for a caller with none of the source's labels."""
        return await self.serving.search(query, top, labels, payer) if self.may_see(labels) else []

    async def explain(
        self, query: str, top: int, labels: frozenset[str] | None = None, payer: Caller | None = None
    ) -> list[ExplainedHit]:
        """See `Collection.explain`; empty for a caller with none of the source's labels."""
        return await self.serving.explain(query, top, labels, payer) if self.may_see(labels) else []

    def may_see(self, labels: frozenset[str] | None) -> bool:
        """Whether `labels` (None: all) give access to this source."""
        return labels is None or may_see(partition_of(self._labels), labels)

    @property
    def serving(self) -> Collection:
        """The collection to search: this source's own, once it is complete."""
        if self._before is None or not self.collection.complete:
            return self._before.collection if self._before is not None else self.collection
        self._releasing = asyncio.create_task(_release_later(self._before), name=f"release-{self.collection.name}")
        self._before = None
        return self.collection

    @property
    def version(self) -> str:
        """A text that changes with each change of a document, of the embedder or of the source's labels."""
        serving = self.serving
        embedder = serving.embedder.name if serving.embedder is not None else ""
        embedder += f"/{partition_of(self._labels)}" if self._labels else ""
        return f"{embedder}/{serving.index.cursor}"

    async def refresh(self, passages: Sequence[Passage], labels: frozenset[str] | None = None) -> list[Passage]:
        """Returns this source's passages that still exist and that `labels` may see, with their current text."""
        if not self.may_see(labels):
            return []
        prefix = f"{self.collection.name}:"
        own_passages = {int(each.id.removeprefix(prefix)): each for each in passages if each.id.startswith(prefix)}
        stored = await self.collection.store.passages(list(own_passages)) if own_passages else {}
        return [
            msgspec.structs.replace(passage, text=stored[number].text)
            for number, passage in own_passages.items()
            if number in stored and (labels is None or may_see(stored[number].partition, labels))
        ]

    async def _previous_collection(self) -> PreviousIndex | None:
        """The collection with the embedder that has embedded the most, if that is more than the current one has."""
        embedder = self.collection.embedder
        for name in await self.collection.store.embedders() if self._earlier is not None else ():
            if self._earlier is None or embedder is None or name == embedder.name:
                continue
            if (collection := self._earlier(name)) is None:
                continue
            await collection.start()
            if collection.unembedded < self.collection.unembedded:
                return PreviousIndex(collection, collection.close)
            await collection.close()
        return None

    async def ingest(self, on_progress: OnProgress | None = None) -> IngestReport:
        """Reads new and changed documents from the origin and embeds texts without a vector."""
        report = IngestReport()
        async with self._exclusive(wait=True):
            if self._origin is not None:
                items = unique(await asyncio.to_thread(self._origin.items))
                report = await self._store_all(items, on_progress)
            self._record(report, complete=True)
            self.collection.notify()
            report.embedded = await self._embed(on_progress)
        return report

    async def _store_all(self, items: Sequence[Item], on_progress: OnProgress | None = None) -> IngestReport:
        """Stores all documents of the origin."""
        return await store_documents(
            self.collection.store,
            items,
            self._chunking,
            on_progress,
            complete=True,
            reader=self._reader.of(self._turn),
        )

    async def add(self, items: Sequence[Item], labels: frozenset[str] | None = None, caller: str = "") -> IngestReport:
        """Adds or replaces documents. Full-text search finds them at once, vector search once they are embedded.

        A document that `labels` (None: all) may not see is not replaced. Parsing is queued as `caller`.
        """
        report = await store_documents(
            self.collection.store,
            unique(items),
            self._chunking,
            reader=self._reader.of(caller or self._turn),
            viewer=labels if self.may_see(labels) else NO_ACCESS,
        )
        self._record(report)
        await self.collection.read_log()
        return report

    async def hidden(self, documents: Sequence[str], labels: frozenset[str]) -> list[str]:
        """Returns the ids of existing documents that `labels` may not see."""
        stored = await self.collection.store.labels(documents)
        has_access = self.may_see(labels)
        return [name for name, own in stored.items() if not has_access or not may_see(partition_of(own), labels)]

    async def remove(self, documents: Sequence[str], labels: frozenset[str] | None = None) -> int:
        """Removes the documents that `labels` may see; returns how many."""
        if not self.may_see(labels):
            return 0
        count = await self.collection.store.delete(documents, labels)
        self._forget(documents if count else ())
        await self.collection.read_log()
        return count

    async def documents(
        self, after: str = "", limit: int = 1000, labels: frozenset[str] | None = None
    ) -> list[StoredDocument]:
        """See `Store.documents`."""
        return await self.collection.store.documents(after, limit, labels) if self.may_see(labels) else []

    @property
    def _turn(self) -> str:
        return f"source {self.collection.name}"

    def status(self) -> str:
        """A status line."""
        failed = f"; {len(self._failed)} documents can't be read (see the log)" if self._failed else ""
        failed += f"; {len(self._noted)} documents with notes in the log" if self._noted else ""
        before = "; until then the previous index serves" if self._before is not None else ""
        reading = "" if self._read_once else "; reading changes"
        return self.collection.status() + reading + before + failed

    def _forget(self, documents: Iterable[str]) -> None:
        """Clears the failures and notes of documents that were uploaded again or removed."""
        for name in documents:
            self._failed.pop(name, None)
            self._noted.discard(name)

    def _record(self, report: IngestReport, *, complete: bool = False) -> None:
        before = self._failed
        if complete:
            self._failed = {}
        self._forget(report.kept)
        self._noted.update(name for name, _ in report.notes)
        for name, note in report.notes if self.logs_failures else ():
            structlog.get_logger().warning(
                "document read with a note", source=self.collection.name, document=name, note=note
            )
        for name, reason in report.failed:
            if self.logs_failures and before.get(name) != reason:
                structlog.get_logger().warning(
                    "document can't be read", source=self.collection.name, document=name, reason=reason
                )
            self._failed[name] = reason

    async def _embed(self, on_progress: OnProgress | None = None) -> int:
        embedder = self.collection.embedder
        if embedder is None or not await embedder.wait():
            return 0
        done = await embed(self.collection.store, embedder, on_progress)
        self.collection.notify()
        return done

    async def _ingest_changes(self) -> None:
        """Polls the origin for changes, and embeds documents that were uploaded anywhere."""
        stamp: object = None
        while True:
            try:
                now = await asyncio.to_thread(self._origin.stamp) if self._origin is not None else 0
                async with self._exclusive(wait=False) as acquired:
                    origin = self._origin
                    if acquired and origin is not None and (stamp is None or (origin.watch and now != stamp)):
                        items = unique(await asyncio.to_thread(origin.items))
                        self._record(await self._store_all(items), complete=True)
                        await self.collection.read_log()
                        self._read_once = True
                        self.collection.notify()
                    if acquired:
                        stamp = now
                        await self._embed()
            except GatehouseError as error:
                self.collection.report_error(error.message)
            except Exception as error:
                # Keep serving the current index; the next round retries.
                self.collection.report_error(f"{type(error).__name__}: {error}")
            await asyncio.sleep(WATCH_S)

    @contextlib.asynccontextmanager
    async def _exclusive(self, *, wait: bool) -> AsyncIterator[bool]:
        """Yields whether this process holds the ingest lock; with `wait` it waits for the lock."""
        self._lock.parent.mkdir(parents=True, exist_ok=True)
        with self._lock.open("w") as lock:
            # A file lock can't be awaited, so poll it.
            while not (acquired := _try_lock(lock.fileno())) and wait:  # noqa: ASYNC110
                await asyncio.sleep(_LOCK_WAIT_S)
            yield acquired


async def _release_later(before: PreviousIndex) -> None:
    """Releases the index once the searches in flight have ended."""
    try:
        await asyncio.sleep(RELEASE_S)
    finally:
        await before.release()


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
