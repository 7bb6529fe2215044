"""A process for the queries of one file: killed at its deadline, bounded in memory, and nobody's loss when it dies.

A library within our own process could be stopped only where it looks whether it should: one long `LIKE` or one nested
function would hold a thread, and the memory of everybody, for as long as it liked.
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

_TOO_LARGE = "it took more memory than a query may"
START_S = 30.0
_PASSED_ON = ("PATH", "LD_LIBRARY_PATH", "TMPDIR")
_LENGTH = 8
_MOST_BYTES = 64_000_000
_BOOT = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from rag.tables.inside import serve; serve(sys.argv[2])"
)


class ChildRequest(msgspec.Struct, array_like=True, frozen=True):
    """What a child is asked: the name of a method and what it takes, as JSON can hold it."""

    method: str
    arguments: tuple[Any, ...] = ()
    most_s: float = START_S


class ChildAnswer(msgspec.Struct, array_like=True, frozen=True):
    """What it says: one of these, or why it can't."""

    rows: Rows | None = None
    tables: dict[str, list[Column]] | None = None
    sql: str = ""
    refused: str = ""
    failed: str = ""
    # It used up its memory, and would have too little for another query.
    spent: bool = False


class ChildStopped(Exception):
    """The child did not answer in time, or died; it is gone."""


class Child:
    """One process. Belongs to whichever thread asks it."""

    def __init__(self, kind: str) -> None:
        """`kind` of those that `rag.tables.inside` knows."""
        path = json.dumps([os.path.abspath(each) for each in sys.path])
        self._process = subprocess.Popen(  # noqa: S603
            [sys.executable, "-P", "-c", _BOOT, path, kind],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            # It works on what strangers write: it has no need of keys.
            env={name: os.environ[name] for name in _PASSED_ON if name in os.environ}
            | {"TZ": "UTC", "LC_ALL": "C.UTF-8"},
            start_new_session=True,
        )

    def ask(self, method: str, arguments: Sequence[Any], timeout_s: float) -> ChildAnswer:
        """Its answer. Raises `EngineRefused`, `QueryFailed`, or `ChildStopped`: then it must not be asked again."""
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
        found = bytearray()
        wanted = _LENGTH
        with selectors.DefaultSelector() as selector:
            selector.register(pipe, selectors.EVENT_READ)
            while len(found) < wanted:
                if not selector.select(max(0.0, until - time.monotonic())):
                    raise TimeoutError
                read = os.read(pipe, 65_536)
                if not read:
                    raise EOFError
                found += read
                if wanted == _LENGTH and len(found) >= _LENGTH:
                    wanted = _LENGTH + int.from_bytes(found[:_LENGTH], "big")
                    if wanted > _MOST_BYTES:
                        raise EOFError
        return bytes(found[_LENGTH:])

    @property
    def pid(self) -> int:
        """Its number."""
        return self._process.pid

    def kill(self) -> None:
        """At once, and waits until it is gone."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                try:
                    pipe.close()
                except OSError:
                    continue


def write_frame(pipe: IO[bytes], content: bytes) -> None:
    """The content behind its length."""
    pipe.write(len(content).to_bytes(_LENGTH, "big") + content)
    pipe.flush()


def read_frame(pipe: IO[bytes]) -> bytes | None:
    """What `write_frame` wrote; None at the end."""
    length = pipe.read(_LENGTH)
    return pipe.read(int.from_bytes(length, "big")) if len(length) == _LENGTH else None
