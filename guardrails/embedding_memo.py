"""Embeddings of the texts that are checked: each text is embedded once for all guardrails of a pipeline."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from contract.embedding import Embeds

# The embedder reads 256 tokens: about so many characters, and again from a little before where it stopped.
WINDOW = 1100
OVERLAP = 150
MAX_WINDOWS = 6
_REMEMBERED = 4096


def windows(text: str) -> list[str]:
    """Pieces of a text that an embedder reads whole; of a very long one the beginning and the end."""
    step = WINDOW - OVERLAP
    pieces = [text[place : place + WINDOW] for place in range(0, max(1, len(text) - OVERLAP), step)]
    half = MAX_WINDOWS // 2
    return pieces if len(pieces) <= MAX_WINDOWS else [*pieces[:half], *pieces[-half:]]


class EmbeddingMemo:
    """Embeddings of texts, each computed once for all classifiers and remembered by the text's hash."""

    def __init__(self, embeds: Embeds) -> None:
        self._embeds = embeds
        self._seen: OrderedDict[bytes, list[list[float]]] = OrderedDict()

    async def embed(self, texts: Sequence[str]) -> list[list[float]]:
        """One vector a text, not remembered: for examples to learn from."""
        return await self._embeds.embed(texts)

    async def of(self, text: str) -> list[list[float]]:
        """A vector for each window. Raises what the embedder raises."""
        key = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
        known = self._seen.get(key)
        if known is None:
            known = self._seen[key] = await self._embeds.embed(windows(text))
            if len(self._seen) > _REMEMBERED:
                self._seen.popitem(last=False)
        else:
            self._seen.move_to_end(key)
        return known
