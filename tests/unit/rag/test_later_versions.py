"""A store that a later version has changed is left as it is: this one would read it wrongly, and write nonsense."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import pytest

from rag.postgres_store import PostgresStore
from rag.sqlite_store import SqliteStore
from rag.store import LAYOUT

REFUSED = f"layout {LAYOUT + 1}; this version supports {LAYOUT}.*start that version"


def test_a_file(tmp_path: Path) -> None:
    path = tmp_path / "source.sqlite"

    async def run() -> None:
        store = SqliteStore(path)
        await store.open()
        await store.inherit(())
        await store.close()
        connection = sqlite3.connect(path)
        connection.execute(f"PRAGMA user_version = {LAYOUT + 1}")
        connection.close()
        before = path.read_bytes()
        later = SqliteStore(path)
        with pytest.raises(OSError, match=REFUSED):
            await later.open()
        await later.close()
        assert path.read_bytes() == before

    asyncio.run(run())


def test_a_schema(postgres_url: str) -> None:
    async def run(url: str) -> None:
        import asyncpg  # type: ignore[import-untyped]

        store = PostgresStore(url, "later")
        await store.open()
        await store.inherit(())
        await store.close()
        connection = await asyncpg.connect(url)
        await connection.execute(f"UPDATE gatehouse_later.layout SET version = {LAYOUT + 1}")
        await connection.close()
        later = PostgresStore(url, "later")
        with pytest.raises(OSError, match=REFUSED):
            await later.open()
        await later.close()

    asyncio.run(run(postgres_url))
