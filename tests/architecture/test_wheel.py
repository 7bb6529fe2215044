"""What is built is exactly our packages, with the files that they need, and nothing of others takes their place."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import tomllib
import urllib.error
import urllib.request
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from config.extras import EXTRAS
from gateway.commands.cli import PACKAGES, foreign_package
from tests.live import free_port

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]


# Runs the command line with none of the packages that only extras bring, as after `pip install gatehouse-platform`.
WITHOUT_EXTRAS = """
import importlib.metadata, sys
from packaging.requirements import Requirement

def needs(name, seen, extras=()):
    if name not in seen:
        seen.add(name)
        for text in importlib.metadata.requires(name) or ():
            need = Requirement(text)
            if need.marker is None or need.marker.evaluate({"extra": ""}):
                needs(need.name.lower().replace("_", "-"), seen)
        for extra in extras:
            for text in importlib.metadata.requires(name) or ():
                need = Requirement(text)
                if need.marker is not None and need.marker.evaluate({"extra": extra}):
                    needs(need.name.lower().replace("_", "-"), seen)

allowed = {"gatehouse-platform"}
for requirement in sys.argv.pop(1).split(","):
    need = Requirement(requirement)
    if need.marker is None or need.marker.evaluate({"extra": ""}):
        needs(need.name.lower().replace("_", "-"), allowed, need.extras)

def folders(owners):
    return {
        ".".join(file.parent.parts) for owner in owners for file in importlib.metadata.files(owner)
        if file.suffix == ".py"
    }

missing = set()
for module, owners in importlib.metadata.packages_distributions().items():
    there = {owner for owner in owners if owner.lower().replace("_", "-") in allowed}
    # Of a namespace that several packages share, what only the others bring.
    missing |= folders({*owners} - there) - folders(there) if there else {module}

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name in missing or name.partition(".")[0] in missing:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
from gateway.commands.cli import main
main()
"""


def built(folder: Path) -> Path:
    """The wheel of this checkout, built there."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == 0, result.stderr
    (wheel,) = folder.glob("gatehouse_platform-*.whl")
    return wheel


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built(tmp_path_factory.mktemp("wheel"))


