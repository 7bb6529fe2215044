"""Components of packages that are installed beside Gatehouse: those of docs/extending.md, installed and served."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
import time
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import ruamel.yaml
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]

from tests.processes import ROOT, ask, chat, serving
from tests.recording import Recording, last_words, recording_upstream

PAGE = ROOT / "docs" / "extending.md"
YAML_READER = ruamel.yaml.YAML(typ="safe", pure=True)
KINDS = {
    ("guardrails", "shouting"),
    ("guardrails", "signed"),
    ("guardrails", "order_numbers"),
    ("tools", "clock"),
    ("sources", "faq"),
    ("tiers", "sqlite"),
    ("routers", "by_length"),
}


def written() -> dict[str, str]:
    """The files of a package that the page shows, by their paths."""
    blocks = re.findall(r"```(?:python|toml)\n# (\S+)\n(.*?)```", PAGE.read_text(), re.DOTALL)
    return {path: text for path, text in blocks if path.startswith(("shop_parts/", "pyproject"))}


def install(folder: Path, files: Mapping[str, str], name: str, entry_points: Mapping[str, Mapping[str, str]]) -> None:
    """What an installer leaves behind: the modules, and what is known of the package."""
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    about = folder / f"{name.replace('-', '_')}-1.2.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.2\n")
    lines = [f"[{group}]\n" + "".join(f"{kind} = {place}\n" for kind, place in each.items())
             for group, each in entry_points.items()]  # fmt: skip
    (about / "entry_points.txt").write_text("\n".join(lines))


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """Where the package of the page is installed."""
    files = written()
    project = tomllib.loads(files.pop("pyproject.toml"))["project"]
    install(tmp_path / "site", files, project["name"], project["entry-points"])
    return tmp_path / "site"


def environment(*sites: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (ROOT, *sites))), "NO_COLOR": "1"}


def gatehouse(*arguments: str, site: Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "gateway", *arguments],
        cwd=cwd,
        env=environment(site),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


YAML = """
version: 1
server: {{data: data}}
providers:
  up: {{kind: openai, base_url: "http://127.0.0.1:{port}/v1", api_key: upstream-key}}
models:
  plain: {{targets: [up/small]}}
  large: {{targets: [up/large]}}
  shop: {{pipeline: shop}}
pipelines:
  shop:
    guard_input: [orders]
    guard_output: [orders]
    cache: answers
    router: length
    context: {{from: [questions], rewrite: null}}
    tools: [time]
    model: plain
guardrails:
  orders: {{kind: order_numbers, then: mask}}
caches:
  answers: {{tiers: [{{kind: memory}}, {{kind: sqlite, folder: .}}]}}
routers:
  length: {{kind: by_length, over: 2000 tokens, then: large}}
sources:
  questions: {{kind: faq, file: faq.json}}
tools:
  time: {{kind: clock, zone: Europe/Berlin}}
