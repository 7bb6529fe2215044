"""Vector search (FAISS): one index per partition, derived from the store's log.

Up to `FLAT_LIMIT` vectors are searched exactly, as float16. Above it most vectors are in an inverted file (or a graph,
by config), also as float16, which is built in the background, written to disk and memory-mapped. Newer vectors are
searched exactly. Removed vectors are excluded during the search, not afterwards, so that the result stays full.
"""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Vector: TypeAlias = "NDArray[np.float32]"

Kind: TypeAlias = Literal["auto", "flat", "ivf", "hnsw"]
FLAT_LIMIT = 50_000
# The target recall against an exact search, on a sample, when the number of lists to probe is chosen.
MIN_RECALL = 0.98
_SAMPLE = 100
_TRAINING_A_LIST = 50
_GRAPH_DEGREE = 32


class VectorIndex:
    """The vectors of all partitions. Written by one thread at a time, searched by any."""

    def __init__(self, dimensions: int, kind: Kind = "auto") -> None:
        self.dimensions = dimensions
        self.kind = kind
        self._partitions: dict[str, Partition] = {}

    def partition(self, name: str) -> Partition:
        """The partition with that name; creates it on first use."""
        if name not in self._partitions:
            self._partitions[name] = Partition(self.dimensions)
        return self._partitions[name]

    @property
    def partitions(self) -> list[str]:
        """The names of all partitions."""
        return list(self._partitions)

    def __len__(self) -> int:
        return sum(len(partition) for partition in self._partitions.values())

    def search(self, vector: Vector, partitions: Sequence[str] | None, top: int) -> list[tuple[int, float]]:
        """Returns chunks and their cosines, best first."""
        # Copy atomically: another thread may be adding a partition.
        names = list(self._partitions) if partitions is None else partitions
        hits = [hit for name in names if name in self._partitions for hit in self._partitions[name].search(vector, top)]
        return sorted(hits, key=lambda hit: -hit[1])[:top]

    def overgrown(self) -> list[str]:
        """The partitions that should be rebuilt."""
        if self.kind == "flat":
            return []
        return [name for name, each in self._partitions.items() if each.overgrown]


