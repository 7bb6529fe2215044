"""The library sentence-transformers is optional and no part of the environment: without it, and with its own lock."""

from __future__ import annotations

import asyncio
import sys
from functools import partial
from pathlib import Path

import pytest

from contract.errors import Unavailable
from rag.async_embedder import AsyncEmbedder
from rag.embedder import EmbedderAbsent
from rag.sentence_transformers import open_sentence_transformer
from tests.beside import run_tests_beside

DIMENSIONS = 16


def test_a_library_that_is_missing_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(EmbedderAbsent, match="pip install sentence-transformers"):
        open_sentence_transformer(tmp_path, DIMENSIONS)

    async def run() -> None:
        embedder = AsyncEmbedder(partial(open_sentence_transformer, tmp_path, DIMENSIONS), "st", DIMENSIONS)
        with pytest.raises(Unavailable):
            await embedder.vectors(["toner"])
        await embedder.close()

    asyncio.run(run())


@pytest.mark.slow
def test_with_the_library() -> None:
    run_tests_beside("sentence-transformers", "tests/unit/rag/with_sentence_transformers.py")
