"""Every YAML of README and docs: the check and the schema take it, and a gateway that runs it answers.

A fragment is completed with what it names, by the markers of the structs: nothing here knows a page.
"""

from __future__ import annotations

import contextlib
import re
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]
from ruamel.yaml import YAML

from access.ledger.pricing import prices_of
from config import Config
from config.models import ModelConfig
from config.shape import fields, walk
from config.struct import Ref
from gateway.assembly.catalog import KINDS
from gateway.assembly.configuration import load, load_with_places, schema
from gateway.commands.advice import advise
from tests.documentation import ROOT, Block, blocks_of
from tests.live import running_gateway
from tests.reports.vendors import Request, Upstream, plain
from tests.services import RedisServer

EXAMPLES = sorted((ROOT / "config/examples").glob("*.yaml"))
VALIDATOR = Draft202012Validator(schema())
# An entry of each section that a fragment may name, as small as can be.
SMALLEST: dict[str, Any] = {
    "providers": {"kind": "simulated"},
    "models": {"targets": ["pretend/m"]},
    "pipelines": {"model": "quick"},
    "sources": {"kind": "documents"},
    "caches": {},
    "teams": {},
    "organisations": {},
    "apps": {"keys": ["${KEY_OF_AN_APP}"]},
    "guardrails": {"kind": "secrets"},
}


DATABASE = "sqlite:///orders.db"


# Other programs' files, by a key that only they have, and what they must hold.
OTHERS = {"model_list": "general_settings", "groups": "groups", "scrape_configs": "scrape_configs"}


def of_another_program(block: Block) -> str:
    """The key by which a file is known to be another program's; empty for ours."""
    return next((key for key in OTHERS if key in (read(block.text) or {})), "")


ALL = [*blocks_of("yaml"), *(Block(each, 1, "yaml", each.read_text()) for each in EXAMPLES)]
# The YAML of extending.md names kinds of packages: test_plugins.py installs those, and checks and serves it.
OURS = [each for each in ALL if each.page.name != "extending.md"]


def is_complete(block: Block) -> bool:
    """Whether it is a whole file, not a part of one."""
    return "version" in read(block.text)


def environment(path: Path) -> dict[str, str]:
    """Every variable that has no default: something that is long enough, and no two alike."""
    text = path.read_text()
    found = {name: f"value-of-{name}-{'x' * 32}" for name in re.findall(r"(?:\$\{|os\.environ/)(\w+)", text)}
    known = {"DATABASE_URL": "postgresql://gatehouse@db/gatehouse", "REDIS_URL": "redis://redis.internal:6379"}
    known |= {name: DATABASE for name in found if name.endswith("DATABASE")}
    # Those with a default are left to it.
    return {name: known.get(name, value) for name, value in found.items() if f"{name}:-" not in text}


def read(text: str) -> Any:
    return _as_read(YAML(typ="safe", pure=True).load(text))


