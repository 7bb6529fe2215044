"""What docs/extending.md shows of a dialect, a provider and a surface works as it stands there."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from config import ConfigError
from gateway.assembly import catalog
from tests.live import Gateway, running_gateway
from tests.reports.vendors import Request, Upstream, events, response

PAGE = (Path(__file__).resolve().parents[2] / "docs/extending.md").read_text()
MODULES = (
    "gateway.dialects.echo",
    "gateway.providers.echo",
    "gateway.surfaces.echo",
    "tests.unit.dialects.test_echo",
    "tests.unit.surfaces.test_echo",
)


def written(module: str) -> str:
    """The block whose first line is the module's file."""
    for name in (module.replace(".", "/") + ".py", module.replace(".", "/") + "/__init__.py"):
        found = re.search(rf"```python\n# {re.escape(name)}\n(.*?)```", PAGE, re.DOTALL)
        if found is not None:
            return found[1]
    raise LookupError(module)


def shown(folder: Path) -> dict[str, Any]:
    """The modules of the page, imported."""
    found = {}
    for module in MODULES:
        path = folder / f"{module}.py"
        path.write_text(written(module))
        spec = importlib.util.spec_from_file_location(module, path)
        assert spec is not None
        assert spec.loader is not None
        found[module] = sys.modules[module] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(found[module])
    return found


FOLDER = tempfile.TemporaryDirectory()
SHOWN = shown(Path(FOLDER.name))
TestEcho = SHOWN["tests.unit.dialects.test_echo"].TestEcho
TestEchoSurface = SHOWN["tests.unit.surfaces.test_echo"].TestEchoSurface


def answer(request: Request) -> bytes:
    """Echo's server: says the last turn again."""
    said = request.json["turns"][-1]["text"]
    end = {"end": "stop", "in": 3, "out": 4}
    if request.streams:
        return events({"text": said}, {"text": "!"}, end, done=False)
    return response({"text": said + "!", **end})


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    server = Upstream(answer)
    yield server
    server.close()


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    """The catalog with the lines that the page names."""
    monkeypatch.setitem(catalog.DIALECTS, "echo", "gateway.dialects.echo:Echo")
    providers: Any = catalog.SEAMS["providers"].kinds
    monkeypatch.setitem(providers, "echo", "gateway.providers.echo:EchoConfig")
    monkeypatch.setitem(catalog.SURFACES, "echo", ("gateway.surfaces.echo:EchoSurface",))
    monkeypatch.setattr(catalog.KINDS, "listed", {"surfaces": [each for each in catalog.SURFACES if each]})


@pytest.fixture
def gateway(known: None, upstream: Upstream, tmp_path: Path) -> Iterator[Gateway]:
    yaml = f"""
version: 1
providers: {{e: {{kind: echo, base_url: "{upstream.url}", api_key: e-key}}}}
models: {{quick: {{targets: [e/small]}}}}
apps:
  all: {{keys: [test-key]}}
  echo: {{keys: [echo-key], surfaces: [echo]}}
"""
    with running_gateway(yaml, tmp_path) as running:
        yield running


ASKED = {"model": "quick", "turns": [{"role": "user", "text": "hello"}]}


def test_its_surface_asks_its_provider(gateway: Gateway, upstream: Upstream) -> None:
    found = gateway.request("POST", "/v1/echo", ASKED)
    assert found.status == 200
    assert json.loads(found.body) == {"text": "hello!", "end": "stop", "in": 3, "out": 4}
    assert upstream.requests[-1].headers["x-echo-key"] == "e-key"
    streamed = gateway.request("POST", "/echo/v1/echo", {**ASKED, "stream": True}).body
    assert streamed.count(b'{"text"') == 2
    assert streamed.endswith(b'data: {"end": "stop", "in": 3, "out": 4}\n\n')


def test_every_other_surface_asks_it_as_well(gateway: Gateway) -> None:
    body = {"model": "quick", "messages": [{"role": "user", "content": "hello"}], "seed": 1}
    found = gateway.request("POST", "/v1/chat/completions", body)
    assert json.loads(found.body)["choices"][0]["message"]["content"] == "hello!"
    assert found.headers["x-gatehouse-dropped-params"] == "seed"


def test_an_app_can_be_held_to_it(gateway: Gateway) -> None:
    mine = {"authorization": "Bearer echo-key"}
    assert gateway.request("POST", "/v1/echo", ASKED, mine).status == 200
    refused = gateway.request("POST", "/v1/messages", {}, mine)
    assert refused.status == 403
    near = gateway.request("POST", "/v1/ecko", ASKED)
    assert (near.status, b"did you mean POST /v1/echo?" in near.body) == (404, True)


def test_its_options_are_checked_as_all_are(known: None, tmp_path: Path) -> None:
    with (
        pytest.raises(ConfigError, match="the API key is missing"),
        running_gateway("version: 1\nproviders: {e: {kind: echo}}\nmodels: {m: {targets: [e/m]}}\n", tmp_path),
    ):
        pass
