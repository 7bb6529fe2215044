"""Reads a lock file: its packages, their hashes, and which package needs which."""

from __future__ import annotations

import re
from typing import NamedTuple

_BLOCK = re.compile(r"^[a-z0-9].*\n(?:[ #].*\n)*", re.MULTILINE)
_PIN = re.compile(r"(?P<name>[a-z0-9-]+)==(?P<version>[^ ;\\\n]+)(?: ; (?P<marker>[^\\\n]+))?")


class Pin(NamedTuple):
    """A package version for the machines that `marker` selects ("" for all); `needed_by` has names as in the lock."""

    name: str
    version: str
    marker: str
    sha256: tuple[str, ...]
    needed_by: tuple[str, ...]
    text: str


def pins(lock: str) -> list[Pin]:
    """Returns all pins of a lock file. A package may have several for different Python versions."""
    return [_pin(block) for block in _BLOCK.findall(lock)]


def _pin(block: str) -> Pin:
    found = _PIN.match(block)
    if found is None:
        raise ValueError(f"this line of the lock file is not a pin: {block.splitlines()[0]}")
    hashes = re.findall(r"--hash=sha256:([0-9a-f]{64})", block)
    # `# via name`, or `# via` and one name per line.
    needed_by = re.findall(r"^    # (?:via +|  )([a-z0-9].*)$", block, re.MULTILINE)
    marker = (found["marker"] or "").strip()
    return Pin(found["name"], found["version"], marker, tuple(hashes), tuple(needed_by), block)
