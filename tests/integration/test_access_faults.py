"""Redis and PostgreSQL gone, stalled and back, under load: what was declared comes of it, in time, and nothing is lost.

A key that is good is never refused as if it were not; no request waits for what does not answer.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import pytest
from sqlalchemy import func, select

from access.callers.registry import Registry
from access.database.audit import Audit
from access.database.store import Database
from access.database.tables import HOURS, REQUESTS
from tests.processes import HANG_S, Fleet, Got, Upstream, chat, longest, serving, statuses, tell, until, upstream
from tests.services import PostgresServer, RedisServer, postgres_process, redis_server

Result = TypeVar("Result")
PEPPER = "a pepper of tests, as long as it has to be"
# What an answer takes is under 50 ms.
YAML = """
version: 1
server: {{workers: {workers}, data: {data}, drain: 3s, pepper: "{pepper}", {server}}}
providers: {{up: {{kind: simulated, base_url: "{upstream}"}}}}
models: {{quick: {{targets: [up/quick]}}}}
prices: {{up/quick: {{input: 0, output: 1000}}}}
apps:
  strict-limit: {{keys: [strict-limit-key], limits: {{requests: 100000 per hour, when_unreachable: deny}}}}
  local-limit: {{keys: [local-limit-key], limits: {{requests: 20000 per hour}}}}
  strict-budget: {{keys: [strict-budget-key], budget: 1000 USD per month}}
  local-budget: {{keys: [local-budget-key], budget: {{spend: 200 USD per month, when_unreachable: local}}}}
  share-limit: {{keys: [share-limit-key], limits: {{requests: 100 per hour}}}}
  share-budget: {{keys: [share-budget-key], budget: {{spend: 1 USD per month, when_unreachable: local}}}}
  unheard: {{keys: [unheard-key], budget: 0.30 USD per month}}
  free: {{keys: [free-key]}}
