"""The embedder for the event loop: it loads and works in a thread of its own."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import itertools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

from contract.errors import Unavailable
from contract.work import WorkPool
from rag.embedder import DIMENSIONS, NAME, EmbedderAbsent, open_embedder
from rag.recent import Recent

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# So many texts at a time take the thread; between two batches of one call every other call has its turn.
_BATCH = 8
# So many questions are remembered with their vectors.
_RECENT = 512


class Model(Protocol):
    """A model that is loaded. Used from one thread."""

    runs: str
    """How it runs, for people."""

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Vectors of length 1, (len(texts), dimensions)."""
        ...


class AsyncEmbedder:
    """Loads in the background from `start` on. Fits `contract.embedding.Embeds`.

    onnxruntime lets go of the interpreter's lock while it computes, so the event loop runs on.
    """

    def __init__(
        self, opener: Callable[[], Model] = open_embedder, name: str = NAME, dimensions: int = DIMENSIONS
    ) -> None:
        """`opener` raises `EmbedderAbsent`; `dimensions` is what its model gives a text."""
        self.name = name
        self.dimensions = dimensions
        self._opener = opener
        self._pool = WorkPool("embedder")
        self._calls = itertools.count()
        self._loading: asyncio.Task[None] | None = None
        self._embedder: Model | None = None
        self._absent = ""
        self._recent: Recent[str, NDArray[np.float32]] = Recent(_RECENT)

    @property
    def ready(self) -> bool:
        """Whether the model is loaded."""
        return self._embedder is not None

    def status(self) -> str:
        """One line: what runs, or why nothing does."""
        if self._embedder is not None:
            return f"{self.name}: {self._embedder.runs}, {self.dimensions} dimensions"
        if self._absent:
            return f"{self.name}: absent, retrieval goes by term overlap ({self._absent})"
        return f"{self.name}: loading, retrieval goes by term overlap until then"

    def start(self) -> None:
        """Begins to load, if that has not begun. Returns at once; needs a running event loop."""
        if self._loading is None and not self._absent:
            # Here, before any thread does: two that import it for the first time at once can break each other's import.
            with contextlib.suppress(ImportError):
                importlib.import_module("numpy")
            self._loading = asyncio.create_task(self._load(), name="load-embedder")

    async def wait(self) -> bool:
        """Waits until the model is loaded, or known to be absent; whether it is there."""
        self.start()
        if self._loading is not None and not self._loading.done():
            await asyncio.wait([self._loading])
        return self.ready

    async def vectors(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """(len(texts), dimensions) float32 of length 1. Raises `Unavailable` without a model or after `close`."""
        if not await self.wait() or self._embedder is None:
            raise Unavailable(f"There is no embedding model: {self._absent}")
        if len(texts) == 1:
            return await self._question(texts[0])
        import numpy as np

        turn = str(next(self._calls))
        batches = [np.empty((0, self.dimensions), dtype=np.float32)]
        for start in range(0, len(texts), _BATCH):
            batch = texts[start : start + _BATCH]
            batches.append(await self._pool.run(turn, self._embedding, batch))
        return np.concatenate(batches)

    async def _question(self, text: str) -> NDArray[np.float32]:
        """One text, as questions are: the same one is asked by several sources, heads and callers."""
        known = self._recent.get(text)
        if known is None:
            known = await self._pool.run(str(next(self._calls)), self._embedding, [text])
            self._recent.put(text, known)
        return known

    def _embedding(self, texts: Sequence[str]) -> NDArray[np.float32]:
        if self._embedder is None:
            raise Unavailable(f"There is no embedding model: {self._absent}")
        return self._embedder.embed(texts)

    async def embed(self, texts: Sequence[str]) -> list[list[float]]:
        """The same as plain lists."""
        vectors: list[list[float]] = (await self.vectors(texts)).tolist()
        return vectors

    async def close(self) -> None:
        """Lets the thread end. What it is at is finished first: at most one batch, or the loading."""
        self._embedder = None
        self._absent = "closed"
        if self._loading is not None:
            await asyncio.wait([self._loading])
        # Behind the batch that runs.
        await self._pool.run("", bool)
        self._pool.close()

    async def _load(self) -> None:
        try:
            embedder = await self._pool.run("", self._opener)
        except EmbedderAbsent as error:
            self._absent = self._absent or str(error)
        except Exception as error:
            # Whatever a library raises, the gateway serves on without it and says why.
            self._absent = self._absent or f"{type(error).__name__}: {error}"
        else:
            self._embedder = None if self._absent else embedder
