"""An embedder for the event loop: it loads and runs in its own thread."""

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

# Texts per batch. Between two batches of one call every other call gets a turn.
_BATCH = 8
# Recent questions whose vectors are cached.
_RECENT = 512


class Model(Protocol):
    """A loaded model. Used from one thread."""

    runs: str
    """A description of the runtime for the status line."""

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Returns unit vectors, (len(texts), dimensions)."""
        ...


class AsyncEmbedder:
    """Loads the model in the background after `start`. Implements `contract.embedding.Embeds`.

    onnxruntime releases the GIL while it computes, so the event loop keeps running.
    """

    def __init__(
        self, opener: Callable[[], Model] = open_embedder, name: str = NAME, dimensions: int = DIMENSIONS
    ) -> None:
        """`opener` raises `EmbedderAbsent`; `dimensions` is the length of its model's vectors."""
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
        """One line: which model runs, or why none does."""
        if self._embedder is not None:
            return f"{self.name}: {self._embedder.runs}, {self.dimensions} dimensions"
        if self._absent:
            return f"{self.name}: absent, retrieval uses term overlap ({self._absent})"
        return f"{self.name}: loading, retrieval uses term overlap until then"

    def start(self) -> None:
        """Starts to load the model, once. Returns at once; needs a running event loop."""
        if self._loading is None and not self._absent:
            # Import numpy before any thread does: two first imports at the same time can break each other.
            with contextlib.suppress(ImportError):
                importlib.import_module("numpy")
            self._loading = asyncio.create_task(self._load(), name="load-embedder")

    async def wait(self) -> bool:
        """Waits until loading has ended; returns whether the model is loaded."""
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
        """Embeds one text with a cache: several sources, classifiers and callers embed the same question."""
        vector = self._recent.get(text)
        if vector is None:
            vector = await self._pool.run(str(next(self._calls)), self._embedding, [text])
            self._recent.put(text, vector)
        return vector

    def _embedding(self, texts: Sequence[str]) -> NDArray[np.float32]:
        if self._embedder is None:
            raise Unavailable(f"There is no embedding model: {self._absent}")
        return self._embedder.embed(texts)

    async def embed(self, texts: Sequence[str]) -> list[list[float]]:
        """See `vectors`; returns plain lists."""
        vectors: list[list[float]] = (await self.vectors(texts)).tolist()
        return vectors

    async def close(self) -> None:
        """Ends the thread after its current work: at most one batch, or the loading."""
        self._embedder = None
        self._absent = "closed"
        if self._loading is not None:
            await asyncio.wait([self._loading])
        # Waits for the running batch.
        await self._pool.run("", bool)
        self._pool.close()

    async def _load(self) -> None:
        try:
            embedder = await self._pool.run("", self._opener)
        except EmbedderAbsent as error:
            self._absent = self._absent or str(error)
        except Exception as error:
            # The gateway keeps serving without the model and reports why, whatever a library raises.
            self._absent = self._absent or f"{type(error).__name__}: {error}"
        else:
            self._embedder = None if self._absent else embedder
