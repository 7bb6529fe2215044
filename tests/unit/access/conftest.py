"""What access stands on: the databases of ledger, keys and audit, and the Redis of the counters."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.services import RedisServer, postgres_server, redis_server


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of one that is empty when the module begins; see `tests.databases.emptied`."""
    folder: Path = tmp_path_factory.mktemp("database")
    if request.param == "sqlite":
        yield f"sqlite:///{folder / 'gatehouse.sqlite'}"
    else:
        with postgres_server() as address:
            yield address


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A Redis that a module has for itself."""
    with redis_server(tmp_path_factory.mktemp("redis")) as server:
        yield server
