"""The guardrails of the page on extending Gatehouse keep what every guardrail keeps, as they stand there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
SECTION = (ROOT / "docs" / "extending.md").read_text().partition("## A guardrail\n")[2].partition("\n## ")[0]
MODULES = dict(re.findall(r"```python\n# (shop_parts/\w+\.py)\n(.*?)```", SECTION, re.DOTALL))
TESTS = sorted(name for name in MODULES if name.startswith("shop_parts/test_"))


def test_there_are_guardrails_with_tests() -> None:
    assert len(TESTS) == 3
    assert {name.replace("test_", "") for name in TESTS} == MODULES.keys() - set(TESTS)


@pytest.mark.slow
@pytest.mark.parametrize("test", TESTS)
def test_its_own_tests_pass(tmp_path: Path, test: str) -> None:
    for name, code in MODULES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(code)
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--import-mode=importlib", test],
        cwd=tmp_path,
        env={"PYTHONPATH": f"{ROOT}:{tmp_path}", "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert " passed" in run.stdout
