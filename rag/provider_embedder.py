"""An embedding model of the config's own, at whatever provider, for a source."""

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
# Texts, what they are of, and who pays: None for ourselves.
Embed = Callable[[Sequence[str], str, "Caller | None"], Awaitable[list[list[float]]]]


class ProviderEmbedder:
    """What all sources share that name it. It outlives a reload; `bind` says how to ask from now on."""

    def __init__(self, model: str, dimensions: int) -> None:
        """`model` by its name in the config; `dimensions` that it gives."""
        # Another number of dimensions is another model: nothing of it may be compared.
        self.name = f"{model}-{dimensions}"
        self.dimensions = dimensions
        self._model = model
        self._embed: Embed | None = None
        self._recent: Recent[str, NDArray[np.float32]] = Recent(_RECENT)

    def bind(self, embed: Embed) -> None:
        """How the model is asked."""
        self._embed = embed

    @property
    def ready(self) -> bool:
        """Whether it can be asked."""
        return self._embed is not None

    def status(self) -> str:
        """One line for people."""
        return f"{self._model}: {self.dimensions} dimensions"

    async def vectors(self, texts: Sequence[str], what: str, payer: Caller | None) -> NDArray[np.float32]:
        """(len(texts), dimensions), each of length 1, for `what`, at the cost of `payer` (None: our own).

        Raises what the targets raise, `Unavailable` for odd answers.
        """
        import numpy as np

        if len(texts) == 1 and (known := self._recent.get(texts[0])) is not None:
            return known
        if self._embed is None:
            raise Unavailable("The embedding model can't be asked yet")
        parts = [np.empty((0, self.dimensions), dtype=np.float32)]
        for start in range(0, len(texts), BATCH):
            batch = list(texts[start : start + BATCH])
            rows = np.asarray(await self._embed(batch, what, payer), dtype=np.float32)
            if rows.shape != (len(batch), self.dimensions):
                raise Unavailable(f"The embedding model gave {rows.shape}, not {(len(batch), self.dimensions)}")
            parts.append(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9).astype(np.float32))
        made: NDArray[np.float32] = np.concatenate(parts)
        if len(texts) == 1:
            self._recent.put(texts[0], made)
        return made


class SourceEmbedder:
    """The model for one source. Fits `contract.embedding.Vectors`."""

    def __init__(self, shared: ProviderEmbedder, source: str) -> None:
        """`source` by its name in the config."""
        self.name = shared.name
        self.dimensions = shared.dimensions
        self._shared = shared
        self._source = source

    @property
    def ready(self) -> bool:
        """Whether it can be asked."""
        return self._shared.ready

    def status(self) -> str:
        """One line for people."""
        return self._shared.status()

    async def wait(self) -> bool:
        """Nothing has to be loaded."""
        return self.ready

    async def vectors(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Of the source's documents: nobody's request pays. Raises as `ProviderEmbedder.vectors`."""
        return await self._shared.vectors(texts, f"documents of {self._source}", None)

    async def asked_by(self, payer: Caller | None, texts: Sequence[str]) -> NDArray[np.float32]:
        """Of questions to the source. Raises as `ProviderEmbedder.vectors`."""
        return await self._shared.vectors(texts, f"question to {self._source}", payer)


async def vectors_for(payer: Caller | None, embedder: Vectors, texts: Sequence[str]) -> NDArray[np.float32]:
    """Vectors of questions, paid for where they cost something. Raises as the embedder."""
    if isinstance(embedder, SourceEmbedder):
        return await embedder.asked_by(payer, texts)
    found: NDArray[np.float32] = await embedder.vectors(texts)
    return found
