"""What the gateway asks of models by itself is in the ledger, priced, and in the budget of whoever caused it."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.assembly.configuration import load
from gateway.commands.ingest import ingest
from tests.live import Gateway, running_gateway
from tests.processes import until

COUNTED = pytest.mark.guarantee(
    "money", "Each model call that the gateway makes on its own has a ledger row with its price"
)
ADMIN = "an-administrators-key-of-the-tests-0123456789"
YAML = """
version: 1
server: {{data: "{folder}/data", database: "sqlite:///{folder}/l.sqlite", watch: false}}
providers:
  sim: {{kind: simulated, script: {{judge: n3, answerer: n5, embedder: ok}}}}
  limited: {{kind: simulated, limits: {{requests: 1 per hour}}}}
models:
  embedder: {{targets: [sim/embedder]}}
  rare: {{targets: [limited/embedder]}}
  judge: {{targets: [sim/judge]}}
  answerer: {{targets: [sim/answerer]}}
  help: {{pipeline: help}}
sources:
  manuals: {{kind: folder, path: "{folder}/manuals", embedder: {{model: embedder, dimensions: {dimensions}}}}}
pipelines:
  help: {{context: {{from: [manuals], quality: {{model: judge, share: 100%}}}}, model: answerer}}
prices:
  sim/embedder: {{input: 1000, output: 0}}
  sim/judge: {{input: 1000, output: 1000}}
  sim/answerer: {{input: 1000, output: 1000}}
  limited/embedder: {{input: 1000, output: 0}}
apps:
  bot: {{team: all, keys: [bot-key], budget: {budget} USD per month}}
  other: {{keys: [other-key]}}
