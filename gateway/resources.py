"""What outlives a reload."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from guardrails.personal.search import TaggerThread
    from rag.async_embedder import AsyncEmbedder
    from router.health import HealthBook


class Resources:
    """The targets' health, and the embedding model once something has asked for it."""

    def __init__(self, health: HealthBook) -> None:
        self.health = health
        self._embedder: AsyncEmbedder | None = None
        self._tagger: TaggerThread | None = None

    def embedder(self) -> AsyncEmbedder:
        """Loaded in the background from the first call on."""
        if self._embedder is None:
            from rag.async_embedder import AsyncEmbedder

            self._embedder = AsyncEmbedder()
            self._embedder.start()
        return self._embedder

    def tagger(self) -> TaggerThread:
        """The model of names and addresses, loaded at the first call. Raises `ValueError` where it can't be had."""
        if self._tagger is None:
            from guardrails.personal.search import TaggerThread
            from guardrails.personal.tagger import open_tagger

            self._tagger = TaggerThread(open_tagger())
        return self._tagger

    def status(self) -> dict[str, str]:
        """One line for each part that is in use."""
        return {"embedder": self._embedder.status()} if self._embedder is not None else {}

    async def close(self) -> None:
        """The end of the process."""
        if self._embedder is not None:
            await self._embedder.close()
        if self._tagger is not None:
            self._tagger.close()