def _as_read(value: Any) -> Any:
    """Without YAML's own type for days, which the file's reader does not know."""
    if isinstance(value, dict):
        return {key: _as_read(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_as_read(each) for each in value]
    return value if isinstance(value, (str, int, float, type(None))) else str(value)


def complete(part: dict[str, Any]) -> dict[str, Any]:
    """The fragment as a file: below what it belongs to, with whatever it names."""
    if not set(part) <= set(fields(Config)):
        assert set(part) <= set(fields(ModelConfig)), f"what are {list(part)}?"
        part = {"models": {"quick": {"targets": ["pretend/m"], **part}}}
    document = {"version": 1, **part}
    if "identity" in document and "apps" not in document:
        document["apps"] = {"an-app": SMALLEST["apps"]}
    if "providers" in document and "models" not in document:
        document["models"] = {"quick": {"targets": [f"{name}/m" for name in document["providers"]]}}
    _add_what_is_named(document)
    return with_a_model(document)


def _add_what_is_named(document: dict[str, Any]) -> None:
    while missing := _named_and_missing(document):
        for section, name in missing:
            document.setdefault(section, {})[name] = SMALLEST[section]


def with_a_model(document: dict[str, Any]) -> dict[str, Any]:
    """The same where it has models; else with one of the provider that it has, or of a simulated one."""
    if document.get("models"):
        return document
    targets = sorted(name for name in document.get("prices", {}) if "*" not in name) or ["pretend/m"]
    whole = {**document, "models": {"quick": {"targets": targets}}}
    _add_what_is_named(whole)
    return whole


def _named_and_missing(document: dict[str, Any]) -> set[tuple[str, str]]:
    found = {
        (ref.section, spot.value.partition("/")[0] if ref.prefix else spot.value)
        for spot in walk(Config, _tuples(document), KINDS)
        for ref in spot.markers
        if isinstance(ref, Ref) and isinstance(spot.value, str) and spot.value != ref.wildcard
    }
    found |= {("providers", name.partition("/")[0]) for name in document.get("prices", {})}
    return {(section, name) for section, name in found if name not in document.get(section, {})}


def _tuples(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _tuples(each) for key, each in value.items()}
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "secret").write_text("a-secret-of-a-file")
    (tmp_path / "demo-documents").mkdir()
    (tmp_path / "handbook").mkdir()
    with contextlib.closing(sqlite3.connect(tmp_path / "orders.db")) as database:
        database.execute("CREATE TABLE orders (region TEXT, amount REAL, placed TEXT)")
        database.execute("CREATE TABLE customers (id INTEGER, region TEXT)")
    (tmp_path / "demo-orders.csv").write_text("region,amount\nnorth,3\n")
    return tmp_path


def completed(block: Block, folder: Path) -> tuple[Path, dict[str, Any]]:
    """The file, and what it says."""
    path = folder / "block.yaml"
    text = re.sub(r"\$\{file:[^}]*\}", "${file:secret}", block.text)
    part = read(text)
    if is_complete(block):
        path.write_text(text)
        return path, part
    document = complete(part)
    write(path, document)
    return path, document


def write(path: Path, document: Any) -> None:
    with path.open("w") as file:
        YAML(typ="safe", pure=True).dump(document, file)


@pytest.mark.parametrize("block", [each for each in OURS if not of_another_program(each)], ids=str)
def test_the_check_and_the_schema_take_it(block: Block, folder: Path) -> None:
    path, document = completed(block, folder)
    config, places = load_with_places(path, environment(path))
    assert [f"{list(each.absolute_path)}: {each.message}" for each in VALIDATOR.iter_errors(document)] == []
    assert [each.old for each in places.renamed] == []
    # What is only shown in passing may lack a price or use one elsewhere; a whole file is right without a warning.
    if is_complete(block):
        assert [each.render() for each in advise(config, places)] == []


@pytest.mark.guarantee(
    "documentation",
    "Every YAML example in the documentation passes `gatehouse check`, and a gateway that runs it answers",
)
@pytest.mark.parametrize("block", [each for each in OURS if not of_another_program(each)], ids=str)
def test_a_gateway_that_runs_it_answers(block: Block, folder: Path, request: pytest.FixtureRequest) -> None:
    path, document = completed(block, folder)
    document = with_a_model(document)
    with_keys(document)
    with_services(document, folder, request)
    write(path, document)
    config = load(path, environment(path))
    upstream = Upstream(answering)
    try:
        yaml = folder / "run.yaml"
        write(yaml, in_place_of_vendors(document, config, upstream.url, folder))
        with running_gateway(yaml.read_text(), folder, environment(yaml)) as gateway:
            for model in config.models:
                for key in keys_for(config, model):
                    body = {"model": model, "messages": [{"role": "user", "content": "Where is my order?"}]}
                    answer = gateway.request(
                        "POST", "/v1/chat/completions", body, {"authorization": f"Bearer {key}"}, timeout=60
                    )
                    if b"upstream_not_found" in answer.body:
                        # A model for embeddings, which answers nothing.
                        body = {"model": model, "input": "Where is my order?"}
                        answer = gateway.request("POST", "/v1/embeddings", body, {"authorization": f"Bearer {key}"})
                    status = 502 if plays_a_fault(document, model) else 200
                    assert answer.status == status, (model, answer.body)
    finally:
        upstream.close()


