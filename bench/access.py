"""The cost of authentication, limits and budgets: `python -m bench.access`. CPU microseconds per request, best of five.

Measures a key, limits of requests, tokens and concurrency, and three budgets (app, team, organisation), reserved
and settled. Everything runs in one process, with counters in memory, in SQLite (as workers share them), and in Redis if
redis-server is installed; for Redis it counts the gateway's CPU time and the round trips that a request waits for.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from decimal import Decimal
from pathlib import Path

from redis.asyncio import Redis

from access.callers.directory import CallerDirectory
from access.callers.keys import PresentedCredentials
from access.callers.stored_keys import StoredKey, StoredKeys, digest_of, make_key
from access.database.store import Database
from access.ledger.ledger import Ledger
from access.ledger.prices import Prices, Rates
from access.limits.counters import Charge, Counters, LimitStatus, MemoryCounters
from access.limits.quota import Quota
from access.limits.redis_counters import GRACE_S, RedisCounters
from access.limits.sqlite_counters import SqliteCounters
from config.root import Config
from contract.attempt import Attempt
from contract.deltas import Usage
from contract.exchange import Exchange
from contract.messages import ChatRequest, Message, Text
from gateway.assembly.configuration import load

YAML = """
version: 1
providers: {p: {kind: simulated}}
models: {m: {targets: [p/m]}}
organisations: {acme: {budget: 1000000 USD per month}}
teams: {blue: {organisation: acme, budget: 1000000 USD per month}}
apps:
  plain: {keys: [plain-key]}
  bench:
    keys: [bench-key]
    team: blue
    budget: 1000000 USD per day
    limits: {requests: 100000000 per minute, tokens: 100000000 per second, max_concurrent: 100000}
"""
TIMES = 3000
QUESTION = Text("How long is the warranty on a drum unit, and who do I call? " * 8)
REQUEST = ChatRequest(dialect="openai", model="m", messages=(Message("user", (QUESTION,)),))


class Bench:
    """The way of a request through access, over some counters."""

    def __init__(
        self, config: Config, counters: Counters, stored: StoredKeys | None = None, ledger: Ledger | None = None
    ) -> None:
        """With a `ledger` its journal is written: who begins, and the row."""
        self._ring = CallerDirectory(config, stored).key_ring()
        prices = Prices({"p/m": [(None, Rates(Decimal(1), Decimal(2)))]}, {})
        self._ledger = ledger
        self._quota = Quota(counters, prices, begin=ledger.begin if ledger is not None else None)

    async def once(self, key: str) -> None:
        """One request from its key to its settlement."""
        exchange = Exchange("bench")
        exchange.caller = await self._ring.identify(PresentedCredentials(key, "127.0.0.1", "openai"))
        exchange.model = exchange.route = "m"
        ticket = await self._quota.admit(exchange, REQUEST, ("p/m",))
        if ticket is None:
            return
        request = ticket.bounded(REQUEST)
        attempt = Attempt("p/m", "p", "m")
        exchange.attempts.append(attempt)
        await ticket.cover(attempt, request)
        attempt.usage = Usage(input=120, output=80)
        attempt.ended = exchange.ended = time.perf_counter()
        if self._ledger is not None:
            self._ledger.add(exchange)
        await ticket.settle(exchange)

    async def cost_us(self, key: str, times: int = TIMES) -> float:
        """CPU of this process for one."""
        best = float("inf")
        for _ in range(5):
            began = time.process_time()
            for _ in range(times):
                await self.once(key)
            await self._quota.close()
            best = min(best, (time.process_time() - began) / times * 1e6)
            if self._ledger is not None:
                await self._ledger.flush()
        return best


class Known(StoredKeys):
    """Keys of a database, as its copy in memory has them."""

    def __init__(self, count: int) -> None:
        self._pepper = b"p" * 32
        self._clock = time.time
        self._max_age_s = 1e12
        made = [make_key() for _ in range(count)]
        self.key = made[0][1]
        self._by_id = {name: StoredKey(name, digest_of(key, self._pepper), "bench") for name, key in made}
        self.changed = 0

    @property
    def parties(self) -> tuple[()]:
        """None."""
        return ()

    def check_age(self) -> None:
        """Always fresh."""


@contextlib.contextmanager
def redis_server(folder: Path) -> Iterator[str]:
    """The address of a running one."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    time.sleep(0.5)
    try:
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        process.terminate()
        process.wait()


async def through_redis(config: Config, url: str) -> tuple[float, float]:
    """(CPU us, round trips that a request waits for)."""
    client = Redis.from_url(url)
    counters = RedisCounters(client)
    counters.start()
    await asyncio.sleep(GRACE_S + 0.7)
    bench = Bench(config, counters)
    await bench.once("bench-key")
    waited = 0
    reserve = counters.reserve

    async def counted(request: str, charges: Sequence[Charge]) -> tuple[bool, list[LimitStatus]]:
        nonlocal waited
        waited += 1
        return await reserve(request, charges)

    counters.reserve = counted  # type: ignore[method-assign]
    for _ in range(100):
        await bench.once("bench-key")
    counters.reserve = reserve  # type: ignore[method-assign]
    cost = await bench.cost_us("bench-key", 1000)
    await counters.close()
    return cost, waited / 100


async def run() -> None:
    """Prints the table."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        (folder / "g.yaml").write_text(YAML)
        config = load(folder / "g.yaml", environ={})
        stored = Known(10_000)
        memory = Bench(config, MemoryCounters(), stored)
        key = await memory.cost_us("plain-key")
        print(f"a key of the file, no limits:                        {key:7.1f} us")
        print(f"a key of the file, limits, three budgets, memory:    {await memory.cost_us('bench-key'):7.1f} us")
        print(f"one of 10,000 stored keys, the same:                 {await memory.cost_us(stored.key):7.1f} us")
        ledger = Ledger(Database(f"sqlite:///{folder / 'l.sqlite'}"), folder / "journal", 400)
        ledger.start()
        for task in ledger._tasks:
            task.cancel()
        kept = Bench(config, MemoryCounters(), stored, ledger)
        print(f"a key of the file, no limits, a ledger:              {await kept.cost_us('plain-key', 1000):7.1f} us")
        print(f"a key of the file, limits, three budgets, a ledger:  {await kept.cost_us('bench-key', 1000):7.1f} us")
        await ledger.close()
        sqlite = SqliteCounters(folder / "counters.sqlite")
        cost = await Bench(config, sqlite).cost_us("bench-key")
        print(f"the same, counters in SQLite:                        {cost:7.1f} us")
        await sqlite.close()
        if shutil.which("redis-server"):
            with redis_server(folder) as url:
                cost, trips = await through_redis(config, url)
            print(f"the same, counters in Redis:                         {cost:7.1f} us")
            print(f"round trips that a request waits for there:          {trips:7.1f}")


if __name__ == "__main__":
    asyncio.run(run())
