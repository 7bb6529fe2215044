"""Embeds a source with an embedding model from the config, at any provider."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING

from contract.errors import Unavailable
from rag.recent import Recent

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from contract.caller import Caller
    from contract.embedding import Vectors

BATCH = 64
_RECENT = 512
# Arguments: the texts, what they belong to, and who pays (None: the gateway).
Embed = Callable[[Sequence[str], str, "Caller | None"], Awaitable[list[list[float]]]]


class ProviderEmbedder:
    """One model, shared by all sources that use it. It survives a reload; `bind` replaces the call to the model."""

    def __init__(self, model: str, dimensions: int) -> None:
        """`model` is its name in the config, `dimensions` the length of its vectors."""
        # Vectors of different lengths can't be compared, so each length counts as its own model.
        self.name = f"{model}-{dimensions}"
        self.dimensions = dimensions
        self._model = model
        self._embed: Embed | None = None
        self._recent: Recent[str, NDArray[np.float32]] = Recent(_RECENT)

    def bind(self, embed: Embed) -> None:
        """Sets the function that calls the model."""
        self._embed = embed

    @property
    def ready(self) -> bool:
        """Whether the model can be called."""
        return self._embed is not None

    def status(self) -> str:
        """A status line."""
        return f"{self._model}: {self.dimensions} dimensions"

    async def vectors(self, texts: Sequence[str], what: str, payer: Caller | None) -> NDArray[np.float32]:
        """Returns unit vectors, (len(texts), dimensions), for `what`, charged to `payer` (None: the gateway).

        Raises the targets' errors, and `Unavailable` for an answer of the wrong shape.
        """
        import numpy as np

        if len(texts) == 1 and (cached := self._recent.get(texts[0])) is not None:
            return cached
        if self._embed is None:
            raise Unavailable("The embedding model is not ready yet")
        parts = [np.empty((0, self.dimensions), dtype=np.float32)]
        for start in range(0, len(texts), BATCH):
            batch = list(texts[start : start + BATCH])
            rows = np.asarray(await self._embed(batch, what, payer), dtype=np.float32)
            if rows.shape != (len(batch), self.dimensions):
                raise Unavailable(
                    f"The embedding model returned vectors of shape {rows.shape}, not {(len(batch), self.dimensions)}"
                )
            parts.append(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9).astype(np.float32))
        vectors: NDArray[np.float32] = np.concatenate(parts)
        if len(texts) == 1:
            self._recent.put(texts[0], vectors)
        return vectors


class SourceEmbedder:
    """The model, used for one source. Implements `contract.embedding.Vectors`."""

    def __init__(self, shared: ProviderEmbedder, source: str) -> None:
        """`source` is its name in the config."""
        self.name = shared.name
        self.dimensions = shared.dimensions
        self._shared = shared
        self._source = source

    @property
    def ready(self) -> bool:
        """Whether the model can be called."""
        return self._shared.ready

    def status(self) -> str:
        """A status line."""
        return self._shared.status()

    async def wait(self) -> bool:
        """Returns at once: there is nothing to load."""
        return self.ready

    async def vectors(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embeds the source's documents; no caller pays. Raises as `ProviderEmbedder.vectors`."""
        return await self._shared.vectors(texts, f"documents of {self._source}", None)

    async def question_vectors(self, payer: Caller | None, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embeds questions to the source, charged to `payer`. Raises as `ProviderEmbedder.vectors`."""
        return await self._shared.vectors(texts, f"question to {self._source}", payer)


async def vectors_for(payer: Caller | None, embedder: Vectors, texts: Sequence[str]) -> NDArray[np.float32]:
    """Embeds questions, charged to `payer` if the embedder costs money. Raises the embedder's errors."""
    if isinstance(embedder, SourceEmbedder):
        return await embedder.question_vectors(payer, texts)
    vectors: NDArray[np.float32] = await embedder.vectors(texts)
    return vectors
