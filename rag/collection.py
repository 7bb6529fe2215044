"""A source of documents: its store, the indexes that this process keeps of it, and the search over both."""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import structlog

from contract.errors import BudgetSpent, GatehouseError
from contract.passages import Passage
from rag.fuse import WORDS_WEIGHT, Fusion, by_ranks, ranked, weighted
from rag.local_index import LocalIndex
from rag.provider_embedder import vectors_for
from rag.recent import Recent
from rag.store import Counts, may_see
from rag.vector_index import Kind, build

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from contract.caller import Caller
    from contract.embedding import Vectors
    from rag.store import KeptChunk, Store

# So many candidates of either kind are fused.
CANDIDATES = 100
FEEDBACK_WEIGHT = 0.3
POLL_S = 1.0
# So many searches are remembered.
RECENT = 256
START_S = 1.0
_CHANGES_AT_ONCE = 2000
_ROWS_AT_ONCE = 20_000


class Search(msgspec.Struct, frozen=True):
    """How a collection is searched. `feedback`: towards how many of those found first the question is moved; 0 none."""

    fusion: Fusion = "weighted"
    words_weight: float = WORDS_WEIGHT
    index: Kind = "auto"
    language: str = "english"
    feedback: int = 2


class ExplainedHit(msgspec.Struct, frozen=True):
    """One hit with what each way of searching said of it: for explaining."""

    passage: Passage
    words: float
    cosine: float


class Hits(msgspec.Struct, frozen=True):
    """Chunks with their scores, best first, and what the words and the meaning said of each."""

    ranked: list[tuple[int, float]]
    words: dict[int, float]
    cosines: dict[int, float]


