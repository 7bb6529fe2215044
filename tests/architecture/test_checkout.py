"""What is in the checkout: no file that git is told to ignore, and no Python file longer than 500 lines."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from tests.plugins.skips import does_not_apply

ROOT = Path(__file__).resolve().parents[2]
MOST_LINES = 500


def listed(*options: str) -> list[str]:
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        does_not_apply("this is no git checkout")
    command = ["git", "ls-files", *options]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()


def test_nothing_that_is_ignored_is_committed() -> None:
    assert listed("--cached", "--ignored", "--exclude-standard") == []


def test_no_file_is_too_long() -> None:
    lengths = {path: len((ROOT / path).read_text().splitlines()) for path in listed("*.py") if (ROOT / path).exists()}
    assert {path: length for path, length in lengths.items() if length > MOST_LINES} == {}
