from __future__ import annotations

import os
from pathlib import Path

import pytest

from rag.embedder import Embedder, EmbedderAbsent, open_embedder


@pytest.fixture(scope="session")
def embedder() -> Embedder:
    """The model that ships. Without its libraries, its tests are skipped; in CI that is a failure."""
    try:
        return open_embedder()
    except EmbedderAbsent as error:
        if os.environ.get("CI") == "true":
            pytest.fail(f"CI needs the embedding model: {error}")
        pytest.skip(f"no embedding model: {error}")


@pytest.fixture(scope="session")
def demo_documents() -> Path:
    return Path(__file__).parents[3] / "config" / "examples" / "demo-documents"
