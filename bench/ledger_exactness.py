"""Whether the ledger equals the provider's bill: `python -m bench.ledger_exactness --requests 50000 --kills 20`.

Runs a gateway, a simulated provider that keeps its own books, and callers, in three processes. Kills the gateway
(SIGKILL) at random moments under load and restarts it. At the end it compares every row with its bills.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import IO, Any

import msgspec

from bench.ledger_check import Check, Findings, rows_of
from bench.mixed_load import MixedLoad
from bench.traffic import config, script
from gateway.simulator.bills import Bill

ROOT = Path(__file__).resolve().parents[1]
START_S = 30.0
CONCURRENCY = 50


class _Books(msgspec.Struct):
    bills: list[Bill]


class Service:
    """A process of ours on a port."""

    def __init__(self, command: list[str], ready: str, log: Path) -> None:
        """`ready` is an address that answers 200 once it serves."""
        self._command = [sys.executable, "-m", "gateway", *command]
        self._ready = ready
        self._log: IO[bytes] = log.open("ab")
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Returns at once."""
        environ = {**os.environ, "PYTHONPATH": str(ROOT)}
        self._process = subprocess.Popen(self._command, cwd=ROOT, env=environ, stdout=self._log, stderr=self._log)

    async def ready(self) -> None:
        """Raises `RuntimeError` when it does not serve in time."""
        until = time.monotonic() + START_S
        while time.monotonic() < until and self._process is not None and self._process.poll() is None:
            try:
                await asyncio.to_thread(fetch, self._ready)
                return
            except OSError:
                await asyncio.sleep(0.02)
        raise RuntimeError(f"{self._command[3]} does not serve: see {self._log.name}")

    def kill(self) -> None:
        """SIGKILL."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        assert self._process is not None
        self._process.terminate()
        try:
            return self._process.wait(30)
        finally:
            self.kill()
            self._log.close()


def fetch(url: str, body: bytes | None = None) -> bytes:
    """Raises `OSError`."""
    with urllib.request.urlopen(urllib.request.Request(url, body), timeout=30) as response:
        data: bytes = response.read()
        return data


class Run:
    """One run in a folder."""

    def __init__(self, folder: Path, ports: tuple[int, int], database: str, seed: int) -> None:
        """`ports` are free: the gateway's and the simulator's."""
        self._folder = folder
        self._port, simulator = ports
        self._database = database
        self._seed = seed
        self._rng = random.Random(seed + 2)
        self._upstream = f"http://127.0.0.1:{simulator}"
        path = folder / "gatehouse.yaml"
        path.write_text(config(self._upstream, database, str(folder / "data")))
        self._simulator = Service(
            ["simulate", "--port", str(simulator)], f"{self._upstream}/__stats", folder / "simulator.log"
        )
        self._gateway = Service(
            ["serve", "-c", str(path), "--listen", f"127.0.0.1:{self._port}"],
            f"http://127.0.0.1:{self._port}/readyz",
            folder / "gateway.log",
        )
        self._load: MixedLoad
        self._kills = 0
        self._told = 0.0

    async def run(self, requests: int, kills: int, *, tell: bool = False) -> Findings:
        """The load, the kills and the check."""
        self._load = MixedLoad(self._port, requests, CONCURRENCY, self._seed)
        self._simulator.start()
        self._gateway.start()
        killing: asyncio.Task[None] | None = None
        try:
            await self._simulator.ready()
            fetch(f"{self._upstream}/__script", json.dumps(script(self._seed)).encode())
            await self._gateway.ready()
            killing = asyncio.create_task(self._kill(requests, kills))
            await self._load.run(self._tell if tell else lambda: None)
            await killing
            await self._adopted()
            code = self._gateway.stop()
            bills = await self._bills()
        finally:
            if killing is not None:
                killing.cancel()
            self._gateway.kill()
            self._simulator.stop()
        found = Check(self._load.tries, await rows_of(self._database), bills).run()
        left = list((self._folder / "data" / "journal").glob("*"))
        if code not in (0, -signal.SIGTERM):
            found.faults.append(f"the gateway ended with {code}")
        if left:
            found.faults.append(f"{len(left)} journals were left behind")
        return found

    async def _adopted(self) -> None:
        """Once the journals of all former lives have been read, or after long enough."""
        for _ in range(100):
            if len(list((self._folder / "data" / "journal").glob("*.journal"))) <= 1:
                return
            await asyncio.sleep(0.2)

    async def _bills(self) -> list[Bill]:
        """Once the last call is over."""
        stats: dict[str, Any] = {}
        for _ in range(200):
            stats = json.loads(await asyncio.to_thread(fetch, f"{self._upstream}/__stats"))
            if stats["open"] <= 1:
                break
            await asyncio.sleep(0.02)
        return msgspec.json.decode(fetch(f"{self._upstream}/__bills"), type=_Books).bills

    async def _kill(self, requests: int, kills: int) -> None:
        """At random moments; now and then soon after the start, while the last life's journal is being read."""
        moments = sorted(self._rng.uniform(0.04, 0.9) * requests for _ in range(kills))
        for moment in moments:
            await self._load.reach(round(moment))
            await asyncio.sleep(self._rng.uniform(0, 0.3))
            self._kills += 1
            self._gateway.kill()
            self._load.life += 1
            self._gateway.start()
            await self._gateway.ready()

    def _tell(self) -> None:
        now = time.monotonic()
        if now - self._told > 5:
            self._told = now
            print(f"{self._load.done:,} done, killed {self._kills} times", flush=True)


def main() -> None:
    """The command."""
    from tests.live import free_port

    parser = argparse.ArgumentParser()
    parser.add_argument("--requests", type=int, default=50_000)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--database", help="where else than in an SQLite of its own")
    parser.add_argument("--folder", type=Path, help="a new one that stays, with the logs")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="exactness-") as made:
        folder = arguments.folder or Path(made)
        folder.mkdir(parents=True, exist_ok=True)
        database = arguments.database or f"sqlite:///{folder / 'ledger.sqlite'}"
        began = time.monotonic()
        run = Run(folder, (free_port(), free_port()), database, arguments.seed)
        found = asyncio.run(run.run(arguments.requests, arguments.kills, tell=True))
    print("\n".join(found.lines()))
    print(f"{arguments.kills} kills, {time.monotonic() - began:.0f} s")
    raise SystemExit(1 if found.faults else 0)


if __name__ == "__main__":
    main()
