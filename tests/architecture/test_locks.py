"""The lock files fit each other, and the bill of materials has all of them that is installed."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from deploy.pins import pins
from deploy.sbom import LOCK, MODELS, ROOT, name_of, sbom

LOCKS = sorted(ROOT.glob("requirements*.lock"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
ON_TOP = [lock for lock in LOCKS if lock.name.startswith(("requirements-presidio", "requirements-sentence"))]


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_every_package_has_a_version_and_hashes(lock: Path) -> None:
    text = lock.read_text()
    found = pins(text)
    assert len(found) == len(re.findall(r"^[a-z0-9]", text, re.MULTILINE)) > 0
    assert [pin.name for pin in found if not pin.sha256] == []
    assert sum(len(pin.sha256) for pin in found) == text.count("--hash=")


@pytest.mark.parametrize("lock", ON_TOP, ids=lambda lock: lock.name)
def test_what_some_tests_need_comes_on_top_of_the_environment(lock: Path) -> None:
    added = {pin.name for pin in pins(lock.read_text())}
    assert added.isdisjoint(pin.name for pin in pins(LOCK.read_text()))


def test_both_builds_of_torch_have_one_version() -> None:
    (small,) = pins((ROOT / "requirements-sentence-transformers-torch-cpu.lock").read_text())
    whole = {pin.name: pin for pin in pins((ROOT / "requirements-sentence-transformers-torch.lock").read_text())}
    assert small.version == f"{whole['torch'].version}+cpu"


def test_the_bill_of_materials_lists_every_package_with_its_version_and_hashes() -> None:
    command = [sys.executable, str(ROOT / "deploy" / "sbom.py")]
    done = subprocess.run(command, cwd=ROOT, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=True)
    bill = json.loads(done.stdout)
    assert bill == sbom(LOCK.read_text(), PROJECT, PROJECT["version"])
    listed = {
        (each["name"], each["version"], tuple(hashed["content"] for hashed in each["hashes"]))
        for each in bill["components"]
        if each["type"] == "library"
    }
    assert listed == {(pin.name, pin.version, pin.sha256) for pin in pins(LOCK.read_text())}
    assert [each["name"] for each in bill["components"] if each["type"] != "library"] == list(MODELS)
    refs = [each["bom-ref"] for each in bill["components"]]
    assert len(set(refs)) == len(refs)
    known = {*refs, bill["metadata"]["component"]["bom-ref"]}
    assert all({each["ref"], *each["dependsOn"]} <= known for each in bill["dependencies"])


def test_scopes_say_who_needs_a_package() -> None:
    scopes = {
        each["name"]: each["scope"]
        for each in sbom(LOCK.read_text(), PROJECT, PROJECT["version"])["components"]
        if each["type"] == "library"
    }
    assert [name_of(each) for each in PROJECT["dependencies"] if scopes[name_of(each)] != "required"] == []
    assert scopes["starlette"] == "required"
    assert scopes["faiss-cpu"] == scopes["sqlalchemy"] == "optional"
    assert scopes["pytest"] == scopes["mypy"] == scopes["mkdocs-material"] == "excluded"


def test_an_option_of_the_bill_is_refused() -> None:
    command = [sys.executable, str(ROOT / "deploy" / "sbom.py"), "--format", "xml"]
    done = subprocess.run(command, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert "takes no options, and got --format xml" in done.stderr
