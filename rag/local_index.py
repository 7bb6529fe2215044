"""One process's indexes of one source, built from the log of its store.

    <folder>/<number>/words/        BM25, on disk
    <folder>/<number>/*.faiss       vectors of a large partition, mapped
    <folder>/<number>/state.json    how far each of them has read the log

A process locks a number that no other process uses, and prefers one with vectors of its embedder. It reads what is not
on disk from the log at start.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import shutil
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import msgspec

from rag.store import may_see
from rag.text_index import VERSION, TextIndex
from rag.vector_index import Kind, VectorIndex

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from rag.store import Change

_MAX_PROCESSES = 64


class _State(msgspec.Struct):
    """The state on disk. `partitions`: for each, the log number that its main index has read up to; 0 without one."""

    embedder: str = ""
    words: int = 0
    partitions: dict[str, int] = {}


class LocalIndex:
    """Written by one thread at a time, searched by any. Open it in a thread: it reads files."""

    def __init__(
        self, folder: Path, embedder: str, dimensions: int, kind: Kind = "auto", language: str = "english"
    ) -> None:
        """Raises `OSError`."""
        self._lock, self._folder = _acquire(folder, embedder)
        self._path = self._folder / "state.json"
        self._changing = threading.Lock()
        self._closed = False
        # The text index is committed before the state: after a crash it may already contain the first changes.
        self._applied = False
        self._state = _read(self._path)
        for old in self._folder.glob("words-*"):
            # Built with another tokenization.
            if not old.name.endswith(f"-{VERSION}"):
                shutil.rmtree(old, ignore_errors=True)
        self.words = TextIndex(self._folder / f"words-{language}-{VERSION}", language)
        if len(self.words) == 0:
            self._state.words = 0
        self.vectors = VectorIndex(dimensions, kind)
        if self._state.embedder != embedder:
            self._state.embedder = embedder
            self._state.partitions = dict.fromkeys(self._state.partitions, 0)
        self._read_up_to = dict.fromkeys(self._state.partitions, 0)
        for partition, seq in self._state.partitions.items():
            self.vectors.partition(partition)
            if seq:
                self._read_up_to[partition] = self._use(partition, seq)

    def _use(self, partition: str, seq: int) -> int:
        path = self._main_path(partition, seq)
        try:
            self.vectors.partition(partition).use(path)
        except (OSError, RuntimeError, ValueError, KeyError):
            # Damaged or missing: read everything from the log again.
            return 0
        return seq

    @property
    def cursor(self) -> int:
        """The log number that all indexes have read up to."""
        return min(self._state.words, *self._read_up_to.values()) if self._read_up_to else self._state.words

    def apply(self, changes: Sequence[Change]) -> None:
        """Applies log entries after `cursor`. Does nothing once the index is closed."""
        # The caller may have been cancelled and be closing the index now.
        with self._changing:
            if changes and not self._closed:
                self._apply(changes)

    def _apply(self, changes: Sequence[Change]) -> None:
        import numpy as np

        added: dict[str, dict[int, NDArray[np.float32]]] = {}
        for change in changes:
            self._apply_words(change)
            if change.operation == "remove":
                for partition, each in added.items():
                    self.vectors.partition(partition).add(each)
                added.clear()
                for partition in self.vectors.partitions:
                    if change.seq > self._read_up_to[partition]:
                        self.vectors.partition(partition).remove((change.chunk,))
            elif change.searched:
                self._read_up_to.setdefault(change.partition, 0)
                self.vectors.partition(change.partition)
                if change.vector and change.seq > self._read_up_to[change.partition]:
                    vector = np.frombuffer(change.vector, dtype=np.float16).astype(np.float32)
                    added.setdefault(change.partition, {})[change.chunk] = vector
        for partition, each in added.items():
            self.vectors.partition(partition).add(each)
        last = changes[-1].seq
        self.words.commit()
        self._applied = True
        self._state.words = max(self._state.words, last)
        self._read_up_to = {partition: max(seq, last) for partition, seq in self._read_up_to.items()}
        self._save()

    def _apply_words(self, change: Change) -> None:
        if change.seq <= self._state.words:
            return
        if change.operation == "remove":
            self.words.remove(change.chunk)
        elif change.operation == "add" and change.searched:
            self.words.add(change.chunk, change.searched, change.partition, replace=not self._applied)

    def visible(self, labels: frozenset[str] | None) -> list[str] | None:
        """The partitions visible to `labels`; None (all) if `labels` is None.

        Lists them even if all are visible: another partition may be added while a search runs.
        """
        if labels is None:
            return None
        # Copy atomically: another thread may be adding a partition.
        return [partition for partition in list(self._read_up_to) if may_see(partition, labels)]

    def main_path(self, partition: str, seq: int) -> Path:
        """The path for a partition's main index that covers the log up to `seq`."""
        return self._main_path(partition, seq)

    def _main_path(self, partition: str, seq: int) -> Path:
        name = hashlib.sha256(partition.encode()).hexdigest()[:16]
        return self._folder / f"{name}-{seq}.faiss"

    def use_main(self, partition: str, seq: int) -> None:
        """Switches to a main index at `main_path`; log entries after `seq` must be applied again."""
        old = self._state.partitions.get(partition, 0)
        self.vectors.partition(partition).use(self._main_path(partition, seq))
        self._state.partitions[partition] = seq
        self._read_up_to[partition] = seq
        self._save()
        if old and old != seq:
            for suffix in (".faiss", ".json"):
                self._main_path(partition, old).with_suffix(suffix).unlink(missing_ok=True)

    def _save(self) -> None:
        self._state.partitions = {name: self._state.partitions.get(name, 0) for name in self._read_up_to}
        part = self._path.with_suffix(".part")
        part.write_bytes(msgspec.json.encode(self._state))
        part.replace(self._path)

    def close(self) -> None:
        """Releases the folder once pending changes have been applied."""
        with self._changing:
            self._closed = True
            self.words.close()
            self._lock.close()


def _acquire(folder: Path, embedder: str) -> tuple[IO[Any], Path]:
    folder.mkdir(parents=True, exist_ok=True)
    for number in sorted(range(_MAX_PROCESSES), key=lambda number: _fitness(folder / str(number), embedder)):
        lock = (folder / f"{number}.lock").open("w")
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            own_folder = folder / str(number)
            own_folder.mkdir(exist_ok=True)
            return lock, own_folder
        lock.close()
    raise OSError(f"{_MAX_PROCESSES} processes already use {folder}: stop some, or give this one another server.data")


def _fitness(folder: Path, embedder: str) -> int:
    """0 for indexes of this embedder, 1 for an empty folder, 2 for indexes of another embedder."""
    try:
        state = msgspec.json.decode((folder / "state.json").read_bytes(), type=_State)
    except (OSError, msgspec.DecodeError):
        return 1
    return 0 if state.embedder == embedder else 2


def _read(path: Path) -> _State:
    try:
        return msgspec.json.decode(path.read_bytes(), type=_State)
    except (OSError, msgspec.DecodeError, json.JSONDecodeError):
        # Unreadable or written by a later version: rebuild everything from the store's log.
        shutil.rmtree(path.parent, ignore_errors=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        return _State()
