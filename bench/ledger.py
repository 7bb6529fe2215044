"""The speed of ledger pages: `python -m bench.ledger --rows 5000000 --database sqlite:////tmp/bench/l.db`.

The rows are synthetic: one month of requests from 200 apps in 40 teams, and one app with very few. The time of a page
includes its database connection. A database that already has rows is measured as it is.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sqlite3
import statistics
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from sqlalchemy import func, select

from access.database.store import Database
from access.database.tables import REQUESTS
from access.ledger.reports import requests

APPS, TEAMS, RARE = 200, 40, 20
MONTH_NS = 30 * 86_400 * 10**9
BEGAN_NS = 1_780_000_000 * 10**9
BATCH = 50_000
ROUNDS = 60
# A page that is slow without an index is not asked for long.
LONGEST_S = 20.0
BOUND_MS = 300.0
COLUMNS = [column.name for column in REQUESTS.columns]


def synthetic(count: int) -> Iterator[tuple[Any, ...]]:
    """Rows in the order of time, in the order of the table's columns."""
    rng = random.Random(7)
    models = [(f"model-{n}", f"provider-{n % 4}/model-{n}") for n in range(12)]
    step, rare = MONTH_NS // count, max(1, count // RARE)
    for place in range(count):
        at_ns = BEGAN_NS + place * step
        draw = rng.getrandbits(64)
        number = draw % APPS
        model, target = models[(draw >> 8) % 12]
        failed = (draw >> 16) % 50 == 0
        app = "rare" if place % rare == rare // 2 else f"app-{number}"
        values = (
            f"{at_ns:016x}{draw:016x}", f"request-{draw:016x}", f"{draw:032x}", at_ns // 1_000_000, "organisation",
            f"team-{number % TEAMS}", app, f"key-{number}-{(draw >> 24) % 3}", f"user-{(draw >> 28) % 10_007}",
            "openai.chat", model, target, 502 if failed else 200, "error" if failed else "ok",
            "upstream_failed" if failed else "", "off",
            bool(draw & 1), 1, draw % 5000, draw % 900, 0, 0, 0, draw % 10**10, False, draw % 9000,
        )  # fmt: skip
        yield values


def said(done: int, count: int, started: float) -> None:
    """Progress, in one line."""
    print(f"\r{done:,} of {count:,} rows, {done / (time.perf_counter() - started):,.0f} a second", end="", flush=True)


def fill_sqlite(path: Path, count: int) -> None:
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA synchronous = OFF")
    connection.execute("PRAGMA cache_size = -400000")
    names = ", ".join(f'"{name}"' for name in COLUMNS)
    statement = f"INSERT INTO requests ({names}) VALUES ({', '.join('?' * len(COLUMNS))})"
    rows, done, started = synthetic(count), 0, time.perf_counter()
    while batch := list(islice(rows, BATCH)):
        with connection:
            connection.executemany(statement, batch)
        done += len(batch)
        said(done, count, started)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    print()


async def fill_postgres(url: str, count: int) -> None:
    import asyncpg  # type: ignore[import-untyped]

    connection = await asyncpg.connect(url)
    rows, done, started = synthetic(count), 0, time.perf_counter()
    while batch := list(islice(rows, BATCH)):
        await connection.copy_records_to_table("requests", records=batch, columns=COLUMNS)
        done += len(batch)
        said(done, count, started)
    await connection.execute("VACUUM ANALYZE requests")
    await connection.close()
    print()


def questions(rng: random.Random) -> dict[str, tuple[dict[str, str], dict[str, Any]]]:
    """Another draw of every kind of page: filters, and where it is."""
    app, team = f"app-{rng.randrange(APPS)}", f"team-{rng.randrange(TEAMS)}"
    deep_ns = BEGAN_NS + int(MONTH_NS * rng.uniform(0.4, 0.6))
    deep, day_ms = f"{deep_ns:016x}", deep_ns // 1_000_000
    return {
        "first page": ({}, {}),
        "first page, 500 rows": ({}, {"limit": 500}),
        "an app's": ({"app": app}, {}),
        "a team's": ({"team": team}, {}),
        "deep in the middle": ({}, {"before": deep}),
        "an app's, deep in the middle": ({"app": app}, {"before": deep}),
        "a rare app's": ({"app": "rare"}, {}),
        "an unknown app's": ({"app": "nobody"}, {}),
        "an app's day": ({"app": app}, {"since_ms": day_ms, "until_ms": day_ms + 86_400_000}),
        "an app's failures": ({"app": app, "status": "502"}, {}),
        "none of an app's": ({"app": app, "status": "418"}, {}),
        "a key's": ({"key": f"key-{rng.randrange(APPS)}-1"}, {}),
        "a user's": ({"user": f"user-{rng.randrange(10_007)}"}, {}),
        "all failures": ({"outcome": "error"}, {}),
        "a rare status": ({"status": "418"}, {}),
        "a request_id": ({"request_id": "request-of-nobody"}, {}),
        "an unknown user's": ({"user": "nobody"}, {}),
        "an unknown model's": ({"model": "nobody"}, {}),
        "a target's": ({"target": f"openai/model-{rng.randrange(5)}"}, {}),
        "an unknown target's": ({"target": "nobody"}, {}),
        "an unknown organisation's": ({"organisation": "nobody"}, {}),
    }


async def measure(database: Database, asked: Any, name: str) -> list[float]:
    rng, began = random.Random(name), time.perf_counter()
    times: list[float] = []
    while len(times) < ROUNDS and (not times or time.perf_counter() - began < LONGEST_S):
        where, options = asked(rng)[name]
        started = time.perf_counter()
        await requests(database, where, **options)
        times.append(1000 * (time.perf_counter() - started))
    return times


def printed(name: str, times: list[float]) -> bool:
    """A line of the table; whether it is fast enough."""
    p95 = sorted(times)[int(0.95 * (len(times) - 1))]
    slow = max(times) >= BOUND_MS
    note = "TOO SLOW" if slow else ""
    print(f"{name:<30}{statistics.median(times):>10.1f}{p95:>10.1f}{max(times):>10.1f}{len(times):>8}  {note}")
    return not slow


async def run(url: str, count: int) -> bool:
    """Fills, measures, prints; whether every page was fast enough."""
    database = Database(url)
    await database.prepare()
    async with database.engine.connect() as connection:
        there = (await connection.execute(select(func.count()).select_from(REQUESTS))).scalar_one()
    if there == 0 and database.is_sqlite:
        await asyncio.to_thread(fill_sqlite, Path(url.removeprefix("sqlite:///")), count)
    elif there == 0:
        await fill_postgres(url, count)
    print(f"{there or count:,} rows\n{'page, ms':<30}{'p50':>10}{'p95':>10}{'max':>10}{'rounds':>8}")
    fast = True
    for name in questions(random.Random(0)):
        try:
            fast = printed(name, await measure(database, questions, name)) and fast
        except TimeoutError:
            print(f"{name:<30}{'longer than the database may take':>38}")
            fast = False
    await database.close()
    return fast


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=5_000_000)
    parser.add_argument("--database", required=True)
    arguments = parser.parse_args()
    raise SystemExit(0 if asyncio.run(run(arguments.database, arguments.rows)) else 1)


if __name__ == "__main__":
    main()
