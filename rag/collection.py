"""A document source: its store, this process's indexes of the store, and the search over both."""

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
    from rag.store import Store, StoredChunk

# Candidates per ranking before fusion.
CANDIDATES = 100
FEEDBACK_WEIGHT = 0.3
POLL_S = 1.0
# Cached search results.
RECENT = 256
START_S = 1.0
_CHANGES_AT_ONCE = 2000
_ROWS_AT_ONCE = 20_000


class Search(msgspec.Struct, frozen=True):
    """How to search a collection. `feedback`: how many top hits the question's vector is moved towards; 0 for none."""

    fusion: Fusion = "weighted"
    words_weight: float = WORDS_WEIGHT
    index: Kind = "auto"
    language: str = "english"
    feedback: int = 2


class ExplainedHit(msgspec.Struct, frozen=True):
    """One hit with its full-text score and its cosine similarity, to explain a search."""

    passage: Passage
    words: float
    cosine: float


class Hits(msgspec.Struct, frozen=True):
    """Chunks with their scores, best first, and the full-text score and cosine similarity of each."""

    ranked: list[tuple[int, float]]
    words: dict[int, float]
    cosines: dict[int, float]


class Collection:
    """`start` opens the collection and follows the store's log in the background; `close` ends that."""

    def __init__(
        self, name: str, store: Store, folder: Path, embedder: Vectors | None = None, search: Search | None = None
    ) -> None:
        """`folder` holds the indexes of this machine's processes."""
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
        self._error = ""

    async def start(self) -> None:
        """Opens the store and the indexes, and reads the log for up to `START_S` seconds. Raises `OSError`.

        The rest of a long log is read in the background; each part is searchable once it is read.
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
        """Stops following the log and closes the store. The caller closes the embedder."""
        if self._following is not None:
            self._following.cancel()
            await asyncio.wait([self._following])
        if self._index is not None:
            await asyncio.get_running_loop().run_in_executor(self._threads, self._index.close)
            self._index = None
        self._threads.shutdown(wait=False)
        await self.store.close()

    def notify(self) -> None:
        """Signals that the store has changed, so that the log is read at once."""
        self._news.set()

    async def catch_up(self, until: float = math.inf) -> None:
        """Reads the log to its end. Raises `TimeoutError` at `until` (in `time.monotonic` seconds).

        Also builds the main indexes that are due. This may take minutes, but no other call waits for it.
        """
        embedder = self._embedder_name
        async with self._building:
            # Count before reading, so that the status never counts a chunk that is not in the index yet.
            counts = await self.store.counts(embedder)
            while await self._read_changes(math.inf):
                for partition in self.index.vectors.overgrown():
                    await self._rebuild(self.index, partition, embedder)
                if time.monotonic() > until:
                    raise TimeoutError
            self._counts = counts
            self._caught_up = True

    async def read_log(self) -> None:
        """Reads the log up to its current end, without later entries and without building a main index."""
        counts = await self.store.counts(self._embedder_name)
        last = await self.store.last()
        while self.index.cursor < last and await self._read_changes(last):
            pass
        self._counts = counts

    async def _read_changes(self, last: float) -> bool:
        """Applies a batch of log entries unless `last` has been reached; returns whether there were any."""
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
            # Not wait_for: up to Python 3.11 it may swallow a cancellation, and `close` would wait forever.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(POLL_S):
                    await self._news.wait()
            self._news.clear()
            try:
                await self.catch_up()
                self.report_error("")
            except Exception as error:
                # The store is unavailable: keep serving from the indexes.
                self.report_error(f"{type(error).__name__}: {error}")
                await asyncio.sleep(POLL_S)

    async def _rebuild(self, index: LocalIndex, partition: str, embedder: str) -> None:
        """Builds a partition's main index while searches use the old one."""
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
            raise RuntimeError(f"the source {self.name} has not been started: call start() first")
        return self._index

    @property
    def unembedded(self) -> int:
        """How many passages had no embedding when the log was last read to its end."""
        return self._counts.unembedded if self.embedder is not None else 0

    @property
    def complete(self) -> bool:
        """Whether the log has been read to its end and every passage has an embedding."""
        return self._caught_up and not self.unembedded

    async def search(
        self, query: str, top: int, labels: frozenset[str] | None = None, payer: Caller | None = None
    ) -> list[Passage]:
        """Returns up to `top` passages visible to `labels` (None: all), best first, scored from 0 to 1.

        `payer` pays if a provider computes the question's vector. Raises `BudgetSpent` if its budget is used up.
        """
        return [hit.passage for hit in await self.explain(query, top, labels, payer)]

    async def explain(
        self, query: str, top: int, labels: frozenset[str] | None = None, payer: Caller | None = None
    ) -> list[ExplainedHit]:
        """See `search`; returns each passage with its full-text score and cosine similarity."""
        if not query.strip():
            return []
        hits = await self._hits(query, labels, payer)
        # Fetch twice as many: the indexes may still contain chunks that have just been removed.
        best = hits.ranked[: 2 * top]
        stored = await self.store.passages([chunk for chunk, _ in best])
        return [
            ExplainedHit(
                _passage(stored[chunk], self.name, score), hits.words.get(chunk, 0.0), hits.cosines.get(chunk, 0.0)
            )
            for chunk, score in best
            if chunk in stored and (labels is None or may_see(stored[chunk].partition, labels))
        ][:top]

    async def _hits(self, query: str, labels: frozenset[str] | None, payer: Caller | None) -> Hits:
        """Searches the indexes; the result is cached until they read more of the log."""
        vector = await self._vector(query, payer)
        key = (query, labels, self.index.cursor, vector is None, self.search_options)
        cached = self._recent.get(key)
        if cached is not None:
            return cached
        hits = await self._search_indexes(query, labels, vector)
        self._recent.put(key, hits)
        return hits

    async def _search_indexes(
        self, query: str, labels: frozenset[str] | None, vector: NDArray[np.float32] | None
    ) -> Hits:
        index = self.index
        loop = asyncio.get_running_loop()
        words, near = await loop.run_in_executor(self._threads, self._candidates, index, query, vector, labels)
        scores, cosines = await self._scores(words, near, vector)
        if vector is not None and self.search_options.feedback and scores:
            vector = await self._apply_feedback(vector, scores)
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
        """Each candidate's fused score, and its cosine similarity if it has an embedding."""
        cosines = dict(near)
        if vector is not None:
            cosines |= await self._missing_cosines(words, cosines, vector)
        return self._fuse(dict(words), cosines, [chunk for chunk, _ in near]), cosines

    async def _apply_feedback(self, vector: NDArray[np.float32], scores: Mapping[int, float]) -> NDArray[np.float32]:
        """Moves the question's vector towards the top hits.

        Rocchio vector feedback (Li et al., "Pseudo Relevance Feedback with Deep Language Models and Dense
        Retrievers", 2023).
        """
        import numpy as np

        assert self.embedder is not None
        first = [chunk for chunk, _ in ranked(scores, self.search_options.feedback)]
        stored = await self.store.vectors(first, self.embedder.name)
        if not stored:
            return vector
        moved: NDArray[np.float32] = vector + FEEDBACK_WEIGHT * np.mean(list(stored.values()), axis=0)
        return moved / np.float32(np.linalg.norm(moved))

    async def _vector(self, query: str, payer: Caller | None) -> NDArray[np.float32] | None:
        """The question's vector; None if there is no model or it is not ready."""
        if self.search_options.fusion == "words" or self.embedder is None or not self.embedder.ready:
            return None
        try:
            row: NDArray[np.float32] = (await vectors_for(payer, self.embedder, [query]))[0]
        except BudgetSpent:
            # The caller's budget is the problem, not the source.
            raise
        except GatehouseError as error:
            self._error = error.message
            return None
        return row

    def _candidates(
        self, index: LocalIndex, query: str, vector: NDArray[np.float32] | None, labels: frozenset[str] | None
    ) -> tuple[list[tuple[int, float]], list[tuple[int, float]]]:
        visible = index.visible(labels)
        vectors_only = self.search_options.fusion == "meaning" and vector is not None
        words = [] if vectors_only else index.words.search(query, visible, CANDIDATES)
        near = index.vectors.search(vector, visible, CANDIDATES) if vector is not None else []
        return words, near

    async def _missing_cosines(
        self, words: Sequence[tuple[int, float]], cosines: Mapping[int, float], vector: NDArray[np.float32]
    ) -> dict[int, float]:
        """The cosines of chunks that only the full-text search found, so that all candidates compare by both scores."""
        if self.embedder is None:
            return {}
        missing = [chunk for chunk, _ in words if chunk not in cosines]
        stored = await self.store.vectors(missing, self.embedder.name) if missing else {}
        return {chunk: float(row @ vector) for chunk, row in stored.items()}

    def _fuse(self, words: Mapping[int, float], cosines: Mapping[int, float], near: Sequence[int]) -> dict[int, float]:
        if not cosines:
            return weighted(words, {}, 1.0)
        if self.search_options.fusion == "ranks":
            return by_ranks([chunk for chunk, _ in ranked(words, len(words))], near)
        scores = weighted(words, cosines, self.search_options.words_weight)
        if self.search_options.fusion == "weighted" and any(chunk not in cosines for chunk in words):
            # A chunk without a vector is scored by full text alone, as if there were no vectors.
            alone = weighted(words, {}, 1.0)
            scores |= {chunk: alone[chunk] for chunk in words if chunk not in cosines}
        return scores

    def report_error(self, error: str) -> None:
        """Logs a new error and shows it in `status`; an empty text clears it."""
        if error and error != self._error:
            structlog.get_logger().warning("source failed", source=self.name, error=error)
        self._error = error

    def status(self) -> str:
        """One line: the number of passages and documents, and which searches cover them."""
        counts = self._counts
        size = f"{counts.chunks} passages from {counts.documents} documents"
        if self._error:
            return f"{size} ({self._error})"
        if self.embedder is None:
            return f"{size}, full-text search"
        if counts.unembedded:
            state = "embedding them" if self.embedder.ready else self.embedder.status()
            return f"{size}, full-text search; {counts.unembedded} without embedding ({state})"
        return f"{size}, full-text and vector search"


def _passage(chunk: StoredChunk, source: str, score: float) -> Passage:
    return Passage(chunk.document, chunk.place, chunk.text, score, f"{source}:{chunk.id}")
