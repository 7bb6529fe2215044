"""What tests do with a database of ours."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from sqlalchemy import delete

from access.database.store import Database
from access.database.tables import METADATA

Result = TypeVar("Result")


def emptied(url: str, act: Callable[[Database], Awaitable[Result]]) -> Result:
    """What `act` gives on a database without rows."""

    async def run() -> Result:
        database = Database(url)
        try:
            await database.prepare()
            await change(database, *map(delete, METADATA.tables.values()))
            return await act(database)
        finally:
            await database.close()

    return asyncio.run(run())


async def change(database: Database, *statements: Any) -> None:
    """All of it in one transaction, alone."""
    async with database.engine.begin() as connection:
        await database.lock(connection)
        for statement in statements:
            await connection.execute(statement)