observe: {{log: "off"}}
"""
FAQ = {"How long is the warranty?": "Seven years on every oven.", "When are you open?": "Until six."}


@pytest.mark.guarantee(
    "plug-ins", "Packages add guardrails, tools, sources, cache tiers and routers without a change to Gatehouse"
)
def test_a_request_goes_through_components_of_a_package(shop: Path, tmp_path: Path) -> None:
    (tmp_path / "faq.json").write_text(json.dumps(FAQ))
    with recording_upstream() as upstream:
        yaml = YAML.format(port=upstream.port)
        with serving(yaml, tmp_path, environ={"PYTHONPATH": environment(shop)["PYTHONPATH"]}) as fleet:
            found = ""
            until = time.monotonic() + 30
            while "Seven years" not in found and time.monotonic() < until:
                upstream.forget()
                found = last_words(asked(fleet.port, upstream, f"How long is the warranty, {time.monotonic()}?")[0])
            assert "Seven years on every oven." in found
            upstream.forget()
            upstream.answers += [calls_the_clock, lambda _: "It is Friday. Your order is B-765432."]
            first, second = asked(fleet.port, upstream, "Which day is it, and where is B-123456?")
            assert first["model"] == "small"
            assert "[ORDER_NUMBER]" in last_words(first)
            assert "B-123456" not in upstream.seen
            assert [tool["function"]["name"] for tool in first["tools"]] == ["time"]
            assert re.search(r"day, \d\d \w+ 20\d\d, \d\d:\d\d", json.dumps(second["messages"][-1]))
            upstream.forget()
            (long,) = asked(fleet.port, upstream, "word " * 4000)
            assert long["model"] == "large"
            got = [asyncio.run(fleet.ask(question("Is B-123456 on its way?"))) for _ in range(2)]
            assert [each.headers["x-gatehouse-cache"] for each in got] == ["miss", "exact"]
            health = asyncio.run(fleet.ask(b"", path="/health")).json()
            assert "by length, over 2000 tokens" in json.dumps(health)
    assert (tmp_path / "answers.sqlite").is_file()


def question(text: str) -> bytes:
    return chat("shop", messages=[{"role": "user", "content": text}])


def asked(port: int, upstream: Recording, text: str) -> list[dict[str, Any]]:
    """What the provider was asked for a question, whose answer has no order number in it."""
    got = asyncio.run(ask(port, question(text)))
    assert got.status == 200, got.body
    assert b"B-7654" not in got.body
    return list(upstream.bodies)


def calls_the_clock(body: dict[str, Any]) -> dict[str, Any]:
    call = {"id": "call_1", "type": "function", "function": {"name": "time", "arguments": "{}"}}
    return {"content": None, "tool_calls": [call]}


def test_every_yaml_of_the_page_is_served(shop: Path, tmp_path: Path) -> None:
    shown = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(), re.DOTALL)
    document: dict[str, Any] = {
        "version": 1,
        "server": {"data": "data"},
        "providers": {"s": {"kind": "simulated"}},
        "models": {"small": {"targets": ["s/m"]}, "large": {"targets": ["s/m"]}, "all": {"pipeline": "all"}},
    }
    for part in (YAML_READER.load(text) for text in shown):
        for section, entries in part.items():
            document.setdefault(section, {}).update(entries)
    assert {"calm", "orders"} == set(document["guardrails"])
    document["pipelines"] = {
        "all": {
            "guard_input": list(document["guardrails"]),
            "router": next(iter(document["routers"])),
            "tools": list(document["tools"]),
            "model": "small",
        }
    }
    yaml = json.dumps(document)
    (tmp_path / "gatehouse.yaml").write_text(yaml)
    checked = gatehouse("check", site=shop, cwd=tmp_path)
    assert (checked.returncode, checked.stderr) == (0, "")
    validator = Draft202012Validator(json.loads(gatehouse("config", "schema", site=shop, cwd=tmp_path).stdout))
    assert list(validator.iter_errors(document)) == []
    with serving(yaml, tmp_path, environ={"PYTHONPATH": environment(shop)["PYTHONPATH"]}) as fleet:
        assert asyncio.run(fleet.ask(chat("all"))).status == 200


def test_they_are_listed_with_their_packages(shop: Path, tmp_path: Path) -> None:
    listed = gatehouse("plugins", "--json", site=shop, cwd=tmp_path)
    assert (listed.returncode, listed.stderr) == (0, "")
    rows = json.loads(listed.stdout)
    assert {(each["seam"], each["kind"]) for each in rows if each["package"] == "shop-parts"} == KINDS
    assert {each["version"] for each in rows if each["package"] == "shop-parts"} == {"1.2"}
    assert ("tools", "http") in {(each["seam"], each["kind"]) for each in rows}
    table = gatehouse("plugins", site=shop, cwd=tmp_path).stdout.splitlines()
    row = next(line for line in table if line.startswith("tools") and " clock " in line)
    assert row.split() == ["tools", "clock", "shop_parts.clock:ClockConfig", "shop-parts", "1.2"]
    # The page shows the rows as they are printed.
    assert all(line in PAGE.read_text() for line in table if "order_numbers" in line or " clock " in line)


def test_their_options_are_documented_and_checked(shop: Path, tmp_path: Path) -> None:
    docs = gatehouse("config", "docs", site=shop, cwd=tmp_path).stdout
    assert "### `kind: clock`" in docs
    assert "What is long." in docs
    assert "`routers.NAME.rules[]`: One rule." in docs, "what stands within a kind is told beside other kinds too"
    assert "ClockConfig" in gatehouse("config", "schema", site=shop, cwd=tmp_path).stdout
    (tmp_path / "faq.json").write_text("{}")
    wrong = YAML.format(port=1).replace("zone:", "zon:").replace("then: large}", "then: shop}")
    (tmp_path / "gatehouse.yaml").write_text(wrong)
    checked = gatehouse("check", site=shop, cwd=tmp_path)
    assert checked.returncode == 2
    assert "tools.time.zon: kind clock has no such option" in checked.stderr
    assert 'routers.length.then: the model "shop" is itself a pipeline' in checked.stderr


def test_the_tests_of_the_page_pass(shop: Path, tmp_path: Path) -> None:
    tests = [str(shop / path) for path in written() if Path(path).name.startswith("test_")]
    assert {"test_clock.py", "test_by_length.py"} <= {Path(each).name for each in tests}
    cases = """
