"""The databases of ledger, keys and audit."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="module", params=["sqlite", pytest.param("postgres", marks=pytest.mark.slow)])
def url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The address of one that is empty when the module begins; see `tests.databases.emptied`."""
    folder: Path = tmp_path_factory.mktemp("database")
    if request.param == "sqlite":
        return f"sqlite:///{folder / 'gatehouse.sqlite'}"
    address: str = request.getfixturevalue("postgres_url")
    return address
