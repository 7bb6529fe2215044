"""Servers that a test process starts once: each module gets a database of its own on the same PostgreSQL."""

from __future__ import annotations

import asyncio
import signal
import uuid
from collections.abc import Iterator

import asyncpg  # type: ignore[import-untyped]
import pytest

from tests.services import PostgresServer, RedisServer, postgres_process, redis_server

ROLES = "SELECT rolname FROM pg_roles WHERE NOT rolsuper AND rolname !~ '^pg_'"


def pytest_sessionstart() -> None:
    """Processes that tests start end by Ctrl-C, also where the tests run in the background, which ignores it."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def postgres_cluster() -> Iterator[PostgresServer]:
    """Shared by all modules: tests that stop or stall a server start one themselves, by `postgres_process`."""
    with postgres_process() as server:
        yield server


@pytest.fixture(scope="module")
def postgres_url(postgres_cluster: PostgresServer) -> Iterator[str]:
    """The address of an empty database for its superuser. It goes with the module, and so do the roles it made."""
    name = f"test_{uuid.uuid4().hex}"
    asyncio.run(_execute(postgres_cluster.url, f"CREATE DATABASE {name}"))
    yield postgres_cluster.url.replace("/postgres?", f"/{name}?")
    asyncio.run(_drop(postgres_cluster.url, name))


async def _execute(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


async def _drop(url: str, name: str) -> None:
    await _execute(url, f"DROP DATABASE {name} WITH (FORCE)")
    connection = await asyncpg.connect(url)
    try:
        for (role,) in await connection.fetch(ROLES):
            await connection.execute(f'DROP ROLE "{role}"')
    finally:
        await connection.close()


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A Redis that a module has for itself."""
    with redis_server(tmp_path_factory.mktemp("redis")) as server:
        yield server
