"""The ledger's way to the database: a file on disk first, so that neither a crash nor an outage loses a row.

Every process appends to a file of its own, and reads from it what goes to the database. What a process left behind
that was killed is read by the next one that starts. A row that arrives twice is one row.
"""

from __future__ import annotations

import fcntl
import os
import secrets
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from gateway.access.entry import Entry

_DECODER = msgspec.json.Decoder(Entry)
_ENCODER = msgspec.json.Encoder()
ROTATE_BYTES = 8_000_000


class Journal:
    """One process's file, open to append."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._path = folder / f"{os.getpid()}-{secrets.token_hex(4)}.journal"
        self._file = open(self._path, "a+b", buffering=0, opener=_private)  # noqa: SIM115 - open as long as the process
        # Whoever holds the lock is alive.
        fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self._read = 0
        self._written = 0

    @property
    def waiting(self) -> int:
        """Bytes that have not been taken yet."""
        return self._written - self._read

    def write(self, entries: Sequence[Entry]) -> None:
        """Appends. Raises `OSError` when the disk is full: then nothing was appended."""
        data = b"".join(_ENCODER.encode(each) + b"\n" for each in entries)
        try:
            sent = 0
            while sent < len(data):
                sent += self._file.write(data[sent:]) or 0
        except OSError:
            self._file.truncate(self._written)
            raise
        self._written += len(data)

    def sync(self) -> None:
        """Until it lies on the disk itself."""
        os.fsync(self._file.fileno())

    def take(self, most: int) -> tuple[list[Entry], int]:
        """The oldest entries that have not been taken, and the place after them; see `taken`."""
        return _read(self._file.fileno(), self._read, most)

    def taken(self, place: int) -> None:
        """What stands before `place` is in the database."""
        self._read = place
        if self._read == self._written and self._written > ROTATE_BYTES:
            self._file.truncate(0)
            self._read = self._written = 0

    def close(self) -> None:
        """Leaves the file behind if anything in it is not in the database."""
        if not self.waiting:
            self._path.unlink(missing_ok=True)
        self._file.close()

    def left_behind(self) -> Iterator[Path]:
        """Files of processes that are no more, each ours alone while it is looked at."""
        for path in sorted(self._folder.glob("*.journal")):
            if path == self._path:
                continue
            with path.open("rb") as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except OSError:
                    continue  # its process lives
                if path.exists():
                    yield path


def _private(path: str, flags: int) -> int:
    """Who has called whom is for nobody else of this machine."""
    return os.open(path, flags, 0o600)


def read_journal(path: Path, most: int) -> Iterator[list[Entry]]:
    """All entries of a file, so many at a time. What was not wholly written when its process died is left out."""
    place = 0
    with path.open("rb") as file:
        while True:
            entries, after = _read(file.fileno(), place, most)
            if after == place:
                return
            place = after
            if entries:
                yield entries


def _read(descriptor: int, place: int, most: int) -> tuple[list[Entry], int]:
    size = 64 * 1024
    while True:
        data = os.pread(descriptor, size, place)
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
    return entries, place + sum(len(line) + 1 for line in lines)