def plays_a_fault(document: dict[str, Any], model: str) -> bool:
    """Whether the file has a simulator break off this model's answers."""
    targets = [
        each["target"] if isinstance(each, dict) else each for each in document["models"][model].get("targets", ())
    ]
    scripts = [document["providers"][str(each).partition("/")[0]].get("script") for each in targets if "/" in str(each)]
    return any(isinstance(each, list) and str(each[0]).startswith("cut") for each in scripts)


def with_keys(document: dict[str, Any]) -> None:
    """Gives a key to each app that has none in the file: the commands that make one are tested elsewhere."""
    for name, app in document.get("apps", {}).items():
        if not app.get("keys"):
            app["keys"] = [f"key-of-{name}-{'x' * 32}"]


def with_services(document: dict[str, Any], folder: Path, request: pytest.FixtureRequest) -> None:
    """Puts real servers in the place of those that the file names."""
    server = document.get("server", {})
    if "database" in server:
        server["database"] = f"sqlite:///{folder}/gatehouse.db"
    if "redis" in server and not str(server["redis"]).endswith(":-}"):
        redis: RedisServer = request.getfixturevalue("redis")
        server["redis"] = redis.url
    for source in document.get("sources", {}).values():
        if "store" in source:
            source["store"] = request.getfixturevalue("postgres_url")


def test_files_of_other_programs_are_such() -> None:
    found = [(each, key) for each in ALL if (key := of_another_program(each))]
    assert {key for _, key in found} == set(OTHERS), "one that no page shows needs no entry"
    assert [str(each) for each, key in found if OTHERS[key] not in read(each.text)] == []


def keys_for(config: Config, model: str) -> list[str]:
    """A key of each app that may ask for the model; anything where nobody needs one."""
    if config.access == "open":
        return ["none"]
    apps = [app for app in config.apps.values() if app.allowed is None or model in app.allowed]
    return [each.reveal() for app in apps for each in app.keys[:1] if not each.reveal().startswith("sha256:")]


def answering(request: Request) -> bytes:
    """As any vendor does; the words are JSON, as a guardrail may want them, or a statement for a database."""
    words = b"SELECT 1" if b"SQL" in request.body else rb"{\"answer\": \"It is on its way.\"}"
    head, _, body = plain(request).replace(b"hello", words).partition(b"\r\n\r\n")
    return re.sub(rb"content-length: \d+", b"content-length: %d" % len(body), head) + b"\r\n\r\n" + body


def in_place_of_vendors(document: dict[str, Any], config: Config, url: str, folder: Path) -> dict[str, Any]:
    """The same, with one upstream for every vendor: at their addresses' prices, and with data of its own."""
    prices, own = prices_of(config), dict(document.get("prices", {}))
    for model in config.models.values():
        for each in model.targets:
            if prices.rates(each.target) is not None and config.providers[each.provider].kind != "simulated":
                own.setdefault(each.target, {"input": 1, "output": 1})
    providers = {name: at(each, url) for name, each in document["providers"].items()}
    server = {**document.get("server", {}), "data": str(folder / "data")}
    observe = {**document.get("observe", {}), "log": "off"}
    if "otlp" in observe:
        observe["otlp"] = url
    return {**document, "providers": providers, "prices": own, "server": server, "observe": observe}


def at(provider: dict[str, Any], url: str) -> dict[str, Any]:
    if provider["kind"] == "azure":
        return {**provider, "endpoint": url}
    if provider["kind"] in ("extractive", "simulated"):
        return {key: each for key, each in provider.items() if key != "base_url"}
    return {**provider, "base_url": f"{url}/v1" if provider["kind"] == "openai" else url}
