"""The ledger's way to the database: a file on disk first, so that neither a crash nor an outage loses a row.

Every process appends to a file of its own, and reads from it what goes to the database. What a process left behind
that was killed is read by another that lives, or by the next one that starts. A row that arrives twice is one row.
"""

from __future__ import annotations

import fcntl
import os
import secrets
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path

import msgspec

from gateway.access.entry import Entry

_DECODER = msgspec.json.Decoder(Entry)
_ENCODER = msgspec.json.Encoder()


class Journal:
    """One process's file, open to append."""

    def __init__(self, folder: Path) -> None:
        """Raises `OSError`."""
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self.path = folder / f"{os.getpid()}-{secrets.token_hex(4)}.journal"
        unseen = self.path.with_suffix(".new")
        self._file = open(unseen, "a+b", buffering=0, opener=_private)  # noqa: SIM115 - open as long as the process
        # Whoever holds the lock is alive. Under its own name nobody ever sees the file without it: another process
        # would take it for one that was left behind.
        fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        unseen.rename(self.path)
        self._read = 0
        self._written = 0
        self._torn = False

    @property
    def waiting(self) -> int:
        """Bytes that have not been taken yet."""
        return self._written - self._read

    def write(self, entries: Sequence[Entry]) -> None:
        """Appends. Raises `OSError` when the disk is full: then nothing was appended."""
        data = b"".join(_ENCODER.encode(each) + b"\n" for each in entries)
        if self._torn:
            self._file.truncate(self._written)
        self._torn = True
        try:
            sent = 0
            while sent < len(data):
                sent += self._file.write(data[sent:]) or 0
        except OSError:
            self._file.truncate(self._written)
            self._torn = False
            raise
        self._torn = False
        self._written += len(data)

    def sync(self) -> None:
        """Until it lies on the disk itself."""
        os.fsync(self._file.fileno())

    def take(self, most: int) -> tuple[list[Entry], int]:
        """The oldest entries that have not been taken, and the place after them; see `taken`."""
        entries, place, _ = _read(self._file.fileno(), self._read, most, self._written)
        return entries, place

    def taken(self, place: int) -> int:
        """What stands before `place` is in the database; so many bytes more than before."""
        size, self._read = place - self._read, place
        if self._read == self._written:
            # Nothing old is left behind: a row that has been swept from the database since would count again.
            self._file.truncate(0)
            self._read = self._written = 0
        return size

    def close(self) -> None:
        """Leaves the file behind if anything in it is not in the database."""
        if not self.waiting:
            self.path.unlink(missing_ok=True)
        self._file.close()

    def left_behind(self) -> Generator[Path, None, None]:
        """Files of processes that are no more, each ours alone while it is looked at."""
        for path in sorted(self._folder.glob("*.journal")):
            if path == self.path:
                continue
            try:
                file = path.open("rb")
            except FileNotFoundError:
                continue  # another was faster
            with file:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except OSError:
                    continue  # its process lives, or another reads it
                if path.exists():
                    yield path


def _private(path: str, flags: int) -> int:
    """Who has called whom is for nobody else of this machine."""
    return os.open(path, flags, 0o600)


def read_journal(path: Path, most: int) -> Iterator[tuple[list[Entry], int]]:
    """All entries of a file, so many at a time, each time with the number of lines that are none.

    What was not wholly written when its process died is left out.
    """
    place = 0
    with path.open("rb") as file:
        while True:
            entries, after, broken = _read(file.fileno(), place, most)
            if after == place:
                return
            place = after
            yield entries, broken


def _read(descriptor: int, place: int, most: int, end: int | None = None) -> tuple[list[Entry], int, int]:
    """Whole lines from a place on, the place after them, and how many of them are no entries."""
    size = 64 * 1024
    while True:
        wanted = size if end is None else min(size, end - place)
        data = os.pread(descriptor, wanted, place)
        lines = data.split(b"\n")[:most] if data.count(b"\n") >= most else data.split(b"\n")[:-1]
        if lines or len(data) < size:
            break
        size *= 4
    entries = []
    for line in lines:
        try:
            entries.append(_DECODER.decode(line))
        except msgspec.MsgspecError:
            continue
    return entries, place + sum(len(line) + 1 for line in lines), len(lines) - len(entries)
