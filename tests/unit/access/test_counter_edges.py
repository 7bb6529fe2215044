"""Counters at their edges: what is forgotten, what a reload or a loss brings back, numbers that nobody can add up."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import msgspec
import pytest
from redis.asyncio import Redis
from sqlalchemy import select

from access.callers.directory import CallerDirectory
from access.database.store import Database
from access.database.tables import HOURS
from access.ledger.entry import LedgerEntry
from access.ledger.rows import insert
from access.limits import redis_counters
from access.limits.counters import DAY_US, RATE, SLOTS, SPEND, Charge, MemoryCounters, OpeningBalance, Settlement
from access.limits.quota import Quota
from access.limits.redis_counters import PREFIX, RedisCounters
from access.limits.sqlite_counters import SqliteCounters
from access.opening import open_accounts
from config.root import Config
from contract.caller import Caller
from contract.deltas import Delta, Usage
from contract.exchange import Exchange
from contract.rules import NANO, LimitRule
from contract.unsettled import Transcript, Unsettled
from gateway.assembly.configuration import load
from router.dispatch import note_usage
from tests.services import RedisServer
from tests.unit.access.test_quota_edges import PRICES, asking, attempt_of, budget, calling
from tests.unit.access.test_reports import entry

FAR_US = 10**16


# --- counters ------------------------------------------------------------------------------------------------------


class Clock:
    def __init__(self) -> None:
        self.now = 1_800_000_000_000_000

    def __call__(self) -> int:
        return self.now


def test_budgets_of_days_gone_by_are_forgotten(tmp_path: Path) -> None:
    clock = Clock()
    memory = MemoryCounters(clock)
    path = tmp_path / "counters.sqlite"

    async def run() -> None:
        file = SqliteCounters(path, clock)
        for number in range(500):
            charge = Charge(f"day-{number}", SPEND, 100, 10, 0, clock.now + DAY_US)
            rolling = Charge(f"rolling-{number}", SPEND, 100, 10, DAY_US // 32)
            for each in (memory, file):
                assert (await each.reserve(f"r{number}", [charge, rolling]))[0]
                await each.settle(f"r{number}", [Settlement(charge, 5), Settlement(rolling, 5)])
        month = Charge("month", SPEND, 100, 10, 0, clock.now + 31 * DAY_US)
        for each in (memory, file):
            await each.reserve("m", [month])
            await each.settle("m", [Settlement(month, 7)])
        clock.now += 3 * DAY_US
        for number in range(10_000):
            await memory.reserve(str(number), [Charge("x", SLOTS, 100_000, 1)])
        await file.reserve("y", [Charge("y", SLOTS, 1, 1)])
        assert [key for key, each in memory._state.items() if each != {} and key != "x"] == ["month"]
        rows = file._connection.execute("SELECT key FROM counters WHERE kind = ?", (SPEND,)).fetchall()
        assert rows == [("month",)]
        assert memory.taken("month") == file.taken("month") == 7
        await file.close()

    asyncio.run(run())


def test_a_file_of_an_older_version_keeps_its_budgets(tmp_path: Path) -> None:
    clock = Clock()
    path = tmp_path / "counters.sqlite"
    month = Charge("month", SPEND, 100, 10, 0, clock.now + 20 * DAY_US)

    async def run() -> None:
        counters = SqliteCounters(path, clock)
        old = b'{"spent":{"0":70},"reserved":{},"expired":{}}'
        counters._connection.execute("INSERT INTO counters VALUES (?, ?, ?, ?)", ("month", SPEND, old, clock.now))
        assert (await counters.reserve("a", [month]))[0]
        await counters.settle("a", [Settlement(month, 5)])
        await counters.close()
        clock.now += 10 * DAY_US
        counters = SqliteCounters(path, clock)
        assert counters.taken("month") == 75
        await counters.close()

    asyncio.run(run())


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
def test_a_budget_that_a_reload_brings_knows_what_was_spent_also_if_somebody_was_faster(
    kind: str, tmp_path: Path
) -> None:
    clock = Clock()

    async def run() -> None:
        counters = MemoryCounters(clock) if kind == "memory" else SqliteCounters(tmp_path / "c.sqlite", clock)
        old, new = (Charge(name, SPEND, 1000, 10, 0, FAR_US) for name in ("old", "new"))
        await counters.reserve("a", [old])
        await counters.settle("a", [Settlement(old, 10)])
        clock.now += 1_000
        reload = clock.now
        clock.now += 1_000
        # Before the ledger has answered.
        await counters.reserve("b", [new])
        for _ in range(2):
            counters.seed([OpeningBalance("old", 10, 0, FAR_US), OpeningBalance("new", 600, 0, FAR_US)], reload)
        assert (counters.taken("old"), counters.taken("new")) == (10, 610)
        if isinstance(counters, SqliteCounters):
            await counters.close()

    asyncio.run(run())


def test_a_settlement_that_is_cancelled_while_others_hold_the_file_is_made_later(tmp_path: Path) -> None:
    async def run() -> None:
        counters, other = SqliteCounters(tmp_path / "c.sqlite"), SqliteCounters(tmp_path / "c.sqlite")
        charge = Charge("b", SPEND, 100, 60, 0, FAR_US)
        assert (await counters.reserve("a", [charge]))[0]
        other._connection.execute("BEGIN IMMEDIATE")
        settling = asyncio.create_task(counters.settle("a", [Settlement(charge, 5)]))
        await asyncio.sleep(0)
        settling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await settling
        other._connection.execute("ROLLBACK")
        assert (await counters.reserve("b", [charge]))[0]
        assert counters.taken("b") == 65
        await counters.close()
        await other.close()

    asyncio.run(run())


async def ready(counters: RedisCounters) -> None:
    counters.start()
    deadline = time.monotonic() + 8
    while not counters.counts and time.monotonic() < deadline:
        await asyncio.sleep(0.05)
    assert counters.counts


@pytest.fixture
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis_counters, "GRACE_S", 0.2)
    monkeypatch.setattr(redis_counters, "BEAT_S", 0.05)
    monkeypatch.setattr(redis_counters, "DEADLINE_S", 0.5)


@pytest.mark.usefixtures("quickly")
def test_what_the_ledger_told_redis_is_kept_until_the_budget_s_end(redis: RedisServer) -> None:
    ends = int((time.time() + 20 * 86_400) * 1e6)

    async def seeds(_: float) -> list[OpeningBalance]:
        return [OpeningBalance("month", 900, 0, ends)]

    async def run() -> None:
        client = Redis.from_url(redis.url)
        await client.flushall()
        counters = RedisCounters(client, seeds)
        await ready(counters)
        assert await Redis.from_url(redis.url).ttl(f"{PREFIX}month") > 20 * 86_400
        await counters.close()

    asyncio.run(run())


@pytest.mark.usefixtures("quickly")
def test_redis_learns_of_budgets_that_a_reload_brings(redis: RedisServer) -> None:
    ends = int((time.time() + 86_400) * 1e6)

    async def run() -> None:
        client = Redis.from_url(redis.url)
        await client.flushall()
        counters = RedisCounters(client)
        await ready(counters)
        old, new = (Charge(name, SPEND, 1000, 10, 0, ends) for name in ("old", "new"))
        await counters.reserve("a", [old])
        await asyncio.sleep(0.01)
        reload = int(time.time() * 1e6)
        await asyncio.sleep(0.01)
        await counters.reserve("b", [new])
        for _ in range(2):
            assert await counters.seed(
                [OpeningBalance("old", 500, 0, ends), OpeningBalance("new", 600, 0, ends)], reload
            )
        _, (of_old, of_new) = await counters.reserve("c", [old, new])
        assert (of_old.left, of_new.left) == (1000 - 20, 1000 - 620)
        await counters.close()

    asyncio.run(run())


@pytest.mark.usefixtures("quickly")
def test_absurd_requests_and_answers_do_not_stop_redis(redis: RedisServer) -> None:
    async def run() -> None:
        client = Redis.from_url(redis.url)
        await client.flushall()
        counters = RedisCounters(client)
        await ready(counters)
        quota = Quota(counters, PRICES)
        for _ in range(3):
            exchange = calling(budget(5, soft=True, shadow=True), LimitRule("tokens", 1, "a token", 86_400))
            exchange.caller = Caller("a", rules=exchange.caller.rules[:1]) if exchange.caller else None
            request = asking(max_tokens=2**62, n=2**40)
            ticket = await quota.admit(exchange, request, ["p/m"])
            assert ticket is not None
            attempt = attempt_of(exchange)
            await ticket.cover(attempt, request)
            note_usage(Transcript(attempt), [Delta(usage=Usage(input=2**62, output=2**62))])
            attempt.ended = 1.0
            PRICES.settle(exchange, Unsettled())
            await ticket.settle(exchange)
            await quota.close()
        assert counters.reachable
        assert not counters._pending
        await counters.reserve("x", [Charge("x", RATE, 1, 1, 1_000_000)])
        await counters.close()

    asyncio.run(run())


# --- the ledger ----------------------------------------------------------------------------------------------------

YAML = """
version: 1
server: {{data: {folder}, database: "sqlite:///{folder}/db.sqlite"}}
providers: {{p: {{kind: simulated}}}}
models: {{m: {{targets: [p/m]}}}}
prices: {{p/m: {{input: 0, output: 1000}}}}
identity: [{{issuer: "https://login.example.com/", audience: g, app_claim: azp, jwks_file: keys.json}}]
apps:
  bot: {{keys: [a-key-for-the-bot], per_key: {{budget: 1 USD per month}}, per_user: {{budget: 1 USD per month}}}}
  other: {{keys: [a-key-for-others], per_key: {{budget: 1 USD per month}}{other}}}
