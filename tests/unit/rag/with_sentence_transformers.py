"""A model of sentence-transformers from a folder. `test_sentence_transformers.py` runs this file with the library."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rag.async_embedder import AsyncEmbedder
from rag.embedder import EmbedderAbsent
from rag.sentence_transformers import open_sentence_transformer
from tests.live import running_gateway
from tests.processes import until

DIMENSIONS = 16
YAML = """
version: 1
server: {{data: "{folder}/data"}}
providers: {{up: {{kind: simulated, script: echo}}}}
models: {{plain: {{targets: [up/m]}}, answered: {{pipeline: answered}}}}
sources:
  notes:
    kind: folder
    path: "{folder}/notes"
    embedder: {{sentence_transformers: "{model}", dimensions: 16}}
    search: {{fusion: meaning}}
apps: {{one: {{keys: [test-key], ingest: [notes]}}}}
pipelines: {{answered: {{context: {{from: [notes]}}, model: plain}}}}
observe: {{log: "off"}}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model with weights drawn at random."""
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


def test_a_source_is_searched_by_its_vectors(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "toner.txt").write_text("toner toner paper")
    (tmp_path / "notes" / "printer.txt").write_text("printer")
    with running_gateway(YAML.format(folder=tmp_path, model=folder), tmp_path) as gateway:

        def found() -> list[str]:
            answer = gateway.request("POST", "/v1/sources/notes/search", {"query": "printer", "top": 1})
            return [each["document"] for each in answer.json()["data"]]

        until(lambda: found() == ["printer.txt"])
        # Full-text search answers before the documents are embedded.
        until(lambda: "full-text and vector search" in gateway.request("GET", "/health").body.decode())
        assert found() == ["printer.txt"]
