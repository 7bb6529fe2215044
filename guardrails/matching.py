"""Matches regular expressions from a config so that no text can block the process.

Python's `re` can't be interrupted and holds the GIL, and some patterns take exponential time on some texts. A pattern
that may be slow runs in a subprocess, which is killed at a deadline; all others run in this process.
"""

from __future__ import annotations

import json
import re
import select
import subprocess
import sys
import threading
import time
import weakref
from re import _parser  # type: ignore[attr-defined]  # the standard library has no public regex parser
from typing import Any

from contract.units import write_duration

TIMEOUT_S = 1.0
# This many repetitions count as unbounded.
_MANY = 100
_WORK = """
import json, re, sys
for line in sys.stdin:
    form, whole, text = json.loads(line)
    form = re.compile(form)
    if whole:
        found = [[0, len(text)]] if form.fullmatch(text) else []
    else:
        group = "value" if "value" in form.groupindex else 0
        found = [match.span(group) for match in form.finditer(text)]
    print(json.dumps(found), flush=True)
"""


class TooSlow(TimeoutError):
    """The pattern took too long on this text."""


class Matcher:
    """One pattern. Blocking; thread-safe."""

    def __init__(self, pattern: str, *, fullmatch: bool = False, timeout_s: float = TIMEOUT_S) -> None:
        """With `fullmatch` the pattern must match the complete text. Raises `re.error`."""
        self.pattern = pattern
        self.is_quick = is_quick(pattern, fullmatch=fullmatch)
        self._compiled = re.compile(pattern)
        self._fullmatch = fullmatch
        self._timeout_s = timeout_s
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None

    def find(self, text: str) -> list[tuple[int, int]]:
        """Returns the spans of all matches, or of their group `value` if the pattern has one. Raises `TooSlow`.

        With `fullmatch` returns the complete text or nothing.
        """
        if not self.is_quick:
            with self._lock:
                return self._find_in_process(text)
        if self._fullmatch:
            return [(0, len(text))] if self._compiled.fullmatch(text) else []
        group = "value" if "value" in self._compiled.groupindex else 0
        return [match.span(group) for match in self._compiled.finditer(text)]

    def _find_in_process(self, text: str) -> list[tuple[int, int]]:
        process = self._process
        if process is None or process.poll() is not None:
            process = self._process = subprocess.Popen(  # noqa: S603 -- our own interpreter and code
                [sys.executable, "-I", "-S", "-c", _WORK],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, bufsize=0,
            )  # fmt: skip
            weakref.finalize(self, _end, process)
        try:
            return [(start, end) for start, end in json.loads(self._ask(process, text))]
        except (OSError, ValueError) as error:
            _end(process)
            if isinstance(error, TooSlow):
                raise
            raise TooSlow("the regex process has ended") from None

    def _ask(self, process: subprocess.Popen[bytes], text: str) -> bytes:
        assert process.stdin is not None
        assert process.stdout is not None
        until = time.monotonic() + self._timeout_s
        request = memoryview(json.dumps([self.pattern, self._fullmatch, text]).encode() + b"\n")
        while request:
            request = request[process.stdin.write(request) or 0 :]
        answer = bytearray()
        while not answer.endswith(b"\n"):
            ready, _, _ = select.select([process.stdout], [], [], max(0.0, until - time.monotonic()))
            if not ready:
                raise TooSlow(f"a pattern took longer than {write_duration(self._timeout_s)}")
            part = process.stdout.read(65_536)
            if not part:
                raise TooSlow("the regex process has ended")
            answer += part
        return bytes(answer)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()


def is_quick(pattern: str, *, fullmatch: bool) -> bool:
    """Whether a pattern takes linear time on any text: no variable-length repetition inside another one.

    A search may contain no unbounded repetition, a full match one.
    """
    unbounded, nested = _repeats(_parser.parse(pattern), within=False)
    return not nested and unbounded <= (1 if fullmatch else 0)


def _repeats(parsed: Any, *, within: bool) -> tuple[int, bool]:
    """The number of unbounded repetitions, and whether a variable-length one or an alternation is inside another."""
    unbounded, nested = 0, False
    for operator, argument in parsed:
        name = str(operator)
        inner = within
        parts: list[Any] = []
        if name.endswith("_REPEAT"):
            minimum, maximum, part = argument
            varies = minimum != maximum
            unbounded += varies and maximum >= _MANY
            nested |= varies and within
            inner, parts = within or maximum > 1, [part]
        elif name == "BRANCH":
            nested |= within
            parts = argument[1]
        elif name in ("GROUPREF", "GROUPREF_EXISTS"):
            nested = True
        elif isinstance(argument, tuple):
            parts = [part for part in argument if isinstance(part, _parser.SubPattern)]
        elif isinstance(argument, _parser.SubPattern):
            parts = [argument]
        for part in parts:
            more, deeper = _repeats(part, within=inner)
            unbounded, nested = unbounded + more, nested or deeper
    return unbounded, nested