"""


def test_after_a_restart_and_a_reload_budgets_of_keys_tokens_and_users_know_what_was_spent(tmp_path: Path) -> None:
    token = "token:https://login.example.com/"

    def row(number: int, app: str, user: str, dollars: int) -> LedgerEntry:
        made = entry(int(time.time() * 1000) - 5, number, app, user)
        return msgspec.structs.replace(made, key=token, cost=dollars * 10**10)

    async def run() -> None:
        def config(other: str = "") -> Config:
            path = tmp_path / "gatehouse.yaml"
            path.write_text(YAML.format(folder=tmp_path, other=other))
            return load(path, {})

        accounts = await open_accounts(config().server)
        assert accounts.database is not None
        await accounts.database.prepare()
        rows = [row(1, "bot", "ann", 30), row(2, "bot", "a/b", 20), row(3, "other", "u" * 128, 7)]
        await insert(accounts.database, rows)
        await asyncio.sleep(0.02)

        def take_up(config: Config) -> Quota:
            quota = accounts.quota(config, PRICES)
            accounts.follow(CallerDirectory(config), quota)
            return quota

        async def left(quota: Quota, config: Config) -> dict[str, int]:
            directory = CallerDirectory(config)
            found: dict[str, int] = {}
            for app in ("bot", "other"):
                caller = directory.caller(app, config.apps[app], token)
                bounds = [each for each in caller.rules if each.rule.what == "spend"]
                users = {"bot": ("ann", "a/b"), "other": ("u" * 128 + "v",)}[app]
                for user in users:
                    exchange = Exchange("test")
                    exchange.caller, exchange.user = caller, user
                    bounds += [each for each in quota._scoped_rules(exchange) if each.scope == "user"]
                for bound, status in zip(bounds, await quota.statuses(bounds), strict=True):
                    found[f"{bound.scope}:{app}:{len(found)}"] = NANO - status.left
            return {name: spent // 10**7 for name, spent in found.items()}

        quota = take_up(config())
        await accounts.seeded(5)
        assert list((await left(quota, config())).values()) == [50, 30, 20, 7]
        # A budget that is new: somebody asks before the ledger has answered.
        late = ", per_user: {budget: 1 USD per month}"
        quota = take_up(config(late))
        await left(quota, config(late))
        await accounts.seeded(5)
        assert list((await left(quota, config(late))).values()) == [50, 30, 20, 7, 7]
        await accounts.close()

    asyncio.run(run())


def test_sums_that_no_column_holds_do_not_keep_other_rows_from_the_ledger(tmp_path: Path) -> None:
    async def run() -> None:
        database = Database(f"sqlite:///{tmp_path / 'db.sqlite'}")
        await database.prepare()
        for start in (0, 100, 200):
            rows = [
                msgspec.structs.replace(entry(0, start + n), cost=10**17, id=f"{start + n:032x}") for n in range(95)
            ]
            assert await insert(database, rows) == 95
        async with database.engine.connect() as connection:
            (cost, count) = (await connection.execute(select(HOURS.c.cost, HOURS.c.requests))).one()
        assert (cost, count) == (2**63 - 1, 285)
        await database.close()

    asyncio.run(run())
