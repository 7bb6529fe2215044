"""The built-in embedding model: all-MiniLM-L6-v2 (Apache 2.0) as int8 on onnxruntime, one thread, no torch.

`training/minilm.py` exports the model file.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from onnxruntime import InferenceSession  # type: ignore[import-untyped]
    from tokenizers import Tokenizer

NAME = "minilm"
DIMENSIONS = 384
MAX_TOKENS = 256
MODEL = Path(__file__).parent / "model" / "minilm.onnx"
TOKENIZER = MODEL.with_name("tokenizer.json")
# The model reads only the start of a longer text, so the rest is not tokenized.
_MAX_CHARACTERS = 20_000


class EmbedderAbsent(Exception):
    """There is no embedding model; the message gives the reason."""


class Embedder:
    """Computes vectors of texts. Blocking: 1 ms for a question, 5 to 15 ms for a passage; use it from one thread."""

    name = NAME
    dimensions = DIMENSIONS
    runs = "int8 on onnxruntime"

    def __init__(self, session: InferenceSession, tokenizer: Tokenizer) -> None:
        self._session = session
        self._tokenizer = tokenizer

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Returns unit vectors, (len(texts), 384). Only the first 256 tokens of a text count."""
        import numpy as np

        vectors = np.empty((len(texts), DIMENSIONS), dtype=np.float32)
        for row, text in enumerate(texts):
            ids = np.array([self._tokenizer.encode(text[:_MAX_CHARACTERS]).ids], dtype=np.int64)
            vectors[row] = self._session.run(["vector"], {"ids": ids})[0]
        return vectors


def open_embedder(model: Path = MODEL) -> Embedder:
    """Loads the model. Raises `EmbedderAbsent` when a library is not installed or the file can't be read."""
    try:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        # Without the arena, memory is released after a long text; the speed is the same.
        options.enable_cpu_mem_arena = False
        options.log_severity_level = 3
        session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
        return Embedder(session, open_tokenizer(TOKENIZER))
    except ImportError as error:
        raise EmbedderAbsent(f"{error.name or error} is not installed: gatehouse-platform[embeddings]") from None
    except Exception as error:
        # onnxruntime and tokenizers raise their own error classes for a broken file.
        raise EmbedderAbsent(f"the model can't be loaded: {error}") from error


def open_tokenizer(file: Path) -> Tokenizer:
    """The model's WordPiece tokenizer, which truncates at MAX_TOKENS and never pads."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(file))
    tokenizer.no_padding()
    tokenizer.enable_truncation(MAX_TOKENS)
    return tokenizer
