"""The journal loses nothing that was written, whatever happens, and gives nothing twice to who knows what it has."""

from __future__ import annotations

import asyncio
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from io import FileIO
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from sqlalchemy import func, select

from access.database.store import Database
from access.database.tables import HOURS, REQUESTS
from access.ledger.entry import LedgerEntry, entry_of
from access.ledger.journal import Journal
from access.ledger.ledger import Ledger
from access.ledger.lines import TORN, read_journal
from access.ledger.rows import insert
from contract.attempt import Attempt
from contract.deltas import Usage
from contract.exchange import Exchange
from tests.processes import eventually
from tests.unit.access.test_reports import entry

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[3]
AT_MS = 1_790_000_000_000


@contextmanager
def full_disk(more: int, path: Path) -> Iterator[None]:
    """The file may grow by so many bytes only; Python gives the kernel's signal as `OSError`."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + more, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def journals(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.journal"))


class JournalMachine(RuleBasedStateMachine):
    """A process that writes, a database that knows ids, crashes between any two of their steps."""

    @initialize()
    def begin(self) -> None:
        self.made = tempfile.TemporaryDirectory(prefix="journal-")
        self.folder = Path(self.made.name)
        self.journal = Journal(self.folder)
        self.number = 0
        self.written: list[str] = []
        self.database: dict[str, int] = {}
        self.in_hand: tuple[list[LedgerEntry], int] | None = None

    def some(self, count: int, width: int) -> list[LedgerEntry]:
        self.number += count
        made = [entry(AT_MS, self.number - place) for place in range(count)]
        return [msgspec.structs.replace(each, model="é\n" * width) for each in made]

    def insert(self, entries: list[LedgerEntry]) -> None:
        for each in entries:
            self.database[each.id] = self.database.get(each.id, 0) + (each.id not in self.database)

    @rule(count=st.integers(1, 40), width=st.integers(0, 400))
    def write(self, count: int, width: int) -> None:
        entries = self.some(count, width)
        self.journal.write(entries)
        self.written += [each.id for each in entries]

    @rule(count=st.integers(1, 9), width=st.integers(0, 400), room=st.integers(0, 4000))
    def write_to_a_full_disk(self, count: int, width: int, room: int) -> None:
        entries = self.some(count, width)
        before = self.journal.waiting
        try:
            with full_disk(room, self.journal.path):
                self.journal.write(entries)
        except OSError:
            assert self.journal.waiting == before
        else:
            self.written += [each.id for each in entries]

    @precondition(lambda self: self.in_hand is None)
    @rule(most=st.integers(1, 50))
    def take(self, most: int) -> None:
        self.in_hand = self.journal.read_batch(most)

    @precondition(lambda self: self.in_hand is not None)
    @rule(arrives=st.booleans())
    def to_the_database(self, arrives: bool) -> None:
        assert self.in_hand is not None
        (entries, place), self.in_hand = self.in_hand, None
        if arrives:
            self.insert(entries)
            self.journal.mark_stored(place)

    @rule(torn=st.integers(0, 300), committed=st.booleans())
    def crash(self, torn: int, committed: bool) -> None:
        """With half a line at the end of the file; what was in hand may have arrived before."""
        if committed and self.in_hand is not None:
            self.insert(self.in_hand[0])
        data = msgspec.json.encode(entry(AT_MS, 10**9))
        with self.journal.path.open("ab") as file:
            file.write(data[: min(torn, len(data) - 1)])
        self.journal._file.close()
        self.in_hand = None
        self.journal = Journal(self.folder)

    @rule(most=st.integers(1, 50), until=st.integers(0, 4))
    def adopt(self, most: int, until: int) -> None:
        """What is left behind; the database may go away after some batches."""
        for path in self.journal.orphans():
            for number, (entries, broken) in enumerate(read_journal(path, most)):
                assert all(each.why == TORN for each in broken)
                if number == until:
                    return
                self.insert(entries)
            path.unlink()

    @rule()
    def end_well(self) -> None:
        if self.in_hand is None:
            self.journal.close()
            self.journal = Journal(self.folder)

    @invariant()
    def nothing_is_lost_and_nothing_twice(self) -> None:
        if not hasattr(self, "journal"):
            return
        found = set(self.database)
        for path in journals(self.folder):
            for entries, _ in read_journal(path, 7):
                found.update(each.id for each in entries)
        assert found == set(self.written)
        assert set(self.database.values()) <= {1}

    def teardown(self) -> None:
        if hasattr(self, "journal"):
            self.in_hand = None
            while self.journal.waiting:
                entries, place = self.journal.read_batch(50)
                assert entries
                self.insert(entries)
                self.journal.mark_stored(place)
            self.adopt(50, 10**9)
            self.journal.close()
            assert sorted(self.database) == sorted(self.written)
            assert not list(self.folder.iterdir())
            self.made.cleanup()


TestJournal = JournalMachine.TestCase
TestJournal.settings = settings(
    max_examples=60, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)


def test_a_journal_is_never_seen_without_its_lock(tmp_path: Path) -> None:
    """Else another worker takes the new file for one that was left behind, and removes it."""
    code = f"""
