"""Whether budgets survive `kill -9`: `python -m bench.budget_kills --kills 20`.

Starts a gateway, a simulated provider that keeps its own books, and callers with three budgets: of a team, an app and a
key. Kills the gateway (SIGKILL) at random moments under load and restarts it, until the budgets are spent. At the end
it compares the provider's bill with the budgets and with the ledger, and the ledger with the counters.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import random
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from access.ledger.entry import PICO, UNKNOWN_OUTCOME
from bench.ledger_check import Row, rows_of
from bench.ledger_exactness import Service, fetch
from contract.rules import NANO
from gateway.simulator.bills import Bill

ADMIN = "an-administrators-key-of-the-bench-0123456789"
# What a token costs, in picodollars: whole billionths of a dollar, which is what counters count.
INPUT, OUTPUT = 100 * PICO // 1_000_000, 1000 * PICO // 1_000_000
KEYS = {"first-key-of-one": "one", "first-key-of-two": "two", "other-key-of-two": "two"}
# Models by what they do: answer at once, stream for a while, fall back, ask two at once.
MODELS = {
    "quick": "[s/sim-n12]",
    "slow": "[s/sim-n40-pace10]",
    "second": "[s/sim-500, s/sim-n8]",
    "hedged": "[s/sim-latency5000-n6, s/sim-n9-pace20]",
}
CALLERS = 16
PAUSE_S = 0.02
# A round without kills, at the end: what is left of the budgets is asked for.
PATIENCE_S = 60.0


def config(simulator: str, database: str, data: Path, server: str, dollars: int) -> str:
    """The gateway's YAML; the team may spend `dollars`, the app and each key of the other app their parts."""
    digests = {app: [key for key, whose in KEYS.items() if whose == app] for app in ("one", "two")}
    targets = sorted({each for text in MODELS.values() for each in text.strip("[]").split(", ")})
    return f"""version: 1
server: {{database: "{database}", data: "{data}", pepper: {ADMIN}, drain: 5s, watch: false{server}}}
providers: {{s: {{kind: simulated, base_url: "{simulator}"}}}}
models:
  quick: {{targets: {MODELS["quick"]}, retry: {{attempts: 1}}}}
  slow: {{targets: {MODELS["slow"]}, retry: {{attempts: 1}}}}
  second: {{targets: {MODELS["second"]}, retry: {{attempts: 1}}, breaker: {{failures: 1000000}}}}
  hedged: {{targets: {MODELS["hedged"]}, retry: {{attempts: 1}}, hedge: {{after: 30ms}}}}
prices: {{{", ".join(f"{each}: {{input: 100, output: 1000}}" for each in targets)}}}
teams: {{all: {{budget: {dollars} USD per month}}}}
apps:
  one: {{team: all, keys: [{", ".join(digests["one"])}], budget: {0.55 * dollars:.2f} USD per month}}
  two: {{team: all, keys: [{", ".join(digests["two"])}], per_key: {{budget: {0.3 * dollars:.2f} USD per month}}}}
admin: {{keys: {{bench: {{key: {ADMIN}, role: viewer}}}}}}
observe: {{log: "off"}}
"""


class Asked(msgspec.Struct):
    """One request as its caller saw it; a status of 0: the gateway died."""

    key: str
    status: int = 0


class _Books(msgspec.Struct):
    bills: list[Bill]


class Outcome(msgspec.Struct):
    """What was found. `faults` are what must not be; money is in picodollars."""

    kills: int = 0
    asked: Counter[int] = msgspec.field(default_factory=Counter)
    billed: dict[str, int] = {}
    limits: dict[str, int] = {}
    ledger: dict[str, int] = {}
    rows: int = 0
    unknown: int = 0
    unknown_cost: int = 0
    unknown_billed: int = 0
    stranded: int = 0
    """Counted in Redis for requests that died between their reservation there and its line on disk."""
    faults: list[str] = []

    @property
    def overshoot(self) -> int:
        """How much more was billed than a budget has, of all budgets together."""
        return sum(max(0, self.billed[name] - limit) for name, limit in self.limits.items())

    def lines(self) -> list[str]:
        """For people."""
        answers = ", ".join(f"{status or 'broken'} {count}" for status, count in sorted(self.asked.items()))
        told = [f"{self.kills} kills; answers: {answers}"]
        for name, limit in self.limits.items():
            told.append(
                f"budget of {name}: {limit / PICO:.4f} USD; billed {self.billed[name] / PICO:.4f}, "
                f"in the ledger {self.ledger[name] / PICO:.4f}"
            )
        return [
            *told,
            f"overshoot: {self.overshoot / PICO:.4f} USD",
            f"rows {self.rows}, of them unknown {self.unknown}: at most {self.unknown_cost / PICO:.4f} USD in the "
            f"ledger, {self.unknown_billed / PICO:.4f} billed",
            f"counted by Redis and in no ledger: {self.stranded / PICO:.4f} USD",
            f"faults: {len(self.faults)}",
            *self.faults[:20],
        ]


