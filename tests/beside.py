"""Packages that only some tests need, each lock's in a folder of its own beside the environment's packages.

`./gatehouse test` installs them there. A test runs a file of further tests with such a folder before all others.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def place_of(name: str) -> Path:
    """Where the packages of `requirements-NAME*.lock` are, or would be: as `build_beside` of `./gatehouse` names it."""
    locks = sorted(ROOT.glob(f"requirements-{name}*.lock"))
    digest = hashlib.sha256(b"".join(lock.read_bytes() for lock in locks)).hexdigest()
    return Path(sys.prefix) / f"{name}-{digest[:16]}"


def run_beside(name: str, *arguments: str) -> str:
    """Runs Python with these packages, and returns what it printed; the test is skipped where they are missing."""
    place = place_of(name)
    if not place.exists():
        pytest.skip(
            f"the packages of requirements-{name}.lock are not installed: CI=true ./gatehouse test installs them"
        )
    environ = {**os.environ, "PYTHONPATH": f"{place}{os.pathsep}{ROOT}"}
    command = [sys.executable, *arguments]
    # The launcher leaves a folder that somebody holds a lock on.
    descriptor = os.open(place, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        done = subprocess.run(command, env=environ, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    finally:
        os.close(descriptor)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-5000:]
    return done.stdout


def run_tests_beside(name: str, path: str) -> None:
    """Runs the tests of a file or folder with these packages; a skip there fails here."""
    told = run_beside(name, "-m", "pytest", "-n", "0", "-p", "no:cacheprovider", path)
    assert "passed" in told, told[-5000:]
    assert "skipped" not in told, told[-5000:]
