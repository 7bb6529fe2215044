"""The documentation's Python runs as it stands there: for the vendors' own SDKs against each vendor's dialect."""

from __future__ import annotations

import ast
import contextlib
import io
import shutil
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.documentation import ROOT, Block, blocks_of
from tests.live import Gateway, running_gateway

SDKS = {"openai", "anthropic", "google"}
# Of these, which are no part of the environment, it is only known that the snippet is Python.
FRAMEWORKS = {
    "agents", "dspy", "haystack", "instructor", "langchain_anthropic", "langchain_google_genai", "langchain_openai",
    "litellm", "llama_index", "pydantic_ai",
}  # fmt: skip
KEY = "gatehouse-demo"
CONFIG = """version: 1
providers:
  openai: {kind: simulated, script: echo}
  anthropic: {kind: simulated, dialect: anthropic, script: echo}
  gemini: {kind: simulated, dialect: gemini, script: echo}
models:
  quick: {targets: [PROVIDER/some]}
  strong: {targets: [PROVIDER/some]}
  vectors: {targets: [openai/some]}
apps: {docs: {keys: [gatehouse-demo]}}
observe: {log: "off"}
"""


def packages(code: str) -> set[str]:
    """What it imports."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            found |= {name.name.split(".")[0] for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.split(".")[0])
    return found


# The modules of extending.md are run by test_plugins.py and test_extending.py.
SNIPPETS = [each for each in blocks_of("python") if each.page.name != "extending.md"]
ASKING = [each for each in SNIPPETS if packages(each.text) & SDKS and not packages(each.text) & FRAMEWORKS]
OF_THE_DEMO = [each for each in ASKING if 'model="support"' in each.text]
RUNNING = [each for each in ASKING if each not in OF_THE_DEMO]
OTHERS = [each for each in SNIPPETS if each not in ASKING]


@pytest.fixture(scope="module", params=["openai", "anthropic", "gemini"])
def gateway(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with running_gateway(CONFIG.replace("PROVIDER", request.param), tmp_path_factory.mktemp("snippets")) as gateway:
        yield gateway


def printed_by(snippet: Block, gateway: Gateway) -> str:
    code = snippet.text.replace("http://127.0.0.1:8080", gateway.url)
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        exec(compile(code, str(snippet), "exec"), {"__name__": "snippet"})
    return said.getvalue()


OUTPUTS = {str(each.above): each.text for each in blocks_of("text") if each.above is not None}


@pytest.mark.guarantee(
    "documentation", "Every Python example for a provider's SDK runs, with each provider as the target"
)
@pytest.mark.parametrize("snippet", RUNNING, ids=str)
def test_a_snippet_runs(gateway: Gateway, snippet: Block, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MY_APP_KEY", KEY)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cases.jsonl").write_text('{"text": "Where is my order?"}\n')
    output = printed_by(snippet, gateway)
    assert output.strip()
    assert str(snippet) not in OUTPUTS or output == OUTPUTS[str(snippet)]


@pytest.mark.slow
def test_the_demo_answers_what_pages_ask_it(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("demo")
    shutil.copytree(ROOT / "config/examples", folder, dirs_exist_ok=True)
    assert OF_THE_DEMO
    with running_gateway((folder / "demo.yaml").read_text(), folder) as demo:
        for snippet in OF_THE_DEMO:
            assert printed_by(snippet, demo) == OUTPUTS[str(snippet)]


@pytest.mark.parametrize("snippet", OTHERS, ids=str)
def test_other_snippets_are_python(snippet: Block) -> None:
    if imported := packages(snippet.text) & FRAMEWORKS:
        assert packages(snippet.text) - imported - sys.stdlib_module_names <= SDKS | {"pydantic"}
        compile(snippet.text, str(snippet), "exec")
    else:
        exec(compile(textwrap.dedent(snippet.text), str(snippet), "exec"), {"__name__": "snippet"})


def test_every_vendors_sdk_has_a_snippet() -> None:
    assert {name for each in RUNNING for name in packages(each.text)} >= SDKS
