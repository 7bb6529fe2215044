"""Imports only run downward, and siblings never import each other."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("gateway", "router", "guardrails", "cache", "rag", "observability", "config")

# Lower number: lower in the house. Two names of one level are siblings and must not know each other, except where
# they stand in one group.
LEVELS: dict[str, tuple[int, str]] = {
    "gateway.contract": (0, "contract"),
    "gateway.dialects": (1, "dialects"),
    "observability": (2, "observability"),
    "config": (2, "config"),
    "gateway.providers": (3, "providers"),
    "gateway.access": (3, "access"),
    "gateway.simulator": (3, "simulator"),
    "router": (3, "router"),
    "guardrails": (3, "guardrails"),
    "cache": (3, "cache"),
    "rag": (3, "rag"),
    "gateway.absent": (4, "path"),
    "gateway.pump": (4, "path"),
    "gateway.tool_loop": (4, "path"),
    "gateway.asides": (4, "path"),
    "gateway.pipeline": (4, "path"),
    "gateway.folders": (5, "assembly"),
    "gateway.resources": (5, "assembly"),
    "gateway.admission": (5, "assembly"),
    "gateway.accounting": (5, "assembly"),
    "gateway.readiness": (5, "assembly"),
    "gateway.runtime": (5, "assembly"),
    "gateway.catalog": (5, "assembly"),
    "gateway.guarding": (5, "assembly"),
    "gateway.sourcing": (5, "assembly"),
    "gateway.caching": (5, "assembly"),
    "gateway.routing": (5, "assembly"),
    "gateway.route_policies": (5, "assembly"),
    "gateway.pricing": (5, "assembly"),
    "gateway.assembly": (5, "assembly"),
    "gateway.surfaces": (6, "process"),
    "gateway.administration": (5, "assembly"),
    "gateway.admin": (6, "process"),
    "gateway.app": (6, "process"),
    "gateway.workers": (6, "process"),
    "gateway.worker_metrics": (6, "process"),
    "gateway.demo": (6, "process"),
    "gateway.evaluation": (6, "process"),
    "gateway.ingestion": (6, "process"),
    "gateway.asking": (6, "process"),
    "gateway.advice": (6, "process"),
    "gateway.first_mistakes": (6, "process"),
    "gateway.variables": (6, "process"),
    "gateway.retrieval_evaluation": (6, "process"),
    "gateway.cache_evaluation": (6, "process"),
    "gateway.route_explaining": (6, "process"),
    "gateway.access_commands": (6, "process"),
    "gateway.command_options": (6, "process"),
    "gateway.cli": (6, "process"),
    "gateway.__main__": (6, "process"),
}
FORBIDDEN_NAMES = {"utils", "helpers", "common", "base", "core", "manager"}


def sources() -> list[Path]:
    return sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


def place_of(module: str) -> tuple[int, str] | None:
    parts = module.split(".")
    for length in (2, 1):
        place = LEVELS.get(".".join(parts[:length]))
        if place is not None:
            return place
    return None


def module_of(path: Path) -> str:
    parts = list(path.relative_to(ROOT).with_suffix("").parts)
    if parts[-1] == "__init__":
        parts.pop()
    return ".".join(parts)


def imported(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name for name in found if name.split(".")[0] in PACKAGES}


@pytest.mark.parametrize("path", sources(), ids=module_of)
def test_imports_run_downward(path: Path) -> None:
    module = module_of(path)
    place = place_of(module)
    if module == "gateway":
        assert not imported(path)
        return
    assert place is not None, f"{module} has no place in the house: add it to LEVELS"
    for name in imported(path):
        if name == "gateway.__version__":
            continue
        other = place_of(name)
        assert other is not None, f"{module} imports {name}, which has no place in the house"
        assert other[0] < place[0] or other[1] == place[1], f"{module} imports {name}: not downward"


def beside() -> list[Path]:
    return sorted(path for folder in ("bench", "deploy", "training") for path in (ROOT / folder).rglob("*.py"))


@pytest.mark.parametrize("path", [*sources(), *beside()], ids=module_of)
def test_house_numbers(path: Path) -> None:
    text = path.read_text()
    assert text.count("\n") <= 500, "files stay under 500 lines"
    assert path.stem not in FORBIDDEN_NAMES
    for node in ast.walk(ast.parse(text)):
        assert not isinstance(node, ast.Global), f"line {node.lineno}: no global"
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            assert lines <= 60, f"{node.name} has {lines} lines"
            assert node.args.kwarg is None, f"{node.name} takes **{node.args.kwarg and node.args.kwarg.arg}"


def test_contract_needs_nothing_but_msgspec() -> None:
    allowed = {"msgspec", "gateway", "__future__"}
    import sys

    for path in (ROOT / "gateway" / "contract").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.module:
                names = [node.module]
            for name in names:
                top = name.split(".")[0]
                assert top in allowed or top in sys.stdlib_module_names, f"{path.name} imports {name}"
