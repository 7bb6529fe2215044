"""The pages of the reference name what there is, and nothing else: errors, headers, metrics, spans, paths, commands."""

from __future__ import annotations

import ast
import functools
import importlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest
import typer.main
from prometheus_client.metrics import MetricWrapperBase
from ruamel.yaml import YAML

import contract.errors
from contract.errors import GatehouseError, UpstreamError
from contract.passages import ContextQuality
from gateway.assembly.catalog import KINDS
from gateway.commands.cli import app
from gateway.simulator.behaviours import WORDS, parse
from observability import names
from observability.metrics import Metrics
from tests.documentation import DOCS, ROOT, blocks
from tests.live import running_gateway

Error = TypeVar("Error", bound=GatehouseError)

OWN = "gatehouse."


def page(name: str) -> str:
    return (DOCS / "reference" / name).read_text()


def rows(text: str) -> list[list[str]]:
    """The cells of all rows of its tables."""
    found = [line[1:].rstrip("|").split("|") for line in text.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in row] for row in found]


def code(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


@functools.cache
def sources() -> tuple[tuple[Path, ast.Module], ...]:
    """The modules of all packages."""
    rooms = ("access", "cache", "config", "contract", "gateway", "guardrails", "observability", "rag", "router")
    paths = [path for room in rooms for path in sorted((ROOT / room).rglob("*.py"))]
    return tuple((path, ast.parse(path.read_text())) for path in paths)


def errors(above: type[Error]) -> Iterator[type[Error]]:
    """All classes below `above`."""
    for each in above.__subclasses__():
        yield each
        yield from errors(each)


def test_every_error_is_there() -> None:
    for path, tree in sources():
        bases = {
            getattr(base, "id", "") for node in ast.walk(tree) if isinstance(node, ast.ClassDef) for base in node.bases
        }
        if bases & {name for name, each in vars(contract.errors).items() if isinstance(each, type)} - {"Exception"}:
            importlib.import_module(".".join(path.relative_to(ROOT).with_suffix("").parts))
    there = {
        (str(each.status), each.code, getattr(each, "kind", ""))
        for each in errors(GatehouseError)
        if each.__module__.split(".")[0] != "tests" and each.code != "all_targets_failed"
    }
    told: set[tuple[str, str, str]] = set()
    by_class = page("errors.md").split("## Errors of providers")
    for part, has_kind in ((by_class[0], False), (by_class[1].split("## Errors of the gateway")[0], True),
                           (by_class[1].split("## Errors of the gateway")[1], False)):  # fmt: skip
        for row in rows(part):
            if re.fullmatch(r"\d{3}", row[0]):
                kind = code(row[2])[0] if has_kind and code(row[2]) else ""
                told.add((row[0], code(row[1])[0], kind))
    # What a provider refuses may also stand among the caller's own errors, without its class.
    assert there <= told
    assert {each[:2] for each in told} == {each[:2] for each in there}
    assert "`all_targets_failed`" in page("errors.md")


def test_codes_of_the_admin_api_are_there() -> None:
    from gateway.admin.api import _CODES

    part = page("errors.md").split("## Codes of the admin API")[1].split("\n## ")[0]
    assert {int(status): name for status, name in re.findall(r"(\d{3}) `(\w+)`", part)} == _CODES


def test_the_classes_of_routing_are_those_of_errors() -> None:
    kinds = {each.kind for each in errors(UpstreamError)}
    part = (DOCS / "concepts/routing.md").read_text().split("## Fallback")[1].split("\n## ")[0]
    table = part.split("| kind |")[1].split("\n\n")[0]
    assert {code(row[0])[0] for row in rows(table) if code(row[0])} == kinds


def test_every_metric_is_there(tmp_path: Path) -> None:
    config = f"""version: 1
server: {{database: "sqlite:///{tmp_path}/g.db", data: "{tmp_path}/data"}}
providers: {{pretend: {{kind: simulated}}}}
models: {{quick: {{targets: [pretend/m]}}, judged: {{pipeline: judged}}}}
pipelines: {{judged: {{model: quick, context: {{from: [notes], quality: {{model: quick, share: 100%}}}}}}}}
sources: {{notes: {{kind: documents}}}}
apps: {{bot: {{keys: [test-key]}}}}
"""
    with running_gateway(config, tmp_path) as gateway:
        text = gateway.request("GET", "/metrics").body.decode()
    kinds = dict(re.findall(r"^# TYPE (gatehouse_\w+) (\w+)$", text, re.MULTILINE))
    # Beside each counter and histogram the library gives the time when it was made.
    there = {name: kind for name, kind in kinds.items() if not name.endswith("_created")}
    told = {code(row[0])[0]: row[1] for row in rows(page("metrics.md")) if row[0].startswith("`gatehouse_")}
    assert told == there


def test_metrics_that_pages_name_are_there() -> None:
    known = {code(row[0])[0] for row in rows(page("metrics.md")) if row[0].startswith("`gatehouse_")}
    for path in DOCS.rglob("*.md"):
        found = set(re.findall(r"\bgatehouse_[a-z_]+", path.read_text()))
        unknown = {each for each in found if re.sub("_(?:bucket|count|sum)$", "", each) not in known}
        assert unknown - {"gatehouse_platform"} == set(), path


class Breaker:
    target, state, in_flight = "pretend/m", "open", 0


def test_labels_are_those_of_the_metrics() -> None:
    quality = {"support": ContextQuality()}
    metrics = Metrics("1", lambda: [Breaker()], {"chat": 1}, lambda: 0, quality)
    there: dict[str, set[str]] = {}
    for collector in metrics._registry._collector_to_names:
        if isinstance(collector, MetricWrapperBase):
            there[collector._name] = set(collector._labelnames)
        else:
            for family in collector.collect():
                for sample in family.samples:
                    there[family.name] = set(sample.labels)
    told = {code(row[0])[0].removesuffix("_total"): set(row[2].split(", ")) - {""} for row in rows(page("metrics.md"))
            if row[0].startswith("`gatehouse_")}  # fmt: skip
    shown = {name: labels for name, labels in there.items() if name.startswith("gatehouse_")}
    assert len(shown) > 20
    assert {name: labels for name, labels in told.items() if name in shown} == shown


def constants_of_names() -> set[str]:
    return {value for name, value in vars(names).items() if name.isupper() and isinstance(value, str) and "." in value}


def test_every_attribute_of_a_span_is_there() -> None:
    told = {each for row in rows(page("spans.md")) for each in code(row[0])}
    assert constants_of_names() - {OWN} - told == set()
    known = constants_of_names() | {OWN + step for step in steps()} | {"gen_ai.usage.*"}
    assert {each for each in told if "." in each} - known == set()


def steps() -> set[str]:
    """The names of the steps that the code records."""
    found: set[str] = set()
    for _, tree in sources():
        for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
            named = getattr(call.func, "attr", "")
            first = call.args[0] if call.args else None
            if named == "record" and len(call.args) > 1 and _is_of_the_exchange(call):
                if isinstance(first, ast.Constant):
                    found.add(str(first.value))
                elif isinstance(first, ast.JoinedStr):
                    found.add(
                        "".join(str(each.value) if isinstance(each, ast.Constant) else "NAME" for each in first.values)
                    )
            elif named == "note" and isinstance(first, ast.Constant) and str(first.value).startswith("dispatch."):
                found.add(str(first.value))
    return found


def _is_of_the_exchange(call: ast.Call) -> bool:
    return "exchange" in ast.unparse(call.func)


def test_every_step_is_there() -> None:
    told = {each.removeprefix(OWN) for row in rows(page("spans.md")) for each in code(row[0]) if each.startswith(OWN)}
    assert steps() - told == set()


def test_every_field_of_the_log_line_is_there() -> None:
    tree = ast.parse((ROOT / "observability/summary.py").read_text())
    summary = next(node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name == "summary")
    line = next(
        node.value for node in ast.walk(summary) if isinstance(node, ast.AnnAssign) and isinstance(node.value, ast.Dict)
    )
    there = {str(key.value) for key in line.keys if isinstance(key, ast.Constant)}
    there |= {
        str(node.slice.value)
        for node in ast.walk(summary)
        if isinstance(node, ast.Subscript)
        and isinstance(node.slice, ast.Constant)
        and ast.unparse(node.value) == "line"
    }
    part = page("spans.md").split("## The log line")[1]
    assert {each for row in rows(part) for each in code(row[0])} == there


def test_every_header_is_there() -> None:
    there: set[str] = set()
    for path, tree in sources():
        if "simulator" in path.parts or path.is_relative_to(ROOT / "config"):
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, (str, bytes)):
                text = node.value if isinstance(node.value, str) else node.value.decode("latin-1")
                there |= set(re.findall(r"x-(?:gatehouse|ratelimit)-[a-z-]+[a-z]", text))
    there -= {"x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"}  # their beginnings
    told = set(re.findall(r"x-(?:gatehouse|ratelimit)-[a-z-]+[a-z]", page("headers.md")))
    assert told == there
    for path in [ROOT / "README.md", *DOCS.rglob("*.md")]:
        named = set(re.findall(r"x-gatehouse-[a-z-]+[a-z]", path.read_text()))
        assert named - there == set(), path


