"""Embeddings on disk by content, so that a document is embedded once and not at each start."""

from __future__ import annotations

import hashlib
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def digest(text: str) -> bytes:
    """The key of a text: 16 bytes."""
    return hashlib.sha256(text.encode("utf-8", "replace")).digest()[:16]


def read_vectors(path: Path) -> dict[bytes, NDArray[np.float32]]:
    """The vectors by key; empty when there is no such file or it is damaged, since they can be made again."""
    import numpy as np

    try:
        with np.load(path, allow_pickle=False) as stored:
            keys, vectors = stored["keys"], stored["vectors"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return {}
    if vectors.ndim != 2 or vectors.dtype != np.float32 or keys.shape != (len(vectors), 16) or keys.dtype != np.uint8:
        return {}
    return {key.tobytes(): vector for key, vector in zip(keys, vectors, strict=True)}


def write_vectors(path: Path, texts: Sequence[str], vectors: NDArray[np.float32]) -> None:
    """Replaces the file, in one step: (n, 16) bytes of keys and (n, dimensions) float32. Raises `OSError`."""
    import numpy as np

    path.parent.mkdir(parents=True, exist_ok=True)
    keys = np.frombuffer(b"".join(digest(text) for text in texts), dtype=np.uint8).reshape(-1, 16)
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=path.name, suffix=".part", delete=False) as file:
        np.savez(file, keys=keys, vectors=vectors)
    Path(file.name).replace(path)
