"""Stores journal lines that this version can't read, byte for byte, next to the journals.

`<journal>.undecodable` has one on each line. They are of a later version, as after a downgrade, or damaged. The file is
read again at each start and whenever it changes; lines that have become readable then go to the ledger.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import secrets
from collections.abc import Iterable, Iterator, Sequence
from io import FileIO
from pathlib import Path
from typing import IO, Any, TypeAlias

import structlog

from access.ledger.lines import UnreadableLine

SUFFIX = ".undecodable"
# Version 0.1.0 renamed a damaged journal to this: it also has lines that are already in the database.
OLD_SUFFIX = ".unread"
_MOST_PLACES = 20
_AT_ONCE = 1 << 20
Stat: TypeAlias = tuple[int, int, int]


class SetAsideLines:
    """The lines set aside in a folder, which all processes of a machine share."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        # The number of lines of each file, with the file's state at that time.
        self._counts: dict[Path, tuple[Stat, int]] = {}
        self._seen: dict[Path, Stat] = {}

    @property
    def lines(self) -> int:
        """The number of lines, as of the last `refresh`."""
        return sum(count for _, count in self._counts.values())

    @property
    def where(self) -> str:
        """The pattern of the files, for people."""
        return f"{self._folder}/*{SUFFIX}"

    def keep(self, journal: Path, lines: Sequence[UnreadableLine]) -> None:
        """Adds lines of a journal and logs it. Equal lines are stored once. Raises `OSError`: then none was added."""
        if not lines:
            return
        path = self._append(journal.with_suffix(SUFFIX), [each.data for each in lines])
        whys = sorted({each.why for each in lines})
        structlog.get_logger().error(
            "lines of a journal can't be read: they are set aside",
            file=str(journal),
            set_aside=str(path),
            lines=len(lines),
            first_bytes=[each.place for each in lines[:_MOST_PLACES]],
            why=whys[:_MOST_PLACES],
        )
        self.refresh()

    def _append(self, path: Path, lines: Sequence[bytes]) -> Path:
        with self._open(path) as (path, file):
            before = file.read()
            known = set(before.split(b"\n"))
            new = [each for each in dict.fromkeys(lines) if each not in known]
            # The file may have been edited by hand, without a final line end.
            gap = b"\n" if before and not before.endswith(b"\n") else b""
            try:
                write_all(file, gap + b"".join([each + b"\n" for each in new]))
                os.fsync(file.fileno())
            except OSError:
                file.truncate(len(before))
                raise
        return path

    @contextlib.contextmanager
    def _open(self, path: Path) -> Iterator[tuple[Path, FileIO]]:
        """Opens and locks the file; another file if it is locked, or if a folder or a link has its name."""
        while True:
            try:
                descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
            except OSError as error:
                if error.errno not in (errno.EISDIR, errno.ELOOP):
                    raise
            else:
                with FileIO(descriptor, "r+b") as file:
                    if locked(file) and is_still(file, path):
                        yield path, file
                        return
            path = path.with_stem(f"{path.stem}-{secrets.token_hex(2)}")

    def changed_files(self) -> list[Path]:
        """The files that are new, or have changed since `mark_read`."""
        found = sorted([*self._folder.glob(f"*{SUFFIX}"), *self._folder.glob(f"*{OLD_SUFFIX}")])
        return [each for each in found if _is_file(each) and self._seen.get(each) != stat_of(each)]

    def mark_read(self, path: Path) -> None:
        """Marks a file as read: it is not read again until it changes."""
        with contextlib.suppress(OSError):
            self._seen[path] = stat_of(path)

    def refresh(self) -> None:
        """Counts the lines of changed files."""
        counts = {}
        for path in self._folder.glob(f"*{SUFFIX}"):
            with contextlib.suppress(OSError):
                if _is_file(path):
                    before = self._counts.get(path)
                    known = before is not None and before[0] == stat_of(path)
                    counts[path] = before if before is not None and known else (stat_of(path), _count(path))
        self._counts = counts


def replace(path: Path, lines: Iterable[bytes]) -> None:
    """Replaces the lines of a file; without lines removes it. Raises `OSError`: then nothing changed."""
    part = path.with_suffix(".part")
    count = 0
    try:
        with open(part, "wb", opener=private) as file:
            for count, line in enumerate(lines, 1):  # noqa: B007 - also after the loop
                file.write(line + b"\n")
            file.flush()
            os.fsync(file.fileno())
        if count:
            part.replace(path)
        else:
            path.unlink()
    finally:
        part.unlink(missing_ok=True)


def locked(file: IO[Any] | FileIO) -> bool:
    """Locks the file until it is closed; returns False if another process has locked it."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def is_still(file: IO[Any] | FileIO, path: Path) -> bool:
    """Whether the path still names the open file, which may have been replaced."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), os.stat(path))
    except OSError:
        return False


def private(path: str, flags: int) -> int:
    """Opens a file that only its owner may read, because ledger data is private."""
    return os.open(path, flags, 0o600)


def write_all(file: FileIO, data: bytes) -> None:
    """Writes all data, in several writes if needed. Raises `OSError`: then a part may have been written."""
    sent = 0
    while sent < len(data):
        sent += file.write(data[sent:] if sent else data) or 0


def _is_file(path: Path) -> bool:
    return not path.is_symlink() and path.is_file()


def stat_of(path: Path) -> Stat:
    """A value that changes with the file: inode, modification time and size."""
    found = path.stat()
    return found.st_ino, found.st_mtime_ns, found.st_size


def _count(path: Path) -> int:
    count, last = 0, b"\n"
    with path.open("rb") as file:
        while data := file.read(_AT_ONCE):
            count += data.count(b"\n")
            last = data[-1:]
    return count + (last != b"\n")
