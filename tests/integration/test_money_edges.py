"""Ways past a budget and a limit, through HTTP: what a request asks for beside its words, and what it leaves behind."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.simulator.server import running
from tests.live import Answer, Gateway, running_gateway
from tests.processes import until

# An answer of ten words costs a cent, a prompt nothing.
YAML = """
version: 1
server: {{data: {folder}, database: "sqlite:///{folder}/db.sqlite"}}
providers:
  up: {{kind: simulated, base_url: "{upstream}"}}
  claude: {{kind: simulated, base_url: "{upstream}", dialect: anthropic}}
  narrow: {{kind: simulated, base_url: "{upstream}", limits: {{max_concurrent: 1}}}}
models:
  quick: {{targets: [up/quick]}}
  thinks: {{targets: [claude/quick]}}
  again: {{targets: [narrow/failing], retry: {{attempts: 3, backoff: 1ms}}}}
  absurd: {{targets: [up/absurd]}}
prices:
  up/quick: {{input: 0, output: 1000}}
  claude/quick: {{input: 0, output: 1000}}
  narrow/failing: {{input: 0, output: 1000}}
teams: {{watched: {{budget: {{spend: 100 USD per month, shadow: true}}}}}}
apps:
  shadowed:
    keys: [shadowed-key]
    team: watched
    budget: {{spend: 0.03 USD per month, default_max_tokens: 20 tokens}}
  negative: {{keys: [negative-key], budget: {{spend: 0.03 USD per month, default_max_tokens: 20 tokens}}}}
  thinks: {{keys: [thinks-key], budget: 1 USD per month}}
  huge: {{keys: [huge-key], budget: {{spend: 1 USD per month, shadow: true}}}}
  again: {{keys: [again-key]}}
  spent: {{keys: [spent-key], budget: 0.000001 USD per day}}
observe: {{log: "off"}}
"""
SCRIPT = {"failing": ["cut0", "cut0", "n5"], "*": "n50"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("money")


@pytest.fixture(scope="module")
def gateway(folder: Path) -> Iterator[Gateway]:
    with (
        running(SCRIPT) as upstream,
        running_gateway(YAML.format(upstream=upstream.url, folder=folder), folder) as gateway,
    ):
        yield gateway


def ask(gateway: Gateway, app: str, model: str = "quick", **more: Any) -> Answer:
    body = {"model": model, "messages": [{"role": "user", "content": "Hello"}], **more}
    return gateway.request("POST", "/v1/chat/completions", body, {"authorization": f"Bearer {app}-key"})


def spent(folder: Path, app: str) -> float:
    with sqlite3.connect(folder / "db.sqlite") as rows:
        (picos,) = rows.execute("SELECT sum(cost) FROM requests WHERE app = ?", (app,)).fetchone()
    return float(picos or 0) / 1e12


@pytest.mark.parametrize(("app", "asked"), [("shadowed", None), ("negative", -1)])
def test_no_answer_is_longer_than_what_was_reserved(
    gateway: Gateway, folder: Path, app: str, asked: int | None
) -> None:
    statuses = [ask(gateway, app, max_tokens=asked).status for _ in range(4)]
    assert statuses == [200, 429, 429, 429]
    until(lambda: spent(folder, app) > 0, 5)
    assert spent(folder, app) <= 0.03


def test_thoughts_beside_the_answer_must_fit_too(gateway: Gateway) -> None:
    assert ask(gateway, "thinks", "thinks", max_tokens=10, reasoning_effort="low").status == 429
    assert ask(gateway, "thinks", "thinks", max_tokens=10).status == 200


def test_numbers_that_nobody_can_count_harm_nobody(gateway: Gateway) -> None:
    for _ in range(3):
        assert ask(gateway, "huge", max_tokens=2**62, n=1).status in (200, 400)
    assert ask(gateway, "huge", max_tokens=10).status == 200


def test_attempts_of_one_request_do_not_take_each_others_place(gateway: Gateway) -> None:
    answer = ask(gateway, "again", "again")
    assert (answer.status, answer.headers["x-gatehouse-attempts"]) == (200, "3")
    assert ask(gateway, "again", "again").status == 200


def test_the_smallest_budget_refuses_and_says_so(gateway: Gateway) -> None:
    refused = ask(gateway, "spent", max_tokens=10)
    assert (refused.status, refused.json()["error"]["code"]) == (429, "budget_exceeded")
