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
    "contract": (0, "contract"),
    "gateway.dialects": (1, "dialects"),
    "observability": (2, "observability"),
    "config": (2, "config"),
    "gateway.providers": (3, "providers"),
    "access": (3, "access"),
    "gateway.simulator": (3, "simulator"),
    "router": (3, "router"),
    "guardrails": (3, "guardrails"),
    "cache": (3, "cache"),
    "rag": (3, "rag"),
    "gateway.engine.absent": (4, "path"),
    "gateway.engine.pump": (4, "path"),
    "gateway.engine.tool_loop": (4, "path"),
    "gateway.engine.asides": (4, "path"),
    "gateway.engine.pipeline": (4, "path"),
    "config.folders": (5, "assembly"),
    "gateway.engine.resources": (5, "assembly"),
    "access.callers.directory": (5, "assembly"),
    "access.opening": (5, "assembly"),
    "gateway.engine.readiness": (5, "assembly"),
    "gateway.engine.runtime": (5, "assembly"),
    "gateway.assembly.catalog": (5, "assembly"),
    "guardrails.assembly": (5, "assembly"),
    "rag.assembly": (5, "assembly"),
    "cache.assembly": (5, "assembly"),
    "router.assembly": (5, "assembly"),
    "router.policies": (5, "assembly"),
    "access.ledger.pricing": (5, "assembly"),
    "gateway.assembly": (5, "assembly"),
    "gateway.surfaces": (6, "process"),
    "gateway.admin.administration": (5, "assembly"),
    "gateway.admin": (6, "process"),
    "gateway.process.app": (6, "process"),
    "gateway.process.workers": (6, "process"),
    "gateway.process.worker_metrics": (6, "process"),
    "gateway.commands.demo": (6, "process"),
    "gateway.commands.eval_guardrails": (6, "process"),
    "gateway.commands.ingest": (6, "process"),
    "gateway.commands.ask": (6, "process"),
    "gateway.commands.advice": (6, "process"),
    "gateway.commands.first_mistakes": (6, "process"),
    "gateway.commands.variables": (6, "process"),
    "gateway.commands.eval_retrieval": (6, "process"),
    "gateway.commands.eval_cache": (6, "process"),
    "gateway.commands.route": (6, "process"),
    "gateway.commands.access": (6, "process"),
    "gateway.commands.options": (6, "process"),
    "gateway.commands.cli": (6, "process"),
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
