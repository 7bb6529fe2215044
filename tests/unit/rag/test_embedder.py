from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from contract.embedding import Embeds
from contract.errors import Unavailable
from rag.async_embedder import AsyncEmbedder
from rag.embedder import Embedder, EmbedderAbsent, open_embedder

ROOT = Path(__file__).parents[3]
TEXTS = [
    "How fast is the printer?",
    "",
    "word " * 600,
    "\u00dcber den Wolken \u4e2d\u6587 \U0001f600",
    "Does it print on A3 paper?",
]


def test_vectors_have_length_one_and_the_right_shape(embedder: Embedder) -> None:
    vectors = embedder.embed(TEXTS)
    assert vectors.shape == (len(TEXTS), embedder.dimensions) == (5, 384)
    assert vectors.dtype == "float32"
    assert ((vectors**2).sum(1) ** 0.5).tolist() == pytest.approx([1.0] * 5, abs=1e-5)
    assert embedder.embed([]).shape == (0, 384)


def test_a_vector_does_not_depend_on_its_neighbours(embedder: Embedder) -> None:
    together = embedder.embed(TEXTS)
    for row, text in enumerate(TEXTS):
        assert (embedder.embed([text])[0] == together[row]).all()


def test_near_to_the_float32_computation(embedder: Embedder) -> None:
    expected = json.loads((Path(__file__).parent / "minilm_float32.json").read_text())
    for text, vector in expected.items():
        assert float(embedder.embed([text])[0] @ vector) >= 0.98


def test_meaning_is_nearer_than_words(embedder: Embedder) -> None:
    question, same, other = embedder.embed(
        ["How loud is the machine?", "The noise level is 52 decibels.", "The machine is how we deliver machines."]
    )
    assert question @ same > question @ other


def test_loading_brings_no_torch(embedder: Embedder) -> None:
    code = (
        "import sys; from rag.embedder import open_embedder; open_embedder()\n"
        "assert not {'torch', 'onnx', 'sentence_transformers'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=60)


def test_a_damaged_file_is_a_reason_and_no_crash(embedder: Embedder, tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"not a model")
    with pytest.raises(EmbedderAbsent, match="can't be loaded"):
        open_embedder(tmp_path / "model.onnx")


def test_async_embeds_while_the_loop_runs_on(embedder: Embedder) -> None:
    async def run() -> None:
        worker: Embeds = (found := AsyncEmbedder(lambda: embedder))
        assert not worker.ready
        assert "loading" in worker.status()
        found.start()
        turns = 0
        embedding = asyncio.create_task(worker.embed(["A rather long sentence about printers. " * 20] * 20))
        while not embedding.done():
            await asyncio.sleep(0.001)
            turns += 1
        assert len(embedding.result()) == 20
        assert worker.ready
        assert turns > 5
        await found.close()
        with pytest.raises(Unavailable):
            await worker.embed(["x"])

    asyncio.run(run())


@pytest.mark.guarantee("fairness", "One caller's many texts to embed do not block other callers")
def test_between_two_batches_of_one_call_others_have_their_turn() -> None:
    class Gated:
        runs = "gated"

        def __init__(self) -> None:
            self.sizes: list[int] = []
            self.entered = threading.Semaphore(0)
            self.go = threading.Semaphore(0)

        def embed(self, texts: Sequence[str]) -> Any:
            import numpy as np

            self.sizes.append(len(texts))
            self.entered.release()
            assert self.go.acquire(timeout=20)
            return np.zeros((len(texts), 2), dtype=np.float32)

    async def run() -> None:
        model = Gated()
        worker = AsyncEmbedder(lambda: model, "gated", 2)
        worker.start()
        assert await worker.wait()
        many = asyncio.create_task(worker.embed(["text"] * 800))
        assert await asyncio.to_thread(model.entered.acquire, timeout=20)
        one = asyncio.create_task(worker.embed(["a question"]))
        await asyncio.sleep(0)
        for _ in range(3):
            model.go.release()
            assert await asyncio.to_thread(model.entered.acquire, timeout=20)
        await asyncio.wait_for(one, 20)
        assert 1 in model.sizes[:3]
        many.cancel()
        for _ in range(5):
            model.go.release()
        await asyncio.wait({many})
        await worker.close()

    asyncio.run(run())


def test_async_without_a_model_says_why() -> None:
    def absent() -> Embedder:
        raise EmbedderAbsent("onnxruntime is not installed")

    async def run() -> None:
        worker = AsyncEmbedder(absent)
        assert not await worker.wait()
        assert worker.status() == "minilm: absent, retrieval uses term overlap (onnxruntime is not installed)"
        with pytest.raises(Unavailable, match="onnxruntime is not installed"):
            await worker.embed(["x"])
        await worker.close()

    asyncio.run(run())


def test_nothing_heavy_is_imported_before_it_is_used() -> None:
    code = (
        "import sys, rag.source, rag.sqlite_store, rag.async_embedder, rag.assemble, gateway.providers.extractive\n"
        "assert not {'numpy', 'onnxruntime', 'tokenizers', 'onnx'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=60)


def test_numpy_is_there_before_any_thread_imports_it() -> None:
    """Two threads that import it for the first time at once can break each other's import."""
    code = (
        "import asyncio, sys\n"
        "from rag.async_embedder import AsyncEmbedder\n"
        "async def run():\n"
        "    embedder = AsyncEmbedder(lambda: (_ for _ in ()).throw(RuntimeError('none')))\n"
        "    assert 'numpy' not in sys.modules\n"
        "    embedder.start()\n"
        "    assert 'numpy' in sys.modules\n"
        "    await embedder.close()\n"
        "asyncio.run(run())\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
