"""Vectors in memory, for those who need no files: compared one by one while they are few, then by lists."""

from __future__ import annotations

import shutil
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from rag.vector_index import Partition, build

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class MemoryIndex:
    """Fits `cache.semantic.nearest.Index`. A large one is built anew in a thread while the old one serves."""

    def __init__(self, dimensions: int) -> None:
        self._partition = Partition(dimensions)
        self._vectors: dict[int, NDArray[np.float16]] = {}
        self._since: list[int] | None = None
        self._changing = threading.Lock()
        self._building: threading.Thread | None = None

    def add(self, number: int, vector: NDArray[np.float32]) -> None:
        """Adds a vector of length 1."""
        import numpy as np

        with self._changing:
            self._vectors[number] = vector.astype(np.float16)
            self._partition.add({number: vector})
            if self._since is not None:
                self._since.append(number)
            elif self._partition.overgrown:
                self._since = []
                self._building = threading.Thread(target=self._rebuild, name="build-index", daemon=True)
                self._building.start()

    def remove(self, number: int) -> None:
        """Takes one out."""
        with self._changing:
            self._vectors.pop(number, None)
            self._partition.remove((number,))

    def vector(self, number: int) -> NDArray[np.float32]:
        """One that was added."""
        import numpy as np

        return self._vectors[number].astype(np.float32)

    def search(self, vector: NDArray[np.float32], top: int) -> list[tuple[int, float]]:
        """Numbers and cosines, best first."""
        return sorted(self._partition.search(vector, top), key=lambda hit: -hit[1])[:top]

    def wait(self) -> None:
        """Until it is built, if it is being built."""
        if self._building is not None:
            self._building.join()

    def _rebuild(self) -> None:
        """Builds until what came meanwhile is little."""
        try:
            while self._partition.overgrown:
                self._build_once()
        finally:
            with self._changing:
                self._since = None

    def _build_once(self) -> None:
        import numpy as np

        # Nobody who adds waits for more than a copy of references.
        with self._changing:
            items = list(self._vectors.items())
            self._since = []
        numbers = np.fromiter((number for number, _ in items), dtype=np.int64, count=len(items))
        matrix = np.stack([vector for _, vector in items]).astype(np.float32)
        folder = Path(tempfile.mkdtemp(prefix="gatehouse-index-"))
        try:
            path = folder / "main.faiss"
            build(numbers, matrix, "ivf", path)
            with self._changing:
                self._partition.use(path)
                # What came and went in the meantime.
                came = {each: self._vectors[each].astype(np.float32) for each in self._since if each in self._vectors}
                self._partition.add(came)
                self._partition.remove([number for number, _ in items if number not in self._vectors])
        finally:
            # The file is mapped: its blocks live on until the index is gone.
            shutil.rmtree(folder, ignore_errors=True)
