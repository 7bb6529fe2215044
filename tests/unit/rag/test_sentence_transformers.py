"""A model of sentence-transformers from a folder. The library brings torch: without it most of this is skipped."""

from __future__ import annotations

import asyncio
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from contract.errors import Unavailable
from rag.async_embedder import AsyncEmbedder
from rag.embedder import EmbedderAbsent
from rag.sentence_transformers import open_sentence_transformer
from tests.plugins.skips import does_not_apply

DIMENSIONS = 16


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model with weights drawn at random."""
    if find_spec("sentence_transformers") is None:
        does_not_apply("sentence-transformers is optional and not in the lock (2 GB with torch)")
    import sentence_transformers as library  # type: ignore[import-not-found,unused-ignore]
    import transformers  # type: ignore[import-not-found,unused-ignore]

    made: Any = library
    raw, whole = tmp_path_factory.mktemp("raw"), tmp_path_factory.mktemp("whole")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "toner", "paper", "printer"]
    (raw / "vocab.txt").write_text("\n".join(words))
    config = transformers.BertConfig(
        vocab_size=len(words), hidden_size=DIMENSIONS, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32
    )
    transformers.BertModel(config).save_pretrained(raw)
    transformers.BertTokenizer(str(raw / "vocab.txt")).save_pretrained(raw)
    made.SentenceTransformer(str(raw), device="cpu").save(str(whole))
    return whole


def test_vectors_have_length_one(folder: Path) -> None:
    model = open_sentence_transformer(folder, DIMENSIONS)
    rows = model.embed(["toner paper", "printer", "toner paper"])
    assert rows.shape == (3, DIMENSIONS)
    assert np.allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)
    assert np.allclose(rows[0], rows[2], atol=1e-5)

    async def run() -> None:
        embedder = AsyncEmbedder(partial(open_sentence_transformer, folder, DIMENSIONS), "st", DIMENSIONS)
        assert (await embedder.vectors(["toner", "paper"])).shape == (2, DIMENSIONS)
        assert embedder.status() == f"st: sentence-transformers, {DIMENSIONS} dimensions"
        await embedder.close()

    asyncio.run(run())


def test_other_dimensions_and_no_model_are_told(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(EmbedderAbsent, match="has 16 dimensions, not 17"):
        open_sentence_transformer(folder, 17)
    with pytest.raises(EmbedderAbsent, match="can't be loaded"):
        open_sentence_transformer(tmp_path, DIMENSIONS)


def test_a_library_that_is_missing_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "sentence_transformers", None)
    with pytest.raises(EmbedderAbsent, match="pip install sentence-transformers"):
        open_sentence_transformer(tmp_path, DIMENSIONS)

    async def run() -> None:
        embedder = AsyncEmbedder(partial(open_sentence_transformer, tmp_path, DIMENSIONS), "st", DIMENSIONS)
        with pytest.raises(Unavailable):
            await embedder.vectors(["toner"])
        await embedder.close()

    asyncio.run(run())
