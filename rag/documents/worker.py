"""The subprocess that parses documents, one at a time: `python -m rag.documents.worker`, started by `process`.

It reads jobs from stdin and writes answers to stdout as frames: eight bytes of length, then msgpack. Each job has its
own limits on memory and CPU time; a job that exceeds them ends only this process.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import sys
from typing import IO

import msgspec

from contract.units import write_size
from rag.chunkers import Chunking
from rag.documents.chunking import MAX_CHUNKS, ChunkedDocument, cut_document
from rag.documents.reading import MAX_BYTES, UnreadableFile

MB = 1024 * 1024
LENGTH = 8
# A process that has grown beyond this share of its memory is not reused, so that the next file can use all of it.
_GROWN = 0.25
_NEAR = 0.6


class Limits(msgspec.Struct, frozen=True):
    """The limits for parsing one document. `memory_bytes` includes about 100 MB for the process itself."""

    timeout_s: float = 60.0
    memory_bytes: int = 1024 * MB
    size_bytes: int = MAX_BYTES
    chunks: int = MAX_CHUNKS


class ReadJob(msgspec.Struct, frozen=True):
    """A document to parse and split."""

    name: str
    data: bytes
    media_type: str
    chunking: Chunking
    limits: Limits


class WorkerAnswer(msgspec.Struct, frozen=True):
    """The chunks, or the `error` that prevented them. `last`: the process ends after this answer."""

    cut: ChunkedDocument = ChunkedDocument()
    error: str = ""
    last: bool = False


def answer(job: ReadJob) -> WorkerAnswer:
    """Runs a job within its limits on memory and CPU time."""
    limits = job.limits
    _limit(limits)
    try:
        cut = cut_document(job.name, job.data, job.media_type, job.chunking, limits.chunks, limits.size_bytes)
    except UnreadableFile as error:
        if not _near(limits):
            return WorkerAnswer(error=str(error), last=_grown(limits))
        # C libraries report other errors when they run out of memory.
        return WorkerAnswer(error=f"{too_large(limits)}: {error}", last=True)
    except MemoryError:
        return WorkerAnswer(error=too_large(limits), last=True)
    return WorkerAnswer(cut, last=_grown(limits) or _near(limits))


def too_large(limits: Limits) -> str:
    """The error text for a document that needs too much memory."""
    return f"reading it takes more than {write_size(limits.memory_bytes)} of memory (read.memory)"


def _limit(limits: Limits) -> None:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    until = int(usage.ru_utime + usage.ru_stime + limits.timeout_s) + 2
    # Not every system supports both limits.
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_CPU, (until, resource.RLIM_INFINITY))
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_AS, (limits.memory_bytes, resource.RLIM_INFINITY))


def _grown(limits: Limits) -> bool:
    # Not `ru_maxrss`: it starts with the value of the parent process.
    with contextlib.suppress(OSError, ValueError, IndexError), open("/proc/self/statm", "rb") as file:
        return int(file.read().split()[1]) * resource.getpagesize() > _GROWN * limits.memory_bytes
    return False


def _near(limits: Limits) -> bool:
    """Whether this process's peak memory has been near its limit."""
    with contextlib.suppress(OSError, ValueError, IndexError), open("/proc/self/status", "rb") as file:
        peak = next(line for line in file if line.startswith(b"VmPeak"))
        return int(peak.split()[1]) * 1024 > _NEAR * limits.memory_bytes
    return False


def serve(jobs: IO[bytes], answers: IO[bytes]) -> None:
    """Runs jobs until the input ends."""
    while len(head := jobs.read(LENGTH)) == LENGTH:
        result = answer(msgspec.msgpack.decode(jobs.read(int.from_bytes(head)), type=ReadJob))
        try:
            data = msgspec.msgpack.encode(result)
        except MemoryError:
            data = msgspec.msgpack.encode(WorkerAnswer(error="its text takes too much memory", last=True))
        answers.write(len(data).to_bytes(LENGTH) + data)
        answers.flush()
        if result.last:
            return


def main() -> None:
    """Serves stdin and stdout; discards what a library prints."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    answers = os.fdopen(os.dup(1), "wb")
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, 1)
    serve(sys.stdin.buffer, answers)


if __name__ == "__main__":
    main()
