"""Compares the ledger with the provider's books: by row and by hour, to the token and the trillionth of a dollar."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from decimal import Decimal
from typing import Any, cast

import msgspec
from sqlalchemy import select

from access.database.store import Database
from access.database.tables import ATTEMPTS, HOURS, REQUESTS
from access.ledger.entry import PICO, UNKNOWN_OUTCOME, WHOSE
from access.ledger.rows import FAILURES, HOUR_MS
from bench.mixed_load import Try
from bench.traffic import prices
from gateway.simulator.bills import Bill

_SUMS = ("input", "output", "cache_read", "reasoning", "cost")
Row = dict[str, Any]


def sums_of(bill: Bill, provider: str) -> Counter[str]:
    """In the ledger's words, with the cost by its own reckoning."""
    free = (Decimal(0),) * 3
    prompt, cached, answer = prices().get(f"{provider}/{bill.model}", free)
    dollars = (bill.input - bill.cached) * prompt + bill.cached * cached + bill.output * answer
    picos = dollars * PICO / 1_000_000
    assert picos == int(picos)
    return Counter(
        input=bill.input, output=bill.output, cache_read=bill.cached, reasoning=bill.reasoning, cost=int(picos)
    )


class Findings(msgspec.Struct):
    """Sums of what is in the ledger and of the bills for it; `faults` are what must not be."""

    requests: int = 0
    attempts: int = 0
    ledger: Counter[str] = msgspec.field(default_factory=Counter)
    provider: Counter[str] = msgspec.field(default_factory=Counter)
    in_flight: Counter[str] = msgspec.field(default_factory=Counter)
    """Calls by model that were given up while events were on their way."""
    in_flight_tokens: int = 0
    missing: int = 0
    unknown: int = 0
    unknown_tokens: int = 0
    double: int = 0
    estimated: int = 0
    kinds: Counter[str] = msgspec.field(default_factory=Counter)
    models: set[str] = set()
    faults: list[str] = []

    def lines(self) -> list[str]:
        """For people."""
        cents = {name: Decimal(sums["cost"]) / PICO * 100 for name, sums in self._sides()}
        tokens = {name: f"{sums['input']:,} in, {sums['output']:,} out" for name, sums in self._sides()}
        return [
            f"requests {self.requests:,}, attempts {self.attempts:,}, counted by estimate {self.estimated:,}",
            f"tokens: ledger {tokens['ledger']}; provider {tokens['provider']}",
            f"cents: ledger {cents['ledger']:f}; provider {cents['provider']:f}",
            f"rows missing {self.missing}, rows double {self.double}",
            f"given up under way with events in flight: {self.in_flight.total()} calls {dict(self.in_flight)}, "
            f"{self.in_flight_tokens} tokens",
            f"killed under way: {self.unknown} rows of unknown outcome, {self.unknown_tokens} tokens billed",
            "outcomes: " + ", ".join(f"{name} {count}" for name, count in sorted(self.kinds.items())),
            f"faults: {len(self.faults)}",
            *self.faults[:20],
        ]

    def _sides(self) -> tuple[tuple[str, Counter[str]], tuple[str, Counter[str]]]:
        return ("ledger", self.ledger), ("provider", self.provider)


async def rows_of(url: str) -> tuple[list[Row], list[Row], list[Row]]:
    """Requests, attempts and hours."""
    database = Database(url)
    try:
        async with database.engine.connect() as connection:
            read = [(await connection.execute(select(table))).mappings() for table in (REQUESTS, ATTEMPTS, HOURS)]
            requests, attempts, hours = ([dict(row) for row in rows] for rows in read)
            return requests, attempts, hours
    finally:
        await database.close()


