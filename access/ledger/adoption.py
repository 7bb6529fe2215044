"""Adopts the journals of dead processes: their rows go to the database, unreadable lines are set aside."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import structlog

from access.ledger.entry import PICO, LedgerEntry, Reservation
from access.ledger.lines import UnreadableLine, read_journal
from access.ledger.rows import insert, oldest_id
from access.ledger.set_aside import OLD_SUFFIX, SetAsideLines, Stat, is_still, locked, replace, stat_of
from access.limits.counters import SPEND, Charge, Settlement, Unreachable
from contract.rules import NANO

if TYPE_CHECKING:
    from access.database.store import Database

Settle: TypeAlias = Callable[[str, Sequence[Settlement]], Awaitable[object]]
BATCH = 500
# How many of the last finished requests may be unsettled when a process dies.
MOST_UNSETTLED = 2_000


async def settle_ended(settle: Settle | None, ended: Iterable[tuple[Reservation, LedgerEntry]]) -> None:
    """Settles finished requests with counters that outlive the process; an already settled request changes nothing."""
    for reservation, row in ended:
        if settle is None or row.cost is None or not reservation.cost:
            continue
        spent = -(-row.cost // (PICO // NANO))
        settlements = [
            Settlement(Charge(key, SPEND, 0, reservation.cost, window_us, ends_us), spent)
            for key, window_us, ends_us in reservation.budgets
        ]
        if settlements:
            with contextlib.suppress(Unreachable):
                await settle(row.id, settlements)


class Adoption:
    """Writes the rows of journal files to the database, one file at a time. Raises database errors and `OSError`."""

    def __init__(self, database: Database, aside: SetAsideLines, retention_days: int) -> None:
        self._database = database
        self._aside = aside
        self._retention_days = retention_days
        # The counters' `settle`, if they outlive a process.
        self.settle: Settle | None = None

    async def adopt(self, path: Path) -> None:
        """Adopts the journal of a dead process."""
        unreadable = await self._read(path)
        await asyncio.to_thread(self._put_away, path, unreadable)

    def _put_away(self, path: Path, unreadable: list[UnreadableLine]) -> None:
        # Unreadable lines are set aside first: if this process is killed now, the next one reads both again.
        self._aside.keep(path, unreadable)
        path.unlink(missing_ok=True)

    async def retry_set_aside(self) -> None:
        """Retries lines that were set aside: this version may be newer, or somebody may have repaired them."""
        for path in await asyncio.to_thread(self._aside.changed_files):
            with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
                # Another process holds the lock, and appends to the file.
                if not (locked(file) and is_still(file, path)):
                    continue
                if path.suffix == OLD_SUFFIX:
                    # Its rows are in the database or were swept from it since: swept rows must not count again.
                    unreadable = await self._read(path, oldest_id(self._retention_days))
                    await asyncio.to_thread(self._put_away, path, unreadable)
                else:
                    before = stat_of(path)
                    unreadable = await self._read(path)
                    await asyncio.to_thread(self._keep_rest, path, before, unreadable)
        await asyncio.to_thread(self._aside.refresh)

    def _keep_rest(self, path: Path, before: Stat, unreadable: list[UnreadableLine]) -> None:
        lines = [each.data for each in unreadable]
        # Somebody changed the file meanwhile: their changes stay, and it is read again.
        if stat_of(path) != before:
            return
        if not lines or sum(map(len, lines)) + len(lines) < before[2]:
            replace(path, lines)
        if lines:
            structlog.get_logger().warning(
                "lines of a journal still can't be read", set_aside=str(path), lines=len(lines)
            )
            self._aside.mark_read(path)

    async def _read(self, path: Path, oldest: str = "") -> list[UnreadableLine]:
        """Writes its rows from the id `oldest` on to the database; returns the unreadable lines."""
        unreadable: list[UnreadableLine] = []
        in_flight: dict[str, Reservation] = {}
        ended: deque[tuple[Reservation, LedgerEntry]] = deque(maxlen=MOST_UNSETTLED)
        for entries, broken in read_journal(path, BATCH, in_flight, ended):
            unreadable += broken
            if new := [each for each in entries if each.id >= oldest]:
                await insert(self._database, new)
        unknown = [each.as_entry() for each in in_flight.values() if each.id >= oldest]
        # A row that is already in the database stays as it is.
        count = sum([await insert(self._database, unknown[at : at + BATCH]) for at in range(0, len(unknown), BATCH)])
        await settle_ended(self.settle, [*ended, *((each, each.as_entry()) for each in in_flight.values())])
        if count:
            structlog.get_logger().error(
                "a process died with requests in flight: their reservations count as spent", requests=count
            )
        return unreadable