class Partition:
    """One partition: `main`, built once and mapped from disk; `fresh`, newer vectors; `gone`, ids removed from main."""

    def __init__(self, dimensions: int) -> None:
        faiss = _faiss()
        faiss.omp_set_num_threads(1)
        self._dimensions = dimensions
        self._main: Any = None
        self._effort = 1
        self._kind: Kind = "ivf"
        self._gone: set[int] = set()
        self._selector: Any = None
        self._fresh = _flat(dimensions)
        self._fresh_ids: set[int] = set()
        # A faiss index must not be searched while it is modified.
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return (self._main.ntotal - len(self._gone) if self._main is not None else 0) + len(self._fresh_ids)

    @property
    def overgrown(self) -> bool:
        """Whether too many vectors are searched exactly, or too many of `main` have been removed."""
        main = self._main.ntotal if self._main is not None else 0
        return len(self._fresh_ids) > max(FLAT_LIMIT, main // 10) or len(self._gone) > max(1000, main // 4)

    def add(self, vectors: Mapping[int, Vector]) -> None:
        """Adds or replaces unit vectors."""
        import numpy as np

        self.remove(vectors)
        if vectors:
            rows = np.stack(list(vectors.values())).astype(np.float32)
            with self._lock:
                self._fresh.add_with_ids(rows, np.fromiter(vectors, dtype=np.int64, count=len(vectors)))
                self._fresh_ids |= set(vectors)

    def remove(self, chunks: Iterable[int]) -> None:
        """Removes chunks; ignores unknown ids."""
        import numpy as np

        ids = set(chunks)
        with self._lock:
            if fresh := ids & self._fresh_ids:
                self._fresh.remove_ids(np.fromiter(fresh, dtype=np.int64, count=len(fresh)))
                self._fresh_ids -= fresh
            if self._main is not None and ids - fresh:
                self._gone |= ids - fresh
                self._selector = None

    def search(self, vector: Vector, top: int) -> list[tuple[int, float]]:
        """Returns chunks and their cosines, unordered."""
        query = vector.reshape(1, -1)
        with self._lock:
            hits = _hits(self._fresh.search(query, top)) if self._fresh_ids else []
            main, parameters = self._main, self._parameters() if self._main is not None else None
        if main is not None:
            hits += _hits(main.search(query, top, params=parameters))
        return hits

    def _parameters(self) -> Any:
        import numpy as np

        faiss = _faiss()
        selector = None
        if self._gone:
            if self._selector is None:
                gone = np.fromiter(self._gone, dtype=np.int64, count=len(self._gone))
                batch = faiss.IDSelectorBatch(gone)
                # Keep references: faiss holds only pointers to the selectors.
                self._selector = (faiss.IDSelectorNot(batch), batch)
            selector = self._selector[0]
        return _search_parameters(self._kind, self._effort, selector)

    def use(self, path: Path) -> None:
        """Loads a file that `build` wrote as main index; replaces all current contents."""
        faiss = _faiss()
        main = faiss.read_index(str(path), faiss.IO_FLAG_MMAP)
        settings = json.loads(path.with_suffix(".json").read_text())
        with self._lock:
            self._main = main
            self._effort, self._kind = int(settings["effort"]), settings["kind"]
            self._gone, self._selector = set(), None
            self._fresh, self._fresh_ids = _flat(self._dimensions), set()


def build(ids: NDArray[np.int64], vectors: NDArray[np.float32], kind: Kind, path: Path) -> None:
    """Builds a main index of unit vectors, (n, dimensions), and writes it to `path`. Uses one core for a long time."""
    faiss = _faiss()
    count, dimensions = vectors.shape
    if kind == "hnsw":
        inner: Any = faiss.index_factory(dimensions, f"HNSW{_GRAPH_DEGREE},SQfp16", faiss.METRIC_INNER_PRODUCT)
        inner.hnsw.efConstruction = 80
        inner.train(vectors[: min(count, 100_000)])
    else:
        lists = max(16, min(4096, 2 ** round(math.log2(2 * math.sqrt(count)))))
        inner = faiss.index_factory(dimensions, f"IVF{lists},SQfp16", faiss.METRIC_INNER_PRODUCT)
        inner.train(vectors[_spread(count, min(count, _TRAINING_A_LIST * lists))])
    index = faiss.IndexIDMap2(inner) if kind == "hnsw" else inner
    index.add_with_ids(vectors, ids)
    effort = _effort(index, ids, vectors, kind)
    part = path.with_suffix(".part")
    faiss.write_index(index, str(part))
    path.with_suffix(".json").write_text(json.dumps({"kind": kind, "effort": effort, "count": count}))
    part.replace(path)


def _effort(index: Any, ids: NDArray[np.int64], vectors: NDArray[np.float32], kind: Kind) -> int:
    """The lowest search effort that reaches the target recall, measured on its own vectors plus noise."""
    import numpy as np

    faiss = _faiss()
    sample = vectors[_spread(len(vectors), min(len(vectors), _SAMPLE))]
    noise = np.random.default_rng(0).normal(0, 0.5 / math.sqrt(sample.shape[1]), sample.shape)
    queries = (sample + noise).astype(np.float32)
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    _, rows = faiss.knn(queries, vectors, 10, metric=faiss.METRIC_INNER_PRODUCT)
    exact = ids[rows]
    max_effort = 1024 if kind == "hnsw" else index.nlist
    # float16 loses a little recall that no effort recovers.
    wanted = min(MIN_RECALL, _recall(index, queries, exact, _search_parameters(kind, max_effort)) - 0.005)
    effort = 16 if kind == "hnsw" else 4
    while effort < max_effort and _recall(index, queries, exact, _search_parameters(kind, effort)) < wanted:
        effort *= 2
    return int(min(effort, max_effort))


def _recall(index: Any, queries: NDArray[np.float32], exact: NDArray[np.int64], parameters: Any) -> float:
    """The share of the ten exact neighbours that the index finds."""
    _, neighbours = index.search(queries, 10, params=parameters)
    pairs = zip(neighbours.tolist(), exact.tolist(), strict=True)
    return sum(len(set(a) & set(b)) / len(b) for a, b in pairs) / len(exact)


def _spread(count: int, wanted: int) -> NDArray[np.int64]:
    import numpy as np

    return np.sort(np.random.default_rng(0).choice(count, wanted, replace=False))


def _search_parameters(kind: Kind, effort: int, selector: Any = None) -> Any:
    """The search parameters of a main index: `effort` is the number of lists to probe, or `efSearch` of the graph."""
    faiss = _faiss()
    if kind == "hnsw":
        return faiss.SearchParametersHNSW(efSearch=effort, sel=selector)
    return faiss.SearchParametersIVF(nprobe=effort, sel=selector)


def _faiss() -> Any:
    """The faiss module as `Any`, because its type hints are incomplete."""
    import faiss

    return faiss


def _flat(dimensions: int) -> Any:
    faiss = _faiss()
    return faiss.IndexIDMap2(
        faiss.IndexScalarQuantizer(dimensions, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT)
    )


def _hits(result: tuple[Any, Any]) -> list[tuple[int, float]]:
    scores, ids = result
    return [
        (int(chunk), float(score))
        for chunk, score in zip(ids[0].tolist(), scores[0].tolist(), strict=True)
        if chunk >= 0
    ]
