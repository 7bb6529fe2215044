"""Parses documents in subprocesses with limits on time and memory.

A hostile file can make a parser use minutes and gigabytes, or crash the interpreter. Then only its subprocess is killed
and replaced, and the file fails with an error that names the limit. One subprocess stays warm.
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
# The maximum answer of a process in bytes: a text that would fill the server's memory is an error too.
MAX_ANSWER = 512 * 1024 * 1024
_PIECE = 1 << 20
# Only what Python and its libraries need: the server's environment contains secrets.
_ENVIRONMENT = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH", "SYSTEMROOT")


class _Ended(Exception):
    """The process ended before it answered."""


class ReadingProcess:
    """One process, for one thread at a time."""

    def __init__(self) -> None:
        """Starts it. Raises `OSError`."""
        root = Path(__file__).resolve().parents[2]
        environment = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
        # Numeric libraries allocate memory per thread, and the process needs only one.
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
        """The process id."""
        return self._process.pid

    def read(self, job: ReadJob) -> WorkerAnswer:
        """Runs a job. Raises `TimeoutError` at its limit and `_Ended`; end the process after either."""
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
        """Kills the process; returns its exit code, which is negative after a signal."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            # If the process has already ended, this yields its own exit code instead of SIGKILL.
            self._process.wait(0.05)
        self._process.kill()
        code = self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        return code

    def kill(self) -> None:
        """Kills the process, from any thread; a thread that reads from its pipe gets end of file."""
        self._process.kill()


class Readers:
    """The reading processes of this server, at most `processes` at once, shared fairly between callers."""

    def __init__(self, processes: int = PROCESSES) -> None:
        self._reading = WorkPool("reading", processes)
        # Loading from disks and web pages waits for I/O, not for the CPU.
        self._loading = WorkPool("loading", LOADERS)
        self._changing = threading.Lock()
        self._idle: list[ReadingProcess] = []
        self._busy: set[ReadingProcess] = set()
        self._closed = False

    def reader(self, caller: str, limits: Limits) -> Reader:
        """A reader that queues its work as `caller` and enforces `limits`."""
        return Reader(self, caller, limits)

    async def load(self, caller: str, load: Callable[[], tuple[bytes, str]]) -> tuple[bytes, str]:
        """Runs `load` in a thread and returns its result."""
        return await self._loading.run(caller, load)

    async def read(self, caller: str, job: ReadJob) -> ChunkedDocument:
        """Parses and splits a document in a process. Raises `UnreadableFile`."""
        if len(job.data) > job.limits.size_bytes:
            raise too_long(job.limits.size_bytes)
        answer = await self._reading.run(caller, self._read, job)
        if answer.error:
            raise UnreadableFile(answer.error)
        return answer.cut

    @property
    def processes(self) -> list[int]:
        """The ids of the running processes."""
        with self._changing:
            return [each.pid for each in [*self._idle, *self._busy]]

    def _read(self, job: ReadJob) -> WorkerAnswer:
        process = self._acquire()
        reused = process.used
        try:
            answer = process.read(job)
        except TimeoutError:
            self._release(process, reusable=False)
            return WorkerAnswer(
                error=f"reading it takes longer than {write_duration(job.limits.timeout_s)} (read.timeout)"
            )
        except _Ended:
            code = self._release(process, reusable=False)
            if reused and not self._closed and code != -signal.SIGXCPU:
                # A reused process may have crashed or run out of memory because of earlier jobs: try a new one.
                return self._read(job)
            return WorkerAnswer(error=_why(code, job.limits))
        except BaseException:
            self._release(process, reusable=False)
            raise
        self._release(process, reusable=not answer.last)
        return answer

    def _acquire(self) -> ReadingProcess:
        with self._changing:
            if self._closed:
                raise UnreadableFile("the server is shutting down")
            process = self._idle.pop() if self._idle else ReadingProcess()
            self._busy.add(process)
            return process

    def _release(self, process: ReadingProcess, *, reusable: bool) -> int:
        """Keeps one process warm and ends all others; returns the exit code, or 0 for a process that stays warm."""
        with self._changing:
            self._busy.discard(process)
            if reusable and not self._idle and not self._closed:
                self._idle.append(process)
                return 0
        return process.end()

    def close(self) -> None:
        """Ends all processes, including busy ones."""
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
        """See `DocumentReader.load`."""
        return await self.readers.load(self.caller, load)

    async def cut(self, name: str, data: bytes, media_type: str, chunking: Chunking) -> ChunkedDocument:
        """See `DocumentReader.cut`."""
        return await self.readers.read(self.caller, ReadJob(name, data, media_type, chunking, self.limits))

    def of(self, caller: str) -> Reader:
        """See `DocumentReader.of`."""
        return Reader(self.readers, caller, self.limits)


def _why(code: int, limits: Limits) -> str:
    if code == -signal.SIGXCPU:
        return f"reading it takes longer than {write_duration(limits.timeout_s)} of CPU time (read.timeout)"
    if code == -signal.SIGKILL:
        return f"{too_large(limits)}, or the machine has run out of memory"
    return f"reading it crashes the parser process ({'signal' if code < 0 else 'exit code'} {abs(code)})"
