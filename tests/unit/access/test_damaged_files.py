"""Files of the ledger and the counters that somebody damages or removes: what is spent stays counted."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from access.database.store import Database
from access.ledger.entry import LedgerEntry, Reservation
from access.ledger.journal import Journal
from access.ledger.ledger import Ledger
from access.ledger.lines import read_journal
from access.limits.counters import SPEND, Charge, OpeningBalance, Settlement, Unreachable
from access.limits.sqlite_counters import FORM, SqliteCounters
from contract.exchange import Exchange
from tests.unit.access.test_journal import AT_MS, ROOT, Flaky, full_disk, journals, kept
from tests.unit.access.test_reports import entry
from tests.unit.access.test_reservations import KILLED, reserved

DAMAGED = pytest.mark.guarantee(
    "money", "A damaged line or file among the journals does not keep any other row from the ledger"
)
REMOVED = pytest.mark.guarantee(
    "money", "If a journal is deleted while in use, the gateway continues in a new file without losing rows"
)
BOUNDED = pytest.mark.guarantee("money", "Rows that neither disk nor database accepts use a bounded amount of memory")
COUNTING = pytest.mark.guarantee("money", "If the workers' counter file is deleted, they spend nothing until a restart")
NUMBERS = ("at_ms", "status", "input", "output", "cache_read", "cache_write", "reasoning", "cost", "duration_ms")


def damaged(line: LedgerEntry | Reservation, **changes: Any) -> bytes:
    """The line with values that no writer of ours gives."""
    return msgspec.json.encode({**msgspec.json.decode(msgspec.json.encode(line)), **changes})


def remove(path: Path) -> None:
    """A database of SQLite, with what is beside it."""
    for each in path.parent.glob(f"{path.name}*"):
        each.unlink()


@DAMAGED
@pytest.mark.parametrize("value", [10**30, 2**63, -1, -(10**30)])
def test_a_number_that_no_database_takes_or_that_gives_money_back_is_no_row(tmp_path: Path, value: int) -> None:
    path = tmp_path / "1-dead.journal"
    lines = [damaged(entry(AT_MS, 1), **{name: value}) for name in NUMBERS]
    lines += [damaged(reserved(2), **{name: value}) for name in ("at_ms", "cost")]
    lines += [damaged(reserved(2), budgets=[["k", value, 0]]), damaged(entry(AT_MS, 1), id="x" * 33)]
    path.write_bytes(b"\n".join([*lines, msgspec.json.encode(entry(AT_MS, 3)), b""]))
    begun: dict[str, Reservation] = {}
    ((entries, broken),) = read_journal(path, 500, begun)
    assert ([each.id for each in entries], [each.data for each in broken]) == ([entry(AT_MS, 3).id], lines)
    assert not begun


@DAMAGED
def test_what_is_no_file_of_a_journal_keeps_no_other_from_the_ledger(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("access.ledger.ledger.ADOPT_S", 0.05)

    async def run() -> None:
        folder = tmp_path / "journal"
        folder.mkdir()
        (folder / "0.journal").mkdir()
        (folder / "1.journal").symlink_to("/dev/zero")
        (folder / "2.journal").symlink_to(folder / "2.journal")
        os.mkfifo(folder / "3.journal")
        bad = damaged(entry(AT_MS, 1), at_ms=10**30)
        (folder / "4-dead.journal").write_bytes(bad + b"\n" + msgspec.json.encode(entry(AT_MS, 2)) + b"\n")
        database = Database(f"sqlite:///{tmp_path / 'l.sqlite'}")
        ledger = Ledger(database, folder, 400)
        ledger.start()
        async with asyncio.timeout(10):
            await ledger.adopt()
        assert await kept(database) == (1, 1)
        assert (folder / "4-dead.undecodable").read_bytes() == bad + b"\n"
        assert not (folder / "4-dead.journal").exists()
        await ledger.close()
        await database.close()

    asyncio.run(run())


@REMOVED
@pytest.mark.parametrize("whole_folder", [False, True])
def test_a_journal_that_is_removed_goes_on_in_a_new_file(tmp_path: Path, *, whole_folder: bool) -> None:
    folder = tmp_path / "journal"
    journal = Journal(folder)
    assert not journal.reopen_if_removed()
    journal.begin(reserved(1))
    journal.begin(reserved(2))
    journal.write([entry(AT_MS, 2), entry(AT_MS, 3)])
    journal.path.unlink()
    if whole_folder:
        folder.rmdir()
    assert journal.reopen_if_removed()
    assert not journal.reopen_if_removed()
    journal.begin(reserved(4))
    # As a process that is killed.
    journal._file.close()
    begun: dict[str, Reservation] = {}
    found = [each.id for entries, _ in read_journal(journals(folder)[0], 99, begun) for each in entries]
    assert found == [entry(AT_MS, 2).id, entry(AT_MS, 3).id]
    assert list(begun) == [reserved(1).id, reserved(4).id]


@REMOVED
def test_rows_that_are_on_their_way_when_the_journal_is_removed_arrive_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("access.ledger.ledger.SYNC_S", 0.01)

    async def run() -> None:
        database, folder = Flaky(f"sqlite:///{tmp_path / 'l.sqlite'}"), tmp_path / "journal"
        ledger = Ledger(database, folder, 400)
        ledger.start()
        for _ in range(20):
            for _ in range(10):
                ledger.add(Exchange("POST /v1/messages"))
            for path in journals(folder):
                path.unlink()
            await asyncio.sleep(0.03)
        while not await ledger.flush():
            await asyncio.sleep(0.05)
        assert await kept(database) == (200, 200)
        await ledger.close()
        await database.close()

    asyncio.run(run())


@BOUNDED
def test_what_neither_disk_nor_database_takes_is_held_up_to_a_bound_and_then_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("access.ledger.ledger.MOST_HELD", 50)
    monkeypatch.setattr("access.ledger.ledger.MOST_AT_ONCE", 20)

    async def run() -> None:
        ledger = Ledger(Flaky(f"sqlite:///{tmp_path / 'l.sqlite'}"), tmp_path / "journal", 400)
        ledger._journal = journal = Journal(tmp_path / "journal")
        encoded = 0

        def write(entries: list[LedgerEntry]) -> None:
            nonlocal encoded
            encoded += len(entries)
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(journal, "write", write)
        for _ in range(3):
            for _ in range(40):
                ledger._waiting.append(Exchange("POST /v1/messages"))
            assert not ledger._to_disk()
        assert (len(ledger._held), len(ledger._waiting), ledger.lost_rows) == (50, 0, 70)
        # Nor is all of it made ready for the disk each time.
        assert encoded == 60
        monkeypatch.undo()
        assert ledger._to_disk()
        assert len(journal.read_batch(999)[0]) == 50

    asyncio.run(run())


def test_a_database_that_comes_back_empty_while_rows_wait_takes_them(tmp_path: Path) -> None:
    async def run() -> None:
        path = tmp_path / "l.sqlite"
        database = Database(f"sqlite:///{path}")
        ledger = Ledger(database, tmp_path / "journal", 400)
        await database.prepare()
        ledger._journal = Journal(tmp_path / "journal")
        remove(path)
        ledger.add(Exchange("POST /v1/messages"))
        assert not await ledger.flush()
        assert "waits for its database" in ledger.status()
        assert await ledger.flush()
        assert await kept(database) == (1, 1)
        await ledger.close()
        await database.close()

    asyncio.run(run())


@COUNTING
def test_workers_whose_counters_file_was_removed_spend_nothing(tmp_path: Path) -> None:
    async def run() -> None:
        path, charge = tmp_path / "c.sqlite", Charge("b", SPEND, 100, 60, 0, 10**16)
        old = SqliteCounters(path)
        assert (await old.reserve("a", [charge]))[0]
        path.rename(tmp_path / "moved.sqlite")
        for _ in range(2):
            with pytest.raises(Unreachable):
                await old.reserve("c", [charge])
            old._tried = 0
            assert "restart the gateway" in old.condition.problem
            # Another stands in its place: who starts now counts there.
            new = SqliteCounters(path)
            assert not new.condition.problem
        (tmp_path / "moved.sqlite").rename(path)
        with pytest.raises(Unreachable):
            await old.reserve("c", [charge])
        await new.close()
        await old.close()

    asyncio.run(run())


def test_counters_that_had_no_room_are_well_again_without_being_asked_for_anything(tmp_path: Path) -> None:
    async def run() -> None:
        counters, charge = SqliteCounters(tmp_path / "c.sqlite"), Charge("b", SPEND, 100, 60, 0, 10**16)
        connection = counters._connection

        class Full:
            """A file on a disk without room."""

            in_transaction = False

            def execute(self, *_: object) -> None:
                raise sqlite3.OperationalError("database or disk is full")

        counters._connection = Full()  # type: ignore[assignment]
        with pytest.raises(Unreachable):
            await counters.reserve("a", [charge])
        assert "disk is full" in counters.condition.problem
        counters._connection = connection
        counters._tried = 0
        assert not counters.condition.problem
        assert (await counters.reserve("a", [charge]))[0]
        await counters.settle("a", [Settlement(charge, 5)])
        assert counters.taken("b") == 5
        await counters.close()

    asyncio.run(run())


@KILLED
def test_who_began_on_a_full_disk_is_kept_as_soon_as_there_is_room(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal")
    journal.begin(reserved(1))
    # Room for a sign, and for no line.
    with full_disk(5, journal.path):
        for number in (2, 3):
            with pytest.raises(OSError, match="File too large"):
                journal.begin(reserved(number))
        with pytest.raises(OSError, match="File too large"):
            journal.probe()
        journal.ended([entry(AT_MS, 3)])
    journal.probe()
    journal.probe()
    journal._file.close()
    begun: dict[str, Reservation] = {}
    list(read_journal(journal.path, 99, begun))
    assert list(begun) == [reserved(1).id, reserved(2).id]


def test_a_log_that_cannot_be_written_costs_no_row(tmp_path: Path) -> None:
    """Often the log is on the disk that is full."""
    program = f"""
