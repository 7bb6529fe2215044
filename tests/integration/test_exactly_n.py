"""Budgets and limits over several processes and many requests at once: exactly as many as there is room for."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.plugins.skips import does_not_apply
from tests.processes import (
    HANG_S,
    Fleet,
    Got,
    Upstream,
    callers,
    chat,
    longest,
    serving,
    statuses,
    tell,
    until,
    upstream,
)
from tests.services import redis_server

WORKERS = 4
AT_ONCE = 200
ROOM = 137
PARALLEL = 7
# An answer has ten words, a cent in all, and a prompt costs nothing: so much is reserved, and so much is spent.
YAML = """
version: 1
server: {{workers: {workers}, data: {data}, drain: 3s{server}}}
providers: {{up: {{kind: simulated, base_url: "{upstream}"}}}}
models: {{quick: {{targets: [up/quick]}}, slow: {{targets: [up/slow]}}, slower: {{targets: [up/slower]}}}}
prices:
  up/quick: {{input: 0, output: 1000}}
  up/slow: {{input: 0, output: 1000}}
  up/slower: {{input: 0, output: 1000}}
apps:
  one: {{keys: [test-key], budget: {room:.2f} USD per month}}
  two: {{keys: [parallel-key], limits: {{max_concurrent: {parallel}}}}}
  three: {{keys: [killed-key], budget: {room:.2f} USD per month}}
  other: {{keys: [other-key], budget: 1000 USD per month}}