teams: {{all: {{budget: 10 USD per month}}}}
admin: {{keys: {{test: {{key: {admin}, role: viewer}}}}}}
observe: {{log: "off"}}
"""


def config(folder: Path, budget: str = "1") -> str:
    return YAML.format(folder=folder, admin=ADMIN, budget=budget, dimensions=8)


def rows(folder: Path) -> list[dict[str, Any]]:
    if not (folder / "l.sqlite").exists():
        return []
    with sqlite3.connect(folder / "l.sqlite") as connection:
        connection.row_factory = sqlite3.Row
        if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'requests'").fetchone():
            return []
        return [dict(row) for row in connection.execute("SELECT * FROM requests ORDER BY id")]


@pytest.fixture
def manuals(tmp_path: Path) -> Path:
    folder = tmp_path / "manuals"
    folder.mkdir()
    (folder / "warranty.md").write_text("# Warranty\n\nThe drum unit has a warranty of one year.\n")
    (folder / "paper.md").write_text("# Paper\n\nThe tray holds 250 sheets of paper.\n")
    return folder


@pytest.fixture
def gateway(tmp_path: Path, manuals: Path) -> Iterator[Gateway]:
    with running_gateway(config(tmp_path), tmp_path) as running:
        until(lambda: any(row["surface"] == "documents of manuals" for row in rows(tmp_path)), 20)
        yield running


def ask(gateway: Gateway, question: str, key: str = "bot-key") -> int:
    body = {"model": "help", "messages": [{"role": "user", "content": question}], "max_tokens": 20}
    return gateway.request("POST", "/v1/chat/completions", body, {"authorization": f"Bearer {key}"}).status


def left(gateway: Gateway) -> dict[str, float]:
    told = gateway.request("GET", "/admin/v1/budgets", None, {"authorization": f"Bearer {ADMIN}"}).json()
    return {each["name"]: float(each["left_usd"]) for each in told}


@COUNTED
def test_documents_questions_and_judges_have_rows_of_their_own(gateway: Gateway, tmp_path: Path) -> None:
    documents = [row for row in rows(tmp_path) if row["surface"] == "documents of manuals"]
    assert {(row["app"], row["model"], row["target"]) for row in documents} == {
        ("_gatehouse", "embedder", "sim/embedder")
    }
    assert all(row["cost"] == row["input"] * 10**9 > 0 for row in documents)
    assert left(gateway) == {"bot": 1, "all": 10}
    assert ask(gateway, "How long is the warranty of the drum?") == 200
    until(lambda: any(row["surface"] == "judge of context" for row in rows(tmp_path)), 20)
    found = {row["surface"]: row for row in rows(tmp_path)}
    assert set(found) == {
        "documents of manuals", "question to manuals", "judge of context", "POST /v1/chat/completions",
    }  # fmt: skip
    for surface, model in (("question to manuals", "embedder"), ("judge of context", "judge")):
        row = found[surface]
        assert (row["app"], row["team"], row["model"], row["outcome"]) == ("bot", "all", model, "ok")
        assert row["cost"] == (row["input"] + row["output"]) * 10**9 > 0
    assert found["judge of context"]["trace_id"] == found["POST /v1/chat/completions"]["trace_id"]
    # The request itself has cost what its own attempts have.
    assert found["POST /v1/chat/completions"]["attempts"] == 1
    spent = sum(row["cost"] for row in rows(tmp_path) if row["app"] == "bot") / 10**12
    until(lambda: left(gateway) == {"bot": pytest.approx(1 - spent), "all": pytest.approx(10 - spent)}, 5)
    # What is remembered costs nothing again; another's question is another's.
    assert ask(gateway, "How many sheets does the tray hold?", "other-key") == 200
    until(lambda: sum(row["surface"] == "judge of context" for row in rows(tmp_path)) == 2, 20)
    assert [row["app"] for row in rows(tmp_path) if row["surface"] == "question to manuals"] == ["bot", "other"]
    assert left(gateway)["bot"] == pytest.approx(1 - spent)


@COUNTED
def test_a_search_by_itself_is_paid_for_by_who_searches(tmp_path: Path, manuals: Path) -> None:
    yaml = config(tmp_path).replace("keys: [bot-key],", "keys: [bot-key], ingest: [manuals],")
    with running_gateway(yaml, tmp_path) as gateway:
        until(lambda: any(row["surface"] == "documents of manuals" for row in rows(tmp_path)), 20)
        headers = {"authorization": "Bearer bot-key"}
        answer = gateway.request("POST", "/v1/sources/manuals/search", {"query": "How long is the warranty?"}, headers)
        assert answer.json()["data"]
        until(lambda: any(row["surface"] == "question to manuals" for row in rows(tmp_path)), 20)
        (row,) = [each for each in rows(tmp_path) if each["surface"] == "question to manuals"]
        assert (row["app"], row["team"]) == ("bot", "all")
        assert row["cost"] > 0


@COUNTED
def test_a_restart_knows_what_asides_had_cost(gateway: Gateway, tmp_path: Path) -> None:
    assert ask(gateway, "How long is the warranty of the drum?") == 200
    until(lambda: any(row["surface"] == "judge of context" for row in rows(tmp_path)), 20)
    gateway.server.should_exit = True
    until(lambda: not gateway.server.started or not gateway.server.servers[0].is_serving(), 10)
    with running_gateway(config(tmp_path), tmp_path) as again:
        spent = sum(row["cost"] for row in rows(tmp_path) if row["app"] == "bot") / 10**12
        until(lambda: left(again)["bot"] == pytest.approx(1 - spent), 10)


@COUNTED
def test_what_the_command_embeds_is_in_the_ledger(tmp_path: Path, manuals: Path) -> None:
    path = tmp_path / "gatehouse.yaml"
    path.write_text(config(tmp_path))
    asyncio.run(ingest(load(path, environ={}), "manuals", []))
    found = rows(tmp_path)
    assert {(row["app"], row["surface"]) for row in found} == {("_gatehouse", "documents of manuals")}
    assert sum(row["cost"] for row in found) > 0


@COUNTED
def test_a_providers_limit_holds_for_what_we_ask_ourselves(tmp_path: Path, manuals: Path) -> None:
    text = config(tmp_path).replace("embedder: {model: embedder", "embedder: {model: rare")
    with running_gateway(text, tmp_path) as gateway:
        until(lambda: any(row["outcome"] == "ok" for row in rows(tmp_path)), 20)
        # By its words it is found all the same.
        assert ask(gateway, "How long is the warranty of the drum?") == 200
        until(lambda: any(row["surface"] == "question to manuals" for row in rows(tmp_path)), 20)
        refused = next(row for row in rows(tmp_path) if row["surface"] == "question to manuals")
        assert (refused["outcome"], refused["cost"]) == ("error", 0)
