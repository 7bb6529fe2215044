"""Whoever was under way when a process died is in the ledger once: by their row if it was written, else as unknown."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from sqlalchemy import select

from access.database.store import Database
from access.database.tables import ATTEMPTS, HOURS, REQUESTS
from access.ledger.entry import UNKNOWN_OUTCOME, LedgerEntry, RequestStart, Reservation, entry_of, reservation_of
from access.ledger.journal import COMPACT_BYTES, Journal
from access.ledger.ledger import Ledger
from access.ledger.lines import TORN, read_journal
from access.ledger.prices import Prices, Rates
from access.ledger.reports import requests, spent, unknown
from access.ledger.rows import insert
from access.limits.counters import MemoryCounters
from access.limits.quota import Quota
from access.limits.sqlite_counters import SqliteCounters
from access.limits.ticket import QuotaTicket
from contract.attempt import Attempt
from contract.caller import Caller
from contract.deltas import Usage
from contract.errors import BudgetSpent
from contract.exchange import Exchange
from contract.messages import ChatRequest, EmbeddingRequest, Message, Text
from contract.rules import NANO, LimitRule, ScopedRule
from tests.unit.access.test_reports import entry

pytestmark = pytest.mark.slow

KILLED = pytest.mark.guarantee(
    "money", "A reservation whose process was killed counts as spent and has one ledger row with outcome unknown"
)
BOUNDED = pytest.mark.guarantee(
    "money", "The ledger's journal does not grow with rows that are already in the database"
)
AT_MS = 1_790_000_000_000
BUDGET = ScopedRule("app", "bot", LimitRule("spend", 10 * NANO, "10 USD per day", calendar="day", strict=True))
REQUEST = ChatRequest(dialect="openai", model="m", messages=(Message("user", (Text("Hello"),)),), max_tokens=50)


def reserved(number: int, cost: int | None = 5000, target: str = "p/m") -> Reservation:
    of = entry(AT_MS, number)
    known = {name: getattr(of, name) for name in RequestStart.__struct_fields__}
    return Reservation(**{**known, "target": target}, stream=False, cost=cost)


class ReservationMachine(RuleBasedStateMachine):
    """Requests begin, grow and end; rows go to the database; the process dies between any two steps."""

    @initialize()
    def begin_life(self) -> None:
        self.made = tempfile.TemporaryDirectory(prefix="reserved-")
        self.folder = Path(self.made.name)
        self.journal = Journal(self.folder)
        self.number = 0
        self.in_flight: dict[int, int] = {}
        self.ended: set[str] = set()
        self.lost: dict[str, int] = {}
        self.database: dict[str, LedgerEntry] = {}

    def insert(self, entries: Sequence[LedgerEntry]) -> None:
        for each in entries:
            self.database.setdefault(each.id, each)

    @rule(cost=st.integers(0, 10**6))
    def begin(self, cost: int) -> None:
        self.number += 1
        self.journal.begin(reserved(self.number, cost))
        self.in_flight[self.number] = cost

    @precondition(lambda self: self.in_flight)
    @rule(more=st.integers(1, 10**6), which=st.integers(0))
    def reserve_more(self, more: int, which: int) -> None:
        number = list(self.in_flight)[which % len(self.in_flight)]
        self.in_flight[number] += more
        self.journal.begin(reserved(number, self.in_flight[number]))

    @precondition(lambda self: self.in_flight)
    @rule(which=st.integers(0), width=st.integers(0, 300))
    def end(self, which: int, width: int) -> None:
        number = list(self.in_flight)[which % len(self.in_flight)]
        del self.in_flight[number]
        row = msgspec.structs.replace(entry(AT_MS, number), model="é" * width)
        self.journal.write([row])
        self.ended.add(row.id)

    @rule(most=st.integers(1, 20))
    def to_the_database(self, most: int) -> None:
        entries, place = self.journal.read_batch(most)
        self.insert(entries)
        self.journal.mark_stored(place)

    @rule()
    def make_it_short(self) -> None:
        self.journal._compact()

    @rule(torn=st.integers(0, 200))
    def die(self, torn: int) -> None:
        with self.journal.path.open("ab") as file:
            file.write(msgspec.json.encode(reserved(10**6))[:torn])
        self.journal._file.close()
        self.lost |= {reserved(number).id: cost for number, cost in self.in_flight.items()}
        self.in_flight = {}
        self.journal = Journal(self.folder)

    @rule(most=st.integers(1, 20), until=st.integers(0, 3))
    def adopt(self, most: int, until: int) -> None:
        """The adopter may die in the middle, too."""
        for path in self.journal.orphans():
            begun: dict[str, Reservation] = {}
            for number, (entries, broken) in enumerate(read_journal(path, most, begun)):
                assert all(each.why == TORN for each in broken)
                if number == until:
                    return
                self.insert(entries)
            self.insert([each.as_entry() for each in begun.values()])
            path.unlink()

    def teardown(self) -> None:
        if not hasattr(self, "journal"):
            return
        self.die(0)
        self.adopt(50, 10**9)
        self.journal.close()
        assert set(self.database) == self.ended | set(self.lost)
        for name, row in self.database.items():
            assert (row.outcome == UNKNOWN_OUTCOME) is (name in self.lost)
            if name in self.lost:
                assert row.cost == 1000 * self.lost[name]
        assert not list(self.folder.iterdir())
        self.made.cleanup()


TestReservations = ReservationMachine.TestCase
TestReservations.settings = settings(
    max_examples=60, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)


def leave_behind(folder: Path, *lines: Reservation | LedgerEntry) -> None:
    """As a process that was killed."""
    journal = Journal(folder)
    for each in lines:
        if isinstance(each, Reservation):
            journal.begin(each)
        else:
            journal.write([each])
    journal._file.close()


@KILLED
def test_who_did_not_end_has_a_row_of_his_own_and_who_did_has_no_other(tmp_path: Path) -> None:
    async def run() -> None:
        folder = tmp_path / "journal"
        leave_behind(folder, reserved(1, 5000, ""), reserved(2), reserved(1, 7000), entry(AT_MS, 2), reserved(3, None))
        database = Database(f"sqlite:///{tmp_path / 'l.sqlite'}")
        await database.prepare()
        # The row of the fourth has come another way, past a disk that was full.
        leave_behind(folder, reserved(4))
        await insert(database, [entry(AT_MS, 4)])
        ledger = Ledger(database, folder, 400)
        ledger.start()
        await asyncio.gather(ledger.adopt(), ledger.adopt())
        async with database.engine.connect() as connection:
            rows = {row["request_id"]: row for row in (await connection.execute(select(REQUESTS))).mappings()}
            attempts = list((await connection.execute(select(ATTEMPTS))).mappings())
            hours = list((await connection.execute(select(HOURS))).mappings())
        assert {name: row["outcome"] for name, row in rows.items()} == {
            "r1": UNKNOWN_OUTCOME, "r2": "ok", "r3": UNKNOWN_OUTCOME, "r4": "ok",
        }  # fmt: skip
        first, third = rows["r1"], rows["r3"]
        assert (first["cost"], first["target"], first["estimated"]) == (7_000_000, "p/m", True)
        assert (first["app"], first["model"], first["status"]) == (rows["r2"]["app"], rows["r2"]["model"], 0)
        assert third["cost"] is None
        assert await unknown(database) == (2, Decimal("0.000007"))
        assert await unknown(database, where={"app": "nobody"}) == (0, Decimal(0))
        assert await unknown(database, until_ms=AT_MS - 3_600_000) == (0, Decimal(0))
        assert [row.get("cost_is_at_most") for row in (await requests(database, {"request_id": "r1"})).rows] == [True]
        assert sum(each["cost"] or 0 for each in attempts if each["request"] == first["id"]) == 7_000_000
        assert sum(each["requests"] for each in hours) == 4
        assert sum(each["unpriced"] for each in hours) == sum(row["cost"] is None for row in rows.values())
        await ledger.close()
        await database.close()

    asyncio.run(run())


@KILLED
def test_of_two_who_adopt_at_once_each_waits_until_all_is_in_the_database(tmp_path: Path) -> None:
    """What budgets had spent is read after that: a row that another process is bringing must not be missing."""

    class Slow(Database):
        async def prepare(self) -> None:
            await super().prepare()
            await asyncio.sleep(0.05)

    async def run() -> None:
        folder, url = tmp_path / "journal", f"sqlite:///{tmp_path / 'l.sqlite'}"
        for number in range(5):
            leave_behind(folder, *[reserved(100 * number + each) for each in range(20)])
        databases = [Slow(url) for _ in range(4)]
        ledgers = [Ledger(each, folder, 400) for each in databases]
        for ledger in ledgers:
            ledger.start()

        async def count(ledger: Ledger, database: Database) -> int:
            await ledger.adopt()
            async with database.engine.connect() as connection:
                return len((await connection.execute(select(REQUESTS.c.id))).all())

        found = await asyncio.gather(*[count(*each) for each in zip(ledgers, databases, strict=True)])
        assert found == [100] * 4
        for ledger in ledgers:
            await ledger.close()
        for database in databases:
            await database.close()
        assert not list(folder.iterdir())

    asyncio.run(run())


@BOUNDED
def test_the_journal_stays_short_under_load_that_never_ends(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.begin(reserved(1))
    long = msgspec.structs.replace(entry(AT_MS, 0), model="m" * 200)
    for number in range(2, 6000):
        journal.begin(reserved(number))
        journal.write([msgspec.structs.replace(long, id=reserved(number).id)])
        if number % 50 == 0:
            # One row is always on its way.
            journal.mark_stored(journal.read_batch(99)[1])
        assert journal.path.stat().st_size < 3 * COMPACT_BYTES
    assert len(list(tmp_path.iterdir())) == 1
    journal._file.close()
    begun: dict[str, Reservation] = {}
    list(read_journal(journal.path, 500, begun))
    assert list(begun) == [reserved(1).id]


def test_a_process_that_ends_with_somebody_under_way_leaves_its_journal(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.begin(reserved(1))
    journal.mark_stored(journal.read_batch(9)[1])
    journal.close()
    assert len(list(tmp_path.iterdir())) == 1


class Kept:
    """What requests have had kept, in the order of time."""

    def __init__(self, tmp_path: Path, *, sqlite: bool = False) -> None:
        self.lines: list[Reservation] = []
        self.counters = SqliteCounters(tmp_path / "counters.sqlite") if sqlite else MemoryCounters()
        prices = Prices({f"p/{name}": [(None, Rates(Decimal(1000), Decimal(2000)))] for name in ("m", "n")}, {})
        self.quota = Quota(self.counters, prices, begin=self.lines.append)

    def exchange(self, *rules: ScopedRule) -> Exchange:
        exchange = Exchange("test")
        exchange.caller = Caller("bot", rules=rules, team="blue", key="k", user="ada")
        exchange.model = exchange.route = "m"
        return exchange

    async def admit(self, exchange: Exchange, *targets: str) -> QuotaTicket:
        ticket = await self.quota.admit(exchange, REQUEST, targets)
        assert ticket is not None
        return ticket

    async def attempt(self, exchange: Exchange, ticket: QuotaTicket, target: str) -> Attempt:
        attempt = Attempt(target, "p", target[2:], number=len(exchange.attempts) + 1)
        exchange.attempts.append(attempt)
        await ticket.cover(attempt, REQUEST)
        return attempt


@KILLED
@pytest.mark.parametrize("sqlite", [False, True])
def test_what_is_kept_is_what_the_counters_hold(tmp_path: Path, *, sqlite: bool) -> None:
    async def run() -> None:
        kept = Kept(tmp_path, sqlite=sqlite)
        exchange = kept.exchange(BUDGET)
        ticket = await kept.admit(exchange, "p/m")
        assert len(kept.lines) == 1
        first = await kept.attempt(exchange, ticket, "p/m")
        assert len(kept.lines) == 1
        # It may have cost all that was reserved for it: the next one needs as much again.
        first.uncounted, first.error, first.ended = True, "timeout", 1.0
        await kept.attempt(exchange, ticket, "p/m")
        assert len(kept.lines) == 2
        last = kept.lines[-1]
        assert last.cost == 2 * (kept.lines[0].cost or 0) > 0
        assert (last.id, last.app, last.team, last.user) == (exchange.ledger_id, "bot", "blue", "ada")
        charge = kept.quota.charge(BUDGET, 0)
        assert kept.counters.taken(charge.key) == last.cost
        exchange.attempts[1].usage = Usage(input=3, output=4)
        await ticket.settle(exchange)
        # Who asks for more after the end has nothing reserved.
        await kept.attempt(exchange, ticket, "p/m")
        assert len(kept.lines) == 2

    asyncio.run(run())


@KILLED
def test_of_several_targets_the_one_that_is_asked_is_kept(tmp_path: Path) -> None:
    async def run() -> None:
        kept = Kept(tmp_path)
        exchange = kept.exchange(BUDGET)
        ticket = await kept.admit(exchange, "p/m", "p/n")
        await kept.attempt(exchange, ticket, "p/n")
        assert [each.target for each in kept.lines] == ["", "p/n"]

    asyncio.run(run())


@KILLED
def test_requests_without_a_budget_and_embeddings_are_kept_too(tmp_path: Path) -> None:
    async def run() -> None:
        kept = Kept(tmp_path)
        await kept.quota.admit(kept.exchange(), REQUEST, ["p/m"])
        asked = EmbeddingRequest(dialect="openai", model="m", texts=("one", "two"))
        await kept.quota.admit(kept.exchange(BUDGET), asked, ["p/m"])
        free, embedded = kept.lines
        assert free.cost is None
        assert embedded.cost is not None
        assert embedded.cost > 0

    asyncio.run(run())


def test_who_is_refused_is_not_under_way(tmp_path: Path) -> None:
    async def run() -> None:
        kept = Kept(tmp_path)
        poor = ScopedRule("app", "bot", LimitRule("spend", 10, "little", calendar="day", strict=True))
        with pytest.raises(BudgetSpent):
            await kept.quota.admit(kept.exchange(poor), REQUEST, ["p/m"])
        assert not kept.lines

    asyncio.run(run())


def test_a_full_disk_stops_no_request(tmp_path: Path) -> None:
    """Its budgets count in memory as ever, and `problem` says that a crash would forget it."""

    class Full:
        def write(self, data: bytes) -> int:
            raise OSError(28, "No space left on device")

        def truncate(self, size: int) -> int:
            return size

    async def run() -> None:
        database = Database(f"sqlite:///{tmp_path / 'l.sqlite'}")
        ledger = Ledger(database, tmp_path / "journal", 400)
        ledger.start()
        assert await ledger.flush()
        assert not ledger.problem
        assert ledger._journal is not None
        file, ledger._journal._file = ledger._journal._file, Full()  # type: ignore[assignment]
        exchange = Exchange("test")
        exchange.caller, exchange.model = Caller("bot"), "m"
        ledger.begin(reservation_of(exchange, "p/m", 5, stream=False))
        assert "can't be written" in ledger.problem
        assert not ledger.in_memory_only
        ledger._journal._file = file
        ledger._to_disk()
        ledger.add(exchange)
        assert await ledger.flush()
        await ledger.close()
        async with database.engine.connect() as connection:
            assert [row[0] for row in await connection.execute(select(REQUESTS.c.outcome))] == [""]
        await database.close()
        assert not list((tmp_path / "journal").iterdir())

    asyncio.run(run())


@KILLED
def test_what_was_spent_is_spent_by_a_clock_that_was_set_back_too(tmp_path: Path) -> None:
    async def run() -> None:
        database = Database(f"sqlite:///{tmp_path / 'l.sqlite'}")
        await database.prepare()
        late = reserved(1).as_entry()
        await insert(database, [late])
        assert await spent(database, "app", AT_MS - 86_400_000, None, ended=True) == {late.app: 5000}
        assert await spent(database, "app", AT_MS - 86_400_000, AT_MS - 1, ended=True) == {}
        await database.close()

    asyncio.run(run())


def test_a_reservation_is_written_as_its_row_would_be() -> None:
    exchange = Exchange("POST /v1/messages", request_id="r")
    exchange.caller = Caller("bot", team="t", organisation="o", key="k\0" * 300, user="u")
    exchange.model = exchange.route = "m"
    exchange.target, exchange.stream, exchange.ended = "p/m", True, exchange.started
    row, kept = entry_of(exchange), reservation_of(exchange, "p/m", 3, stream=True).as_entry()
    same = set(LedgerEntry.__struct_fields__) - {"status", "outcome", "error", "cost", "estimated", "attempts"}
    assert {name: getattr(row, name) for name in same} == {name: getattr(kept, name) for name in same}


@KILLED
def test_who_ends_after_the_ledger_is_found_by_the_next_start(tmp_path: Path) -> None:
    async def run() -> None:
        database, folder = Database(f"sqlite:///{tmp_path / 'l.sqlite'}"), tmp_path / "journal"
        ledger = Ledger(database, folder, 400)
        ledger.start()
        exchange = Exchange("test")
        exchange.caller, exchange.model = Caller("bot"), "m"
        ledger.begin(reservation_of(exchange, "p/m", 5, stream=False))
        await ledger.close()
        ledger.add(exchange)
        again = Ledger(database, folder, 400)
        again.start()
        await again.adopt()
        async with database.engine.connect() as connection:
            assert [row[0] for row in await connection.execute(select(REQUESTS.c.outcome))] == [UNKNOWN_OUTCOME]
        await again.close()
        await database.close()

    asyncio.run(run())


@KILLED
def test_what_a_long_outage_has_left_is_adopted_however_long_that_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("access.ledger.ledger.ADOPTING_S", 0.0)
    monkeypatch.setattr("access.ledger.adoption.BATCH", 2)

    async def run() -> None:
        database, folder = Database(f"sqlite:///{tmp_path / 'l.sqlite'}"), tmp_path / "journal"
        leave_behind(folder, *[entry(AT_MS, number) for number in range(40)], *[reserved(100 + n) for n in range(20)])
        ledger = Ledger(database, folder, 400)
        ledger.start()
        await ledger.adopt()
        async with database.engine.connect() as connection:
            assert len((await connection.execute(select(REQUESTS.c.id))).all()) == 60
        await ledger.close()
        await database.close()

    asyncio.run(run())
