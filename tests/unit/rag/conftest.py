from __future__ import annotations

from pathlib import Path

import pytest

from rag.embedder import Embedder, EmbedderAbsent, open_embedder


@pytest.fixture(scope="session")
def embedder() -> Embedder:
    """The model that ships. Without its libraries, its tests are skipped, which in CI is a failure."""
    try:
        return open_embedder()
    except EmbedderAbsent as error:
        pytest.skip(f"no embedding model: {error}")


@pytest.fixture(scope="session")
def demo_documents() -> Path:
    return Path(__file__).parents[3] / "config" / "examples" / "demo-documents"
