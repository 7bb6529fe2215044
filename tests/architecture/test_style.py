"""Ruff and mypy, strict, over everything that is tracked."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def run(*arguments: str) -> None:
    result = subprocess.run(
        [sys.executable, "-m", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=1800, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr


def test_ruff() -> None:
    run("ruff", "check", "--quiet", ".")


def test_format() -> None:
    run("ruff", "format", "--check", "--quiet", ".")


@pytest.mark.slow
def test_types() -> None:
    run("mypy", "--num-workers", "auto")