def test_every_path_of_the_admin_api_is_there(tmp_path: Path) -> None:
    key = "k" * 32
    config = f"""version: 1
server: {{database: "sqlite:///{tmp_path}/g.db", data: "{tmp_path}/data"}}
providers: {{pretend: {{kind: simulated}}}}
models: {{quick: {{targets: [pretend/m]}}}}
admin: {{keys: {{olga: {{key: {key}, role: owner}}}}}}
"""
    with running_gateway(config, tmp_path) as gateway:
        schema = gateway.request("GET", "/admin/openapi.json", None, {"authorization": f"Bearer {key}"}).json()
    there = {(method.upper(), f"/admin{path}") for path, methods in schema["paths"].items() for method in methods}
    told: set[tuple[str, str]] = set()
    above: list[str] = []
    for row in rows(page("admin-api.md")):
        if not re.fullmatch("`[A-Z]+`", row[0]):
            continue
        above = code(row[1]) or above
        told |= {(code(row[0])[0], path) for path in above}
    assert told == there


def leaves(command: Any, path: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    if not hasattr(command, "commands"):
        yield " ".join(path), command
        return
    for name, each in command.commands.items():
        yield from leaves(each, (*path, name))


def test_every_command_and_option_is_there() -> None:
    there = {}
    for name, command in leaves(typer.main.get_command(app), ("gatehouse",)):
        there[name] = {max(each.opts, key=len) for each in command.params if each.param_type_name == "option"}
    told = {}
    for row in rows(page("command-line.md")):
        for name in code(row[0]):
            if name.startswith("gatehouse "):
                told[name] = {each for each in code(row[1]) if each.startswith("--")}
    assert told == there


@pytest.mark.parametrize(
    "section", ["server", "providers", "models", "pipelines", "guardrails", "caches", "apps", "observe"]
)
def test_the_configuration_page_has_every_section(section: str) -> None:
    assert f"## `{section}`" in page("configuration.md")


def test_every_behaviour_of_the_simulator_is_there() -> None:
    text = (DOCS / "concepts/simulator.md").read_text()
    part = text.split("### Fails before the answer")[1].split("## What it received")[0]
    told = {word for row in rows(part) for cell in row[:2] for word in code(cell)}
    names = told | {re.sub(r"\d+\Z", "", word) for word in told}  # a number is an example
    assert [word for word in WORDS if word != "400" and word.rstrip("#") not in names] == []
    first = {code(row[0])[0] for row in rows(part) if code(row[0])}
    for word in first:
        parse(word)


def test_every_kind_of_guardrail_is_there() -> None:
    part = (DOCS / "concepts/guardrails.md").read_text().split("## The kinds")[1].split("\n## ")[0]
    assert {code(row[0])[0] for row in rows(part) if code(row[0])} == set(KINDS.structs("guardrails"))


def constants(*rooms: str) -> set[str]:
    """All texts in the code of these packages, parts of f-strings among them."""
    return {
        node.value
        for path, tree in sources()
        if path.relative_to(ROOT).parts[0] in rooms
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }


def test_reasons_of_caches_are_those_of_the_code() -> None:
    part = (DOCS / "concepts/caches.md").read_text().split("| `x-gatehouse-cache-reason` | |")[1].split("\n\n")[0]
    told = {each.removesuffix("NAME") for row in rows(part) for each in code(row[0])}
    assert told - constants("cache") == set()


@pytest.mark.parametrize(
    ("page_name", "event"),
    [
        ("concepts/access.md", "the price of a target is unknown"),
        ("concepts/context.md", "document can't be read"),
        ("concepts/context.md", "document read with a note"),
    ],
)
def test_log_events_that_pages_name_are_there(page_name: str, event: str) -> None:
    assert f"`{event}`" in (DOCS / page_name).read_text()
    assert event in constants("access", "rag", "gateway")


def test_alerts_use_labels_that_their_metrics_have() -> None:
    told = {
        code(row[0])[0]: set(row[2].split(", ")) - {""}
        for row in rows(page("metrics.md"))
        if row[0].startswith("`gatehouse_")
    }
    text = next(each.text for each in blocks(DOCS / "jobs/sre.md") if each.text.startswith("groups:"))
    expressions = [
        rule["expr"] for group in YAML(typ="safe", pure=True).load(text)["groups"] for rule in group["rules"]
    ]
    used = [found for each in expressions for found in re.findall(r"(gatehouse_\w+)(?:\{([^}]*)\})?", each)]
    assert len(used) > 10
    for name, matchers in used:
        labels = told[re.sub(r"_(?:bucket|count|sum)\Z", "", name)]
        assert set(re.findall(r"(\w+)=", matchers)) <= labels, name
    for each in expressions:
        metric = re.search(r"gatehouse_\w+", each)
        grouped = set(re.findall(r"\w+", " ".join(re.findall(r"by \(([^)]*)\)", each)))) - {"le"}
        assert metric is None or grouped <= told[re.sub(r"_(?:bucket|count|sum)\Z", "", metric[0])], each
