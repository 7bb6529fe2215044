"""Imports only run down, siblings never import each other, and there are no circles."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from tests.architecture.floors import (
    ENTRANCE,
    FLOORS,
    PACKAGES,
    PLANNED,
    ROOMS,
    ROOT,
    VERSION,
    circles,
    graph,
    imported,
    module_of,
    room_of,
    sources,
)

FORBIDDEN_NAMES = {"utils", "helpers", "common", "base", "core", "manager"}
MODULES = sources()


def wrong_arrow(module: str, other: str) -> bool:
    """Whether an import runs up, or to a sibling."""
    room, to = room_of(module), room_of(other)
    return room != to and (room is None or to is None or ROOMS[to] >= ROOMS[room])


@pytest.mark.parametrize("module", MODULES)
def test_imports_run_down(module: str) -> None:
    found = imported(MODULES[module], MODULES) - {VERSION}
    if module in (ENTRANCE, VERSION):
        assert found <= {"gateway.commands.cli"}
        return
    assert room_of(module) is not None, f"{module} is in no room: give its package a place in FLOORS"
    assert not [name for name in found if wrong_arrow(module, name)]


def test_there_are_no_circles() -> None:
    assert circles(graph()) == []


def test_a_circle_and_an_arrow_up_are_found() -> None:
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == [["a", "b", "c"]]
    assert wrong_arrow("contract.messages", "config.root")
    assert wrong_arrow("cache.phase", "rag.source")
    assert wrong_arrow("gateway.unknown", "contract.messages")
    assert not wrong_arrow("cache.phase", "cache.entry")
    assert not wrong_arrow("gateway.engine.pipeline", "cache.phase")


def test_every_room_is_there_or_planned() -> None:
    there = {room for room in ROOMS if any(room_of(module) == room for module in MODULES)}
    assert there == ROOMS.keys() - PLANNED
    assert {room.split(".")[0] for floor in FLOORS for room in floor} - PLANNED == set(PACKAGES)


def beside() -> list[Path]:
    return sorted(path for folder in ("bench", "deploy", "training") for path in (ROOT / folder).rglob("*.py"))


@pytest.mark.parametrize("path", [*MODULES.values(), *beside()], ids=module_of)
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
    # What makes connections is loaded with the first call; `outbound` names httpx in types only.
    calls = {"dialer.py": {"httpcore"}, "checked_transport.py": {"httpcore", "httpx"}, "outbound.py": {"httpx"}}

    for path in (ROOT / "contract").glob("*.py"):
        allowed = {"msgspec", "contract", "__future__"} | calls.get(path.name, set())
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.module:
                names = [node.module]
            for name in names:
                top = name.split(".")[0]
                assert top in allowed or top in sys.stdlib_module_names, f"{path.name} imports {name}"


@pytest.mark.parametrize(
    "module", ["gateway.process.app", "contract.outbound", "observability.webhook", "rag.tools.http"]
)
def test_what_starts_loads_no_library_for_calls(module: str) -> None:
    """httpx is loaded with the first call, or with a provider behind a proxy: a start without them does not wait."""
    code = f"import sys, {module}; print([each for each in ('httpx', 'httpcore', 'h2') if each in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
