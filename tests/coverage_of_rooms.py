"""Runs pytest, then prints which share of the lines of each room ran: `./gatehouse test --coverage`."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from coverage import Coverage

ROOT = Path(__file__).resolve().parents[1]
PYPROJECT = ROOT / "pyproject.toml"
# Packages whose folders are rooms of their own.
HOUSES = ("access", "gateway", "rag")


def room_of(path: str) -> str:
    """`gateway/engine` for `gateway/engine/pump.py`, `cache` for `cache/tiers/redis.py`."""
    parts = Path(path).parts[:-1]
    return "/".join(parts[:2] if parts[0] in HOUSES else parts[:1])


def table(lines: Mapping[str, tuple[int, int]]) -> list[str]:
    """A line for each room and one for all; `lines` holds, for a file, how many ran and how many there are."""
    rooms: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for path, counts in lines.items():
        for name in (room_of(path), "all"):
            for place, count in enumerate(counts):
                rooms[name][place] += count
    names = [*sorted(rooms.keys() - {"all"}), "all"]
    return [f"{name:24} {ran:6} of {there:6} lines {ran / max(there, 1):7.1%}" for name, (ran, there) in
            ((name, rooms[name]) for name in names)]  # fmt: skip


def measured() -> dict[str, tuple[int, int]]:
    """What all processes of the run have written, put together."""
    coverage = Coverage(config_file=str(PYPROJECT))
    coverage.combine()
    coverage.save()
    lines = {}
    for path in coverage.get_data().measured_files():
        _, statements, _, missing, _ = coverage.analysis2(path)
        lines[str(Path(path).relative_to(ROOT))] = (len(statements) - len(missing), len(statements))
    return lines


def main(arguments: Sequence[str]) -> int:
    """Exits as pytest does."""
    shutil.rmtree(ROOT / "var" / "coverage", ignore_errors=True)
    (ROOT / "var" / "coverage").mkdir(parents=True)
    # Counts at the interpreter's own events, where it has them, cost next to nothing.
    core = {"COVERAGE_CORE": "sysmon"} if sys.version_info >= (3, 12) else {}
    command = [sys.executable, "-m", "coverage", "run", f"--rcfile={PYPROJECT}", "-m", "pytest", *arguments]
    ended = subprocess.run(command, cwd=ROOT, env={**os.environ, **core}, check=False)
    sys.stdout.write("\n".join(["lines that ran, by room", *table(measured()), ""]))
    return ended.returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
