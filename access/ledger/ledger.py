"""The ledger: every request and attempt, kept for good. Nothing in the path of a request waits for its database.

Who begins is on disk before anything is asked of a provider, and the row before its budgets are settled: so whenever
the process is killed, what it had reserved and not settled is in the journal, and becomes a row that says so.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from access.database.problems import SchemaTooNew
from access.ledger.adoption import Adoption, Settle
from access.ledger.entry import LedgerEntry, Reservation, entry_of
from access.ledger.journal import Journal
from access.ledger.rows import insert, sweep

if TYPE_CHECKING:
    from access.database.store import Database
    from contract.exchange import Exchange

# How long a finished request is in memory only.
DISK_S = 0.05
EVERY_S = 0.2
SYNC_S = 1.0
# How often journals are looked for whose processes have died, and how long one waits for another who does.
ADOPT_S = 10.0
ADOPTING_S = 20.0
# How often a database is asked whether it takes rows while there are none.
ASK_S = 2.0
BATCH = 500
# So many rows are written to the disk in one go.
MOST_AT_ONCE = 2_000
# While the disk is full, this is how often it is tried again, and so much is held in memory.
FULL_S = 1.0
MOST_HELD = 200_000
LONGEST_PAUSE_S = 5.0
SWEEP_S = 3600.0


class Ledger:
    """One process's writer."""

    def __init__(self, database: Database, folder: Path, retention_days: int) -> None:
        self._database = database
        self._folder = folder
        self._retention_days = retention_days
        self._waiting: deque[Exchange] = deque()
        self._held: list[LedgerEntry] = []
        self._journal: Journal | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._flushing = asyncio.Lock()
        self._adopting = asyncio.Lock()
        # The counters' own, where they outlive a process.
        self.settle: Settle | None = None
        self._adoption: Adoption | None = None
        self._heard = -math.inf
        self._problem = ""
        self._pause_s = 0.0
        self._told = False
        self._full = False
        self._lost = 0

    def start(self, problem: str = "") -> None:
        """Opens the journal. `problem` is why the database can't be asked now, if it can't. Raises `OSError`."""
        self._problem = problem
        self._journal = Journal(self._folder)
        self._adoption = Adoption(self._database, self._journal.aside, self._retention_days)
        # Apart: neither a slow database nor a slow disk keeps what is finished in memory, and no load keeps what the
        # dead have left from the database.
        loops = (self._keep_on_disk(), self._keep_synced(), self._keep_in_database(), self._keep_tidy())
        self._tasks = [asyncio.get_running_loop().create_task(each) for each in loops]

    def begin(self, reservation: Reservation) -> None:
        """Keeps on disk that a request is under way, and what it may cost at most."""
        if self._journal is None:
            return
        try:
            self._journal.begin(reservation)
        except OSError as error:
            self._note_full(error)

    def add(self, exchange: Exchange) -> None:
        """Takes a finished request, onto the disk at once unless that is full."""
        self._waiting.append(exchange)
        if not self._full:
            self._to_disk()

    @property
    def waiting_bytes(self) -> int:
        """On disk, and not in the database yet."""
        return self._journal.waiting if self._journal is not None else 0

    @property
    def lost_rows(self) -> int:
        """Those that neither the database nor the disk could take."""
        return self._lost

    @property
    def unreadable_lines(self) -> int:
        """Lines of journals in this folder, all processes', that are kept aside: their rows are in no database."""
        return self._journal.aside.lines if self._journal is not None else 0

    @property
    def problem(self) -> str:
        """What keeps rows from the database or the disk; empty where nothing does."""
        told = []
        if self._problem:
            told.append(f"waits for its database ({self._problem}), {self.waiting_bytes} bytes on disk")
        if self._full:
            told.append(f"its journal can't be written, {len(self._held) + len(self._waiting)} rows are in memory only")
        if self.unreadable_lines and self._journal is not None:
            told.append(f"{self.unreadable_lines} lines of journals can't be read ({self._journal.aside.where})")
        return "; ".join(told)

    @property
    def in_memory_only(self) -> bool:
        """Whether what ends now is lost with this process: neither the disk nor the database takes it."""
        return self._full and bool(self._problem)

    def status(self) -> str:
        """In a line for people."""
        lost = f", {self._lost} rows lost" if self._lost else ""
        return (self.problem or "ready") + lost

    async def flush(self) -> bool:
        """Brings all that is finished to the database; False where it can't be reached now."""
        self._to_disk()
        async with self._flushing:
            return await self._to_database()

    async def close(self) -> None:
        """Writes what is left, to the database or at least to the disk."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        if self._journal is not None:
            self._to_disk()
            with contextlib.suppress(Exception):
                async with asyncio.timeout(5):
                    await self._to_database()
            self._journal.sync()
            self._journal.close()
            # Who ends after this is in it as one who was under way.
            self._journal = None

    async def _keep_on_disk(self) -> None:
        while True:
            await asyncio.sleep(DISK_S)
            try:
                if self._to_disk():
                    continue
            except Exception as error:
                structlog.get_logger().error("the ledger can't write", problem=type(error).__name__)
            await asyncio.sleep(FULL_S)

    async def _keep_synced(self) -> None:
        while True:
            await asyncio.sleep(SYNC_S)
            if self._journal is None:
                continue
            try:
                # Nobody is about to tell what has been taken of the file that goes.
                async with self._flushing:
                    if self._journal.restore():
                        structlog.get_logger().error("the ledger's journal was removed: it goes on in a new file")
            except OSError as error:
                self._note_full(error)
            if self._journal.waiting:
                with contextlib.suppress(OSError):
                    await asyncio.to_thread(self._journal.sync)

    async def _keep_in_database(self) -> None:
        while True:
            await asyncio.sleep(self._pause_s or EVERY_S)
            try:
                async with self._flushing:
                    await self._to_database()
            except OSError as error:
                structlog.get_logger().error("the ledger's journal can't be read", problem=str(error.strerror))
                self._pause_s = LONGEST_PAUSE_S

    async def _keep_tidy(self) -> None:
        swept = -math.inf
        while True:
            try:
                await self._database.prepare()
                await self.adopt()
                if self._journal is not None:
                    # Another process may have kept some.
                    await asyncio.to_thread(self._journal.aside.look)
                if time.monotonic() - swept > SWEEP_S:
                    await sweep(self._database, self._retention_days)
                    swept = time.monotonic()
            except Exception as error:
                structlog.get_logger().error("the ledger's journals are not looked after", problem=type(error).__name__)
            await asyncio.sleep(ADOPT_S)

    def _to_disk(self) -> bool:
        """False when the disk is full: what is finished is held in memory."""
        entries, self._held = self._held, []
        while self._waiting:
            exchange = self._waiting.popleft()
            try:
                entries.append(entry_of(exchange))
            except Exception:
                # It must not take the others with it.
                structlog.get_logger().exception("a request can't be kept")
                self._lost += 1
        journal = self._journal
        if journal is None or not (entries or self._full):
            return True
        written = 0
        try:
            # What a disk does not take is not made ready for it as a whole, time and again.
            while written < len(entries):
                journal.write(entries[written : written + MOST_AT_ONCE])
                written += MOST_AT_ONCE
            if self._full:
                journal.probe()
        except OSError as error:
            self._note_full(error)
            self._held, lost = entries[written : written + MOST_HELD], entries[written + MOST_HELD :]
            self._lost += len(lost)
            journal.ended(lost)
            return False
        self._full = False
        return True

    def _note_full(self, error: OSError) -> None:
        before, self._full = self._full, True
        if not before:
            structlog.get_logger().error("the ledger's journal can't be written", problem=str(error.strerror))

    async def _to_database(self) -> bool:
        journal = self._journal
        if journal is None:
            return False
        try:
            await self._database.prepare()
            # What comes meanwhile is for the next time: under load this would never end.
            left = journal.waiting
            if left <= 0 and not self._held and time.monotonic() - self._heard > ASK_S:
                await self._database.check()
                self._heard = time.monotonic()
            while left > 0 or self._held:
                left -= await self._take(journal)
        except Exception as error:
            if not self._told:
                structlog.get_logger().error("the ledger waits for its database", problem=_named(error))
            self._told, self._problem, self._heard = True, _named(error), -math.inf
            self._database.doubt()
            self._pause_s = min(LONGEST_PAUSE_S, max(0.5, 2 * self._pause_s))
            return False
        if self._told:
            structlog.get_logger().info("the ledger's database is back")
        self._told, self._problem, self._pause_s = False, "", 0.0
        return True

    async def _take(self, journal: Journal) -> int:
        """Some rows to the database; so many bytes of the journal. Raises as a database."""
        # Those on disk first; what a full disk has not taken goes straight to the database.
        entries, place = journal.take(BATCH)
        held: list[LedgerEntry] = []
        if not journal.waiting:
            held, self._held = self._held[:BATCH], self._held[BATCH:]
        try:
            if entries or held:
                await insert(self._database, entries + held)
                self._heard = time.monotonic()
        except BaseException:
            self._held = held + self._held
            raise
        journal.ended(held)
        return journal.taken(place)

    async def adopt(self) -> None:
        """Brings to the database what processes have left that were killed: at the last start, or beside this one.

        Nobody else does at the same time: who has waited for another knows that it is done. Raises as a database.
        """
        journal, adoption = self._journal, self._adoption
        if journal is None or adoption is None:
            return
        async with self._adopting:
            await self._database.prepare()
            adoption.settle = self.settle
            # For another, not for the work: what an outage has left may be much, and would begin anew each time.
            until = time.monotonic() + ADOPTING_S
            while True:
                with journal.alone() as mine:
                    if mine:
                        with contextlib.closing(journal.left_behind()) as paths:
                            for path in paths:
                                await adoption.adopt(path)
                        await adoption.take_again()
                        return
                if time.monotonic() > until:
                    raise TimeoutError
                await asyncio.sleep(0.05)


def _named(error: Exception) -> str:
    """The kind of an error, and what it says where it is ours."""
    return str(error) if isinstance(error, SchemaTooNew) else type(error).__name__