class Collection:
    """`start` opens it and follows the store's log in the background; `close` ends that."""

    def __init__(
        self, name: str, store: Store, folder: Path, embedder: Vectors | None = None, search: Search | None = None
    ) -> None:
        """`folder` is for the indexes of this machine's processes."""
        self.name = name
        self.store = store
        self.embedder = embedder
        self.search_options = search or Search()
        self._folder = folder
        self._index: LocalIndex | None = None
        self._threads = ThreadPoolExecutor(2, f"search-{name}")
        self._following: asyncio.Task[None] | None = None
        self._news = asyncio.Event()
        self._reading = asyncio.Lock()
        self._building = asyncio.Lock()
        self._recent: Recent[object, Hits] = Recent(RECENT)
        self._counts = Counts(0, 0, 0)
        self._caught_up = False
        self._trouble = ""

    async def start(self) -> None:
        """Opens the store and the indexes, and reads the log for up to `START_S`. Raises `OSError`.

        The rest of a long log is read in the background, and found as it is read.
        """
        await self.store.open()
        embedder = self.embedder
        name, dimensions = (embedder.name, embedder.dimensions) if embedder is not None else ("", 1)
        self._index = await asyncio.get_running_loop().run_in_executor(
            self._threads,
            LocalIndex,
            self._folder,
            name,
            dimensions,
            self.search_options.index,
            self.search_options.language,
        )
        with contextlib.suppress(TimeoutError):
            await self.catch_up(time.monotonic() + START_S)
        self._following = asyncio.create_task(self._follow(), name=f"follow-{self.name}")

    async def close(self) -> None:
        """Stops following. The embedder is its owner's to close."""
        if self._following is not None:
            self._following.cancel()
            await asyncio.wait([self._following])
        if self._index is not None:
            await asyncio.get_running_loop().run_in_executor(self._threads, self._index.close)
            self._index = None
        self._threads.shutdown(wait=False)
        await self.store.close()

    def tell(self) -> None:
        """Says that the store has news: they are read at once."""
        self._news.set()

    async def catch_up(self, until: float = math.inf) -> None:
        """Reads the log to its end, or `until` that moment (`time.monotonic`): then `TimeoutError`.

        Main indexes that are due are built too, which may take minutes; nobody else waits for that.
        """
        embedder = self._embedder_name
        async with self._building:
            # Counted before it is read: nothing is told to be found that is not yet in the index.
            counts = await self.store.counts(embedder)
            while await self._read_changes(math.inf):
                for partition in self.index.vectors.overgrown():
                    await self._rebuild(self.index, partition, embedder)
                if time.monotonic() > until:
                    raise TimeoutError
            self._counts = counts
            self._caught_up = True

    async def read_log(self) -> None:
        """Reads the log as far as it goes now: not what others write meanwhile, and no main index is built."""
        counts = await self.store.counts(self._embedder_name)
        last = await self.store.last()
        while self.index.cursor < last and await self._read_changes(last):
            pass
        self._counts = counts

    async def _read_changes(self, last: float) -> bool:
        """Takes in some entries of the log, unless `last` has been read; whether there were any."""
        async with self._reading:
            index = self.index
            if index.cursor >= last:
                return False
            changes = await self.store.changes(index.cursor, self._embedder_name, _CHANGES_AT_ONCE)
            await asyncio.get_running_loop().run_in_executor(self._threads, index.apply, changes)
            return bool(changes)

    @property
    def _embedder_name(self) -> str:
        return self.embedder.name if self.embedder is not None else ""

    async def _follow(self) -> None:
        while True:
            # Not wait_for: up to Python 3.11 it may swallow a cancellation, and `close` would wait for ever.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(POLL_S):
                    await self._news.wait()
            self._news.clear()
            try:
                await self.catch_up()
                self.note("")
            except Exception as error:
                # The store is gone for a while: what is indexed is served on.
                self.note(f"{type(error).__name__}: {error}")
                await asyncio.sleep(POLL_S)

    async def _rebuild(self, index: LocalIndex, partition: str, embedder: str) -> None:
        """Builds a partition's main index while the old one serves."""
        import numpy as np

        seq = await self.store.last()
        ids: list[int] = []
        rows: list[NDArray[np.float16]] = []
        after = 0
        while part := await self.store.partition_vectors(partition, embedder, after, _ROWS_AT_ONCE):
            ids += [chunk for chunk, _ in part]
            rows.append(np.frombuffer(b"".join(vector for _, vector in part), dtype=np.float16))
            after = ids[-1]
        if not ids:
            return
        matrix = np.concatenate(rows).astype(np.float32).reshape(len(ids), -1)
        kind: Kind = "ivf" if self.search_options.index == "auto" else self.search_options.index
        path = index.main_path(partition, seq)
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._threads, build, np.array(ids, dtype=np.int64), matrix, kind, path)
        async with self._reading:
            index.use_main(partition, seq)

    @property
    def index(self) -> LocalIndex:
        """This process's indexes. Raises `RuntimeError` before `start`."""
        if self._index is None:
            raise RuntimeError(f"the source {self.name} is not started")
        return self._index

    @property
    def unembedded(self) -> int:
        """How many passages were not yet found by meaning when the log was last read to its end."""
        return self._counts.unembedded if self.embedder is not None else 0

    @property
    def complete(self) -> bool:
        """Whether the log has been read to its end, and all of it is found by its meaning too."""
        return self._caught_up and not self.unembedded

    async def search(
        self, query: str, top: int, labels: frozenset[str] | None = None, payer: Caller | None = None
    ) -> list[Passage]:
        """Up to `top` passages that somebody with `labels` may see (None: all), best first, scored from 0 to 1.

        `payer` pays for the question's vector where a provider makes it. Raises `BudgetSpent` where it can't.
        """
        return [found.passage for found in await self.explain(query, top, labels, payer)]

    async def explain(
        self, query: str, top: int, labels: frozenset[str] | None = None, payer: Caller | None = None
    ) -> list[ExplainedHit]:
        """The same, each with what the words and the meaning said."""
        if not query.strip():
            return []
        hits = await self._hits(query, labels, payer)
        # What was removed a moment ago may still be in the indexes: others take its place.
        best = hits.ranked[: 2 * top]
        kept = await self.store.passages([chunk for chunk, _ in best])
        return [
            ExplainedHit(
                _passage(kept[chunk], self.name, score), hits.words.get(chunk, 0.0), hits.cosines.get(chunk, 0.0)
            )
            for chunk, score in best
            if chunk in kept and (labels is None or may_see(kept[chunk].partition, labels))
        ][:top]

    async def _hits(self, query: str, labels: frozenset[str] | None, payer: Caller | None) -> Hits:
        """What the indexes say; remembered as long as they have not read on."""
        vector = await self._vector(query, payer)
        key = (query, labels, self.index.cursor, vector is None, self.search_options)
        known = self._recent.get(key)
        if known is not None:
            return known
        made = await self._search_anew(query, labels, vector)
        self._recent.put(key, made)
        return made

    async def _search_anew(self, query: str, labels: frozenset[str] | None, vector: NDArray[np.float32] | None) -> Hits:
        index = self.index
        loop = asyncio.get_running_loop()
        words, near = await loop.run_in_executor(self._threads, self._candidates, index, query, vector, labels)
        scores, cosines = await self._scores(words, near, vector)
        if vector is not None and self.search_options.feedback and scores:
            vector = await self._fed_back(vector, scores)
            near = await loop.run_in_executor(
                self._threads, index.vectors.search, vector, index.visible(labels), CANDIDATES
            )
            scores, cosines = await self._scores(words, near, vector)
        return Hits(ranked(scores, 2 * CANDIDATES), dict(words), cosines)

    async def _scores(
        self,
        words: Sequence[tuple[int, float]],
        near: Sequence[tuple[int, float]],
        vector: NDArray[np.float32] | None,
    ) -> tuple[dict[int, float], dict[int, float]]:
        """Each candidate's score, and its cosine where there is one."""
        cosines = dict(near)
        if vector is not None:
            cosines |= await self._missing_cosines(words, cosines, vector)
        return self._fuse(dict(words), cosines, [chunk for chunk, _ in near]), cosines

    async def _fed_back(self, vector: NDArray[np.float32], scores: Mapping[int, float]) -> NDArray[np.float32]:
        """The question's vector, moved a little towards what was found first.

        Vector feedback after Rocchio (Li et al., "Pseudo Relevance Feedback with Deep Language Models and Dense
        Retrievers", 2023).
        """
        import numpy as np

        assert self.embedder is not None
        first = [chunk for chunk, _ in ranked(scores, self.search_options.feedback)]
        kept = await self.store.vectors(first, self.embedder.name)
        if not kept:
            return vector
        moved: NDArray[np.float32] = vector + FEEDBACK_WEIGHT * np.mean(list(kept.values()), axis=0)
        return moved / np.float32(np.linalg.norm(moved))

    async def _vector(self, query: str, payer: Caller | None) -> NDArray[np.float32] | None:
        """The question's vector; None where there is no model, or it is not ready yet."""
        if self.search_options.fusion == "words" or self.embedder is None or not self.embedder.ready:
            return None
        try:
            row: NDArray[np.float32] = (await vectors_for(payer, self.embedder, [query]))[0]
        except BudgetSpent:
            # That is its caller's trouble, not the source's.
            raise
        except GatehouseError as error:
            self._trouble = error.message
            return None
        return row

    def _candidates(
        self, index: LocalIndex, query: str, vector: NDArray[np.float32] | None, labels: frozenset[str] | None
    ) -> tuple[list[tuple[int, float]], list[tuple[int, float]]]:
        seen = index.visible(labels)
        by_meaning_only = self.search_options.fusion == "meaning" and vector is not None
        words = [] if by_meaning_only else index.words.search(query, seen, CANDIDATES)
        near = index.vectors.search(vector, seen, CANDIDATES) if vector is not None else []
        return words, near

    async def _missing_cosines(
        self, words: Sequence[tuple[int, float]], cosines: Mapping[int, float], vector: NDArray[np.float32]
    ) -> dict[int, float]:
        """The cosines of those that only the words found, so that both sides are compared by both."""
        if self.embedder is None:
            return {}
        missing = [chunk for chunk, _ in words if chunk not in cosines]
        kept = await self.store.vectors(missing, self.embedder.name) if missing else {}
        return {chunk: float(each @ vector) for chunk, each in kept.items()}

    def _fuse(self, words: Mapping[int, float], cosines: Mapping[int, float], near: Sequence[int]) -> dict[int, float]:
        if not cosines:
            return weighted(words, {}, 1.0)
        if self.search_options.fusion == "ranks":
            return by_ranks([chunk for chunk, _ in ranked(words, len(words))], near)
        scores = weighted(words, cosines, self.search_options.words_weight)
        if self.search_options.fusion == "weighted" and any(chunk not in cosines for chunk in words):
            # What has no vector yet is found by its words alone, as if all were.
            alone = weighted(words, {}, 1.0)
            scores |= {chunk: alone[chunk] for chunk in words if chunk not in cosines}
        return scores

    def note(self, trouble: str) -> None:
        """Notes what `status` is to say; an empty text for nothing."""
        if trouble and trouble != self._trouble:
            structlog.get_logger().warning("a source is in trouble", source=self.name, error=trouble)
        self._trouble = trouble

    def status(self) -> str:
        """One line: how much there is, and by what it is found."""
        counts = self._counts
        said = f"{counts.chunks} passages of {counts.documents} documents"
        if self._trouble:
            return f"{said} ({self._trouble})"
        if self.embedder is None:
            return f"{said}, found by words"
        if counts.unembedded:
            state = "embedding them" if self.embedder.ready else self.embedder.status()
            return f"{said}, found by words; {counts.unembedded} not yet by meaning ({state})"
        return f"{said}, found by words and meaning"


def _passage(chunk: KeptChunk, source: str, score: float) -> Passage:
    return Passage(chunk.document, chunk.place, chunk.text, score, f"{source}:{chunk.id}")
