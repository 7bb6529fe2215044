"""sentence-transformers models from a local folder; nothing is downloaded."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rag.embedder import EmbedderAbsent

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class SentenceTransformerModel:
    """Implements `rag.async_embedder.Model`. Blocking; use it from one thread."""

    runs = "sentence-transformers"

    def __init__(self, model: Any) -> None:
        self._model = model

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Returns unit vectors, (len(texts), dimensions)."""
        import numpy as np

        rows = self._model.encode(list(texts), normalize_embeddings=True, show_progress_bar=False)
        return np.asarray(rows, dtype=np.float32)


def open_sentence_transformer(folder: Path, dimensions: int) -> SentenceTransformerModel:
    """Loads the model in `folder`. Raises `EmbedderAbsent`."""
    try:
        from sentence_transformers import SentenceTransformer  # type: ignore[import-not-found]
    except ImportError as error:
        raise EmbedderAbsent(f"{error.name or error} is not installed: pip install sentence-transformers") from None
    try:
        model = SentenceTransformerModel(SentenceTransformer(str(folder), device="cpu", local_files_only=True))
        actual = model.embed(["dimensions"]).shape[1]
    except Exception as error:
        # torch, transformers and safetensors raise many kinds of errors.
        raise EmbedderAbsent(f"the model in {folder} can't be loaded: {error}") from error
    if actual != dimensions:
        raise EmbedderAbsent(f"the model in {folder} has {actual} dimensions, not {dimensions}: change dimensions")
    return model
