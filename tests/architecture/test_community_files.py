"""What outsiders look for is there and true: licence, pages for contributors, templates, workflows, hooks."""

from __future__ import annotations

import hashlib
import re
import shutil
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import ruamel.yaml

from gateway import __version__

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
GITHUB = ROOT / ".github"
PAGES = ("CONTRIBUTING.md", "SECURITY.md", "CODE_OF_CONDUCT.md", "docs/releasing.md")
# The licence's text as the Apache Software Foundation publishes it, without the empty line that it begins with.
LICENCE_SHA256 = "cfc7749b96f63bd31c3c42b5c471bf756814053e847c10f3eb003417bc523d30"
ALLOWED_ACTIONS = re.compile(r"(?:actions|pypa)/[a-z-]+@(?:v\d+|release/v\d+|[0-9a-f]{40})")


def read(path: Path) -> Any:
    return ruamel.yaml.YAML(typ="safe", pure=True).load(path.read_text())


def pythons() -> list[str]:
    """The versions of Python that `requires-python` allows."""
    least, end = re.fullmatch(r">=3\.(\d+),<3\.(\d+)", PROJECT["requires-python"]).groups()  # type: ignore[union-attr]
    return [f"3.{minor}" for minor in range(int(least), int(end))]


def test_the_licence_is_the_one_that_the_project_names() -> None:
    assert hashlib.sha256((ROOT / "LICENSE").read_bytes()).hexdigest() == LICENCE_SHA256
    assert (PROJECT["license"], PROJECT["license-files"]) == ("Apache-2.0", ["LICENSE", "NOTICE"])
    assert "licence-Apache--2.0" in (ROOT / "README.md").read_text()


def test_the_notice_names_every_model_that_ships() -> None:
    notice = (ROOT / "NOTICE").read_text()
    models = [path for pattern in ("*/model/*", "*/models/*", "*/*/model/*") for path in ROOT.glob(pattern)]
    learned = [path for path in models if path.suffix in (".onnx", ".json") and path.name != "figures.json"]
    assert len(learned) >= 9
    # Those of one folder may share a line.
    assert [
        path for path in learned if path.name not in notice or str(path.parent.relative_to(ROOT)) not in notice
    ] == []
    for path in re.findall(r"^(\S+\.(?:onnx|json))|training/\w+\.py", notice, re.MULTILINE):
        assert not path or (ROOT / path).exists(), path


def test_the_version_is_the_same_everywhere() -> None:
    assert PROJECT["version"] == __version__
    assert f"{__version__.rpartition('.')[0]}.x | yes" in (ROOT / "SECURITY.md").read_text()
    assert f"## {__version__}" in (ROOT / "CHANGELOG.md").read_text()


def test_the_pythons_are_the_same_everywhere() -> None:
    stated = [each.rpartition(" ")[2] for each in PROJECT["classifiers"] if re.search(r":: 3\.\d+$", each)]
    matrix = read(GITHUB / "workflows" / "ci.yml")["jobs"]["test"]["strategy"]["matrix"]["python"]
    assert pythons() == stated == matrix
    assert f"Python {' | '.join(pythons())}]" in (ROOT / "README.md").read_text()
    launcher = (ROOT / "gatehouse").read_text()
    least, last = pythons()[0], pythons()[-1]
    assert f"({least.replace('.', ', ')}) <= sys.version_info < (3, {int(last[2:]) + 1})" in launcher
    assert all(f"python{each}" in launcher for each in pythons())


@pytest.mark.parametrize("page", PAGES)
def test_links_and_paths_of_a_page_lead_somewhere(page: str) -> None:
    text = (ROOT / page).read_text()
    for target in re.findall(r"\]\((?!https?:)([^)]+)\)", text):
        path, _, anchor = target.partition("#")
        linked = (ROOT / page).parent / path
        assert linked.exists(), target
        assert not anchor or anchor in anchors(linked.read_text()), target
    named = re.findall(r"(?:tests|docs|gateway|guardrails|deploy|cache|rag)/[\w./]*\w", text)
    assert [path for path in named if not (ROOT / path).exists() and "0.2.0" not in path and "NAME" not in path] == []
    for command in re.findall(r"^\./gatehouse (\S+)", text, re.MULTILINE):
        assert command in ("demo", "test", "lock", "sbom", "--version"), command


def anchors(text: str) -> set[str]:
    """As the pages of a repository make them from headings."""
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_templates_of_issues_have_what_a_form_needs() -> None:
    for name in ("bug", "feature"):
        form = read(GITHUB / "ISSUE_TEMPLATE" / f"{name}.yml")
        assert form.keys() >= {"name", "description", "body"}
        ids = [part["id"] for part in form["body"] if part["type"] != "markdown"]
        assert len(set(ids)) == len(ids) > 0
        assert all(part["attributes"].get("label") or part["attributes"].get("value") for part in form["body"])
        assert {part["type"] for part in form["body"]} <= {"markdown", "input", "textarea", "dropdown", "checkboxes"}
    assert (GITHUB / "PULL_REQUEST_TEMPLATE.md").read_text().count("- [ ]") >= 3


def test_owners_own_what_exists() -> None:
    lines = (GITHUB / "CODEOWNERS").read_text().splitlines()
    for path, *owners in (line.split() for line in lines if line and not line.startswith("#")):
        assert path == "*" or (ROOT / path.strip("/")).exists(), path
        assert owners
        assert all(owner.startswith("@") for owner in owners)


@pytest.mark.parametrize("name", ["ci", "release"])
def test_a_workflow_runs_what_exists(name: str) -> None:
    flow = read(GITHUB / "workflows" / f"{name}.yml")
    # YAML 1.1 would read the key `on` as true; 1.2, which this reader follows, doesn't.
    assert flow.keys() >= {"name", "on", "permissions", "jobs"}
    assert flow["permissions"] == {"contents": "read"}
    for job in flow["jobs"].values():
        assert job["timeout-minutes"] <= 90
        for step in job["steps"]:
            assert ALLOWED_ACTIONS.fullmatch(step.get("uses", "actions/none@v1")), step
            for path in re.findall(r"(?:^|\s)(?:\./|bash )([\w./]+)", step.get("run", "")):
                assert (ROOT / path).exists(), path
    assert read(GITHUB / "dependabot.yml")["version"] == 2


def test_hooks_run_what_the_environment_has() -> None:
    (repository,) = read(ROOT / ".pre-commit-config.yaml")["repos"]
    # Hooks of other repositories would be downloaded.
    assert repository["repo"] == "local"
    assert {"ruff", "ruff-format", "mypy"} <= {hook["id"] for hook in repository["hooks"]}
    for hook in repository["hooks"]:
        assert hook["language"] == "system"
        program, *rest = hook["entry"].split()
        found = Path(sys.prefix, "bin", Path(program).name).exists() if "/" in program else shutil.which(program)
        assert found, program
        assert [each for each in rest if each.endswith(".py") and not (ROOT / each).exists()] == []


def test_editors_are_told_the_line_length_of_ruff() -> None:
    length = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["ruff"]["line-length"]
    assert f"max_line_length = {length}" in (ROOT / ".editorconfig").read_text()