import sys
from pathlib import Path
from access.ledger.journal import Journal
mine = Journal(Path({str(tmp_path)!r}))
while True:
    for path in mine.orphans():
        path.unlink()
"""
    adopter = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT)
    try:
        while not journals(tmp_path):
            assert adopter.poll() is None
        for _ in range(3000):
            journal = Journal(tmp_path)
            assert journal.path.exists()
            journal.close()
        assert adopter.poll() is None
    finally:
        adopter.kill()
        adopter.wait()


def test_half_a_line_that_could_not_be_taken_back_harms_no_other(tmp_path: Path) -> None:
    class Stuck:
        """A file on a disk that is full, and then can't be cut either."""

        def __init__(self, journal: Journal) -> None:
            self._file = journal._file

        def write(self, data: bytes) -> int:
            self._file.write(data[: len(data) // 2])
            raise OSError(28, "No space left on device")

        def truncate(self, size: int) -> int:
            raise OSError(5, "Input/output error")

        def fileno(self) -> int:
            return self._file.fileno()

    journal = Journal(tmp_path)
    journal.write([entry(AT_MS, 1)])
    file = journal._file
    journal._file = Stuck(journal)  # type: ignore[assignment]
    with pytest.raises(OSError, match="error"):
        journal.write([entry(AT_MS, 2), entry(AT_MS, 3)])
    assert len(journal.read_batch(9)[0]) == 1
    journal._file = file
    journal.write([entry(AT_MS, 2), entry(AT_MS, 3)])
    entries, place = journal.read_batch(9)
    assert [each.request_id for each in entries] == ["r1", "r2", "r3"]
    journal.mark_stored(place)
    assert journal.waiting == 0


def test_what_has_been_taken_is_not_left_behind_for_years(tmp_path: Path) -> None:
    """A row that was swept as too old would be counted again if it were adopted."""
    journal = Journal(tmp_path)
    journal.write([entry(AT_MS, 1)])
    journal.mark_stored(journal.read_batch(9)[1])
    assert journal.path.stat().st_size == 0


class Flaky(Database):
    """A database that is gone as long as it is told to be, or holds on to whoever asks."""

    gone = False
    stuck = False

    async def prepare(self) -> None:
        if self.gone:
            raise ConnectionRefusedError
        if self.stuck:
            await asyncio.sleep(3600)
        await super().prepare()


async def kept(database: Database) -> tuple[int, int]:
    """Rows, and the requests of all hours."""
    async with database.engine.connect() as connection:
        rows = (await connection.execute(select(func.count()).select_from(REQUESTS))).scalar_one()
        hours = (await connection.execute(select(func.sum(HOURS.c.requests)))).scalar_one()
    return int(rows), int(hours or 0)


def leave_behind(folder: Path, *numbers: int) -> None:
    """As a process that was killed."""
    journal = Journal(folder)
    journal.write([entry(AT_MS, number) for number in numbers])
    journal._file.close()


async def until_adopted(folder: Path) -> None:
    async with asyncio.timeout(10):
        while len(journals(folder)) != 1:
            await asyncio.sleep(0.02)


def test_journals_of_the_dead_are_adopted_once_the_database_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("access.ledger.ledger.ADOPT_S", 0.05)

    async def run() -> None:
        database, folder = Flaky(f"sqlite:///{tmp_path / 'l.sqlite'}"), tmp_path / "journal"
        leave_behind(folder, 1, 2)
        database.gone = True
        ledger = Ledger(database, folder, 400)
        ledger.start()
        await asyncio.sleep(0.5)
        assert len(journals(folder)) == 2
        database.gone = False
        await until_adopted(folder)
        assert await kept(database) == (2, 2)
        # Another worker dies while this one lives; it had brought one of its rows to the database.
        leave_behind(folder, 2, 3)
        await until_adopted(folder)
        assert await kept(database) == (3, 3)
        await ledger.close()
        await database.close()
        assert not journals(folder)

    asyncio.run(run())


def test_a_journal_that_cannot_be_read_is_set_aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("access.ledger.ledger.ADOPT_S", 0.05)

    async def run() -> None:
        database, folder = Database(f"sqlite:///{tmp_path / 'l.sqlite'}"), tmp_path / "journal"
        leave_behind(folder, 1, 2)
        journals(folder)[0].write_bytes(b'{"of": "another version"}\n' + journals(folder)[0].read_bytes())
        ledger = Ledger(database, folder, 400)
        ledger.start()
        await until_adopted(folder)
        assert await kept(database) == (2, 2)
        (aside,) = folder.glob("*.undecodable")
        assert aside.read_bytes() == b'{"of": "another version"}\n'
        await ledger.close()
        await database.close()

    asyncio.run(run())


def test_rows_are_on_disk_at_once_however_long_the_database_takes(tmp_path: Path) -> None:
    async def run() -> None:
        database, folder = Flaky(f"sqlite:///{tmp_path / 'l.sqlite'}"), tmp_path / "journal"
        leave_behind(folder, 1)
        database.stuck = True
        ledger = Ledger(database, folder, 400)
        ledger.start()
        await asyncio.sleep(0.6)
        ledger.add(Exchange("POST /v1/messages", request_id="r7"))

        def on_disk() -> list[str]:
            read = [found for path in journals(folder) for found, _ in read_journal(path, 9)]
            return sorted(each.request_id for found in read for each in found)

        await eventually(lambda: len(on_disk()) >= 2)
        assert on_disk() == ["r1", "r7"]
        database.stuck = False
        for task in ledger._tasks:
            task.cancel()
        await ledger.close()
        await database.close()

    asyncio.run(run())


def test_a_full_disk_keeps_nothing_from_a_database_that_is_there(tmp_path: Path) -> None:
    file: FileIO

    class Full:
        """A file on a disk without room."""

        def write(self, data: bytes) -> int:
            raise OSError(28, "No space left on device")

        def truncate(self, size: int) -> int:
            return size

        def fileno(self) -> int:
            return file.fileno()

    async def run() -> None:
        database, folder = Flaky(f"sqlite:///{tmp_path / 'l.sqlite'}"), tmp_path / "journal"
        ledger = Ledger(database, folder, 400)
        ledger.start()
        assert ledger._journal is not None
        nonlocal file
        file, ledger._journal._file = ledger._journal._file, Full()  # type: ignore[assignment]
        ledger.add(Exchange("POST /v1/messages"))
        # Whatever is wrong with it, it takes no other with it.
        ledger.add("no exchange")  # type: ignore[arg-type]
        ledger.add(Exchange("POST /v1/messages"))
        database.gone = True
        assert not await ledger.flush()
        database.gone = False
        assert await ledger.flush()
        assert await kept(database) == (2, 2)
        assert "1 rows lost" in ledger.status()
        ledger._journal._file = file
        await ledger.close()
        await database.close()

    asyncio.run(run())


def test_a_row_of_absurd_numbers_stops_nobody(tmp_path: Path) -> None:
    """A provider may say that it has used 10^30 tokens, or fewer than none."""

    async def run() -> None:
        exchange = Exchange("POST /v1/chat/completions")
        used = Usage(10**30, -(10**30), 10**30, 10**30, -1)
        exchange.attempts = [Attempt("p/m", "p", "m", usage=used, cost=Decimal(10) ** 40, ended=1e12)]
        made = entry_of(exchange)
        database = Database(f"sqlite:///{tmp_path / 'l.sqlite'}")
        await database.prepare()
        journal = Journal(tmp_path)
        journal.write([made])
        await insert(database, journal.read_batch(9)[0])
        assert await kept(database) == (1, 1)
        journal.close()
        await database.close()

    asyncio.run(run())