from pathlib import Path
from cache.conformance import TierConformance
from rag.conformance import DocumentSourceConformance
from shop_parts.faq import FaqConfig
from shop_parts.sqlite_tier import SqliteTierConfig


class TestFaq(DocumentSourceConformance):
    config = FaqConfig
    folder = Path(__file__).parent
    options = {"file": "faq.json"}
    documents = {"Open?": "Until six"}


class TestSqlite(TierConformance):
    config = SqliteTierConfig
    folder = Path(__file__).parent
    options = {"folder": "."}
"""
    (tmp_path / "test_more.py").write_text(cases)
    (tmp_path / "faq.json").write_text('{"Open?": "Until six."}')
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests, str(tmp_path / "test_more.py")],
        cwd=tmp_path,
        env=environment(shop),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


BROKEN = {
    "parts_broken/missing.py": "import no_such_package\n",
    "parts_broken/other.py": "class Other: ...\n",
    "parts_broken/unfinished.py": """
from typing import Literal
from config.tools import ToolConfig

class UnfinishedConfig(ToolConfig):
    kind: Literal["unfinished"]
""",
    "parts_broken/leaves.py": "import sys\nsys.exit(0)\n",
    "parts_broken/callback.py": """
from collections.abc import Callable
from typing import Literal
from config.tools import ToolConfig

class CallbackConfig(ToolConfig):
    kind: Literal["callback"]
    then: Callable[[int], int] | None = None
    async def open(self, name, parts):
        return []
""",
    "parts_broken/hasty.py": """
from typing import Literal
from pydantic import model_validator
from config.tools import ToolConfig

class HastyConfig(ToolConfig):
    kind: Literal["hasty"]
    plain: str = "a-value"
    @model_validator(mode="after")
    def _check(self):
        raise KeyError("zz " + self.plain)
    async def open(self, name, parts):
        return []
""",
    "parts_broken/renamed.py": """
from typing import Literal
from config.tools import ToolConfig

class RenamedConfig(ToolConfig):
    kind: Literal["another"]
    async def open(self, name, parts):
        return []
""",
}
FAILING = """
from typing import Literal
from pydantic import Field
from config.tools import ToolConfig

class FailingConfig(ToolConfig):
    \"\"\"Fails.\"\"\"
    kind: Literal["failing"] = Field(description="Fails.")
    async def open(self, name, parts):
        return {}["nothing"]
