"""Components are known by the catalog alone: no code asks for a kind, and a kind is read without what it runs with."""

from __future__ import annotations

import ast
import json
import subprocess
import sys

import pytest

from gateway.assembly.catalog import DIALECTS, KINDS, SEAMS, SURFACES
from tests.architecture.floors import ROOT, sources
from tests.architecture.test_wheel import without

PLACES = [place for seam in SEAMS.values() for place in (seam.base, *seam.kinds.values())]
PLACES += [*DIALECTS.values(), *(place for places in SURFACES.values() for place in places)]
CLASSES = {place.partition(":")[2]: place.partition(":")[0] for seam in SEAMS.values() for place in seam.kinds.values()}
# What takes long to import, or comes with an extra only.
HEAVY = {
    "alembic", "asyncpg", "duckdb", "faiss", "joserfc", "jsonschema", "lxml", "mcp", "numpy", "onnxruntime",
    "presidio_analyzer", "pypdf", "redis", "sqlalchemy", "sqlglot", "tantivy", "tokenizers",
}  # fmt: skip
IMPORT_ALL = """
import importlib, json, sys
for place in json.loads(sys.argv[1]):
    module, _, name = place.partition(":")
    getattr(importlib.import_module(module), name)
print(json.dumps(sorted({name.partition(".")[0] for name in sys.modules})))
"""


def test_kinds_are_read_without_what_they_run_with() -> None:
    run = subprocess.run(
        [sys.executable, "-c", IMPORT_ALL, json.dumps(PLACES)],
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert not HEAVY & set(json.loads(run.stdout))


@pytest.mark.slow
def test_every_kind_is_described_without_any_extra() -> None:
    run = subprocess.run(
        [*without([]), "config", "docs"],
        cwd=ROOT, env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"}, capture_output=True, text=True,
        timeout=60, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    for seam in KINDS.seams:
        for kind in KINDS.names(seam):
            assert len(KINDS.names(seam)) == 1 or f"### `kind: {kind}`" in run.stdout, (seam, kind)


def test_no_code_asks_for_a_kind() -> None:
    asked = []
    for module, path in sources().items():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("isinstance", "issubclass"):
                named = {each.id for each in ast.walk(node.args[1]) if isinstance(each, ast.Name)}
                asked += [
                    f"{module}:{node.lineno} {name}" for name in named & CLASSES.keys() if CLASSES[name] != module
                ]
    assert asked == []
