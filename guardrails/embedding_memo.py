"""Caches embeddings, so that each text is embedded once for all guardrails of a pipeline."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from contract.embedding import Embeds

# The embedder reads 256 tokens, which is about one window of characters; windows overlap.
WINDOW = 1100
OVERLAP = 150
MAX_WINDOWS = 6
_REMEMBERED = 4096


def windows(text: str) -> list[str]:
    """Splits a text into pieces that fit the embedder; of a very long text only the start and the end."""
    step = WINDOW - OVERLAP
    pieces = [text[place : place + WINDOW] for place in range(0, max(1, len(text) - OVERLAP), step)]
    half = MAX_WINDOWS // 2
    return pieces if len(pieces) <= MAX_WINDOWS else [*pieces[:half], *pieces[-half:]]


class EmbeddingMemo:
    """Embeddings of texts, shared by all classifiers and cached by the text's hash."""

    def __init__(self, embeds: Embeds) -> None:
        self._embeds = embeds
        self._cache: OrderedDict[bytes, list[list[float]]] = OrderedDict()

    async def embed(self, texts: Sequence[str]) -> list[list[float]]:
        """Returns one vector per text, without caching: for training examples."""
        return await self._embeds.embed(texts)

    async def of(self, text: str) -> list[list[float]]:
        """Returns a vector for each window of the text. Raises the embedder's errors."""
        key = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
        vectors = self._cache.get(key)
        if vectors is None:
            vectors = self._cache[key] = await self._embeds.embed(windows(text))
            if len(self._cache) > _REMEMBERED:
                self._cache.popitem(last=False)
        else:
            self._cache.move_to_end(key)
        return vectors
