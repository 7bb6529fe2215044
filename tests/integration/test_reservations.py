"""Gateways that are killed with calls under way: what these had reserved is spent, and each has a row.

The same with twenty kills: `python -m bench.budget_kills`.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from bench.budget_kills import Run
from tests.live import free_port
from tests.processes import ROOT, Fleet, Upstream, chat, serving, statuses, until, upstream
from tests.services import redis_server

SURVIVES = pytest.mark.guarantee(
    "money", "`kill -9` never lets spend exceed a budget, and every request that reaches a provider has a ledger row"
)
KILLED = pytest.mark.guarantee(
    "money",
    "After `kill -9`, the next start counts the reservations of interrupted requests as spent, with outcome unknown",
)
ADMIN = "an-administrators-key-of-the-tests-0123456789"
YAML = """
version: 1
server: {{workers: {workers}, data: {data}, database: "sqlite:///{data}/l.sqlite", drain: 3s, pepper: "{admin}"{more}}}
providers: {{up: {{kind: simulated, base_url: "{upstream}"}}}}
models: {{quick: {{targets: [up/quick], timeout: 60s}}, embedder: {{targets: [up/embedder], timeout: 60s}}}}
prices: {{up/quick: {{input: 0, output: 1000}}, up/embedder: {{input: 1000, output: 0}}}}
apps:
  bot: {{keys: [bot-key], budget: 1 USD per month}}
  free: {{keys: [free-key]}}
