"""A subprocess that runs queries on one file: it is killed at its deadline and has a memory limit.

In our own process a query could be interrupted only where the library checks for it: one long `LIKE` or one nested
function could block a thread and use up the gateway's memory.
"""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import IO, Any

import msgspec

from rag.tables.rows import Column, EngineRefused, QueryFailed, Rows

_TOO_LARGE = "it took more memory than a query may use"
START_S = 30.0
_ENVIRONMENT = ("PATH", "LD_LIBRARY_PATH", "TMPDIR")
_LENGTH = 8
_MAX_BYTES = 64_000_000
_BOOT = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from rag.tables.child_server import serve; serve(sys.argv[2])"
)


class ChildRequest(msgspec.Struct, array_like=True, frozen=True):
    """A call to a child: a method's name, its arguments as JSON values, and its time limit in seconds."""

    method: str
    arguments: tuple[Any, ...] = ()
    timeout_s: float = START_S


class ChildAnswer(msgspec.Struct, array_like=True, frozen=True):
    """A child's answer: one of the results, or an error."""

    rows: Rows | None = None
    tables: dict[str, list[Column]] | None = None
    sql: str = ""
    refused: str = ""
    failed: str = ""
    # The child has used up its memory and can't run another query.
    spent: bool = False


class ChildStopped(Exception):
    """The child did not answer in time or crashed; it has been killed."""


class Child:
    """One subprocess, used by one thread at a time."""

    def __init__(self, kind: str) -> None:
        """`kind` is one of those that `rag.tables.child_server.serve` supports."""
        path = json.dumps([os.path.abspath(each) for each in sys.path])
        self._process = subprocess.Popen(  # noqa: S603
            [sys.executable, "-P", "-c", _BOOT, path, kind],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            # It handles untrusted input, so it gets no secrets from the environment.
            env={name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
            | {"TZ": "UTC", "LC_ALL": "C.UTF-8"},
            start_new_session=True,
        )

    def ask(self, method: str, arguments: Sequence[Any], timeout_s: float) -> ChildAnswer:
        """Calls a method. Raises `EngineRefused`, `QueryFailed`, or `ChildStopped` if the child has been killed."""
        until = time.monotonic() + timeout_s
        try:
            write_frame(self._stdin, msgspec.json.encode(ChildRequest(method, tuple(arguments), timeout_s)))
            answer = msgspec.json.decode(self._read_frame(until), type=ChildAnswer)
        except (OSError, EOFError, msgspec.MsgspecError, TimeoutError) as error:
            late = isinstance(error, TimeoutError)
            self.kill()
            raise ChildStopped("it did not stop in time" if late else _TOO_LARGE) from None
        if answer.spent:
            self.kill()
            raise ChildStopped(_TOO_LARGE)
        if answer.refused:
            raise EngineRefused(answer.refused)
        if answer.failed:
            raise QueryFailed(answer.failed)
        return answer

    @property
    def _stdin(self) -> IO[bytes]:
        assert self._process.stdin is not None
        return self._process.stdin

    def _read_frame(self, until: float) -> bytes:
        assert self._process.stdout is not None
        pipe = self._process.stdout.fileno()
        received = bytearray()
        wanted = _LENGTH
        with selectors.DefaultSelector() as selector:
            selector.register(pipe, selectors.EVENT_READ)
            while len(received) < wanted:
                if not selector.select(max(0.0, until - time.monotonic())):
                    raise TimeoutError
                read = os.read(pipe, 65_536)
                if not read:
                    raise EOFError
                received += read
                if wanted == _LENGTH and len(received) >= _LENGTH:
                    wanted = _LENGTH + int.from_bytes(received[:_LENGTH], "big")
                    if wanted > _MAX_BYTES:
                        raise EOFError
        return bytes(received[_LENGTH:])

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    def kill(self) -> None:
        """Kills the process and waits until it has ended."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                try:
                    pipe.close()
                except OSError:
                    continue


def write_frame(pipe: IO[bytes], content: bytes) -> None:
    """Writes the content after its length."""
    pipe.write(len(content).to_bytes(_LENGTH, "big") + content)
    pipe.flush()


def read_frame(pipe: IO[bytes]) -> bytes | None:
    """Reads a frame of `write_frame`; None at end of file."""
    length = pipe.read(_LENGTH)
    return pipe.read(int.from_bytes(length, "big")) if len(length) == _LENGTH else None
