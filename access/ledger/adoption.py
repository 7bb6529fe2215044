"""What becomes of the files of processes that died: their rows go to the database, and what can't be read aside."""

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
from access.ledger.set_aside import WHOLE, SetAsideLines, Stat, is_still, locked, replace, stat_of
from access.limits.counters import SPEND, Charge, Settlement, Unreachable
from contract.rules import NANO

if TYPE_CHECKING:
    from access.database.store import Database

Settle: TypeAlias = Callable[[str, Sequence[Settlement]], Awaitable[object]]
BATCH = 500
# So many of those who ended last may not have been settled when their process died.
MOST_UNSETTLED = 2_000


async def settle_ended(settle: Settle | None, ended: Iterable[tuple[Reservation, LedgerEntry]]) -> None:
    """Tells counters that outlive a process what it may not have told them; who has settled changes nothing."""
    for reservation, row in ended:
        if settle is None or row.cost is None or not reservation.cost:
            continue
        spent = -(-row.cost // (PICO // NANO))
        told = [
            Settlement(Charge(key, SPEND, 0, reservation.cost, window_us, ends_us), spent)
            for key, window_us, ends_us in reservation.budgets
        ]
        if told:
            with contextlib.suppress(Unreachable):
                await settle(row.id, told)


class Adoption:
    """Brings files to the database, one at a time. Raises as a database, or `OSError`."""

    def __init__(self, database: Database, aside: SetAsideLines, retention_days: int) -> None:
        self._database = database
        self._aside = aside
        self._retention_days = retention_days
        # The counters' own, where they outlive a process.
        self.settle: Settle | None = None

    async def adopt(self, path: Path) -> None:
        """The journal of a process that died."""
        unreadable = await self._read(path)
        await asyncio.to_thread(self._put_away, path, unreadable)

    def _put_away(self, path: Path, unreadable: list[UnreadableLine]) -> None:
        # First what can't be read: a process that is killed in between reads both once more.
        self._aside.keep(path, unreadable)
        path.unlink(missing_ok=True)

    async def take_again(self) -> None:
        """What was kept aside, as far as this version can read it: it may be a later one, or somebody has mended it."""
        for path in await asyncio.to_thread(self._aside.unseen):
            with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
                # Who has the lock is another process, and adds to it.
                if not (locked(file) and is_still(file, path)):
                    continue
                if path.suffix == WHOLE:
                    # Its rows are in the database, or were swept from there since: those don't count again.
                    unreadable = await self._read(path, oldest_id(self._retention_days))
                    await asyncio.to_thread(self._put_away, path, unreadable)
                else:
                    before = stat_of(path)
                    unreadable = await self._read(path)
                    await asyncio.to_thread(self._keep_rest, path, before, unreadable)
        await asyncio.to_thread(self._aside.look)

    def _keep_rest(self, path: Path, before: Stat, unreadable: list[UnreadableLine]) -> None:
        lines = [each.data for each in unreadable]
        # Who has changed it meanwhile finds what they wrote: it is read again.
        if stat_of(path) != before:
            return
        if not lines or sum(map(len, lines)) + len(lines) < before[2]:
            replace(path, lines)
        if lines:
            structlog.get_logger().warning("lines of a journal still can't be read", kept=str(path), lines=len(lines))
            self._aside.seen(path)

    async def _read(self, path: Path, oldest: str = "") -> list[UnreadableLine]:
        """Its rows go to the database, from `oldest` on; gives what can't be read."""
        unreadable: list[UnreadableLine] = []
        in_flight: dict[str, Reservation] = {}
        ended: deque[tuple[Reservation, LedgerEntry]] = deque(maxlen=MOST_UNSETTLED)
        for entries, broken in read_journal(path, BATCH, in_flight, ended):
            unreadable += broken
            if new := [each for each in entries if each.id >= oldest]:
                await insert(self._database, new)
        unknown = [each.as_entry() for each in in_flight.values() if each.id >= oldest]
        # Those whose row has come another way are known, and stay as they are.
        count = sum([await insert(self._database, unknown[at : at + BATCH]) for at in range(0, len(unknown), BATCH)])
        await settle_ended(self.settle, [*ended, *((each, each.as_entry()) for each in in_flight.values())])
        if count:
            structlog.get_logger().error(
                "a process died with requests under way: what they had reserved counts as spent", requests=count
            )
        return unreadable
