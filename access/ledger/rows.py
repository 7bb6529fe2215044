"""Writes the ledger's tables: rows with their attempts and hourly sums. Removes single rows that are too old."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from access.ledger.entry import COUNTS, INTERRUPTED, UNKNOWN_OUTCOME, WHOSE, LedgerEntry

if TYPE_CHECKING:
    from access.database.store import Database

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS


async def insert(database: Database, entries: Sequence[LedgerEntry]) -> int:
    """Adds new rows and updates the hourly sums, in one transaction. Returns how many rows were new.

    A row replaces an earlier one of the same request with an unknown outcome.
    """
    from sqlalchemy import insert as insert_into
    from sqlalchemy import select

    from access.database.tables import ATTEMPTS, REQUESTS

    unique = {each.id: each for each in entries}
    async with asyncio.timeout(10), database.engine.begin() as connection:
        if database.is_sqlite:
            await database.lock(connection)
        query = select(REQUESTS.c.id, REQUESTS.c.outcome).where(REQUESTS.c.id.in_(list(unique)))
        unknown = []
        for identity, outcome in await connection.execute(query):
            if outcome == UNKNOWN_OUTCOME != unique[identity].outcome:
                unknown.append(identity)
            else:
                del unique[identity]
        if not unique:
            return 0
        if unknown:
            await _remove(connection, unknown)
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


FAILURES = frozenset({"error", *INTERRUPTED, UNKNOWN_OUTCOME})
_MOST = 2**63 - 1
_SUMS = (*COUNTS, "cost")


def _counted(value: Callable[[str], Any]) -> list[int]:
    """What a row adds to each of `_SUMS`; `value` returns a field by name."""
    counts = {"requests": 1, "failures": value("outcome") in FAILURES, "unpriced": value("cost") is None}
    return [int(counts[name]) if name in counts else value(name) or 0 for name in _SUMS]


async def _remove(connection: Any, ids: Sequence[str]) -> None:
    """Removes rows with their attempts, and subtracts them from the hourly sums."""
    from sqlalchemy import delete, select, update

    from access.database.tables import ATTEMPTS, HOURS, REQUESTS

    for row in (await connection.execute(select(REQUESTS).where(REQUESTS.c.id.in_(ids)))).mappings().all():
        hour_ms = row["at_ms"] - row["at_ms"] % HOUR_MS
        hour = (HOURS.c.hour_ms == hour_ms, *(HOURS.c[name] == row[name] for name in WHOSE))
        less = {name: HOURS.c[name] - count for name, count in zip(_SUMS, _counted(row.__getitem__), strict=True)}
        await connection.execute(update(HOURS).where(*hour).values(less))
        await connection.execute(delete(HOURS).where(*hour, HOURS.c.requests <= 0))
    await connection.execute(delete(ATTEMPTS).where(ATTEMPTS.c.request.in_(ids)))
    await connection.execute(delete(REQUESTS).where(REQUESTS.c.id.in_(ids)))


async def _add_up(database: Database, connection: Any, entries: Sequence[LedgerEntry]) -> None:
    """Adds rows to the hourly sums."""
    from sqlalchemy import BigInteger, case, literal_column

    from access.database.tables import HOURS

    if database.is_sqlite:
        from sqlalchemy.dialects.sqlite import insert as upsert
    else:
        from sqlalchemy.dialects.postgresql import insert as upsert  # type: ignore[assignment]
    sums: dict[tuple[Any, ...], list[int]] = {}
    for each in entries:
        key = (each.at_ms - each.at_ms % HOUR_MS, *(getattr(each, name) for name in WHOSE))
        new = _counted(partial(getattr, each))
        so_far = sums.get(key, [0] * len(_SUMS))
        sums[key] = [min(old + more, _MOST) for old, more in zip(so_far, new, strict=True)]
    statement = upsert(HOURS)
    # A sum that overflows the column would block all other rows, so it stays at the largest value.
    full = {name: HOURS.c[name] > literal_column(str(_MOST), BigInteger) - statement.excluded[name] for name in _SUMS}
    added = {
        name: case((full[name], literal_column(str(_MOST), BigInteger)), else_=HOURS.c[name] + statement.excluded[name])
        for name in _SUMS
    }
    statement = statement.on_conflict_do_update(index_elements=["hour_ms", *WHOSE], set_=added)
    # Sorted, so that replicas never deadlock.
    rows = [
        dict(zip(("hour_ms", *WHOSE, *_SUMS), (*key, *values), strict=True)) for key, values in sorted(sums.items())
    ]
    await connection.execute(statement, rows)


def oldest_id(retention_days: int, now: float | None = None) -> str:
    """The smallest id of single requests that are within the retention."""
    return f"{int((now or time.time()) * 1e9) - retention_days * DAY_MS * 1_000_000:016x}"


async def sweep(database: Database, retention_days: int, now: float | None = None) -> int:
    """Removes single requests that are too old, 2,000 at a time; the hourly sums stay."""
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
