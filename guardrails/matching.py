"""Regular expressions from a config, matched so that no text can hold the process with them.

Python's `re` can't be stopped and lets no other thread run, and some forms take exponential time on some texts. A form
that may be slow is matched in a process of its own, which is ended at a deadline; all others are matched at once.
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
from re import _parser  # type: ignore[attr-defined]  # the only one who knows how a form is read
from typing import Any

from contract.units import write_duration

TIMEOUT_S = 1.0
# So many repeats are as good as endless.
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
    """The form took too long on this text."""


class Matcher:
    """One form. Blocking; safe for several threads."""

    def __init__(self, form: str, *, whole: bool = False, timeout_s: float = TIMEOUT_S) -> None:
        """`whole`: it must match from end to end. Raises `re.error`."""
        self.form = form
        self.is_quick = is_quick(form, whole=whole)
        self._compiled = re.compile(form)
        self._whole = whole
        self._timeout_s = timeout_s
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None

    def find(self, text: str) -> list[tuple[int, int]]:
        """Where it matches, or its group `value` where it has one; the whole or nothing with `whole`.

        Raises `TooSlow`.
        """
        if not self.is_quick:
            with self._lock:
                return self._apart(text)
        if self._whole:
            return [(0, len(text))] if self._compiled.fullmatch(text) else []
        group = "value" if "value" in self._compiled.groupindex else 0
        return [match.span(group) for match in self._compiled.finditer(text)]

    def _apart(self, text: str) -> list[tuple[int, int]]:
        process = self._process
        if process is None or process.poll() is not None:
            process = self._process = subprocess.Popen(  # noqa: S603 -- our own interpreter and our own words
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
            raise TooSlow("the process that matches has ended") from None

    def _ask(self, process: subprocess.Popen[bytes], text: str) -> bytes:
        assert process.stdin is not None
        assert process.stdout is not None
        until = time.monotonic() + self._timeout_s
        asked = memoryview(json.dumps([self.form, self._whole, text]).encode() + b"\n")
        while asked:
            asked = asked[process.stdin.write(asked) or 0 :]
        said = bytearray()
        while not said.endswith(b"\n"):
            ready, _, _ = select.select([process.stdout], [], [], max(0.0, until - time.monotonic()))
            if not ready:
                raise TooSlow(f"a pattern took longer than {write_duration(self._timeout_s)}")
            part = process.stdout.read(65_536)
            if not part:
                raise TooSlow("the process that matches has ended")
            said += part
        return bytes(said)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()


def is_quick(form: str, *, whole: bool) -> bool:
    """Whether a form takes time by a text's length on any text: nothing of changing length repeats within a repeat.

    Searched for everywhere, nothing may be endless; matched from end to end, one thing may be.
    """
    endless, nested = _repeats(_parser.parse(form), within=False)
    return not nested and endless <= (1 if whole else 0)


def _repeats(parsed: Any, *, within: bool) -> tuple[int, bool]:
    """How many repeats are endless, and whether one of changing length, or a choice, stands within another repeat."""
    endless, nested = 0, False
    for operator, argument in parsed:
        name = str(operator)
        inner = within
        parts: list[Any] = []
        if name.endswith("_REPEAT"):
            least, most, part = argument
            changing = least != most
            endless += changing and most >= _MANY
            nested |= changing and within
            inner, parts = within or most > 1, [part]
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
            endless, nested = endless + more, nested or deeper
    return endless, nested
