"""A source of documents as a whole: where they come from, the collection that they are kept in, and keeping it up."""

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
from rag.ingest import DocumentReader, IngestReport, Tell, ThreadReader, embed, keep, unique
from rag.store import NOTHING, may_see, partition_of

if TYPE_CHECKING:
    from contract.caller import Caller
    from contract.passages import Passage
    from rag.chunkers import Chunking
    from rag.collection import Collection, ExplainedHit
    from rag.store import KeptDocument

WATCH_S = 2.0
RELEASE_S = 10.0
_LOCK_WAIT_S = 0.2


class PreviousIndex(msgspec.Struct, frozen=True):
    """What serves until a source is ready to; `release` lets go of it."""

    collection: Collection
    release: Callable[[], Awaitable[None]]


class Source:
    """`start` opens it and keeps it up in the background; `close` ends that."""

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
        """`lock` keeps two processes of a machine from ingesting at once. Without `origin` documents are handed in.

        `earlier` gives the same collection with an embedder of that name, where there is one. Only who has one of
        `labels` sees anything of it, whatever its documents' own labels are. `reader` is where documents are read.
        """
        self.collection = collection
        self._chunking = chunking
        self._lock = lock
        self._origin = origin
        self._labels = tuple(labels)
        self._reader: DocumentReader = reader or ThreadReader()
        self._keeping: asyncio.Task[None] | None = None
        self.tells = True  # in the log, what can't be read; not where the report is shown itself
        self._failed: dict[str, str] = {}
        self._noted: set[str] = set()
        self._read_once = origin is None
        self._earlier = earlier
        self._before: PreviousIndex | None = None
        self._releasing: asyncio.Task[None] | None = None

    async def start(self, before: PreviousIndex | None = None) -> None:
        """Opens the collection, and begins to read what is new. Raises `OSError`.

        `before` serves until this one has read and embedded everything; without it, after a change of the embedder,
        the collection as it was with the one before.
        """
        self._before = before
        await self.open()
        if before is None and self.collection.unembedded:
            self._before = await self._as_it_was()
        self._keeping = asyncio.create_task(self._keep_up(), name=f"ingest-{self.collection.name}")

    async def open(self) -> None:
        """Opens the collection, without keeping it up. Raises `OSError`."""
        await self.collection.start()
        if await self.collection.store.inherit(self._labels):
            await self.collection.read_log()

    async def close(self) -> None:
        """Stops reading where it is; nothing is lost."""
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.wait([self._keeping])
        if self._releasing is not None:
            self._releasing.cancel()
            await asyncio.wait([self._releasing])
        if self._before is not None:
            await self._before.release()
        await self.collection.close()

    async def search(
        self, query: str, top: int, labels: frozenset[str] | None = None, payer: Caller | None = None
    ) -> list[Passage]:
        """See `Collection.search`; nothing for somebody who has none of the source's labels."""
        return await self.serving.search(query, top, labels, payer) if self.may_see(labels) else []

    async def explain(
        self, query: str, top: int, labels: frozenset[str] | None = None, payer: Caller | None = None
    ) -> list[ExplainedHit]:
        """See `Collection.explain`; nothing for somebody who has none of the source's labels."""
        return await self.serving.explain(query, top, labels, payer) if self.may_see(labels) else []

    def may_see(self, labels: frozenset[str] | None) -> bool:
        """Whether somebody with `labels` (None: all) may see anything of this source."""
        return labels is None or may_see(partition_of(self._labels), labels)

    @property
    def serving(self) -> Collection:
        """What is searched: this source's collection, once it is complete."""
        if self._before is None or not self.collection.complete:
            return self._before.collection if self._before is not None else self.collection
        self._releasing = asyncio.create_task(_release_later(self._before), name=f"release-{self.collection.name}")
        self._before = None
        return self.collection

    @property
    def version(self) -> str:
        """Changes with every document that is added, changed or removed, and with how it is found."""
        serving = self.serving
        embedder = serving.embedder.name if serving.embedder is not None else ""
        embedder += f"/{partition_of(self._labels)}" if self._labels else ""
        return f"{embedder}/{serving.index.cursor}"

    async def again(self, passages: Sequence[Passage], labels: frozenset[str] | None = None) -> list[Passage]:
        """Those of the passages that are of this source, not gone, and for somebody with `labels` to see.

        With their words as they are now.
        """
        if not self.may_see(labels):
            return []
        prefix = f"{self.collection.name}:"
        mine = {int(each.id.removeprefix(prefix)): each for each in passages if each.id.startswith(prefix)}
        kept = await self.collection.store.passages(list(mine)) if mine else {}
        return [
            msgspec.structs.replace(each, text=kept[number].text)
            for number, each in mine.items()
            if number in kept and (labels is None or may_see(kept[number].partition, labels))
        ]

    async def _as_it_was(self) -> PreviousIndex | None:
        """The collection with the embedder that has embedded most of it, if that is more than ours has."""
        embedder = self.collection.embedder
        for name in await self.collection.store.embedders() if self._earlier is not None else ():
            if self._earlier is None or embedder is None or name == embedder.name:
                continue
            if (found := self._earlier(name)) is None:
                continue
            await found.start()
            if found.unembedded < self.collection.unembedded:
                return PreviousIndex(found, found.close)
            await found.close()
        return None

    async def ingest(self, tell: Tell | None = None) -> IngestReport:
        """Reads what is new where the documents come from, and embeds what has no vector yet."""
        report = IngestReport()
        async with self._alone(wait=True):
            if self._origin is not None:
                items = unique(await asyncio.to_thread(self._origin.items))
                report = await self._keep(items, tell)
            self._note(report, whole=True)
            self.collection.tell()
            report.embedded = await self._embed(tell)
        return report

    async def _keep(self, items: Sequence[Item], tell: Tell | None = None) -> IngestReport:
        """All that there is where the documents come from."""
        return await keep(
            self.collection.store, items, self._chunking, tell, whole=True, reader=self._reader.of(self._turn)
        )

    async def add(self, items: Sequence[Item], labels: frozenset[str] | None = None, caller: str = "") -> IngestReport:
        """Adds or replaces documents; they are found by their words at once, by their meaning soon.

        What somebody with `labels` (None: all) may not see is not replaced. They are read in the turn of `caller`.
        """
        report = await keep(
            self.collection.store,
            unique(items),
            self._chunking,
            reader=self._reader.of(caller or self._turn),
            sight=labels if self.may_see(labels) else NOTHING,
        )
        self._note(report)
        await self.collection.read_log()
        return report

    async def hidden(self, documents: Sequence[str], labels: frozenset[str]) -> list[str]:
        """Those of the ids whose documents are there, and not for somebody with `labels` to see."""
        kept = await self.collection.store.labels(documents)
        seen = self.may_see(labels)
        return [each for each, own in kept.items() if not seen or not may_see(partition_of(own), labels)]

    async def remove(self, documents: Sequence[str], labels: frozenset[str] | None = None) -> int:
        """Removes documents at once, those that somebody with `labels` may see; how many there were."""
        if not self.may_see(labels):
            return 0
        count = await self.collection.store.delete(documents, labels)
        self._forget(documents if count else ())
        await self.collection.read_log()
        return count

    async def documents(
        self, after: str = "", limit: int = 1000, labels: frozenset[str] | None = None
    ) -> list[KeptDocument]:
        """See `Store.documents`."""
        return await self.collection.store.documents(after, limit, labels) if self.may_see(labels) else []

    @property
    def _turn(self) -> str:
        return f"source {self.collection.name}"

    def status(self) -> str:
        """One line for people."""
        failed = f"; {len(self._failed)} documents can't be read (the log says why)" if self._failed else ""
        failed += f"; {len(self._noted)} documents with notes in the log" if self._noted else ""
        before = "; until then the index before serves" if self._before is not None else ""
        reading = "" if self._read_once else "; reading what is new"
        return self.collection.status() + reading + before + failed

    def _forget(self, documents: Iterable[str]) -> None:
        """What was said of documents before they were handed in again, or removed."""
        for name in documents:
            self._failed.pop(name, None)
            self._noted.discard(name)

    def _note(self, report: IngestReport, *, whole: bool = False) -> None:
        before = self._failed
        if whole:
            self._failed = {}
        self._forget(report.kept)
        self._noted.update(name for name, _ in report.notes)
        for name, note in report.notes if self.tells else ():
            structlog.get_logger().warning(
                "a note on a document", source=self.collection.name, document=name, note=note
            )
        for name, reason in report.failed:
            if self.tells and before.get(name) != reason:
                structlog.get_logger().warning(
                    "a document can't be read", source=self.collection.name, document=name, reason=reason
                )
            self._failed[name] = reason

    async def _embed(self, tell: Tell | None = None) -> int:
        embedder = self.collection.embedder
        if embedder is None or not await embedder.wait():
            return 0
        done = await embed(self.collection.store, embedder, tell)
        self.collection.tell()
        return done

    async def _keep_up(self) -> None:
        """Reads what is new as soon as it is there, and embeds what others have handed in."""
        stamp: object = None
        while True:
            try:
                now = await asyncio.to_thread(self._origin.stamp) if self._origin is not None else 0
                async with self._alone(wait=False) as mine:
                    origin = self._origin
                    if mine and origin is not None and (stamp is None or (origin.watch and now != stamp)):
                        items = unique(await asyncio.to_thread(origin.items))
                        self._note(await self._keep(items), whole=True)
                        await self.collection.read_log()
                        self._read_once = True
                        self.collection.tell()
                    if mine:
                        stamp = now
                        await self._embed()
            except GatehouseError as error:
                self.collection.note(error.message)
            except Exception as error:
                # What is indexed is served on; the next round tries again.
                self.collection.note(f"{type(error).__name__}: {error}")
            await asyncio.sleep(WATCH_S)

    @contextlib.asynccontextmanager
    async def _alone(self, *, wait: bool) -> AsyncIterator[bool]:
        """Whether this process may ingest now; with `wait` it waits until it may."""
        self._lock.parent.mkdir(parents=True, exist_ok=True)
        with self._lock.open("w") as lock:
            # A lock of the file system wakes nobody up.
            while not (mine := _locked(lock.fileno())) and wait:  # noqa: ASYNC110
                await asyncio.sleep(_LOCK_WAIT_S)
            yield mine


async def _release_later(before: PreviousIndex) -> None:
    """When the searches that are under way have ended."""
    try:
        await asyncio.sleep(RELEASE_S)
    finally:
        await before.release()


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
