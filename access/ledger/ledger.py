"""The ledger: a permanent record of every request and attempt. No request waits for its database.

A request is in the journal before a provider is called, and its row is there before its budgets are settled. So if the
process is killed, everything reserved but not settled is in the journal, and becomes a row with an unknown outcome.
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

# How long a finished request is only in memory.
DISK_S = 0.05
EVERY_S = 0.2
SYNC_S = 1.0
# How often this process looks for journals of dead processes, and how long it waits for another one that does.
ADOPT_S = 10.0
ADOPTING_S = 20.0
# How often an idle ledger checks that the database accepts writes.
CHECK_S = 2.0
BATCH = 500
# The most rows in one write to the disk.
MOST_AT_ONCE = 2_000
# While the disk is full: how often a write is retried, and how many rows stay in memory.
FULL_S = 1.0
MOST_HELD = 200_000
LONGEST_PAUSE_S = 5.0
SWEEP_S = 3600.0


class Ledger:
    """One process's writer of the ledger."""

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
        # The counters' `settle`, if they outlive a process.
        self.settle: Settle | None = None
        self._adoption: Adoption | None = None
        self._last_success = -math.inf
        self._problem = ""
        self._pause_s = 0.0
        self._outage_logged = False
        self._full = False
        self._lost = 0

    def start(self, problem: str = "") -> None:
        """Opens the journal. `problem` is why the database is unreachable, if it is. Raises `OSError`."""
        self._problem = problem
        self._journal = Journal(self._folder)
        self._adoption = Adoption(self._database, self._journal.aside, self._retention_days)
        # Separate tasks: a slow database or disk must not keep finished requests in memory, and load must not delay
        # the adoption of journals.
        loops = (self._keep_on_disk(), self._keep_synced(), self._keep_in_database(), self._keep_tidy())
        self._tasks = [asyncio.get_running_loop().create_task(each) for each in loops]

    def begin(self, reservation: Reservation) -> None:
        """Writes to disk that a request began, and the most that it may cost."""
        if self._journal is None:
            return
        try:
            self._journal.begin(reservation)
        except OSError as error:
            self._note_full(error)

    def add(self, exchange: Exchange) -> None:
        """Adds a finished request; writes it to disk at once unless the disk is full."""
        self._waiting.append(exchange)
        if not self._full:
            self._to_disk()

    @property
    def waiting_bytes(self) -> int:
        """Bytes on disk that are not in the database yet."""
        return self._journal.waiting if self._journal is not None else 0

    @property
    def lost_rows(self) -> int:
        """Rows that neither the database nor the disk could store."""
        return self._lost

    @property
    def unreadable_lines(self) -> int:
        """Lines set aside in this folder by all processes: their rows are not in the database."""
        return self._journal.aside.lines if self._journal is not None else 0

    @property
    def problem(self) -> str:
        """Why rows can't be written to the database or the disk; empty if they can."""
        problems = []
        if self._problem:
            problems.append(f"waits for its database ({self._problem}), {self.waiting_bytes} bytes on disk")
        if self._full:
            rows = len(self._held) + len(self._waiting)
            problems.append(f"its journal can't be written, {rows} rows are only in memory")
        if self.unreadable_lines and self._journal is not None:
            problems.append(f"{self.unreadable_lines} lines of journals can't be read ({self._journal.aside.where})")
        return "; ".join(problems)

    @property
    def in_memory_only(self) -> bool:
        """Whether finished requests are only in memory: neither the disk nor the database accepts writes."""
        return self._full and bool(self._problem)

    def status(self) -> str:
        """The status as one line for people."""
        lost = f", {self._lost} rows lost" if self._lost else ""
        return (self.problem or "ready") + lost

    async def flush(self) -> bool:
        """Writes all finished requests to the database; returns False if it is unreachable."""
        self._to_disk()
        async with self._flushing:
            return await self._to_database()

    async def close(self) -> None:
        """Writes pending rows to the database, or at least to the disk."""
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
            # A request that ends after this stays in the journal as a request in flight.
            self._journal = None

    async def _keep_on_disk(self) -> None:
        while True:
            await asyncio.sleep(DISK_S)
            try:
                if self._to_disk():
                    continue
            except Exception as error:
                structlog.get_logger().error("ledger write failed", problem=type(error).__name__)
            await asyncio.sleep(FULL_S)

    async def _keep_synced(self) -> None:
        while True:
            await asyncio.sleep(SYNC_S)
            if self._journal is None:
                continue
            try:
                # No flush may be running, because it would mark rows of the old file as stored.
                async with self._flushing:
                    if self._journal.reopen_if_removed():
                        structlog.get_logger().error("the ledger's journal was removed: it continues in a new file")
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
                    # Another process may have set lines aside.
                    await asyncio.to_thread(self._journal.aside.refresh)
                if time.monotonic() - swept > SWEEP_S:
                    await sweep(self._database, self._retention_days)
                    swept = time.monotonic()
            except Exception as error:
                structlog.get_logger().error("ledger maintenance failed", problem=type(error).__name__)
            await asyncio.sleep(ADOPT_S)

    def _to_disk(self) -> bool:
        """Writes finished requests to the disk. Returns False when it is full: then they stay in memory."""
        entries, self._held = self._held, []
        while self._waiting:
            exchange = self._waiting.popleft()
            try:
                entries.append(entry_of(exchange))
            except Exception:
                # One bad request must not lose the others.
                structlog.get_logger().exception("a request can't be recorded")
                self._lost += 1
        journal = self._journal
        if journal is None or not (entries or self._full):
            return True
        written = 0
        try:
            # Written in batches, so that a full disk does not cause all rows to be encoded again at each retry.
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
            # Rows that arrive meanwhile wait for the next flush: otherwise this loop would never end under load.
            left = journal.waiting
            if left <= 0 and not self._held and time.monotonic() - self._last_success > CHECK_S:
                await self._database.check()
                self._last_success = time.monotonic()
            while left > 0 or self._held:
                left -= await self._store_batch(journal)
        except Exception as error:
            if not self._outage_logged:
                structlog.get_logger().error("ledger database unreachable", problem=_describe(error))
            self._outage_logged, self._problem, self._last_success = True, _describe(error), -math.inf
            self._database.doubt()
            self._pause_s = min(LONGEST_PAUSE_S, max(0.5, 2 * self._pause_s))
            return False
        if self._outage_logged:
            structlog.get_logger().info("the ledger's database is reachable again")
        self._outage_logged, self._problem, self._pause_s = False, "", 0.0
        return True

    async def _store_batch(self, journal: Journal) -> int:
        """Writes a batch of rows to the database; returns its bytes in the journal. Raises database errors."""
        # Rows on disk come first; rows that a full disk refused go directly to the database.
        entries, place = journal.read_batch(BATCH)
        held: list[LedgerEntry] = []
        if not journal.waiting:
            held, self._held = self._held[:BATCH], self._held[BATCH:]
        try:
            if entries or held:
                await insert(self._database, entries + held)
                self._last_success = time.monotonic()
        except BaseException:
            self._held = held + self._held
            raise
        journal.ended(held)
        return journal.mark_stored(place)

    async def adopt(self) -> None:
        """Adopts the journals of killed processes.

        Only one process does so at a time; this call returns when the work is done. Raises database errors.
        """
        journal, adoption = self._journal, self._adoption
        if journal is None or adoption is None:
            return
        async with self._adopting:
            await self._database.prepare()
            adoption.settle = self.settle
            # The time limit is for the lock, not for the work, which may take long after an outage.
            until = time.monotonic() + ADOPTING_S
            while True:
                with journal.adoption_lock() as is_mine:
                    if is_mine:
                        with contextlib.closing(journal.orphans()) as paths:
                            for path in paths:
                                await adoption.adopt(path)
                        await adoption.retry_set_aside()
                        return
                if time.monotonic() > until:
                    raise TimeoutError
                await asyncio.sleep(0.05)


def _describe(error: Exception) -> str:
    """The message of one of Gatehouse's own errors, else the error's type."""
    return str(error) if isinstance(error, SchemaTooNew) else type(error).__name__
