"""What /readyz and /health say while a database, Redis or a disk is not there, was never there, or is no use."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from access.limits.counters import SPEND, Charge, Unreachable
from access.limits.sqlite_counters import SqliteCounters
from tests.live import free_port
from tests.processes import ROOT, Fleet, Upstream, ask, chat, until, upstream
from tests.services import PostgresServer, RedisServer, postgres_process

TRUE = pytest.mark.guarantee(
    "readiness", "/readyz returns 503 when no app can be served, and names each app that is refused"
)
BACK = pytest.mark.guarantee(
    "readiness", "A dependency that is down at startup is used as soon as it is up, like one that goes down later"
)
START = pytest.mark.guarantee(
    "readiness", "A start that waiting cannot fix fails, and the error names the cause and its place"
)
PEPPER = "a pepper of tests, as long as it has to be"
YAML = """
version: 1
server: {{data: "{data}", pepper: "{pepper}", drain: 3s{server}}}
providers: {{up: {{kind: simulated, base_url: "{upstream}"}}}}
models: {{quick: {{targets: [up/quick]}}}}
prices: {{up/quick: {{input: 0, output: 1000}}}}
apps:
  strict: {{keys: [strict-key], budget: 1 USD per month}}
{apps}
"""
LOCAL = "  local: {keys: [local-key], budget: {spend: 1 USD per month, when_unreachable: local}}"
FREE = "  free: {keys: [free-key]}"
BODY = chat(max_tokens=5)
SOON_S = 12.0
ONE = Charge("k", SPEND, 100, 1)


@pytest.fixture(scope="module")
def up() -> Iterator[Upstream]:
    with upstream("quick=n50") as running:
        yield running


class Started(Fleet):
    """A gateway that listens, ready or not."""

    def get(self, path: str = "/readyz") -> tuple[int, dict[str, Any]]:
        got = asyncio.run(ask(self.port, b"", path=path))
        return got.status, got.json() if got.status else {}

    def status(self, key: str) -> int:
        return asyncio.run(self.ask(BODY, f"{key}-key")).status


@contextmanager
def started(folder: Path, up: Upstream, server: str, apps: str = "", data: Path | None = None) -> Iterator[Started]:
    port, path = free_port(), folder / f"gatehouse-{time.monotonic_ns()}.yaml"
    text = YAML.format(data=data or folder / "data", pepper=PEPPER, server=server, upstream=up.url, apps=apps)
    path.write_text(text)
    command = [sys.executable, "-m", "gateway", "serve", "--config", str(path), "--listen", f"127.0.0.1:{port}"]
    log = path.with_suffix(".log")
    # Through a pipe, for what limits the size of files must not limit this one.
    with log.open("wb") as out, subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=out) as cat:
        environ = {**os.environ, "PYTHONPATH": str(ROOT)}
        process = subprocess.Popen(command, cwd=ROOT, env=environ, stdout=cat.stdin, stderr=cat.stdin)
        assert cat.stdin is not None
        cat.stdin.close()
        fleet = Started(process, port, log)
        try:
            until(lambda: process.poll() is not None or fleet.get("/livez")[0] == 200, 30)
            yield fleet
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                process.wait(20)


def is_well(fleet: Started) -> bool:
    status, told = fleet.get()
    return (status, told["status"]) == (200, "ready") and "degraded" not in told


@pytest.fixture
def postgres(tmp_path: Path) -> Iterator[PostgresServer]:
    with postgres_process() as server:
        yield server


@TRUE
@BACK
def test_a_database_that_was_never_reached(tmp_path: Path, up: Upstream, postgres: PostgresServer) -> None:
    postgres.stop()
    with started(tmp_path, up, f", database: '{postgres.url}'") as fleet:
        status, told = fleet.get()
        assert (status, told["status"]) == (503, "waiting")
        assert set(told["degraded"]) == {"ledger", "keys", "limits", "budgets"}
        assert "1 of 1 apps" in told["degraded"]["budgets"]
        assert "strict" in told["degraded"]["budgets"]
        assert fleet.get("/health")[1]["status"] == "waiting"
        assert fleet.status("strict") == 503
        postgres.start()
        until(lambda: is_well(fleet), SOON_S)
        assert fleet.status("strict") == 200
        assert fleet.get("/health")[1]["status"] == "ok"
        # And when it goes: what is counted is known, and counts on.
        postgres.stop()
        until(lambda: set(fleet.get()[1].get("degraded", {})) == {"ledger", "keys"}, SOON_S)
        status, told = fleet.get()
        assert (status, told["status"]) == (200, "degraded")
        assert fleet.status("strict") == 200
        postgres.start()
        until(lambda: is_well(fleet), SOON_S)


@TRUE
@BACK
def test_who_needs_no_database_is_served_and_who_is_refused_is_named(
    tmp_path: Path, up: Upstream, postgres: PostgresServer
) -> None:
    postgres.stop()
    with started(tmp_path, up, f", database: '{postgres.url}'", f"{LOCAL}\n{FREE}") as fleet:
        status, told = fleet.get()
        assert (status, told["status"]) == (200, "degraded")
        assert told["degraded"]["budgets"].startswith("1 of 3 apps are refused")
        assert told["degraded"]["budgets"].endswith(": strict")
        # Whoever sends requests only to where all are served asks so.
        assert fleet.get("/readyz?all")[0] == 503
        assert [fleet.status(key) for key in ("strict", "local", "free")] == [503, 200, 200]
        assert "bytes on disk" in fleet.get()[1]["degraded"]["ledger"]
        assert "0 bytes" not in fleet.get()[1]["degraded"]["ledger"]
        postgres.start()
        until(lambda: is_well(fleet) and fleet.get("/readyz?all")[0] == 200, SOON_S)
        assert [fleet.status(key) for key in ("strict", "local", "free")] == [200] * 3


@TRUE
@BACK
def test_a_database_that_lets_nobody_in_or_can_only_be_read(
    tmp_path: Path, up: Upstream, postgres: PostgresServer
) -> None:
    with started(tmp_path, up, f", database: '{postgres.url}'") as fleet:
        until(lambda: is_well(fleet), SOON_S)
        sql(postgres, "ALTER SYSTEM SET default_transaction_read_only = on; SELECT pg_reload_conf()")
        until(lambda: "ledger" in fleet.get()[1].get("degraded", {}), SOON_S)
    with started(tmp_path, up, f", database: '{postgres.url}'") as fleet:
        status, told = fleet.get()
        assert (status, told["status"]) == (503, "waiting")
        assert "ledger" in told["degraded"]
        sql(postgres, "SET default_transaction_read_only = off; ALTER SYSTEM RESET ALL; SELECT pg_reload_conf()")
        until(lambda: is_well(fleet), SOON_S)
    wrong = postgres.url.replace("postgres:@", "nobody:wrong@")
    assert wrong != postgres.url
    with started(tmp_path, up, f", database: '{wrong}'") as fleet:
        assert fleet.get()[0] == 503
        assert "wrong" not in json.dumps(fleet.get()[1])
        sql(postgres, "CREATE ROLE nobody SUPERUSER LOGIN PASSWORD 'wrong'")
        until(lambda: is_well(fleet), SOON_S)


def sql(postgres: PostgresServer, statements: str) -> None:
    import asyncpg  # type: ignore[import-untyped]

    async def run() -> None:
        connection = await asyncpg.connect(postgres.url)
        for each in statements.split("; "):
            await connection.execute(each)
        await connection.close()

    asyncio.run(run())


@TRUE
@BACK
def test_a_redis_that_was_never_reached(tmp_path: Path, up: Upstream) -> None:
    redis = RedisServer(tmp_path)
    with started(tmp_path, up, f", redis: '{redis.url}'", FREE) as fleet:
        until(lambda: fleet.get()[1]["status"] == "degraded", 5)
        status, told = fleet.get()
        assert status == 200
        assert told["degraded"]["limits"] == "Redis is unreachable"
        assert told["degraded"]["budgets"].startswith("1 of 2 apps")
        assert [fleet.status(key) for key in ("strict", "free")] == [503, 200]
        redis.start()
        try:
            until(lambda: is_well(fleet), SOON_S)
            assert fleet.status("strict") == 200
        finally:
            redis.stop()
        until(lambda: "limits" in fleet.get()[1].get("degraded", {}), SOON_S)
    with started(tmp_path, up, f", redis: '{redis.url}'") as fleet:
        assert fleet.get()[0] == 503


@contextmanager
def full_disk(fleet: Started) -> Iterator[None]:
    """No file of the gateway's may grow."""
    pid, before = fleet.process.pid, resource.prlimit(fleet.process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (1, before[1]))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, before)


