"""Search speed in a large source on one core: full text, vectors, both with assembly; memory, start-up, ingestion.

    python -m bench.retrieval --chunks 100000        a minute; 1000000 takes about a quarter of an hour

Texts and vectors are synthetic: words by Zipf's law, vectors around a few thousand centres. The question's vector is
precomputed, so only the search is measured.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from numpy.typing import NDArray

from contract.passages import Passage
from rag.assemble import choose
from rag.collection import Collection, Search
from rag.sqlite_store import SqliteStore
from rag.store import NewChunk, NewDocument, text_digest

DIMENSIONS = 384
VOCABULARY = 50_000
WORDS = 120
A_DOCUMENT = 50
QUESTIONS = 200


class Synthetic:
    """Texts, and vectors that go by a text's digest. Fits `rag.collection.Vectors`."""

    name = "synthetic"
    dimensions = DIMENSIONS
    ready = True

    def __init__(self) -> None:
        self._rng = np.random.default_rng(7)
        self._centres = self._rng.normal(size=(4000, DIMENSIONS)).astype(np.float32)
        ranks = np.arange(1, VOCABULARY + 1)
        self._odds = (1 / ranks) / (1 / ranks).sum()
        self.words = [f"w{number}" for number in range(VOCABULARY)]

    def status(self) -> str:
        return self.name

    async def wait(self) -> bool:
        return True

    def texts(self, count: int) -> list[str]:
        picks = self._rng.choice(VOCABULARY, size=(count, WORDS), p=self._odds)
        return [" ".join([self.words[pick] for pick in row]) for row in picks.tolist()]

    def rows(self, count: int) -> NDArray[np.float32]:
        near = self._centres[self._rng.integers(0, len(self._centres), count)]
        made: NDArray[np.float32] = near + 0.5 * self._rng.normal(size=(count, DIMENSIONS)).astype(np.float32)
        made /= np.linalg.norm(made, axis=1, keepdims=True)
        return made

    def near(self, row: NDArray[np.float32]) -> NDArray[np.float32]:
        moved: NDArray[np.float32] = row + 0.02 * self._rng.normal(size=DIMENSIONS).astype(np.float32)
        moved /= np.linalg.norm(moved)
        return moved

    async def vectors(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """The question's own vector, as it was set."""
        asked: NDArray[np.float32] = np.stack([self.asked for _ in texts])
        return asked

    asked: NDArray[np.float32] = np.zeros(DIMENSIONS, np.float32)


async def fill(store: SqliteStore, synthetic: Synthetic, chunks: int) -> NDArray[np.float16]:
    """Documents and vectors; the vectors again, for an exact search."""
    kept = np.empty((chunks, DIMENSIONS), np.float16)
    for start in range(0, chunks, 10_000):
        count = min(10_000, chunks - start)
        texts, rows = synthetic.texts(count), synthetic.rows(count)
        for first in range(0, count, A_DOCUMENT):
            pieces = tuple(NewChunk(text, f"line {n}") for n, text in enumerate(texts[first : first + A_DOCUMENT]))
            await store.put(NewDocument(f"{start + first:09}", "d", pieces))
        await store.put_vectors(synthetic.name, {text_digest(t): r for t, r in zip(texts, rows, strict=True)})
        kept[start : start + count] = rows
    return kept


def exact(kept: NDArray[np.float16], asked: NDArray[np.float32]) -> set[int]:
    """Row numbers from 1, as SQLite numbers them, of the ten nearest."""
    scores = np.concatenate(
        [kept[start : start + 50_000].astype(np.float32) @ asked for start in range(0, len(kept), 50_000)]
    )
    return {int(row) + 1 for row in np.argpartition(-scores, 10)[:10]}


async def measure(chunks: int, folder: Path) -> dict[str, Any]:
    """Every figure."""
    synthetic = Synthetic()
    store = SqliteStore(folder / "store.sqlite")
    await store.open()
    started = time.perf_counter()
    kept = await fill(store, synthetic, chunks)
    filled = time.perf_counter() - started
    await store.close()
    made = Collection("bench", SqliteStore(folder / "store.sqlite"), folder / "index", synthetic, Search(feedback=2))
    started = time.perf_counter()
    await made.start()
    await made.catch_up()
    indexed = time.perf_counter() - started
    await made.close()
    before = psutil.Process().memory_info().rss
    again = Collection("bench", SqliteStore(folder / "store.sqlite"), folder / "index", synthetic, Search(feedback=2))
    started = time.perf_counter()
    await again.start()
    opened = time.perf_counter() - started
    figures = await searched(again, synthetic, kept)
    after = psutil.Process().memory_info().rss
    await again.close()
    return {
        "chunks": chunks,
        "kept a second": round(chunks / filled),
        "indexed a second": round(chunks / indexed),
        "start s": round(opened, 3),
        "resident MB more": round((after - before) / 1e6),
        **figures,
    }


async def searched(made: Collection, synthetic: Synthetic, kept: NDArray[np.float16]) -> dict[str, Any]:
    """Milliseconds and recall."""
    index = made.index
    rng = np.random.default_rng(3)
    words: list[float] = []
    meaning: list[float] = []
    both: list[float] = []
    recalls: list[float] = []
    for _ in range(QUESTIONS):
        synthetic.asked = synthetic.near(kept[rng.integers(0, len(kept))].astype(np.float32))
        question = " ".join(synthetic.words[n] for n in rng.integers(50, VOCABULARY, 5))
        started = time.perf_counter()
        index.words.search(question, None, 100)
        words.append(time.perf_counter() - started)
        started = time.perf_counter()
        near = index.vectors.search(synthetic.asked, None, 10)
        meaning.append(time.perf_counter() - started)
        if len(recalls) < 50:
            recalls.append(len({chunk for chunk, _ in near} & exact(kept, synthetic.asked)) / 10)
        started = time.perf_counter()
        found: list[Passage] = await made.search(question, 10)
        choose(found, 3000)
        both.append(time.perf_counter() - started)
    return {
        "words p50 ms": round(1000 * statistics.median(words), 2),
        "meaning p50 ms": round(1000 * statistics.median(meaning), 2),
        "recall@10": round(statistics.mean(recalls), 3),
        "hybrid with assembly p50 ms": round(1000 * statistics.median(both), 2),
    }


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--chunks", type=int, default=100_000)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="gatehouse-bench-"))
    try:
        figures = asyncio.run(measure(arguments.chunks, folder))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    for name, value in figures.items():
        print(f"{name}: {value}")
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
