"""Finds passages in a folder of documents: by words at once, and by meaning as soon as the documents are embedded."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import msgspec

from gateway.contract.errors import GatehouseError
from gateway.contract.passages import Passage
from rag.export_minilm import cache_folder
from rag.folder import read_folder
from rag.lexical import LexicalIndex
from rag.vector_file import digest, read_vectors, write_vectors

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# Of the two scores, each between 0 and 1.
LEXICAL_WEIGHT = 0.3
VECTOR_WEIGHT = 0.7
# So many passages are embedded between two looks at whether the retriever was closed.
_SLICE = 64


class Vectors(Protocol):
    """The part of an embedder that a retriever needs (`rag.async_embedder.AsyncEmbedder`)."""

    name: str
    dimensions: int

    @property
    def ready(self) -> bool:
        """Whether `vectors` would answer without waiting for the model to load."""
        ...

    def status(self) -> str:
        """One line for people."""
        ...

    async def wait(self) -> bool:
        """Waits for the model; False when there is none."""
        ...

    async def vectors(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """(len(texts), dimensions), each of length 1."""
        ...


class FolderRetriever:
    """`start` reads and indexes the words, and begins to embed in the background; `close` stops that."""

    def __init__(
        self,
        folder: Path,
        embedder: Vectors | None = None,
        cache: Path | None = None,
        patterns: Sequence[str] = ("**/*",),
    ) -> None:
        self._folder = folder
        self._patterns = patterns
        self._embedder = embedder
        self._cache = cache
        self._passages: list[Passage] = []
        self._lexical = LexicalIndex([])
        self._matrix: NDArray[np.float32] | None = None
        self._embedding: asyncio.Task[None] | None = None
        self._trouble = ""

    async def start(self) -> None:
        """Reads the folder (about 0.1 s for 1,000 chunks). Raises `OSError` when it can't be read."""
        self._passages, self._lexical = await asyncio.to_thread(_read, self._folder, self._patterns)
        if self._embedder is not None and self._passages:
            self._embedding = asyncio.create_task(self._embed(self._embedder), name="embed-documents")

    async def search(self, query: str, top: int) -> list[Passage]:
        """Up to `top` passages, best first, with a score from 0 to 1. None without any likeness to the query."""
        scores = self._lexical.scores(query)
        best = max(scores.values(), default=1.0)
        if self._matrix is not None and self._embedder is not None and query.strip():
            cosines = self._matrix @ (await self._embedder.vectors([query]))[0]
            combined = (
                (LEXICAL_WEIGHT * scores.get(row, 0.0) / best + VECTOR_WEIGHT * max(0.0, cosine), row)
                for row, cosine in enumerate(cosines.tolist())
            )
        else:
            combined = ((score / best, row) for row, score in scores.items())
        ranked = sorted((pair for pair in combined if pair[0] > 0), key=lambda pair: (-pair[0], pair[1]))
        return [msgspec.structs.replace(self._passages[row], score=score) for score, row in ranked[:top]]

    async def embedded(self) -> bool:
        """Waits until the documents are embedded, or until it is clear that they won't be; whether they are."""
        if self._embedding is not None:
            await asyncio.wait([self._embedding])
        return self._matrix is not None

    def status(self) -> str:
        """One line: how many passages, and by what they are found."""
        count = f"{len(self._passages)} passages of {self._folder.name}"
        if self._matrix is not None:
            return f"{count}, found by words and meaning"
        if self._trouble:
            return f"{count}, found by words only ({self._trouble})"
        if self._embedder is None or not self._passages:
            return f"{count}, found by words only"
        if self._embedder.ready:
            return f"{count}, found by words; embedding them"
        return f"{count}, found by words ({self._embedder.status()})"

    async def close(self) -> None:
        """Stops embedding. The embedder is its owner's to close."""
        if self._embedding is not None:
            self._embedding.cancel()
            await asyncio.wait([self._embedding])

    async def _embed(self, embedder: Vectors) -> None:
        try:
            if await embedder.wait():
                self._matrix = await self._vectors(embedder)
        except GatehouseError as error:
            self._trouble = error.message
        except Exception as error:
            # Retrieval by words must go on whatever a model's library raises.
            self._trouble = f"embedding failed: {type(error).__name__}: {error}"

    async def _vectors(self, embedder: Vectors) -> NDArray[np.float32]:
        """(passages, dimensions), from the disk where they were embedded before."""
        import numpy as np

        texts = [_searched(passage) for passage in self._passages]
        path = self._vector_path(embedder)
        known = await asyncio.to_thread(read_vectors, path)
        keys = [digest(text) for text in texts]
        missing = [text for text, key in zip(texts, keys, strict=True) if key not in known]
        for start in range(0, len(missing), _SLICE):
            part = missing[start : start + _SLICE]
            known.update(zip(map(digest, part), await embedder.vectors(part), strict=True))
        matrix = np.stack([known[key] for key in keys])
        if missing:
            try:
                await asyncio.to_thread(write_vectors, path, texts, matrix)
            except OSError as error:
                self._trouble = f"the vectors can't be kept: {error}"
        return matrix

    def _vector_path(self, embedder: Vectors) -> Path:
        name = hashlib.sha256(str(self._folder.resolve()).encode("utf-8", "replace")).hexdigest()[:16]
        return (self._cache or cache_folder()) / "vectors" / f"{embedder.name}-{embedder.dimensions}-{name}.npz"


def _read(folder: Path, patterns: Sequence[str]) -> tuple[list[Passage], LexicalIndex]:
    passages = read_folder(folder, patterns)
    return passages, LexicalIndex([_searched(passage) for passage in passages])


def _searched(passage: Passage) -> str:
    """What a passage is found by: the way to it says what it is about, often in words that it does not repeat."""
    headings = passage.place.rpartition("line ")[0].rstrip(", ").replace(" > ", ". ")
    return f"{headings}\n{passage.text}" if headings else passage.text