"""
PROBLEMS = {
    "missing": "the plug-in parts_broken.missing:MissingConfig can't be loaded: ModuleNotFoundError: "
    "No module named 'no_such_package'",
    "leaves": "the plug-in parts_broken.leaves:LeavesConfig can't be loaded: SystemExit: 0",
    "callback": "the plug-in parts_broken.callback:CallbackConfig has options that a file can't set: "
    "invalid-for-json-schema",
    "other": "the plug-in parts_broken.other:Other is not a subclass of ToolConfig",
    "unfinished": "the plug-in parts_broken.unfinished:UnfinishedConfig does not implement open",
    "renamed": "the kind of the plug-in parts_broken.renamed:RenamedConfig differs from its entry point renamed",
    "clock": "several packages define this kind: more-clocks and parts-broken",
}


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    tools = {
        "missing": "parts_broken.missing:MissingConfig",
        "leaves": "parts_broken.leaves:LeavesConfig",
        "callback": "parts_broken.callback:CallbackConfig",
        "other": "parts_broken.other:Other",
        "unfinished": "parts_broken.unfinished:UnfinishedConfig",
        "renamed": "parts_broken.renamed:RenamedConfig",
        "clock": "parts_broken.renamed:RenamedConfig",
        "http": "parts_broken.renamed:RenamedConfig",
    }
    site = tmp_path / "site"
    install(
        site, BROKEN, "parts-broken", {"gatehouse.tools": tools, "gatehouse.tool": {"one": "parts_broken.other:Other"}}
    )
    install(site, {}, "more-clocks", {"gatehouse.tools": {"clock": "elsewhere:ClockConfig"}})
    return site


@pytest.mark.parametrize("kind", PROBLEMS)
def test_a_broken_one_is_told_where_it_is_named(broken: Path, tmp_path: Path, kind: str) -> None:
    lines = ["version: 1", "modls: {}", "tools:", f"  mine: {{kind: {kind}}}"]
    (tmp_path / "gatehouse.yaml").write_text("\n".join(lines) + "\n")
    checked = gatehouse("check", site=broken, cwd=tmp_path)
    assert (checked.returncode, checked.stdout) == (2, "")
    assert f"gatehouse.yaml:4:16  tools.mine.kind: {PROBLEMS[kind]}\n" in checked.stderr, checked.stderr
    assert "gatehouse.yaml:2:1  modls: unknown section" in checked.stderr, "and what else is wrong"
    assert "Traceback" not in checked.stderr


def test_one_whose_check_fails_is_told_without_the_value(tmp_path: Path) -> None:
    place = {"gatehouse.tools": {"hasty": "parts_broken.hasty:HastyConfig"}}
    install(tmp_path / "site", BROKEN, "parts-broken", place)
    (tmp_path / "gatehouse.yaml").write_text("version: 1\nmodls: {}\ntools:\n  mine: {kind: hasty, plain: hello}\n")
    checked = gatehouse("check", site=tmp_path / "site", cwd=tmp_path)
    assert checked.returncode == 2
    told = "tools.mine: the check of its options failed: KeyError in parts_broken.hasty"
    assert told in checked.stderr, checked.stderr
    assert "modls: unknown section" in checked.stderr
    assert "zz" not in checked.stderr


def test_a_file_that_does_not_name_one_never_runs_it(tmp_path: Path) -> None:
    """Not even where the file is wrong, and its secrets are looked for."""
    ran = tmp_path / "ran"
    files = {"parts_noisy.py": f"open({str(ran)!r}, 'w').close()\n"}
    install(tmp_path / "site", files, "parts-noisy", {"gatehouse.tools": {"noisy": "parts_noisy:NoisyConfig"}})
    for wrong in ("tools: {mine: {kind: htp}}", "modls: {}", "tools: {mine: {kind: mcp}}"):
        (tmp_path / "gatehouse.yaml").write_text(f"version: 1\n{wrong}\n")
        assert gatehouse("check", site=tmp_path / "site", cwd=tmp_path).returncode == 2
    assert not ran.exists()
    (tmp_path / "gatehouse.yaml").write_text("version: 1\ntools: {mine: {kind: noisy}}\n")
    assert gatehouse("check", site=tmp_path / "site", cwd=tmp_path).returncode == 2
    assert ran.exists()


def test_broken_ones_are_listed_with_the_reason(broken: Path, tmp_path: Path) -> None:
    listed = gatehouse("plugins", "--json", site=broken, cwd=tmp_path)
    assert listed.returncode == 1
    problems = {
        (each["seam"], each["kind"], each["problem"]) for each in json.loads(listed.stdout) if each["package"] in
        ("parts-broken", "more-clocks")
    }  # fmt: skip
    assert problems == {
        *(("tools", kind, problem) for kind, problem in PROBLEMS.items()),
        ("tools", "http", "http is a built-in kind: choose another name"),
        ("tool", "one", "there is no extension point tool: did you mean tools?"),
    }
    table = gatehouse("plugins", site=broken, cwd=tmp_path)
    assert table.returncode == 1
    assert f"tools missing can't be used: {PROBLEMS['missing']}\n" in table.stderr


def test_no_package_takes_the_place_of_ours(broken: Path, tmp_path: Path) -> None:
    tool = '{kind: http, description: x, url: "https://a.example/x"}'
    (tmp_path / "gatehouse.yaml").write_text(f"version: 1\ntools: {{mine: {tool}}}\n")
    assert gatehouse("check", site=broken, cwd=tmp_path).returncode == 0


def test_one_that_fails_to_open_is_named(tmp_path: Path) -> None:
    place = {"gatehouse.tools": {"failing": "parts_failing:FailingConfig"}}
    install(tmp_path / "site", {"parts_failing.py": FAILING}, "parts-failing", place)
    (tmp_path / "gatehouse.yaml").write_text("version: 1\ntools: {mine: {kind: failing}}\n")
    served = gatehouse("serve", "--listen", "127.0.0.1:0", site=tmp_path / "site", cwd=tmp_path)
    assert served.returncode != 0
    assert "tools.mine can't be opened: KeyError: 'nothing'" in served.stderr
