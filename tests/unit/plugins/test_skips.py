"""In CI a skip is a failure, unless the case does not apply on any machine; each is printed with its reason."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
CASES = """
import pytest
from tests.plugins.skips import does_not_apply

def test_passes(): pass

@pytest.mark.parametrize("number", [1, 2])
def test_lacks_a_server(number): pytest.skip("there is no server")

def test_has_nothing_to_test(): does_not_apply("the example has no model")

@pytest.mark.xfail
def test_is_known_to_fail(): assert False
"""
WHOLE = "import pytest\npytest.skip('there is no library', allow_module_level=True)\n"

pytestmark = pytest.mark.slow


def run(folder: Path, ci: str) -> str:
    (folder / "test_cases.py").write_text(CASES)
    (folder / "test_whole.py").write_text(WHOLE)
    command = [sys.executable, "-m", "pytest", "-p", "tests.plugins.skips", "-p", "no:cacheprovider", str(folder)]
    environ = {**os.environ, "CI": ci, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, check=False).stdout


def test_on_a_laptop_skips_are_printed_by_reason(tmp_path: Path) -> None:
    told = run(tmp_path, "")
    assert "1 passed, 4 skipped, 1 xfailed" in told
    assert "2 test_cases.py::test_lacks_a_server: there is no server" in told
    assert "1 test_cases.py::test_has_nothing_to_test: does not apply: the example has no model" in told
    assert "1 test_whole.py: there is no library" in told


def test_in_ci_what_is_missing_fails(tmp_path: Path) -> None:
    told = run(tmp_path, "true")
    assert "CI skips nothing: there is no library" in told
