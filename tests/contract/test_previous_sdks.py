"""The contract tests once more, with the vendors' SDKs of the major version before."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PLACE = Path(sys.prefix) / "previous-sdks"
VERSIONS = (
    "import openai, anthropic, google.genai as g; print(openai.__version__, anthropic.__version__, g.__version__)"
)


def test_the_sdks_of_the_major_version_before() -> None:
    if not (PLACE / ".ready").exists():
        pytest.skip("the SDKs of the major version before are missing: ./gatehouse test installs them")
    environ = {**os.environ, "PYTHONPATH": f"{PLACE}{os.pathsep}{ROOT}"}
    versions = subprocess.run(
        [sys.executable, "-c", VERSIONS], env=environ, cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    assert [version.split(".")[0] for version in versions] == ["2", "1", "2"]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/contract/sdks"]
    result = subprocess.run(command, env=environ, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert result.returncode == 0, result.stdout[-5000:]