class Run:
    """One run in a folder."""

    def __init__(self, folder: Path, ports: tuple[int, int], dollars: int, seed: int, server: str = "") -> None:
        """`ports` are free: the gateway's and the simulator's. `server` is more of that section of the YAML."""
        self._port, simulator = ports
        self._database = f"sqlite:///{folder / 'ledger.sqlite'}"
        self._rng = random.Random(seed)
        self._dollars = dollars
        self._shared = "redis:" in server
        self._upstream = f"http://127.0.0.1:{simulator}"
        self._journals = folder / "data" / "journal"
        path = folder / "gatehouse.yaml"
        path.write_text(config(self._upstream, self._database, folder / "data", server, dollars))
        self._simulator = Service(
            ["simulate", "--port", str(simulator)], f"{self._upstream}/__stats", folder / "simulator.log"
        )
        self._gateway = Service(
            ["serve", "-c", str(path), "--listen", f"127.0.0.1:{self._port}"],
            f"http://127.0.0.1:{self._port}/readyz",
            folder / "gateway.log",
        )
        self._asked: dict[str, Asked] = {}
        self._ending = False
        self.found = Outcome()

    async def run(self, kills: int) -> Outcome:
        """The load, the kills and the check."""
        self._simulator.start()
        self._gateway.start()
        try:
            await self._simulator.ready()
            await self._gateway.ready()
            callers = [asyncio.create_task(self._call(random.Random(self._rng.random()))) for _ in range(CALLERS)]
            for _ in range(kills):
                await asyncio.sleep(self._rng.uniform(0.02, 1.0))
                self._gateway.kill()
                self.found.kills += 1
                self._gateway.start()
                await self._gateway.ready()
            await self._spend_the_rest()
            self._ending = True
            await asyncio.gather(*callers)
            await self._adopted()
            left = await self._left()
            self._gateway.stop()
            bills = msgspec.json.decode(fetch(f"{self._upstream}/__bills"), type=_Books).bills
        finally:
            self._gateway.kill()
            self._simulator.stop()
        requests, _, _ = await rows_of(self._database)
        self._check(requests, bills, left)
        return self.found

    async def _call(self, rng: random.Random) -> None:
        """Asks without end."""
        while not self._ending:
            trace, asked = f"{rng.getrandbits(128) | 1 << 120:032x}", Asked(rng.choice(list(KEYS)))
            self._asked[trace] = asked
            with contextlib.suppress(OSError, EOFError, ValueError, TimeoutError):
                async with asyncio.timeout(PATIENCE_S):
                    asked.status = await self._ask(trace, asked.key, rng.choice(list(MODELS)), rng.random() < 0.5)
            self.found.asked[asked.status] += 1
            if asked.status != 200:
                await asyncio.sleep(PAUSE_S)

    async def _ask(self, trace: str, key: str, model: str, stream: bool) -> int:
        message = {"role": "user", "content": "How many pages does it print before its tray is empty?"}
        body = json.dumps({"model": model, "messages": [message], "max_tokens": 100, "stream": stream}).encode()
        head = (
            f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\nconnection: close\r\n"
            f"traceparent: 00-{trace}-{trace[:16]}-01\r\ncontent-length: {len(body)}\r\n\r\n"
        )
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        try:
            writer.write(head.encode() + body)
            answer = await reader.read()
        finally:
            writer.transport.abort()
        whole = answer.endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n") if stream else answer.endswith(b"}")
        status = int(answer[9:12])
        return status if whole or status != 200 else 0

    async def _spend_the_rest(self) -> None:
        """Until everybody has been refused for a while, or long enough."""
        until, quiet = time.monotonic() + PATIENCE_S, 0
        while time.monotonic() < until and quiet < 5:
            before = self.found.asked[200]
            await asyncio.sleep(0.5)
            quiet = quiet + 1 if self.found.asked[200] == before else 0

    async def _adopted(self) -> None:
        for _ in range(100):
            if len(list(self._journals.glob("*.journal"))) <= 1:
                return
            await asyncio.sleep(0.2)

    async def _left(self) -> dict[str, int]:
        """What the counters say that is left, in picodollars, once all that ended has been settled."""
        await asyncio.sleep(1.0)
        head = (
            f"GET /admin/v1/budgets HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {ADMIN}\r\nconnection: close\r\n\r\n"
        )
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        writer.write(head.encode())
        answer = await reader.read()
        writer.close()
        told: list[dict[str, Any]] = json.loads(answer.partition(b"\r\n\r\n")[2])
        return {f"{each['scope']} {each['name']}": round(float(each["left_usd"]) * NANO) * 1000 for each in told}

    def _check(self, rows: Sequence[Row], bills: Sequence[Bill], left: dict[str, int]) -> None:
        found = self.found
        billed: Counter[str] = Counter()
        for bill in bills:
            billed[bill.trace] += bill.input * INPUT + bill.output * OUTPUT
        found.rows = len(rows)
        by_trace: dict[str, list[Row]] = defaultdict(list)
        for row in rows:
            by_trace[row["trace_id"]].append(row)
        for trace, cost in billed.items():
            self._compare(trace, cost, by_trace.get(trace, []))
        self._add_up(rows, billed)
        # Redis outlives the process: what was reserved there, with no line of it on disk yet, stays counted.
        largest = max((row["cost"] or 0 for row in rows if row["outcome"] == UNKNOWN_OUTCOME), default=0)
        strandable = found.kills * CALLERS * largest if self._shared else 0
        for name, amount in left.items():
            stranded = found.limits[name] - found.ledger[name] - amount
            found.stranded = max(found.stranded, stranded)
            if not 0 <= stranded <= strandable:
                told = f"{amount / PICO} left, {(found.limits[name] - found.ledger[name]) / PICO} by the ledger"
                found.faults.append(f"budget of {name}: {told}")
        if found.overshoot:
            found.faults.append(f"overshot by {found.overshoot / PICO} USD")

    def _compare(self, trace: str, cost: int, rows: Sequence[Row]) -> None:
        """A request that the provider has seen."""
        found = self.found
        if len(rows) != 1:
            found.faults.append(f"{trace} was billed and has {len(rows)} rows")
            return
        row = rows[0]
        told = f"{trace} {row['model']}: ledger {row['cost']}, provider {cost}"
        if row["outcome"] == UNKNOWN_OUTCOME:
            found.unknown_billed += cost
            if row["cost"] is None or row["cost"] < cost:
                found.faults.append(f"{told}, of unknown outcome")
        elif row["cost"] != cost:
            found.faults.append(told)

    def _add_up(self, rows: Sequence[Row], billed: Counter[str]) -> None:
        found, dollars = self.found, self._dollars * PICO
        found.limits = {"team all": dollars, "app one": dollars * 55 // 100}
        names = {row["key"]: f"key two/{row['key']}" for row in rows if row["app"] == "two"}
        found.limits |= dict.fromkeys(sorted(names.values()), dollars * 30 // 100)
        found.billed, found.ledger = dict.fromkeys(found.limits, 0), dict.fromkeys(found.limits, 0)
        for row in rows:
            if row["outcome"] == UNKNOWN_OUTCOME:
                found.unknown += 1
                found.unknown_cost += row["cost"] or 0
            for name in ("team all", "app one" if row["app"] == "one" else names[row["key"]]):
                found.ledger[name] += row["cost"] or 0
                found.billed[name] += billed[row["trace_id"]]


def main() -> None:
    """The command."""
    from tests.live import free_port

    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--dollars", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", type=Path, help="a new one that stays, with the logs")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="kills-") as made:
        folder = arguments.folder or Path(made)
        folder.mkdir(parents=True, exist_ok=True)
        run = Run(folder, (free_port(), free_port()), arguments.dollars, arguments.seed)
        found = asyncio.run(run.run(arguments.kills))
    print("\n".join(found.lines()))
    raise SystemExit(1 if found.faults else 0)


if __name__ == "__main__":
    main()
