"""The built wheel in a virtual environment, far from the sources: tests pass with it, and clients are type-checked."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from email.parser import HeaderParser
from pathlib import Path

import pytest

from gateway.commands.cli import PACKAGES
from tests.architecture.test_wheel import PROJECT, ROOT, built
from tests.integration.test_plugins import written

pytestmark = pytest.mark.slow

# What reads each file that is no module: models, lists of words, migrations, examples, the console's page.
SUITE = (
    "tests/unit/cache",
    "tests/unit/engine",
    "tests/unit/observability",
    "tests/unit/access/test_released_versions.py",
    "tests/unit/config/test_config_cli.py",
    "tests/unit/guardrails/test_kinds_of_guardrails.py",
    "tests/unit/rag/test_embedder.py",
    "tests/unit/router/test_intents.py",
    "tests/unit/surfaces/test_conformance.py",
    "tests/integration/test_masking.py",
    "tests/integration/test_retrieval.py",
    "tests/integration/test_tables.py",
)
# A client of the contract, and one that the type checker must refuse.
CLIENT = """\
from contract.messages import Message, Text

def said(message: Message) -> str:
    return "".join(part.text for part in message.parts if isinstance(part, Text))
"""
MISTAKE = """
wrong: int = said(Message("user", (Text("hello"),)))
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built(tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment that has the wheel, and the packages of this one."""
    folder = tmp_path_factory.mktemp("installed")
    venv.create(folder, symlinks=True)
    site = folder / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
    zipfile.ZipFile(wheel).extractall(site)
    (site / "packages.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder / "bin" / "python"


def run(python: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(
        [str(python), *arguments], cwd=folder, env=environ, capture_output=True, text=True, timeout=1800, check=False
    )


def test_the_suite_passes_without_the_sources(python: Path, tmp_path: Path) -> None:
    for folder in ("tests", "docs"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("README.md", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    where = run(python, tmp_path, "-c", f"import {', '.join(PACKAGES)}; print(gateway.__file__)")
    assert where.stdout.startswith(str(python.parents[1])), where.stdout + where.stderr
    done = run(python, tmp_path, "-m", "pytest", "-n", "0", "-p", "no:cacheprovider", *SUITE)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-5000:]


def test_clients_and_plug_ins_are_type_checked(python: Path, tmp_path: Path) -> None:
    for path, text in written().items():
        if not Path(path).name.startswith(("test_", "pyproject")):
            (tmp_path / path).parent.mkdir(exist_ok=True)
            (tmp_path / path).write_text(text)
    (tmp_path / "client.py").write_text(CLIENT)
    (tmp_path / "mistake.py").write_text(CLIENT + MISTAKE)
    mypy = ("-m", "mypy", "--strict", "--config-file=", f"--python-executable={python}", "--cache-dir=cache")
    done = run(python, tmp_path, *mypy, "client.py", "shop_parts")
    assert done.returncode == 0, done.stdout + done.stderr
    refused = run(python, tmp_path, *mypy, "mistake.py")
    assert (refused.returncode, refused.stdout.count("error:")) == (1, 1), refused.stdout + refused.stderr
    assert 'Incompatible types in assignment (expression has type "str"' in refused.stdout


def test_its_metadata_is_what_the_project_says(wheel: Path) -> None:
    archive = zipfile.ZipFile(wheel)
    names = archive.namelist()
    assert {name for name in names if name.endswith("/py.typed")} == {f"{package}/py.typed" for package in PACKAGES}
    (path,) = (name for name in names if name.endswith(".dist-info/METADATA"))
    told = HeaderParser().parsestr(archive.read(path).decode())
    assert (told["License-Expression"], told.get_all("License-File")) == ("Apache-2.0", ["LICENSE", "NOTICE"])
    assert told["Requires-Python"] == ",".join(reversed(PROJECT["requires-python"].split(",")))
    for name in ("LICENSE", "NOTICE"):
        assert archive.read(path.replace("METADATA", f"licenses/{name}")) == (ROOT / name).read_bytes()
