"""Ruff and mypy, strict, over everything that is tracked."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def result_of(*arguments: str) -> tuple[bool, str]:
    """Whether a module's command succeeded, and what it said."""
    done = subprocess.run(
        [sys.executable, "-m", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=1800, check=False
    )
    return done.returncode == 0, done.stdout + done.stderr


def run(*arguments: str) -> None:
    succeeded, said = result_of(*arguments)
    assert succeeded, said


def test_ruff() -> None:
    run("ruff", "check", "--quiet", ".")


def test_format() -> None:
    run("ruff", "format", "--check", "--quiet", ".")


@pytest.mark.slow
def test_types() -> None:
    succeeded, said = result_of("mypy", "--num-workers", "auto")
    if "Failed to establish connection with worker" in said:
        # Its workers have a few seconds to start, which a busy machine may not give them.
        succeeded, said = result_of("mypy")
    assert succeeded, said