class Check:
    """Compares what three have seen: the callers, the ledger and the provider."""

    def __init__(
        self,
        tries: Sequence[Try],
        rows: tuple[list[Row], list[Row], list[Row]],
        bills: Sequence[Bill],
    ) -> None:
        self._tries = {each.trace: each for each in tries}
        self._requests, attempts, self._hours = rows
        self._attempts: dict[str, list[Row]] = defaultdict(list)
        for attempt in attempts:
            self._attempts[attempt["request"]].append(attempt)
        self._bills: dict[str, list[Bill]] = defaultdict(list)
        for bill in bills:
            self._bills[bill.trace].append(bill)
        self.found = Findings(len(self._requests), len(attempts))

    def run(self) -> Findings:
        """All of it."""
        self._find_missing()
        for row in self._requests:
            self._compare(row)
        self._compare_hours()
        return self.found

    def _fault(self, row: Row | Try, text: str) -> None:
        name, kind = (row.request_id, row.kind.name) if isinstance(row, Try) else (row["request_id"], row["model"])
        self.found.faults.append(f"{kind} {name}: {text}")

    def _find_missing(self) -> None:
        """Every request that was answered, or that the provider has seen, has one row, whatever was killed."""
        found = self.found
        rows = Counter(row["request_id"] for row in self._requests)
        found.double = sum(count - 1 for count in rows.values())
        for tried in self._tries.values():
            if tried.request_id in rows:
                continue
            if tried.how == "left" and tried.trace not in self._bills:
                continue  # its caller was gone before the gateway had read it: nobody was asked
            bills = self._bills.get(tried.trace, ())
            if tried.how != "broken" or bills:
                found.missing += 1
                self._fault(tried, f"{tried.how}, {len(bills)} bills, and has no row")
        if found.double:
            found.faults.append(f"{found.double} rows are double")
        strangers = set(self._bills) - set(self._tries)
        if strangers:
            found.faults.append(f"{len(strangers)} calls were billed that nobody had asked for")

    def _compare(self, row: Row) -> None:
        """One row with its attempts, and these with the bills, target by target."""
        found, tried = self.found, self._tries.get(row["trace_id"])
        if tried is None or tried.request_id != row["request_id"]:
            self._fault(row, "is nobody's request")
            return
        found.kinds[row["outcome"]] += 1
        if row["outcome"] == UNKNOWN_OUTCOME:
            self._compare_unknown(row)
            return
        found.models.add(row["model"])
        found.estimated += row["estimated"]
        attempts = self._attempts[row["id"]]
        if len(attempts) != row["attempts"]:
            self._fault(row, f"has {len(attempts)} attempts, and says {row['attempts']}")
        for name in _SUMS:
            if row[name] != sum(attempt[name] for attempt in attempts):
                self._fault(row, f"{name} is not the sum of its attempts")
        by_model: dict[str, list[Bill]] = defaultdict(list)
        for bill in self._bills.get(row["trace_id"], ()):
            by_model[bill.model].append(bill)
        by_target: dict[str, list[Row]] = defaultdict(list)
        for attempt in attempts:
            by_target[attempt["target"]].append(attempt)
        for target, group in by_target.items():
            provider, _, model = target.partition("/")
            self._compare_target(row, tried, group, provider, by_model.pop(model, []))
        if by_model:
            self._fault(row, f"was billed for {', '.join(by_model)}, and has no attempt there")

    def _compare_unknown(self, row: Row) -> None:
        """Its gateway was killed while it was under way: its cost is the most that it may have been, or not known."""
        found, bills = self.found, self._bills.get(row["trace_id"], ())
        found.unknown += 1
        found.unknown_tokens += sum(bill.input + bill.output for bill in bills)
        if row["cost"] is not None and row["cost"] != sum(each["cost"] for each in self._attempts[row["id"]]):
            self._fault(row, "cost is not the sum of its attempts")

    def _compare_target(self, row: Row, tried: Try, attempts: list[Row], provider: str, bills: list[Bill]) -> None:
        ledger: Counter[str] = Counter()
        billed: Counter[str] = Counter()
        for attempt in attempts:
            ledger.update({name: attempt[name] for name in _SUMS})
        for bill in bills:
            billed.update(sums_of(bill, provider))
        self.found.ledger.update(ledger)
        self.found.provider.update(billed)
        given_up = row["outcome"] == "cancelled" or any(attempt["error"] == "cancelled" for attempt in attempts)
        if ledger == billed and (given_up or len(attempts) <= len(bills)):
            return
        told = f"ledger {dict(ledger)}, provider {dict(billed)}, {len(attempts)} attempts, {len(bills)} calls"
        if not given_up or tried.kind.at_rest:
            self._fault(row, f"{row['outcome']}: {told}")
            return
        # Between what its caller had heard and what the provider had sent, the rest was on its way.
        self.found.in_flight[row["model"]] += 1
        self.found.in_flight_tokens += billed["input"] + billed["output"] - ledger["input"] - ledger["output"]
        least = tried.heard if tried.how == "left" else 0
        if not least <= ledger["output"] <= billed["output"] or any(ledger[name] > billed[name] for name in _SUMS):
            self._fault(row, f"given up, heard {least}: {told}")

    def _compare_hours(self) -> None:
        """The sums by hour are those of the rows."""
        sums: dict[tuple[Any, ...], Counter[str]] = defaultdict(Counter)
        for row in self._requests:
            key = (row["at_ms"] - row["at_ms"] % HOUR_MS, *(row[name] for name in WHOSE))
            failed = row["outcome"] in FAILURES
            sums[key].update({name: cast("int", row[name] or 0) for name in _SUMS}, requests=1, failures=int(failed))
        kept = {(row["hour_ms"], *(row[name] for name in WHOSE)): row for row in self._hours}
        if set(kept) != set(sums):
            self.found.faults.append("the hours are others than those of the rows")
        for key, row in kept.items():
            for name in (*_SUMS, "requests", "failures"):
                if row[name] != sums[key][name]:
                    self.found.faults.append(f"{key}: {name} is {row[name]}, the rows have {sums[key][name]}")