@TRUE
@BACK
def test_a_disk_that_is_full(tmp_path: Path, up: Upstream) -> None:
    """Rows would be in memory only: another replica is to serve meanwhile. Who comes is served, and nothing is lost."""
    database = tmp_path / "l.sqlite"
    with started(tmp_path, up, f", database: 'sqlite:///{database}'") as fleet:
        until(lambda: is_well(fleet), SOON_S)
        with full_disk(fleet):
            assert fleet.status("strict") == 200
            until(lambda: fleet.get()[0] == 503, SOON_S)
            told = fleet.get()[1]["degraded"]["ledger"]
            assert "can't be written" in told
            assert "only in memory" in told
            assert fleet.status("strict") == 200
        until(lambda: is_well(fleet), SOON_S)
        until(lambda: count(database) == 2, SOON_S)


def count(database: Path) -> int:
    with sqlite3.connect(database) as connection:
        return int(connection.execute("SELECT count(*) FROM requests").fetchone()[0])


@TRUE
@BACK
def test_counters_of_workers_on_a_full_disk(tmp_path: Path) -> None:
    async def run() -> None:
        counters = SqliteCounters(tmp_path / "counters.sqlite")
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        assert (await counters.reserve("a", [ONE]))[0]
        resource.setrlimit(resource.RLIMIT_FSIZE, (1, before[1]))
        try:
            with pytest.raises(Unreachable):
                await counters.reserve("b", [ONE])
            assert "can't be written" in counters.condition.problem
            assert not counters.condition.only_money
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        assert (await counters.reserve("c", [ONE]))[0]
        assert not counters.condition.problem
        await counters.close()

    asyncio.run(run())


