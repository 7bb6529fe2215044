"""The documentation's Python for the vendors' own SDKs runs as it stands there, against each vendor's dialect."""

from __future__ import annotations

import ast
import contextlib
import io
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live import Gateway, running_gateway

ROOT = Path(__file__).resolve().parents[2]
PAGES = (ROOT / "README.md", ROOT / "docs" / "clients.md")
SDKS = {"openai", "anthropic", "google"}
CONFIG = """version: 1
providers:
  openai: {kind: simulated, script: echo}
  anthropic: {kind: simulated, dialect: anthropic, script: echo}
  gemini: {kind: simulated, dialect: gemini, script: echo}
models:
  quick: {targets: [PROVIDER/some]}
  support: {targets: [PROVIDER/some]}
  vectors: {targets: [openai/some]}
apps: {docs: {keys: [gatehouse-demo]}}
observe: {log: "off"}
"""


def snippets() -> Iterator[tuple[str, str]]:
    """Each Python block about a client, with its place."""
    for page in PAGES:
        text = page.read_text()
        for found in re.finditer(r"```python\n(.*?)```", text, re.DOTALL):
            if "127.0.0.1:8080" in found[1]:
                yield f"{page.name}:{text[: found.start()].count(chr(10)) + 2}", found[1]


def packages(code: str) -> set[str]:
    """What it imports."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            found |= {name.name.split(".")[0] for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.split(".")[0])
    return found


@pytest.fixture(scope="module", params=["openai", "anthropic", "gemini"])
def gateway(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with running_gateway(CONFIG.replace("PROVIDER", request.param), tmp_path_factory.mktemp("snippets")) as gateway:
        yield gateway


# Of the others we know here only that they are Python.
RUNNING = {place: code for place, code in snippets() if packages(code) <= SDKS}


@pytest.mark.parametrize("place", RUNNING)
def test_a_snippet_runs(gateway: Gateway, place: str) -> None:
    code = RUNNING[place]
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        exec(compile(code.replace("http://127.0.0.1:8080", gateway.url), place, "exec"), {"__name__": "snippet"})
    assert said.getvalue().strip()


def test_every_vendors_sdk_has_a_snippet() -> None:
    assert {name for code in RUNNING.values() for name in packages(code)} == SDKS
