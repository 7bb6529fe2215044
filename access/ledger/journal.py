"""The ledger's journal: a file on disk before the database, so that neither a crash nor an outage loses a row.

Every process appends to its own file and copies rows from it to the database: a line when a request begins, with the
most that it may cost, and a row when it ends. Another process, or the next one to start, adopts the file of a killed
process; a request that began there and did not end gets a row that says so. A row that arrives twice is stored once.
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
# Rows that are in the database are removed from the file once they have this size.
COMPACT_BYTES = 1 << 20
# The age at which a file that was never renamed is removed.
_UNSEEN_S = 3600


class Journal:
    """One process's journal file, open for appending."""

    def __init__(self, folder: Path) -> None:
        """Creates the file. Raises `OSError`."""
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self.aside = SetAsideLines(folder)
        # The unreadable lines of the last `read_batch`.
        self._unreadable: list[UnreadableLine] = []
        self.path, self._file = self._make(b"")
        self._read = 0
        self._written = 0
        self._torn = False
        # The last line of each request in flight.
        self._in_flight: dict[str, bytes] = {}
        # Requests in flight whose line could not be written.
        self._unwritten: set[str] = set()

    def _make(self, data: bytes) -> tuple[Path, FileIO]:
        path = self._folder / f"{os.getpid()}-{secrets.token_hex(4)}.journal"
        unseen = path.with_suffix(".new")
        file = open(unseen, "a+b", buffering=0, opener=private)  # noqa: SIM115 - open as long as the process
        try:
            # The lock shows that the process is alive. It is taken before the file gets its name: otherwise another
            # process could adopt the file.
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
        """Bytes that are not in the database yet."""
        return self._written - self._read

    @property
    def in_flight(self) -> int:
        """The number of requests in flight."""
        return len(self._in_flight)

    def write(self, entries: Sequence[LedgerEntry]) -> None:
        """Appends rows. Raises `OSError` when the disk is full: then nothing was appended."""
        self._append(b"".join([_ENCODER.encode(each) + b"\n" for each in entries]))
        self.ended(entries)

    def begin(self, reservation: Reservation) -> None:
        """Appends the reservation of a request, when it begins or reserves more. Raises as `write`."""
        line = _ENCODER.encode(reservation) + b"\n"
        self._in_flight[reservation.id] = line
        self._unwritten.add(reservation.id)
        self._append(line)
        self._unwritten.discard(reservation.id)

    def probe(self) -> None:
        """Tests whether the disk accepts writes, with the pending lines of requests in flight. Raises as `write`."""
        self._append(b"".join([self._in_flight[each] for each in self._unwritten]) or b"\n")
        self._unwritten.clear()

    def ended(self, entries: Sequence[LedgerEntry]) -> None:
        """Marks requests as finished: their rows are on disk or in the database."""
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
        """Flushes the file to the disk (fsync)."""
        with contextlib.suppress(ValueError):  # the file was just compacted and closed
            os.fsync(self._file.fileno())

    def read_batch(self, most: int) -> tuple[list[LedgerEntry], int]:
        """Returns the oldest rows that are not in the database, and the position after them; see `mark_stored`."""
        found = read_lines(self._file.fileno(), self._read, most, self._written)
        self._unreadable = found.unreadable
        return found.entries, found.place

    def mark_stored(self, place: int) -> int:
        """Marks everything before `place` as stored in the database; returns the number of newly stored bytes.

        Sets unreadable lines aside. Raises `OSError` if that fails: then nothing is marked.
        """
        self.aside.keep(self.path, self._unreadable)
        self._unreadable = []
        size, self._read = place - self._read, place
        if self._read == self._written and not self._in_flight:
            # Old rows must not stay in the file: one that was swept from the database since would count again.
            self._file.truncate(0)
            self._read = self._written = 0
        elif self._read >= COMPACT_BYTES and self.waiting <= COMPACT_BYTES:
            self._compact()
        return size

    def reopen_if_removed(self) -> bool:
        """Continues in a new file if the file was removed; returns whether it was. Raises `OSError` if that fails.

        The content of a removed file is lost when its process ends.
        """
        try:
            if os.path.samestat(os.fstat(self._file.fileno()), os.stat(self.path)):
                return False
        except FileNotFoundError:
            pass
        self._folder.mkdir(parents=True, exist_ok=True)
        self._continue_in_new_file()
        return True

    def _compact(self) -> None:
        before = self.path
        with contextlib.suppress(OSError):  # the disk is full: retried later
            self._continue_in_new_file()
        if self.path != before:
            before.unlink(missing_ok=True)

    def _continue_in_new_file(self) -> None:
        """Starts a new file with the requests in flight and the rows that are not stored. Raises `OSError`."""
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
        """Closes the file. It stays on disk if it has rows that are not stored, or requests in flight."""
        if not self.waiting and not self._in_flight:
            self.path.unlink(missing_ok=True)
        self._file.close()

    @contextlib.contextmanager
    def adoption_lock(self) -> Iterator[bool]:
        """Yields whether this process holds the lock of the folder: only one process adopts journals at a time."""
        folder = os.open(self._folder, os.O_RDONLY)
        try:
            try:
                fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
                return
            except OSError:
                pass  # a file system without locks on folders: each file has its own lock
            yield True
        finally:
            os.close(folder)

    def orphans(self) -> Generator[Path, None, None]:
        """Yields the files of dead processes; each is locked until the next one."""
        for unseen in self._folder.glob("*.new"):
            with contextlib.suppress(FileNotFoundError):
                if unseen.stat().st_mtime < time.time() - _UNSEEN_S:
                    unseen.unlink()
        for path in sorted(self._folder.glob("*.journal")):
            # Reading a pipe or a device could block for ever; another process may have removed the file.
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
                    continue  # its process is alive, or another process reads it
                if path.exists():
                    yield path