observe: {{log: json}}
"""
BODY = chat(max_tokens=10)
SLOW = chat("slow", max_tokens=10)
SLOWER = chat("slower", max_tokens=10)
SCRIPT = "quick=n50,slow=n50-latency100,slower=n50-latency3000"


def yaml(folder: Path, up: Upstream, workers: int, server: str = "", room: int = ROOM) -> str:
    return YAML.format(
        data=folder / "data", upstream=up.url, workers=workers, server=server, room=room / 100, parallel=PARALLEL
    )


def counting(fleet: Fleet) -> bool:
    """Whether all of its processes know what was spent: a new Redis waits for word of all replicas."""
    return statuses(asyncio.run(fleet.burst(24, BODY, "other-key"))) == {200: 24}


class Counted:
    """A gateway with one kind of counters, and its upstream."""

    def __init__(self, kind: str, workers: int, fleet: Fleet, up: Upstream) -> None:
        self.kind = kind
        self.workers = workers
        self.fleet = fleet
        self.up = up
        # What a caller may be told when nothing can be counted.
        self.refused = (503,) if kind == "redis" else ()


@pytest.fixture(scope="module", params=["memory", "sqlite", "redis"])
def counted(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Counted]:
    folder = tmp_path_factory.mktemp(request.param)
    workers = 1 if request.param == "memory" else WORKERS
    with upstream(SCRIPT) as up, redis_server(folder) as redis:
        server = f", redis: '{redis.url}'" if request.param == "redis" else ""
        with serving(yaml(folder, up, workers, server), folder, workers) as fleet:
            until(lambda: counting(fleet))
            yield Counted(request.param, workers, fleet, up)


def test_a_budget_admits_exactly_what_it_can_pay(counted: Counted) -> None:
    fleet, asked = counted.fleet, counted.workers * AT_ONCE
    counted.up.reset()
    answers = asyncio.run(fleet.burst(asked, BODY))
    tell(f"{counted.kind}: a budget for {ROOM}, {asked} at once: {statuses(answers)}, longest {longest(answers):.2f} s")

    def spent() -> bool:
        answers.extend(asyncio.run(fleet.burst(100, BODY)))
        return set(statuses(answers[-100:])) == {429}

    # A Redis that a busy machine lets wait counts as out of reach: what can't be counted is refused.
    until(spent)
    assert set(statuses(answers)) <= {200, 429, *counted.refused}, fleet.log[-3000:]
    assert statuses(answers)[200] == ROOM, fleet.log[-3000:]
    assert len(counted.up.requests()) == ROOM


def test_never_more_run_at_once_than_may_and_no_slot_is_lost(counted: Counted) -> None:
    fleet, up = counted.fleet, counted.up
    up.reset()

    async def load() -> list[Got]:
        async with callers(60, lambda: fleet.ask(SLOW, "parallel-key"), pause_s=0.05) as answers:
            answers += await fleet.burst(counted.workers * AT_ONCE, SLOW, "parallel-key")
            await asyncio.sleep(2)
        return answers

    answers = asyncio.run(load())
    most = up.most_at_once()
    tell(
        f"{counted.kind}: {PARALLEL} at a time: {most} at most of {statuses(answers)}, longest {longest(answers):.2f} s"
    )
    assert {200, 429} <= set(statuses(answers)) <= {200, 429, *counted.refused}, fleet.log[-3000:]
    assert most == PARALLEL
    # A slot is free a moment after the answer has gone out.
    until(lambda: statuses(asyncio.run(fleet.burst(PARALLEL, SLOW, "parallel-key"))) == {200: PARALLEL})


def test_what_a_killed_worker_had_reserved_is_not_spent_by_others(counted: Counted) -> None:
    if counted.workers == 1:
        does_not_apply("no worker would be left")
    fleet, up = counted.fleet, counted.up
    up.reset()
    workers = psutil.Process(fleet.process.pid).children()

    def calls_of(worker: psutil.Process) -> list[Any]:
        there = worker.net_connections("tcp")
        return [each for each in there if each.status == psutil.CONN_ESTABLISHED and each.laddr.port == fleet.port]

    async def load() -> list[Got]:
        asking = asyncio.create_task(fleet.burst(100, SLOWER, "killed-key"))
        async with asyncio.timeout(HANG_S):
            # Most of them have asked the provider, so some of any worker's have.
            while sum("ended" not in each for each in await asyncio.to_thread(up.requests)) < 70:
                await asyncio.sleep(0.01)
        # The kernel gives one more to do than another.
        busiest = max(workers, key=lambda each: len(calls_of(each)))
        busiest.kill()
        return [*await asking, *await fleet.burst(200, SLOW, "killed-key")]

    answers = asyncio.run(load())
    told, asked = statuses(answers), len(up.requests())
    tell(f"{counted.kind}: a worker killed, a budget for {ROOM}: {told}, {asked} asked of the provider")
    assert told[0] > 0
    assert told[200] < asked <= ROOM
    # Whoever was killed before it asked had reserved all the same.
    assert told[200] + told[0] >= ROOM


def test_after_a_redis_has_lost_everything_it_is_still_exact(tmp_path: Path) -> None:
    room, before = 400, 120
    with upstream(SCRIPT) as up, redis_server(tmp_path) as redis:
        server = f", redis: '{redis.url}', database: 'sqlite:///{tmp_path}/ledger.sqlite'"
        with serving(yaml(tmp_path, up, WORKERS, server, room), tmp_path, WORKERS) as fleet:
            until(lambda: counting(fleet))

            async def load() -> tuple[list[Got], float]:
                async with callers(40, lambda: fleet.ask(SLOW), pause_s=0.02) as answers:
                    while statuses(answers).get(200, 0) < before:
                        await asyncio.sleep(0.01)
                    await asyncio.to_thread(redis.stop)
                    await asyncio.sleep(0.4)
                    await asyncio.to_thread(redis.start)
                    back, stopped = time.monotonic(), statuses(answers)[200]
                    while statuses(answers)[200] == stopped and time.monotonic() < back + HANG_S:
                        await asyncio.sleep(0.01)
                    recovered = time.monotonic() - back
                    while statuses(answers)[200] < room and time.monotonic() < back + 2 * HANG_S:
                        await asyncio.sleep(0.01)
                answers += await fleet.burst(100, SLOW)
                return answers, recovered

            answers, recovered = asyncio.run(load())
            tell(f"restart: a budget for {room}: {statuses(answers)}, longest {longest(answers):.2f} s, "
                 f"admits again after {recovered:.1f} s")  # fmt: skip
            assert statuses(answers)[200] == room, fleet.log[-3000:]
            assert set(statuses(answers)) == {200, 429, 503}
            assert recovered < HANG_S
