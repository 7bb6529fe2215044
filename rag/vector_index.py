"""Found by meaning (FAISS): one index a partition, a cache of what the store's log says.

Up to `FLAT_LIMIT` vectors are compared one by one, as float16. Beyond it most of them lie in an inverted file (or a
graph, by config) of float16 too, built in the background, written to disk and mapped from there; what came
since is compared one by one, and what is gone is left out while searching, never afterwards.
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
# So many found of those that an exact search would find, on a sample, when the number of lists looked into is chosen.
LEAST_RECALL = 0.98
_SAMPLE = 100
_TRAINING_A_LIST = 50
_GRAPH_DEGREE = 32


class VectorIndex:
    """All partitions' vectors. Changed by one thread at a time, searched by any."""

    def __init__(self, dimensions: int, kind: Kind = "auto") -> None:
        self.dimensions = dimensions
        self.kind = kind
        self._partitions: dict[str, Partition] = {}

    def partition(self, name: str) -> Partition:
        """One partition, made when it is first asked for."""
        if name not in self._partitions:
            self._partitions[name] = Partition(self.dimensions)
        return self._partitions[name]

    @property
    def partitions(self) -> list[str]:
        """Their names."""
        return list(self._partitions)

    def __len__(self) -> int:
        return sum(len(partition) for partition in self._partitions.values())

    def search(self, vector: Vector, partitions: Sequence[str] | None, top: int) -> list[tuple[int, float]]:
        """Chunks and their cosines, best first."""
        # A copy in one step: another thread may be adding a partition.
        names = list(self._partitions) if partitions is None else partitions
        found = [
            hit for name in names if name in self._partitions for hit in self._partitions[name].search(vector, top)
        ]
        return sorted(found, key=lambda hit: -hit[1])[:top]

    def overgrown(self) -> list[str]:
        """The partitions that should be built anew."""
        if self.kind == "flat":
            return []
        return [name for name, each in self._partitions.items() if each.overgrown]


class Partition:
    """One partition: `main`, built once and mapped from disk, `fresh`, what came since, and `gone` of main."""

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
        # faiss may not be searched while it is changed.
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return (self._main.ntotal - len(self._gone) if self._main is not None else 0) + len(self._fresh_ids)

    @property
    def overgrown(self) -> bool:
        """Whether too much has to be compared one by one, or too much of the rest is gone."""
        main = self._main.ntotal if self._main is not None else 0
        return len(self._fresh_ids) > max(FLAT_LIMIT, main // 10) or len(self._gone) > max(1000, main // 4)

    def add(self, vectors: Mapping[int, Vector]) -> None:
        """Adds vectors of length 1, or replaces them."""
        import numpy as np

        self.remove(vectors)
        if vectors:
            rows = np.stack(list(vectors.values())).astype(np.float32)
            with self._lock:
                self._fresh.add_with_ids(rows, np.fromiter(vectors, dtype=np.int64, count=len(vectors)))
                self._fresh_ids |= set(vectors)

    def remove(self, chunks: Iterable[int]) -> None:
        """Takes chunks out; those that are unknown are no mistake."""
        import numpy as np

        asked = set(chunks)
        with self._lock:
            if here := asked & self._fresh_ids:
                self._fresh.remove_ids(np.fromiter(here, dtype=np.int64, count=len(here)))
                self._fresh_ids -= here
            if self._main is not None and asked - here:
                self._gone |= asked - here
                self._selector = None

    def search(self, vector: Vector, top: int) -> list[tuple[int, float]]:
        """Chunks and their cosines."""
        query = vector.reshape(1, -1)
        with self._lock:
            found = _hits(self._fresh.search(query, top)) if self._fresh_ids else []
            main, parameters = self._main, self._parameters() if self._main is not None else None
        if main is not None:
            found += _hits(main.search(query, top, params=parameters))
        return found

    def _parameters(self) -> Any:
        import numpy as np

        faiss = _faiss()
        selector = None
        if self._gone:
            if self._selector is None:
                gone = np.fromiter(self._gone, dtype=np.int64, count=len(self._gone))
                batch = faiss.IDSelectorBatch(gone)
                # The selectors must outlive the search: faiss only points at them.
                self._selector = (faiss.IDSelectorNot(batch), batch)
            selector = self._selector[0]
        return _searching(self._kind, self._effort, selector)

    def use(self, path: Path) -> None:
        """Takes a file that `build` wrote as main, in place of all that was here."""
        faiss = _faiss()
        main = faiss.read_index(str(path), faiss.IO_FLAG_MMAP)
        about = json.loads(path.with_suffix(".json").read_text())
        with self._lock:
            self._main = main
            self._effort, self._kind = int(about["effort"]), about["kind"]
            self._gone, self._selector = set(), None
            self._fresh, self._fresh_ids = _flat(self._dimensions), set()


def build(ids: NDArray[np.int64], vectors: NDArray[np.float32], kind: Kind, path: Path) -> None:
    """Builds a main index of vectors of length 1, (n, dimensions), and writes it to `path`. Takes a core for long."""
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
    """The least effort that finds what an exact search finds, on vectors of its own with a little noise."""
    import numpy as np

    faiss = _faiss()
    sample = vectors[_spread(len(vectors), min(len(vectors), _SAMPLE))]
    noise = np.random.default_rng(0).normal(0, 0.5 / math.sqrt(sample.shape[1]), sample.shape)
    asked = (sample + noise).astype(np.float32)
    asked /= np.linalg.norm(asked, axis=1, keepdims=True)
    _, rows = faiss.knn(asked, vectors, 10, metric=faiss.METRIC_INNER_PRODUCT)
    exact = ids[rows]
    most = 1024 if kind == "hnsw" else index.nlist
    # Sixteen bits a number cost a very little, which no effort brings back.
    wanted = min(LEAST_RECALL, _recall(index, asked, exact, _searching(kind, most)) - 0.005)
    effort = 16 if kind == "hnsw" else 4
    while effort < most and _recall(index, asked, exact, _searching(kind, effort)) < wanted:
        effort *= 2
    return int(min(effort, most))


def _recall(index: Any, asked: NDArray[np.float32], exact: NDArray[np.int64], parameters: Any) -> float:
    """The share of the exact ten that are found."""
    _, found = index.search(asked, 10, params=parameters)
    pairs = zip(found.tolist(), exact.tolist(), strict=True)
    return sum(len(set(a) & set(b)) / len(b) for a, b in pairs) / len(exact)


def _spread(count: int, wanted: int) -> NDArray[np.int64]:
    import numpy as np

    return np.sort(np.random.default_rng(0).choice(count, wanted, replace=False))


def _searching(kind: Kind, effort: int, selector: Any = None) -> Any:
    """How to search a main index: so many lists looked into, or so many nodes of the graph kept in mind."""
    faiss = _faiss()
    if kind == "hnsw":
        return faiss.SearchParametersHNSW(efSearch=effort, sel=selector)
    return faiss.SearchParametersIVF(nprobe=effort, sel=selector)


def _faiss() -> Any:
    """The library, whose type hints know only half of it."""
    import faiss

    return faiss


def _flat(dimensions: int) -> Any:
    faiss = _faiss()
    return faiss.IndexIDMap2(
        faiss.IndexScalarQuantizer(dimensions, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT)
    )


def _hits(found: tuple[Any, Any]) -> list[tuple[int, float]]:
    scores, ids = found
    return [
        (int(chunk), float(score))
        for chunk, score in zip(ids[0].tolist(), scores[0].tolist(), strict=True)
        if chunk >= 0
    ]