import asyncio, os, sys
from pathlib import Path
from access.database.store import Database
from access.ledger.ledger import Ledger
from contract.exchange import Exchange
from observability.logs import configure_logging
from tests.unit.access.test_reservations import reserved

sys.stderr = open("/dev/full", "w", buffering=1)
configure_logging("off")

async def run():
    ledger = Ledger(Database("sqlite:///{tmp_path / "l.sqlite"}"), Path("{tmp_path / "journal"}"), 400)
    ledger.start()
    file = ledger._journal._file
    class Full:
        def write(self, data): raise OSError(28, "No space left on device")
        def truncate(self, size): return size
        def fileno(self): return file.fileno()
    ledger._journal._file = Full()
    ledger.begin(reserved(1))
    ledger.add(Exchange("POST /v1/messages"))
    assert "1 rows are only in memory" in ledger.status(), ledger.status()
    print("held", flush=True)
    os._exit(0)

asyncio.run(run())
"""
    told = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert told.stdout == "held\n", told


@COUNTING
@pytest.mark.parametrize("spoilt", [b'{"spent": 7}', b"", b'{"spent":{"0":1}', None])
def test_a_counter_that_cannot_be_read_stays_as_it_is_and_stops_no_other(tmp_path: Path, spoilt: bytes | None) -> None:
    """It may hold money that somebody has reserved: who needs it is refused, and it is said where."""

    async def run() -> None:
        path = tmp_path / "c.sqlite"
        bad, good = (Charge(name, SPEND, 100, 60, 0, 10**16) for name in ("bad", "good"))
        counters = SqliteCounters(path)
        assert (await counters.reserve("a", [bad, good]))[0]
        kept = counters._connection.execute("SELECT value FROM counters WHERE key = 'bad'").fetchone()
        counters._connection.execute("UPDATE counters SET value = ? WHERE key = 'bad'", (spoilt,))
        for _ in range(2):
            with pytest.raises(Unreachable):
                await counters.reserve("b", [good, bad])
            with pytest.raises(Unreachable):
                await counters.settle("a", [Settlement(bad, 5)])
            assert (await counters.reserve("c", [Charge("good", SPEND, 100, 1, 0, 10**16)]))[0]
        await counters.settle("a", [Settlement(good, 5)])
        counters.seed([OpeningBalance("bad", 7), OpeningBalance("new", 7)])
        assert (counters.taken("bad"), counters.taken("good"), counters.taken("new")) == (2**53, 7, 7)
        assert counters.condition.damaged.startswith("1 rows of the counters' file")
        assert not counters.condition.problem
        assert counters._connection.execute("SELECT value FROM counters WHERE key = 'bad'").fetchone() == (spoilt,)
        # Somebody has put it back: what could not be told is told after the next look at it.
        counters._connection.execute("UPDATE counters SET value = ? WHERE key = 'bad'", kept)
        assert not (await counters.reserve("d", [bad]))[0]
        assert (await counters.reserve("d", [bad]))[1][0].left == 35
        assert not counters.condition.damaged
        await counters.close()

    asyncio.run(run())


def test_counters_of_a_later_version_are_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "c.sqlite"
    asyncio.run(SqliteCounters(path).close())
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA user_version = {FORM + 1}")
    connection.close()
    with pytest.raises(ValueError, match=rf"format {FORM + 1}; this version reads {FORM}\): start that version"):
        SqliteCounters(path)
