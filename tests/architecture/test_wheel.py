"""What is built is exactly our packages, with the files that they need, and nothing of others takes their place."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

from gateway.cli import PACKAGES, foreign_package

ROOT = Path(__file__).resolve().parents[2]


def test_the_wheel_holds_exactly_our_packages(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == 0, result.stderr
    (wheel,) = tmp_path.glob("gatehouse_platform-*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    top = {name.split("/")[0] for name in names if ".dist-info/" not in name}
    assert top == set(PACKAGES)
    for needed in (
        "config/examples/demo.yaml",
        "guardrails/personal/model/tagger.onnx",
        "config/examples/demo-documents/warranty.md",
        "gateway/pipeline.py",
    ):
        assert needed in names
    unpacked = tmp_path / "unpacked"
    zipfile.ZipFile(wheel).extractall(unpacked)
    run = subprocess.run(
        [sys.executable, "-P", "-m", "gateway", "check", "config/examples/demo.yaml"],
        cwd=unpacked,
        env={"PYTHONPATH": str(unpacked), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert run.stdout.startswith("ok: "), run.stderr


def test_a_foreign_package_of_our_name_is_noticed(tmp_path: Path) -> None:
    assert foreign_package(ROOT) == ""
    assert "gateway" in foreign_package(tmp_path)
