"""The process that reads documents, one after another: `python -m rag.documents.worker`, started by `process`.

A job comes as a frame on stdin, its answer goes as one to stdout: eight bytes of length, then msgpack. Each job has
limits of its own on memory and on processor time; what passes them ends here, and nothing else does.
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
# A process that has grown beyond this share of its memory is not used again: the next file is to have all of it.
_GROWN = 0.25
_NEAR = 0.6


class Limits(msgspec.Struct, frozen=True):
    """What reading one document may take. `memory_bytes` is of the whole process, about 100 MB of it its own."""

    timeout_s: float = 60.0
    memory_bytes: int = 1024 * MB
    size_bytes: int = MAX_BYTES
    chunks: int = MAX_CHUNKS


class ReadJob(msgspec.Struct, frozen=True):
    """A document to read and cut."""

    name: str
    data: bytes
    media_type: str
    chunking: Chunking
    limits: Limits


class WorkerAnswer(msgspec.Struct, frozen=True):
    """What it is cut into, or the `error` that says why it is not. `last`: this process reads no more."""

    cut: ChunkedDocument = ChunkedDocument()
    error: str = ""
    last: bool = False


def answer(job: ReadJob) -> WorkerAnswer:
    """Reads and cuts within the limits on memory and processor time."""
    limits = job.limits
    _limit(limits)
    try:
        cut = cut_document(job.name, job.data, job.media_type, job.chunking, limits.chunks, limits.size_bytes)
    except UnreadableFile as error:
        if not _near(limits):
            return WorkerAnswer(error=str(error), last=_grown(limits))
        # Libraries of C call it otherwise when they get no more memory.
        return WorkerAnswer(error=f"{too_large(limits)}: {error}", last=True)
    except MemoryError:
        return WorkerAnswer(error=too_large(limits), last=True)
    return WorkerAnswer(cut, last=_grown(limits) or _near(limits))


def too_large(limits: Limits) -> str:
    """Why a document that takes too much memory is not read."""
    return f"reading it takes more than {write_size(limits.memory_bytes)} of memory (read.memory)"


def _limit(limits: Limits) -> None:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    until = int(usage.ru_utime + usage.ru_stime + limits.timeout_s) + 2
    # Not every system knows both.
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_CPU, (until, resource.RLIM_INFINITY))
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_AS, (limits.memory_bytes, resource.RLIM_INFINITY))


def _grown(limits: Limits) -> bool:
    # Not `ru_maxrss`: it begins with what the process had that started this one.
    with contextlib.suppress(OSError, ValueError, IndexError), open("/proc/self/statm", "rb") as file:
        return int(file.read().split()[1]) * resource.getpagesize() > _GROWN * limits.memory_bytes
    return False


def _near(limits: Limits) -> bool:
    """Whether this process has ever come near its limit."""
    with contextlib.suppress(OSError, ValueError, IndexError), open("/proc/self/status", "rb") as file:
        peak = next(line for line in file if line.startswith(b"VmPeak"))
        return int(peak.split()[1]) * 1024 > _NEAR * limits.memory_bytes
    return False


def serve(jobs: IO[bytes], answers: IO[bytes]) -> None:
    """Answers jobs until there are no more."""
    while len(head := jobs.read(LENGTH)) == LENGTH:
        made = answer(msgspec.msgpack.decode(jobs.read(int.from_bytes(head)), type=ReadJob))
        try:
            data = msgspec.msgpack.encode(made)
        except MemoryError:
            data = msgspec.msgpack.encode(WorkerAnswer(error="what is read of it takes too much memory", last=True))
        answers.write(len(data).to_bytes(LENGTH) + data)
        answers.flush()
        if made.last:
            return


def main() -> None:
    """Serves stdin and stdout; what a library prints goes nowhere."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    answers = os.fdopen(os.dup(1), "wb")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    serve(sys.stdin.buffer, answers)


if __name__ == "__main__":
    main()
