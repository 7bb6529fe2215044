"""Writes the ledger's tables: rows with their attempts and sums by hour; and takes single rows out that are too old."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from access.ledger.entry import COUNTS, NOBODY_KNOWS, WHOSE, Entry

if TYPE_CHECKING:
    from access.database.store import Database

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS


async def insert(database: Database, entries: Sequence[Entry]) -> int:
    """Adds the rows that are not there yet, and their sums by hour, in one transaction. Gives how many were new."""
    from sqlalchemy import insert as insert_into
    from sqlalchemy import select

    from access.database.tables import ATTEMPTS, REQUESTS

    unique = {each.id: each for each in entries}
    async with asyncio.timeout(10), database.engine.begin() as connection:
        if database.is_sqlite:
            await database.lock(connection)
        known = await connection.execute(select(REQUESTS.c.id).where(REQUESTS.c.id.in_(list(unique))))
        for (identity,) in known:
            del unique[identity]
        if not unique:
            return 0
        await connection.execute(insert_into(REQUESTS), [each.row() for each in unique.values()])
        attempts = [
            {"request": each.id, **msgspec.structs.asdict(attempt)}
            for each in unique.values()
            for attempt in each.attempts
        ]
        if attempts:
            await connection.execute(insert_into(ATTEMPTS), attempts)
        await _add_up(database, connection, list(unique.values()))
    return len(unique)


FAILURES = frozenset({"error", "cut", NOBODY_KNOWS})
_MOST = 2**63 - 1
_SUMS = (*COUNTS, "cost")


async def _add_up(database: Database, connection: Any, entries: Sequence[Entry]) -> None:
    """The sums by hour."""
    from sqlalchemy import BigInteger, case, literal_column

    from access.database.tables import HOURS

    if database.is_sqlite:
        from sqlalchemy.dialects.sqlite import insert as upsert
    else:
        from sqlalchemy.dialects.postgresql import insert as upsert  # type: ignore[assignment]
    sums: dict[tuple[Any, ...], list[int]] = {}
    for each in entries:
        key = (each.at_ms - each.at_ms % HOUR_MS, *(getattr(each, name) for name in WHOSE))
        counts = {"requests": 1, "failures": each.outcome in FAILURES, "unpriced": each.cost is None}
        new = [counts[name] if name in counts else getattr(each, name) or 0 for name in _SUMS]
        so_far = sums.get(key, [0] * len(_SUMS))
        sums[key] = [min(old + int(more), _MOST) for old, more in zip(so_far, new, strict=True)]
    statement = upsert(HOURS)
    # A sum that the column can't hold would keep every other row from the database.
    full = {name: HOURS.c[name] > literal_column(str(_MOST), BigInteger) - statement.excluded[name] for name in _SUMS}
    added = {
        name: case((full[name], literal_column(str(_MOST), BigInteger)), else_=HOURS.c[name] + statement.excluded[name])
        for name in _SUMS
    }
    statement = statement.on_conflict_do_update(index_elements=["hour_ms", *WHOSE], set_=added)
    # In one order, so that replicas never wait for each other in a circle.
    rows = [
        dict(zip(("hour_ms", *WHOSE, *_SUMS), (*key, *values), strict=True)) for key, values in sorted(sums.items())
    ]
    await connection.execute(statement, rows)


def oldest_id(retention_days: int, now: float | None = None) -> str:
    """No single request that is kept has an id before this one."""
    return f"{int((now or time.time()) * 1e9) - retention_days * DAY_MS * 1_000_000:016x}"


async def sweep(database: Database, retention_days: int, now: float | None = None) -> int:
    """Removes single requests that are too old, a few thousand at a time; the sums by hour stay."""
    from sqlalchemy import delete, select

    from access.database.tables import ATTEMPTS, REQUESTS

    oldest = oldest_id(retention_days, now)
    removed = 0
    while True:
        async with database.engine.begin() as connection:
            if database.is_sqlite:
                await database.lock(connection)
            found = await connection.execute(
                select(REQUESTS.c.id).where(REQUESTS.c.id < oldest).order_by(REQUESTS.c.id).limit(2000)
            )
            ids = [row[0] for row in found]
            if not ids:
                return removed
            await connection.execute(delete(ATTEMPTS).where(ATTEMPTS.c.request.in_(ids)))
            await connection.execute(delete(REQUESTS).where(REQUESTS.c.id.in_(ids)))
        removed += len(ids)
        await asyncio.sleep(0.05)
