"""The ledger's way to the database: a file on disk first, so that neither a crash nor an outage loses a row.

Every process appends to a file of its own, and reads from it what goes to the database: a line when a request begins,
with what it may cost at most, and its row when it ends. What a process left behind that was killed is read by another
that lives, or by the next one that starts; who began there and did not end has a row that says so. A row that arrives
twice is one row.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import time
from collections.abc import Generator, Iterator, Sequence
from io import FileIO
from pathlib import Path

import msgspec

from access.ledger.entry import LedgerEntry, Reservation
from access.ledger.lines import UnreadableLine, read_lines
from access.ledger.set_aside import SetAsideLines, private, write_all

_ENCODER = msgspec.json.Encoder()
# What has been taken is cut off when it is so long.
COMPACT_BYTES = 1 << 20
# A file that nobody has named by then never will be.
_UNSEEN_S = 3600


class Journal:
    """One process's file, open to append."""

    def __init__(self, folder: Path) -> None:
        """Raises `OSError`."""
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self.aside = SetAsideLines(folder)
        # Of what `take` gave last.
        self._unreadable: list[UnreadableLine] = []
        self.path, self._file = self._make(b"")
        self._read = 0
        self._written = 0
        self._torn = False
        # The last line of each request that is under way.
        self._in_flight: dict[str, bytes] = {}
        # Those of them whose line a full disk has not taken.
        self._unwritten: set[str] = set()

    def _make(self, data: bytes) -> tuple[Path, FileIO]:
        path = self._folder / f"{os.getpid()}-{secrets.token_hex(4)}.journal"
        unseen = path.with_suffix(".new")
        file = open(unseen, "a+b", buffering=0, opener=private)  # noqa: SIM115 - open as long as the process
        try:
            # Whoever holds the lock is alive. Under its own name nobody ever sees the file without it: another process
            # would take it for one that was left behind.
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            write_all(file, data)
            unseen.rename(path)
        except OSError:
            unseen.unlink(missing_ok=True)
            file.close()
            raise
        return path, file

    @property
    def waiting(self) -> int:
        """Bytes that have not been taken yet."""
        return self._written - self._read

    @property
    def in_flight(self) -> int:
        """Requests that have begun and not ended."""
        return len(self._in_flight)

    def write(self, entries: Sequence[LedgerEntry]) -> None:
        """Appends. Raises `OSError` when the disk is full: then nothing was appended."""
        self._append(b"".join([_ENCODER.encode(each) + b"\n" for each in entries]))
        self.ended(entries)

    def begin(self, reservation: Reservation) -> None:
        """Keeps that a request is under way, or reserves more than before. Raises as `write`."""
        line = _ENCODER.encode(reservation) + b"\n"
        self._in_flight[reservation.id] = line
        self._unwritten.add(reservation.id)
        self._append(line)
        self._unwritten.discard(reservation.id)

    def probe(self) -> None:
        """Whether the disk takes anything, and first what it has not taken of who is under way. Raises as `write`."""
        self._append(b"".join([self._in_flight[each] for each in self._unwritten]) or b"\n")
        self._unwritten.clear()

    def ended(self, entries: Sequence[LedgerEntry]) -> None:
        """Their rows are on disk, or in the database."""
        if self._in_flight:
            for each in entries:
                self._in_flight.pop(each.id, None)
                self._unwritten.discard(each.id)

    def _append(self, data: bytes) -> None:
        if self._torn:
            self._file.truncate(self._written)
        self._torn = True
        try:
            write_all(self._file, data)
        except OSError:
            self._file.truncate(self._written)
            self._torn = False
            raise
        self._torn = False
        self._written += len(data)

    def sync(self) -> None:
        """Until it lies on the disk itself."""
        with contextlib.suppress(ValueError):  # it has just been replaced by a shorter one
            os.fsync(self._file.fileno())

    def take(self, most: int) -> tuple[list[LedgerEntry], int]:
        """The oldest entries that have not been taken, and the place after them; see `taken`."""
        found = read_lines(self._file.fileno(), self._read, most, self._written)
        self._unreadable = found.unreadable
        return found.entries, found.place

    def taken(self, place: int) -> int:
        """What stands before `place` is in the database; so many bytes more than before.

        What of it can't be read is kept aside. Raises `OSError` where it can't: then nothing is taken.
        """
        self.aside.keep(self.path, self._unreadable)
        self._unreadable = []
        size, self._read = place - self._read, place
        if self._read == self._written and not self._in_flight:
            # Nothing old is left behind: a row that has been swept from the database since would count again.
            self._file.truncate(0)
            self._read = self._written = 0
        elif self._read >= COMPACT_BYTES and self.waiting <= COMPACT_BYTES:
            self._compact()
        return size

    def restore(self) -> bool:
        """Whether somebody had removed the file: then it goes on in a new one. Raises `OSError` where none can be made.

        What is in a file without a name is lost with its process.
        """
        try:
            if os.path.samestat(os.fstat(self._file.fileno()), os.stat(self.path)):
                return False
        except FileNotFoundError:
            pass
        self._folder.mkdir(parents=True, exist_ok=True)
        self._go_on()
        return True

    def _compact(self) -> None:
        before = self.path
        with contextlib.suppress(OSError):  # the disk is full: later
            self._go_on()
        if self.path != before:
            before.unlink(missing_ok=True)

    def _go_on(self) -> None:
        """In a new file, with who is under way and what has not been taken. Raises `OSError`."""
        in_flight = b"".join(self._in_flight.values())
        rest = os.pread(self._file.fileno(), self.waiting, self._read) if self.waiting else b""
        if len(rest) != self.waiting:
            return
        path, file = self._make(in_flight + rest)
        self._file.close()
        self.path, self._file, self._torn = path, file, False
        self._read, self._written = len(in_flight), len(in_flight) + len(rest)
        self._unwritten.clear()

    def close(self) -> None:
        """Leaves the file behind if anything in it is not in the database, or somebody is still under way."""
        if not self.waiting and not self._in_flight:
            self.path.unlink(missing_ok=True)
        self._file.close()

    @contextlib.contextmanager
    def alone(self) -> Iterator[bool]:
        """Whether no other process looks after what the dead have left; as long as it lasts, none does."""
        folder = os.open(self._folder, os.O_RDONLY)
        try:
            try:
                fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
                return
            except OSError:
                pass  # a file system that locks no folders: each file has a lock of its own
            yield True
        finally:
            os.close(folder)

    def left_behind(self) -> Generator[Path, None, None]:
        """Files of processes that are no more, each ours alone while it is looked at."""
        for unseen in self._folder.glob("*.new"):
            with contextlib.suppress(FileNotFoundError):
                if unseen.stat().st_mtime < time.time() - _UNSEEN_S:
                    unseen.unlink()
        for path in sorted(self._folder.glob("*.journal")):
            # A pipe or a device would keep its reader for ever; and another may have been faster.
            if path == self.path or path.is_symlink() or not path.is_file():
                continue
            try:
                file = path.open("rb")
            except FileNotFoundError:
                continue
            with file:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except OSError:
                    continue  # its process lives, or another reads it
                if path.exists():
                    yield path
