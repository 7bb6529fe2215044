"""The house: its rooms on their floors, read off the sources. The one literal that tests and pictures are made from."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

# Top down. A module may import what stands in its own room or on a floor below. Rooms on one floor don't know each
# other. Rooms that are planned stand here already, so that they are built where they belong.
FLOORS: tuple[tuple[str, ...], ...] = (
    ("gateway.commands",),
    ("gateway.process",),
    ("gateway.admin", "gateway.surfaces", "gateway.assembly"),
    ("gateway.engine",),
    ("actions", "judging"),
    ("guardrails", "access"),
    ("rag", "cache", "router", "observability"),
    ("gateway.providers", "gateway.simulator"),
    ("gateway.dialects",),
    ("statistics", "config"),
    ("contract",),
)
PLANNED = {"actions", "judging", "statistics"}
PACKAGES = ("gateway", "guardrails", "access", "rag", "cache", "router", "observability", "config", "contract")
# No room: `python -m gateway` starts the command line, and the package itself holds the version and imports nothing.
ENTRANCE = "gateway.__main__"
VERSION = "gateway"

ROOMS = {room: floor for floor, rooms in enumerate(reversed(FLOORS)) for room in rooms}


def sources() -> dict[str, Path]:
    """Every module of the product and its file."""
    return {module_of(path): path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))}


def module_of(path: Path) -> str:
    """The dotted name of a file."""
    parts = list(path.relative_to(ROOT).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def room_of(module: str) -> str | None:
    """The room that a module stands in; None where the house has no room for it."""
    parts = module.split(".")
    names = (".".join(parts[:length]) for length in range(len(parts), 0, -1))
    return next((name for name in names if name in ROOMS), None)


def imported(path: Path, modules: dict[str, Path]) -> set[str]:
    """The product's modules that a file imports, for types too, wherever in the file."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                found.add(name if name in modules else node.module)
    return {name for name in found if name in modules}


def graph() -> dict[str, set[str]]:
    """Each module and those that it imports."""
    modules = sources()
    return {module: imported(path, modules) - {module} for module, path in modules.items()}


def circles(arrows: dict[str, set[str]]) -> list[list[str]]:
    """The modules that import each other, over however many others (Tarjan's strongly connected components)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(node: str) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        for other in arrows[node]:
            if other not in index:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], index[other])
        if low[node] == index[node]:
            circle = stack[stack.index(node) :]
            del stack[stack.index(node) :]
            if len(circle) > 1:
                found.append(sorted(circle))

    for node in arrows:
        if node not in index:
            visit(node)
    return found
