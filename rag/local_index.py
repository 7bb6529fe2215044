"""The indexes that one process keeps of one source, made from the log of its store.

    <folder>/<number>/words/        BM25, on disk
    <folder>/<number>/*.faiss       vectors of a large partition, mapped
    <folder>/<number>/state.json    how far each of them has read the log

A process takes a number that no other has, one with its own embedder's vectors before others. What is not on disk is
read from the log again at the start.
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
from rag.text_index import FORM, TextIndex
from rag.vector_index import Kind, VectorIndex

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from rag.store import Change

_MOST_PROCESSES = 64


class _State(msgspec.Struct):
    """What is on disk. `partitions`: each with the number up to which its main index has read, 0 without one."""

    embedder: str = ""
    words: int = 0
    partitions: dict[str, int] = {}


class LocalIndex:
    """Changed by one thread at a time, searched by any. Open it in a thread: it reads files."""

    def __init__(
        self, folder: Path, embedder: str, dimensions: int, kind: Kind = "auto", language: str = "english"
    ) -> None:
        """Raises `OSError`."""
        self._lock, self._folder = _take(folder, embedder)
        self._path = self._folder / "state.json"
        self._changing = threading.Lock()
        self._closed = False
        # The words are committed before the state is: the first changes after a crash may be there already.
        self._applied = False
        self._state = _read(self._path)
        for before in self._folder.glob("words-*"):
            # Cut into words in another way.
            if not before.name.endswith(f"-{FORM}"):
                shutil.rmtree(before, ignore_errors=True)
        self.words = TextIndex(self._folder / f"words-{language}-{FORM}", language)
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
            # Damaged or gone: the log has it all.
            return 0
        return seq

    @property
    def cursor(self) -> int:
        """The number of the log up to which everything here has read it."""
        return min(self._state.words, *self._read_up_to.values()) if self._read_up_to else self._state.words

    def apply(self, changes: Sequence[Change]) -> None:
        """Takes in entries of the log that come after `cursor`. Once closed it does nothing."""
        # Whoever waited for this may have been cancelled, and may be closing now.
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
            self.words.add(change.chunk, change.searched, change.partition, again=not self._applied)

    def visible(self, labels: frozenset[str] | None) -> list[str] | None:
        """The partitions that somebody with `labels` may see; None for all, if `labels` is None.

        They are always named, even if they are all there are: another may come while the search is under way.
        """
        if labels is None:
            return None
        # A copy in one step: another thread may be adding a partition.
        return [partition for partition in list(self._read_up_to) if may_see(partition, labels)]

    def main_path(self, partition: str, seq: int) -> Path:
        """Where the main index of a partition is to be written that has read the log up to `seq`."""
        return self._main_path(partition, seq)

    def _main_path(self, partition: str, seq: int) -> Path:
        name = hashlib.sha256(partition.encode()).hexdigest()[:16]
        return self._folder / f"{name}-{seq}.faiss"

    def use_main(self, partition: str, seq: int) -> None:
        """Takes a main index that was written to `main_path`; what came after `seq` must be applied again."""
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
        """Lets go of the folder, after what is being applied."""
        with self._changing:
            self._closed = True
            self.words.close()
            self._lock.close()


def _take(folder: Path, embedder: str) -> tuple[IO[Any], Path]:
    folder.mkdir(parents=True, exist_ok=True)
    for number in sorted(range(_MOST_PROCESSES), key=lambda number: _fitness(folder / str(number), embedder)):
        lock = (folder / f"{number}.lock").open("w")
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            mine = folder / str(number)
            mine.mkdir(exist_ok=True)
            return lock, mine
        lock.close()
    raise OSError(f"{_MOST_PROCESSES} processes use {folder} already")


def _fitness(folder: Path, embedder: str) -> int:
    """0 for indexes of this embedder, 1 where there is nothing yet, 2 for those of another."""
    try:
        state = msgspec.json.decode((folder / "state.json").read_bytes(), type=_State)
    except (OSError, msgspec.DecodeError):
        return 1
    return 0 if state.embedder == embedder else 2


def _read(path: Path) -> _State:
    try:
        return msgspec.json.decode(path.read_bytes(), type=_State)
    except (OSError, msgspec.DecodeError, json.JSONDecodeError):
        # Nothing here that can be trusted, or of a later version: everything is made anew from the store's log.
        shutil.rmtree(path.parent, ignore_errors=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        return _State()