admin: {{keys: {{test: {{key: {admin}, role: viewer}}}}}}
observe: {{log: "off"}}
"""


@SURVIVES
def test_three_budgets_outlive_kills_at_random_moments(tmp_path: Path) -> None:
    found = asyncio.run(Run(tmp_path, (free_port(), free_port()), 20, seed=3).run(4))
    assert not found.faults, "\n".join(found.lines())
    assert found.overshoot == 0
    assert found.unknown > 0
    assert found.asked[200] > 50
    assert found.asked[429] > 0


@SURVIVES
def test_counters_in_redis_hold_what_the_ledger_says_after_kills(tmp_path: Path) -> None:
    """What a process that died had settled in the ledger and not yet in Redis, the one that adopts it tells.

    Redis never counts less than the ledger, and more only what was reserved in the instant before its line on disk.
    """
    with redis_server(tmp_path) as redis:
        server = f", redis: '{redis.url}'"
        found = asyncio.run(Run(tmp_path, (free_port(), free_port()), 12, seed=5, server=server).run(3))
    assert not found.faults, "\n".join(found.lines())
    assert found.overshoot == 0
    assert found.unknown > 0


@pytest.fixture(scope="module")
def up() -> Iterator[Upstream]:
    with upstream("quick=n400-pace50,embedder=latency30000") as running:
        yield running


def yaml(folder: Path, up: Upstream, workers: int = 1, more: str = "") -> str:
    return YAML.format(data=folder / "data", upstream=up.url, workers=workers, admin=ADMIN, more=more)


def rows(folder: Path) -> list[dict[str, Any]]:
    with sqlite3.connect(f"file:{folder / 'data' / 'l.sqlite'}?mode=ro", uri=True) as connection:
        connection.row_factory = sqlite3.Row
        return [dict(row) for row in connection.execute("SELECT * FROM requests ORDER BY id")]


def left(fleet: Fleet) -> float:
    got = asyncio.run(fleet.ask(b"", ADMIN, "/admin/v1/budgets"))
    return float(next(each["left_usd"] for each in got.json() if each["name"] == "bot"))


def kill(fleet: Fleet) -> None:
    """All of its processes at once."""
    parent = psutil.Process(fleet.process.pid)
    processes = [parent, *parent.children(recursive=True)]
    for each in processes:
        each.send_signal(signal.SIGKILL)
    psutil.wait_procs(processes[1:], timeout=10)
    fleet.process.wait()


def under_way(fleet: Fleet, up: Upstream, *asked: tuple[str, bytes, str]) -> None:
    """Asks, and kills the gateway once the provider has all of it."""
    up.reset()

    async def run() -> None:
        calls = [asyncio.create_task(fleet.ask(body, key, path)) for key, body, path in asked]
        while len(await asyncio.to_thread(up.requests)) < len(calls):
            await asyncio.sleep(0.05)
        await asyncio.to_thread(kill, fleet)
        assert statuses([await each for each in calls]).keys() <= {0, 200}

    asyncio.run(run())


CHAT = "/v1/chat/completions"


@KILLED
@pytest.mark.parametrize("workers", [1, 2])
def test_what_was_under_way_at_a_kill_is_spent_at_the_next_start(tmp_path: Path, up: Upstream, workers: int) -> None:
    body = chat(max_tokens=400, stream=True)
    embed = b'{"model": "embedder", "input": ["one", "two"]}'
    with serving(yaml(tmp_path, up, workers), tmp_path, workers) as fleet:
        under_way(fleet, up, ("bot-key", body, CHAT), ("free-key", body, CHAT), ("bot-key", embed, "/v1/embeddings"))
    with serving(yaml(tmp_path, up, workers), tmp_path, workers) as fleet:
        until(lambda: len(rows(tmp_path)) == 3, 20)
        found = rows(tmp_path)
        assert {row["outcome"] for row in found} == {"unknown"}
        costs = {(row["app"], row["model"]): row["cost"] for row in found}
        assert costs["bot", "quick"] == 400 * 10**9
        assert costs["free", "quick"] is None
        assert costs["bot", "embedder"] > 0
        assert {row["target"] for row in found} == {"up/quick", "up/embedder"}
        spent = sum(cost or 0 for (app, _), cost in costs.items() if app == "bot")
        assert left(fleet) == pytest.approx(1 - spent / 10**12, abs=1e-8)
        command = [sys.executable, "-m", "gateway", "usage", "--config", str(next(tmp_path.glob("*.yaml")))]
        told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
        assert "3 requests were in flight when a gateway process died" in told.stderr
        assert f"{spent / 10**12:.4f}".rstrip("0") in told.stderr
        # It may ask for what is left, and for no more.
        assert asyncio.run(fleet.ask(chat(max_tokens=601), "bot-key")).status == 429
    # A third start counts nothing twice.
    with serving(yaml(tmp_path, up, workers), tmp_path, workers) as fleet:
        assert left(fleet) == pytest.approx(1 - spent / 10**12, abs=1e-8)
        unknown = [row["id"] for row in rows(tmp_path) if row["outcome"] == "unknown"]
        assert unknown == [row["id"] for row in found]


@KILLED
def test_a_worker_that_dies_alone_leaves_its_reservations_to_the_others(tmp_path: Path, up: Upstream) -> None:
    with serving(yaml(tmp_path, up, 2), tmp_path, 2) as fleet:
        up.reset()

        async def run() -> None:
            call = asyncio.create_task(fleet.ask(chat(max_tokens=400, stream=True), "bot-key"))
            while not await asyncio.to_thread(up.requests):
                await asyncio.sleep(0.05)
            workers = psutil.Process(fleet.process.pid).children()
            ports = [
                each.pid for each in workers if any(c.raddr and c.raddr.port == up.port for c in each.net_connections())
            ]
            assert len(ports) == 1
            os.kill(ports[0], signal.SIGKILL)
            await call

        asyncio.run(run())
        # Before anybody has its row the counters hold it, and afterwards they hold it once.
        assert left(fleet) == pytest.approx(0.6)
        until(lambda: bool(rows(tmp_path)), 30)
        assert left(fleet) == pytest.approx(0.6)
        (row,) = rows(tmp_path)
        assert (row["outcome"], row["cost"]) == ("unknown", 400 * 10**9)


@KILLED
def test_who_is_gone_from_the_file_has_a_row_all_the_same(tmp_path: Path, up: Upstream) -> None:
    with serving(yaml(tmp_path, up), tmp_path) as fleet:
        under_way(fleet, up, ("bot-key", chat(max_tokens=400, stream=True), CHAT))
    changed = yaml(tmp_path, up).replace("  bot: {keys: [bot-key], budget: 1 USD per month}\n", "")
    # A budget that nobody had at the time finds what was spent before it.
    changed = (
        changed.replace("keys: [free-key]", "keys: [free-key], team: new") + "teams: {new: {budget: 1 USD per day}}\n"
    )
    with serving(changed, tmp_path):
        until(lambda: len(rows(tmp_path)) == 1, 20)
        assert rows(tmp_path)[0]["app"] == "bot"
    with serving(yaml(tmp_path, up), tmp_path) as fleet:
        assert left(fleet) == pytest.approx(0.6)


@KILLED
def test_a_kill_in_the_middle_of_adopting_loses_nothing(tmp_path: Path, up: Upstream) -> None:
    with serving(yaml(tmp_path, up), tmp_path) as fleet:
        under_way(fleet, up, ("bot-key", chat(max_tokens=400, stream=True), CHAT))
    for number in range(4):
        try:
            with serving(yaml(tmp_path, up), tmp_path) as fleet:
                time.sleep(0.05 * number)
                kill(fleet)
        except AssertionError:
            continue
    with serving(yaml(tmp_path, up), tmp_path) as fleet:
        assert left(fleet) == pytest.approx(0.6)
        assert len(rows(tmp_path)) == 1
