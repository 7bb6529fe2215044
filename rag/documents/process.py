"""Documents are read in processes of their own, with limits of time and memory.

A hostile file can make its format's library take minutes and gigabytes, or crash the interpreter. It then costs its
own process, which is ended and replaced; the file is an error that names the limit. One process is kept warm.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from contract.units import write_duration
from contract.work import WorkPool
from rag.chunkers import Chunking
from rag.documents.chunking import ChunkedDocument
from rag.documents.reading import UnreadableFile, too_long
from rag.documents.worker import LENGTH, Limits, ReadJob, WorkerAnswer, too_large

PROCESSES = 2
LOADERS = 4
# What a process may answer: so much text that no memory is left for anything else is an error too.
MAX_ANSWER = 512 * 1024 * 1024
_PIECE = 1 << 20
# Nothing of the server's environment, which holds its secrets, but where Python and its libraries are.
_ENVIRONMENT = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH", "SYSTEMROOT")


class _Ended(Exception):
    """The process is gone before its answer came."""


class ReadingProcess:
    """One process, for one thread at a time."""

    def __init__(self) -> None:
        """Starts it. Raises `OSError`."""
        root = Path(__file__).resolve().parents[2]
        environment = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
        # Libraries of numbers take memory for each of their threads, and there is nothing to compute.
        environment |= {"PYTHONPATH": str(root), "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
        self.used = False
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "rag.documents.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._to, self._from = self._process.stdin.fileno(), self._process.stdout.fileno()
        os.set_blocking(self._to, False)
        os.set_blocking(self._from, False)

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._process.pid

    def read(self, job: ReadJob) -> WorkerAnswer:
        """The answer. Raises `TimeoutError` at the limit, `_Ended`; the process is of no use after either."""
        self.used = True
        until = time.monotonic() + job.limits.timeout_s
        data = msgspec.msgpack.encode(job)
        self._write(memoryview(len(data).to_bytes(LENGTH) + data), until)
        size = int.from_bytes(self._receive(LENGTH, until))
        if size > MAX_ANSWER:
            raise _Ended
        return msgspec.msgpack.decode(self._receive(size, until), type=WorkerAnswer)

    def _write(self, data: memoryview, until: float) -> None:
        while data:
            self._wait(self._to, select.POLLOUT, until)
            try:
                data = data[os.write(self._to, data[:_PIECE]) :]
            except BlockingIOError:
                continue
            except OSError:
                raise _Ended from None

    def _receive(self, size: int, until: float) -> bytes:
        received = bytearray()
        while len(received) < size:
            self._wait(self._from, select.POLLIN, until)
            try:
                piece = os.read(self._from, min(_PIECE, size - len(received)))
            except BlockingIOError:
                continue
            if not piece:
                raise _Ended
            received += piece
        return bytes(received)

    def _wait(self, descriptor: int, event: int, until: float) -> None:
        poll = select.poll()
        poll.register(descriptor, event)
        if not poll.poll(max(0.0, until - time.monotonic()) * 1000):
            raise TimeoutError

    def end(self) -> int:
        """Ends it, whatever it does; what it ended by before, as `subprocess` tells it."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            # One that has ended by itself is not there to be killed.
            self._process.wait(0.05)
        self._process.kill()
        code = self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        return code

    def kill(self) -> None:
        """From any thread: whoever reads from it is told by the end of its pipe."""
        self._process.kill()


class Readers:
    """The processes of this server, at most `processes` at once; nobody gets all of them."""

    def __init__(self, processes: int = PROCESSES) -> None:
        self._reading = WorkPool("reading", processes)
        # What is read from disks and web pages waits on others, not on the processor.
        self._loading = WorkPool("loading", LOADERS)
        self._changing = threading.Lock()
        self._idle: list[ReadingProcess] = []
        self._busy: set[ReadingProcess] = set()
        self._closed = False

    def reader(self, caller: str, limits: Limits) -> Reader:
        """Reads in the turn of `caller`, within `limits`."""
        return Reader(self, caller, limits)

    async def load(self, caller: str, load: Callable[[], tuple[bytes, str]]) -> tuple[bytes, str]:
        """What `load` gives."""
        return await self._loading.run(caller, load)

    async def read(self, caller: str, job: ReadJob) -> ChunkedDocument:
        """A document, cut. Raises `UnreadableFile`."""
        if len(job.data) > job.limits.size_bytes:
            raise too_long(job.limits.size_bytes)
        made = await self._reading.run(caller, self._read, job)
        if made.error:
            raise UnreadableFile(made.error)
        return made.cut

    @property
    def processes(self) -> list[int]:
        """The ids of those that run."""
        with self._changing:
            return [each.pid for each in [*self._idle, *self._busy]]

    def _read(self, job: ReadJob) -> WorkerAnswer:
        process = self._take()
        reused = process.used
        try:
            made = process.read(job)
        except TimeoutError:
            self._give_back(process, of_use=False)
            return WorkerAnswer(
                error=f"reading it takes longer than {write_duration(job.limits.timeout_s)} (read.timeout)"
            )
        except _Ended:
            code = self._give_back(process, of_use=False)
            if reused and not self._closed and code != -signal.SIGXCPU:
                # It may have been gone, or full, before.
                return self._read(job)
            return WorkerAnswer(error=_why(code, job.limits))
        except BaseException:
            self._give_back(process, of_use=False)
            raise
        self._give_back(process, of_use=not made.last)
        return made

    def _take(self) -> ReadingProcess:
        with self._changing:
            if self._closed:
                raise UnreadableFile("the server ends")
            process = self._idle.pop() if self._idle else ReadingProcess()
            self._busy.add(process)
            return process

    def _give_back(self, process: ReadingProcess, *, of_use: bool) -> int:
        """Keeps one warm and ends every other; what it ended by."""
        with self._changing:
            self._busy.discard(process)
            if of_use and not self._idle and not self._closed:
                self._idle.append(process)
                return 0
        return process.end()

    def close(self) -> None:
        """Ends all of them, also those that are reading."""
        with self._changing:
            self._closed = True
            idle, self._idle = self._idle, []
            for process in self._busy:
                process.kill()
        for process in idle:
            process.end()
        self._reading.close()
        self._loading.close()


class Reader(msgspec.Struct, frozen=True):
    """Implements `rag.ingest.DocumentReader`."""

    readers: Readers
    caller: str
    limits: Limits

    async def load(self, load: Callable[[], tuple[bytes, str]]) -> tuple[bytes, str]:
        """See `Reads.load`."""
        return await self.readers.load(self.caller, load)

    async def cut(self, name: str, data: bytes, media_type: str, chunking: Chunking) -> ChunkedDocument:
        """See `Reads.cut`."""
        return await self.readers.read(self.caller, ReadJob(name, data, media_type, chunking, self.limits))

    def of(self, caller: str) -> Reader:
        """See `Reads.of`."""
        return Reader(self.readers, caller, self.limits)


def _why(code: int, limits: Limits) -> str:
    if code == -signal.SIGXCPU:
        return f"reading it takes longer than {write_duration(limits.timeout_s)} of processor time (read.timeout)"
    if code == -signal.SIGKILL:
        return f"{too_large(limits)}, or the machine has no more"
    return f"reading it ends the process that reads ({'signal' if code < 0 else 'exit code'} {abs(code)})"