def test_the_wheel_holds_exactly_our_packages(wheel: Path, tmp_path: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    top = {name.split("/")[0] for name in names if ".dist-info/" not in name}
    assert top == set(PACKAGES)
    for needed in (
        "config/examples/demo.yaml",
        "guardrails/personal/model/tagger.onnx",
        "guardrails/secret_rules.toml",
        "rag/model/minilm.onnx",
        "config/examples/demo-documents/warranty.md",
        "gateway/engine/pipeline.py",
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


PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
NEEDING = {
    "redis": """
server: {redis: "redis://127.0.0.1/0"}
""",
    "database": """
server: {database: "sqlite:///ledger.db"}
""",
    "retrieval": """
sources: {manuals: {kind: documents}}
""",
    "tables": """
sources: {orders: {kind: sql, database: "sqlite:///orders.db", model: quick}}
""",
    "embeddings": """
guardrails: {names: {kind: personal_data}}
""",
    "formats": """
guardrails: {form: {kind: format, format: sql}}
""",
    # One provider more.
    "http2": """
  far: {kind: openai, api_key: k, http2: true}
""",
    "postgres": """
caches: {answers: {tiers: [{kind: memory}, {kind: postgres, url: "postgresql://reader@db/cache"}]}}
""",
    "tools": """
tools: {found: {kind: mcp, url: "http://127.0.0.1:9/mcp"}}
""",
    "telemetry": """
observe: {otlp: "http://127.0.0.1:4318"}
""",
}
BASE = """
version: 1
models: {quick: {targets: [s/sim-ok]}}
providers:
  s: {kind: simulated}
"""


def without(extras: Sequence[str]) -> list[str]:
    """The command line of an installation with the packages of these extras only."""
    needs = [*PROJECT["dependencies"], *(need for extra in extras for need in PROJECT["optional-dependencies"][extra])]
    return [sys.executable, "-P", "-c", WITHOUT_EXTRAS, ",".join(needs)]


def run_without(folder: Path, extras: Sequence[str], *arguments: str) -> subprocess.CompletedProcess[str]:
    """What a command says there, with the packages of these extras only."""
    return subprocess.run(
        [*without(extras), *arguments],
        cwd=folder,
        env={"PYTHONPATH": str(folder), "PATH": "/usr/bin:/bin", "HOME": str(folder)},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


def test_all_names_every_extra() -> None:
    extras = dict(PROJECT["optional-dependencies"])
    (everything,) = extras.pop("all")
    # Nothing runs with it: it builds the documentation.
    del extras["docs"]
    assert everything == f"gatehouse-platform[{','.join(sorted(extras))}]"
    assert set(EXTRAS) <= set(extras)


@pytest.mark.parametrize("extra", NEEDING)
def test_a_config_that_needs_an_extra_says_so(wheel: Path, tmp_path: Path, extra: str) -> None:
    zipfile.ZipFile(wheel).extractall(tmp_path)
    (tmp_path / "gatehouse.yaml").write_text(BASE + NEEDING[extra])
    for installed, code in (([], 2), ([extra], 0)):
        run = run_without(tmp_path, installed, "check")
        assert run.returncode == code, run.stdout + run.stderr
        assert (f"gatehouse-platform[{extra}]" in run.stdout + run.stderr) == (code == 2)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("demo --check", "pip install 'gatehouse-platform[embeddings]', or [all]"),
        ("usage --by team", "no database is configured: add server.database"),
        ("keys list", "no database is configured: add server.database"),
        ("teams list", "no database is configured: add server.database"),
        ("audit verify", "no database is configured: add server.database"),
        ("backup copy.db", "no database is configured: add server.database"),
    ],
)
def test_a_command_that_needs_an_extra_says_what_is_missing(
    wheel: Path, tmp_path: Path, arguments: str, said: str
) -> None:
    zipfile.ZipFile(wheel).extractall(tmp_path)
    (tmp_path / "gatehouse.yaml").write_text(BASE)
    run = run_without(tmp_path, [], *arguments.split())
    assert (run.returncode, run.stdout) == (2, ""), run.stdout + run.stderr
    assert said in run.stderr
    assert "Traceback" not in run.stderr


def test_everything_of_the_demo_is_in_an_extra(wheel: Path, tmp_path: Path) -> None:
    zipfile.ZipFile(wheel).extractall(tmp_path)
    extras = [name for name in PROJECT["optional-dependencies"] if name != "all"]
    run = run_without(tmp_path, extras, "demo", "--check")
    assert run.returncode == 0, run.stdout + run.stderr
    assert run.stdout.rstrip().endswith("The demo worked.")


def test_the_wheel_serves_without_any_extra(wheel: Path, tmp_path: Path) -> None:
    zipfile.ZipFile(wheel).extractall(tmp_path)
    port = free_port()
    (tmp_path / "gatehouse.yaml").write_text(
        "version: 1\nproviders: {s: {kind: simulated}}\nmodels: {quick: {targets: [s/sim-ok]}}\n"
    )
    process = subprocess.Popen(
        [*without([]), "serve", "--listen", f"127.0.0.1:{port}"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        asked = {"model": "quick", "messages": [{"role": "user", "content": "Hello"}]}
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/v1/chat/completions",
            json.dumps(asked).encode(),
            {"content-type": "application/json"},
        )
        while True:
            assert process.poll() is None, process.stdout.read() if process.stdout is not None else ""
            try:
                with urllib.request.urlopen(request, timeout=30) as answer:
                    assert json.load(answer)["choices"][0]["finish_reason"] == "stop"
                break
            except urllib.error.URLError:
                time.sleep(0.05)
    finally:
        process.terminate()
        process.communicate(timeout=30)


def test_a_foreign_package_of_our_name_is_noticed(tmp_path: Path) -> None:
    assert foreign_package(ROOT) == ""
    assert "gateway" in foreign_package(tmp_path)
