"""An in-memory vector index: exact search while it is small, then an inverted file."""

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
    """Implements `cache.semantic.nearest.Index`. A thread rebuilds a large index while searches use the old one."""

    def __init__(self, dimensions: int) -> None:
        self._partition = Partition(dimensions)
        self._vectors: dict[int, NDArray[np.float16]] = {}
        self._since: list[int] | None = None
        self._changing = threading.Lock()
        self._building: threading.Thread | None = None

    def add(self, number: int, vector: NDArray[np.float32]) -> None:
        """Adds a unit vector."""
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
        """Removes a vector."""
        with self._changing:
            self._vectors.pop(number, None)
            self._partition.remove((number,))

    def vector(self, number: int) -> NDArray[np.float32]:
        """The vector with that number, in float16 precision. Raises `KeyError`."""
        import numpy as np

        return self._vectors[number].astype(np.float32)

    def search(self, vector: NDArray[np.float32], top: int) -> list[tuple[int, float]]:
        """Returns numbers and cosines, best first."""
        return sorted(self._partition.search(vector, top), key=lambda hit: -hit[1])[:top]

    def wait(self) -> None:
        """Waits for a rebuild in progress, if there is one."""
        if self._building is not None:
            self._building.join()

    def _rebuild(self) -> None:
        """Rebuilds until few vectors have been added in the meantime."""
        try:
            while self._partition.overgrown:
                self._build_once()
        finally:
            with self._changing:
                self._since = None

    def _build_once(self) -> None:
        import numpy as np

        # Hold the lock only to copy references, so that `add` does not wait long.
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
                # Apply the additions and removals since the copy.
                added = {key: self._vectors[key].astype(np.float32) for key in self._since if key in self._vectors}
                self._partition.add(added)
                self._partition.remove([number for number, _ in items if number not in self._vectors])
        finally:
            # The file is memory-mapped: its blocks remain until the index is freed.
            shutil.rmtree(folder, ignore_errors=True)