observe: {{log: json}}
"""
BODY = chat(max_tokens=10)
APPS = ("strict-limit", "local-limit", "strict-budget", "local-budget", "free")


@pytest.fixture(scope="module")
def up() -> Iterator[Upstream]:
    with upstream("quick=n50") as running:
        yield running


def yaml(folder: Path, up: Upstream, workers: int, server: str) -> str:
    return YAML.format(data=folder / "data", upstream=up.url, workers=workers, server=server, pepper=PEPPER)


class Watched:
    """One caller of each key, who asks without end; answers by key with the time at which they came."""

    def __init__(self, fleet: Fleet, keys: Sequence[str]) -> None:
        self.answers: dict[str, list[tuple[float, Got]]] = {key: [] for key in keys}
        self._fleet = fleet
        self._ending = False

    async def ask(self, key: str) -> None:
        while not self._ending:
            got = await self._fleet.ask(BODY, key)
            self.answers[key].append((time.monotonic(), got))
            await asyncio.sleep(0.02)

    async def during(self, faults: Callable[[], Awaitable[None]]) -> None:
        tasks = [asyncio.create_task(self.ask(key)) for key in self.answers for _ in range(2)]
        try:
            await faults()
        finally:
            self._ending = True
            await asyncio.gather(*tasks)

    def between(self, began: float, end: float, key: str) -> list[Got]:
        return [got for at, got in self.answers[key] if began <= at < end]

    def all(self) -> list[Got]:
        return [got for each in self.answers.values() for _, got in each]

    async def refused(self, *keys: str) -> None:
        """Waits until the last answers to each of the keys are 503."""
        async with asyncio.timeout(HANG_S):
            while any({got.status for _, got in self.answers[key][-4:]} != {503} for key in keys):
                await asyncio.sleep(0.01)

    async def recovered(self, key: str, back: float) -> float:
        """How long after `back` the first good answer came."""
        while time.monotonic() < back + HANG_S:
            good = [at for at, got in self.answers[key] if at > back and got.status == 200]
            if good:
                return good[0] - back
            await asyncio.sleep(0.01)
        pytest.fail(f"{key} has not recovered in {HANG_S:g} s")


def settled(fleet: Fleet, key: str) -> bool:
    return statuses(asyncio.run(fleet.burst(12, BODY, key))) == {200: 12}


class Shared:
    """Two workers, and what they share."""

    def __init__(self, fleet: Fleet, redis: RedisServer) -> None:
        self.fleet = fleet
        self.redis = redis


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, up: Upstream) -> Iterator[Shared]:
    folder = tmp_path_factory.mktemp("redis")
    with redis_server(folder) as redis, serving(yaml(folder, up, 2, f"redis: '{redis.url}'"), folder, 2) as fleet:
        until(lambda: settled(fleet, "strict-budget-key"))
        yield Shared(fleet, redis)


@pytest.mark.parametrize("stalled", [False, True], ids=["gone", "stalled"])
def test_without_redis_each_rule_does_what_it_declares(shared: Shared, stalled: bool) -> None:
    fleet, redis = shared.fleet, shared.redis
    keys = [f"{app}-key" for app in APPS]
    watched, marks, recoveries = Watched(fleet, keys), [0.0, 0.0], []

    async def faults() -> None:
        await asyncio.sleep(0.5)
        await asyncio.to_thread(redis.stall if stalled else redis.stop)
        await watched.refused("strict-limit-key", "strict-budget-key")
        marks[0] = time.monotonic()
        await asyncio.sleep(2)
        marks[1] = time.monotonic()
        await asyncio.to_thread(redis.resume if stalled else redis.start)
        back = time.monotonic()
        recoveries.extend([await watched.recovered(key, back) for key in keys])
        await asyncio.sleep(0.7)

    asyncio.run(watched.during(faults))
    gone = {key: statuses(watched.between(marks[0], marks[1], key)) for key in keys}
    tell(f"redis {'stalled' if stalled else 'gone'}: {gone}, longest {longest(watched.all()):.2f} s, "
         f"recovered after {max(recoveries):.2f} s")  # fmt: skip
    assert set(gone["strict-limit-key"]) == {503}
    assert set(gone["strict-budget-key"]) == {503}
    # Far from their share of what was left.
    assert set(gone["local-limit-key"]) == set(gone["local-budget-key"]) == set(gone["free-key"]) == {200}
    assert {got.headers["retry-after"] for got in watched.all() if got.status == 503} == {"1"}
    assert set(statuses(watched.all())) == {200, 503}


def test_a_share_is_no_more_than_that(shared: Shared) -> None:
    """What each of two workers admits alone is half of what was left, and Redis hears of it afterwards."""
    fleet = shared.fleet
    for what in ("budget", "limit"):
        assert statuses(asyncio.run(fleet.burst(40, BODY, f"share-{what}-key"))) == {200: 40}
    # Each hears from Redis what others have taken, twice a second.
    time.sleep(3)
    shared.redis.stall()
    try:
        alone = asyncio.run(fleet.burst(200, BODY, "share-budget-key"))
        limited = asyncio.run(fleet.burst(300, BODY, "share-limit-key"))
    finally:
        shared.redis.resume()
    tell(f"alone: a budget {statuses(alone)} of 60 left, a limit {statuses(limited)} of 100")
    assert set(statuses(alone)) == {200, 429}
    assert statuses(alone)[200] <= 60
    assert statuses(limited)[200] <= 100
    time.sleep(3)
    last = asyncio.run(fleet.burst(200, BODY, "share-budget-key"))
    assert statuses(alone)[200] + statuses(last).get(200, 0) == 60


def test_what_was_asked_and_not_heard_is_given_back(shared: Shared) -> None:
    """A Redis that goes on after a pause still does all that it was asked meanwhile."""
    shared.redis.stall()
    try:
        unheard = asyncio.run(shared.fleet.burst(100, BODY, "unheard-key"))
    finally:
        shared.redis.resume()
    time.sleep(1.5)
    after = asyncio.run(shared.fleet.burst(100, BODY, "unheard-key"))
    tell(f"not heard: {statuses(unheard)}, longest {longest(unheard):.2f} s; a budget for 30 then {statuses(after)}")
    assert statuses(unheard) == {503: 100}
    assert statuses(after) == {200: 30, 429: 70}


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    with postgres_process() as server:
        yield server


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory, up: Upstream, postgres: PostgresServer) -> Iterator[Fleet]:
    """Two workers with a database."""
    folder = tmp_path_factory.mktemp("kept")
    with serving(yaml(folder, up, 2, f"database: '{postgres.url}'"), folder, 2) as fleet:
        yield fleet


def with_database(url: str, act: Callable[[Database], Awaitable[Result]]) -> Result:
    async def run() -> Result:
        database = Database(url)
        try:
            await database.prepare()
            return await act(database)
        finally:
            await database.close()

    return asyncio.run(run())


def made(url: str, app: str) -> tuple[str, str]:
    """(id, key) of a new key."""

    async def make(database: Database) -> tuple[str, str]:
        record, key = await Registry(database, PEPPER.encode(), Audit(database)).create_key("tests", app)
        return record.id, key

    return with_database(url, make)


def rows(url: str) -> tuple[int, int]:
    """How many requests the ledger has: singly, and in the sums by hour."""

    async def count(database: Database) -> tuple[int, int]:
        async with database.engine.connect() as connection:
            single = await connection.execute(select(func.count()).select_from(REQUESTS))
            summed = await connection.execute(select(func.sum(HOURS.c.requests)))
            return int(single.scalar() or 0), int(summed.scalar() or 0)

    return with_database(url, count)


def test_without_postgres_keys_are_good_and_no_row_is_lost(kept: Fleet, postgres: PostgresServer) -> None:
    _, key = made(postgres.url, "free")
    until(lambda: settled(kept, key))
    unknown = f"gh-{'a' * 10}-{'b' * 43}"
    assert statuses(asyncio.run(kept.burst(6, BODY, unknown))) == {401: 6}
    time.sleep(1)
    before = rows(postgres.url)[0]
    watched = Watched(kept, ["free-key", key, "strict-budget-key"])

    async def faults() -> None:
        await asyncio.sleep(0.3)
        for end, begin in ((postgres.stop, postgres.start), (postgres.stall, postgres.resume)):
            await asyncio.to_thread(end)
            await asyncio.sleep(2)
            if end == postgres.stop:
                # It may have been made a moment before.
                assert statuses(await kept.burst(6, BODY, unknown)) == {503: 6}
            await asyncio.to_thread(begin)
            await asyncio.sleep(0.5)

    asyncio.run(watched.during(faults))
    assert set(statuses(watched.all())) == {200}, kept.log[-3000:]
    asked = len(watched.all())
    late = until(lambda: rows(postgres.url)[0] - before >= asked)
    time.sleep(0.5)
    single, summed = rows(postgres.url)
    tell(f"postgres gone and stalled: {statuses(watched.all())}, longest {longest(watched.all()):.2f} s, "
         f"{single - before} rows of {asked}, the last {late:.1f} s after the load")  # fmt: skip
    assert (single - before, summed) == (asked, single)


def test_after_a_restart_without_postgres_keys_are_good_until_they_are_too_old(
    tmp_path: Path, up: Upstream, postgres: PostgresServer
) -> None:
    identity, key = made(postgres.url, "free")

    def server(keys_good_for: str) -> str:
        more = f"database: '{postgres.url}', key_cache_ttl: {keys_good_for}"
        return yaml(tmp_path, up, 1, more)

    with serving(server("1h"), tmp_path) as fleet:
        until(lambda: settled(fleet, key))
        # They are written down from time to time.
        until(lambda: any(identity.encode() in path.read_bytes() for path in (tmp_path / "data").glob("keys*")))
    postgres.stop()
    try:
        with serving(server("1h"), tmp_path) as fleet:
            assert settled(fleet, "free-key")
            assert settled(fleet, key)
            # What was spent nobody knows.
            assert statuses(asyncio.run(fleet.burst(4, BODY, "strict-budget-key"))) == {503: 4}
        with serving(server("1s"), tmp_path) as fleet:
            refused: list[Got] = []

            def too_old() -> bool:
                refused[:] = asyncio.run(fleet.burst(4, BODY, key))
                return set(statuses(refused)) == {503}

            until(too_old)
            assert all("retry-after" in each.headers for each in refused)
            assert settled(fleet, "free-key")
            postgres.start()
            until(lambda: settled(fleet, key) and settled(fleet, "strict-budget-key"))
    finally:
        postgres.start()


def test_a_key_that_is_revoked_elsewhere_is_refused_within_a_second(kept: Fleet, postgres: PostgresServer) -> None:
    identity, key = made(postgres.url, "free")
    until(lambda: settled(kept, key))

    async def revoke(database: Database) -> None:
        await Registry(database, PEPPER.encode(), Audit(database)).revoke_key("tests", identity)

    with_database(postgres.url, revoke)
    # Once all workers have heard of it, it stays so. One burst may happen to reach one of them only.
    late = until(lambda: all(200 not in statuses(asyncio.run(kept.burst(9, BODY, key))) for _ in range(4)))
    tell(f"a revoked key was good for {late:.2f} s")
    for _ in range(3):
        assert statuses(asyncio.run(kept.burst(9, BODY, key))) == {401: 9}