@BACK
def test_a_database_file_that_is_taken_away_is_made_anew(tmp_path: Path, up: Upstream) -> None:
    folder = tmp_path / "of the database"
    with started(tmp_path, up, f", database: 'sqlite:///{folder / 'l.sqlite'}'") as fleet:
        until(lambda: is_well(fleet), SOON_S)
        shutil.rmtree(folder)
        until(lambda: "ledger" in fleet.get()[1].get("degraded", {}), SOON_S)
        assert fleet.status("strict") == 200
        folder.mkdir()
        until(lambda: is_well(fleet), SOON_S)
        until(lambda: count(folder / "l.sqlite") == 1, SOON_S)


@START
@pytest.mark.parametrize("part", ["data", "database", "journal", "counters"])
def test_a_folder_that_can_hold_nothing_ends_the_start(tmp_path: Path, up: Upstream, part: str) -> None:
    data, server, named = tmp_path / "data", f", database: 'sqlite:///{tmp_path / 'l.sqlite'}'", ""
    if part == "data":
        data.write_text("a file")
        named = str(data)
    elif part == "database":
        (tmp_path / "file").write_text("")
        named = str(tmp_path / "file")
        server = f", database: 'sqlite:///{named}/l.sqlite'"
    else:
        data.mkdir()
        named = str(data / "journal") if part == "journal" else str(data / "counters.sqlite")
        Path(named).write_text("no database, and no folder, for it is a text of some length" * 20)
        server += ", workers: 2" if part == "counters" else ""
    with started(tmp_path, up, server, data=data) as fleet:
        assert fleet.process.wait(30) != 0
    assert named in fleet.log


@START
def test_tables_of_a_later_version_end_the_start(tmp_path: Path, up: Upstream) -> None:
    database = tmp_path / "l.sqlite"
    with started(tmp_path, up, f", database: 'sqlite:///{database}'") as fleet:
        until(lambda: is_well(fleet), SOON_S)
        assert fleet.status("strict") == 200
        until(lambda: count(database) == 1, SOON_S)
    with sqlite3.connect(database) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    with started(tmp_path, up, f", database: 'sqlite:///{database}'") as fleet:
        assert fleet.process.wait(30) != 0
    assert "a later version migrated the tables of server.database to step 9999" in fleet.log
    assert count(database) == 1


@TRUE
def test_lines_of_journals_that_cannot_be_read_are_told_everywhere(tmp_path: Path, up: Upstream) -> None:
    """After a downgrade: a later version has left its journal."""
    folder = tmp_path / "data" / "journal"
    folder.mkdir(parents=True)
    line = b'{"line":"row","version":99,"user":"Anna Schmidt"}\n'
    (folder / "1-dead.journal").write_bytes(line)
    with started(tmp_path, up, f", database: 'sqlite:///{tmp_path}/gatehouse.db'") as fleet:
        until(lambda: "degraded" in fleet.get()[1], 20)
        status, told = fleet.get()
        assert (status, told["status"]) == (200, "degraded")
        assert told["degraded"] == {"ledger": f"1 lines of journals can't be read ({folder}/*.undecodable)"}
        metrics = asyncio.run(ask(fleet.port, b"", path="/metrics")).body.decode()
        assert "gatehouse_ledger_undecodable_lines 1.0" in metrics
        log = fleet.log
        assert "written by version 99; this version reads up to" in log
        assert "Schmidt" not in log
        config = next(tmp_path.glob("gatehouse-*.yaml"))
        command = [sys.executable, "-m", "gateway", "usage", "--config", str(config)]
        said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
        assert (
            f"1 lines in this machine's journals can't be read and are not included in any sum: {folder}" in said.stderr
        )
        (folder / "1-dead.undecodable").unlink()
        until(lambda: is_well(fleet), 30)
